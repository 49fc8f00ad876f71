//! What attention makes of keys and values: softmax(q k / sqrt(dim)) v for every query of every sequence.

use std::thread;

use crate::codec::samples::{SampleSet, numbers};

/// Computes the outputs of one layer, `[sequences][query heads][tokens][dim]`. Query head `h` reads head
/// `h / (query heads / heads)` of the keys and values. On all processors.
pub fn outputs(set: &SampleSet, queries: &[u8], planes: [&[u8]; 2], causal: bool) -> Vec<f32> {
    let head_elements = set.tokens * set.dim;
    let mut outputs = vec![0.0; set.sequences * set.query_heads * head_elements];
    let jobs = set.sequences * set.query_heads;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = jobs.div_ceil(threads).max(1);
    thread::scope(|scope| {
        for (number, outputs) in outputs.chunks_mut(share * head_elements).enumerate() {
            scope.spawn(move || {
                for (job, output) in outputs.chunks_exact_mut(head_elements).enumerate() {
                    let job = number * share + job;
                    let (sequence, head) = (job / set.query_heads, job % set.query_heads);
                    let kv_head = head / (set.query_heads / set.heads);
                    let part = |tensor, heads, head| one_head(set, tensor, heads, sequence, head);
                    let rows = Head {
                        queries: part(queries, set.query_heads, head),
                        keys: part(planes[0], set.heads, kv_head),
                        values: part(planes[1], set.heads, kv_head),
                    };
                    rows.attend(set.dim, causal, output);
                }
            });
        }
    });
    outputs
}

/// One head of one sequence, `[tokens][dim]`.
fn one_head(set: &SampleSet, tensor: &[u8], heads: usize, sequence: usize, head: usize) -> Vec<f32> {
    let row_bytes = set.dim * size_of::<u16>();
    let rows = tensor
        .chunks_exact(row_bytes)
        .skip(sequence * set.tokens * heads + head);
    let rows = rows.step_by(heads).take(set.tokens);
    rows.flat_map(|row| numbers(set.dtype, row)).collect()
}

struct Head {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Head {
    fn attend(&self, dim: usize, causal: bool, output: &mut [f32]) {
        let tokens = self.keys.len() / dim;
        // Channel by channel, so that the inner loop runs over tokens.
        let keys: Vec<f32> = (0..dim)
            .flat_map(|channel| self.keys.iter().skip(channel).step_by(dim))
            .copied()
            .collect();
        let scale = 1.0 / (dim as f32).sqrt();
        let mut weights = vec![0.0_f32; tokens];
        for (token, (query, output)) in self
            .queries
            .chunks_exact(dim)
            .zip(output.chunks_exact_mut(dim))
            .enumerate()
        {
            let weights = &mut weights[..if causal { token + 1 } else { tokens }];
            weights.fill(0.0);
            for (query, keys) in query.iter().zip(keys.chunks_exact(tokens)) {
                let query = query * scale;
                weights
                    .iter_mut()
                    .zip(keys)
                    .for_each(|(weight, key)| *weight += query * key);
            }
            let largest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            weights
                .iter_mut()
                .for_each(|weight| *weight = (*weight - largest).exp());
            let sum: f32 = weights.iter().sum();
            for (weight, values) in weights.iter().zip(self.values.chunks_exact(dim)) {
                let weight = weight / sum;
                output
                    .iter_mut()
                    .zip(values)
                    .for_each(|(output, value)| *output += weight * value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use half::f16;
    use kvcache::layout::Dtype;

    use super::*;

    /// Straight from the definition, in binary64.
    fn naive(set: &SampleSet, q: &[f64], k: &[f64], v: &[f64], causal: bool) -> Vec<f64> {
        let mut outputs = Vec::new();
        let group = set.query_heads / set.heads;
        let at = |heads: usize, sequence: usize, token: usize, head: usize| {
            ((sequence * set.tokens + token) * heads + head) * set.dim
        };
        for sequence in 0..set.sequences {
            for head in 0..set.query_heads {
                for token in 0..set.tokens {
                    let seen = if causal { token + 1 } else { set.tokens };
                    let query = at(set.query_heads, sequence, token, head);
                    let weights: Vec<f64> = (0..seen)
                        .map(|other| {
                            let key = at(set.heads, sequence, other, head / group);
                            let product: f64 = (0..set.dim).map(|i| q[query + i] * k[key + i]).sum();
                            (product / (set.dim as f64).sqrt()).exp()
                        })
                        .collect();
                    let sum: f64 = weights.iter().sum();
                    for i in 0..set.dim {
                        let values = (0..seen).map(|other| v[at(set.heads, sequence, other, head / group) + i]);
                        outputs.push(
                            weights
                                .iter()
                                .zip(values)
                                .map(|(weight, value)| weight * value / sum)
                                .sum(),
                        );
                    }
                }
            }
        }
        outputs
    }

    #[test]
    fn outputs_are_those_of_the_definition() {
        let set = SampleSet {
            dtype: Dtype::F16,
            sequences: 2,
            tokens: 7,
            position: 0,
            heads: 2,
            query_heads: 6,
            dim: 4,
            layers: BTreeMap::new(),
        };
        let tensor = |heads: usize, seed: u64| -> Vec<u8> {
            let mut state = seed;
            (0..2 * 7 * heads * 4)
                .flat_map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    f16::from_f32((state >> 40) as f32 / (1 << 22) as f32 - 2.0).to_le_bytes()
                })
                .collect()
        };
        let [q, k, v] = [tensor(6, 1), tensor(2, 2), tensor(2, 3)];
        let wide = |tensor: &[u8]| -> Vec<f64> { numbers(Dtype::F16, tensor).map(f64::from).collect() };
        for causal in [true, false] {
            let found = outputs(&set, &q, [&k, &v], causal);
            let right = naive(&set, &wide(&q), &wide(&k), &wide(&v), causal);
            assert_eq!(found.len(), right.len());
            for (found, right) in found.iter().zip(right) {
                assert!((f64::from(*found) - right).abs() < 1e-5, "{found} {right}");
            }
        }
    }
}
