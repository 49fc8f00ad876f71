//! Samples of a model's keys, values and queries: safetensors files with tensors `layerL.k`, `layerL.v` and, if there
//! are any, `layerL.q`, each `[sequences, tokens, heads, dim]` of 16 bits.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use half::{bf16, f16};
use kvcache::codec::{Rope, train};
use kvcache::layout::Dtype;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// The keys, values and queries of one layer.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// `[sequences][tokens][heads][dim]`: keys, values.
    pub planes: [Vec<u8>; 2],
    /// `[sequences][tokens][query heads][dim]`; empty where there are none.
    pub queries: Vec<u8>,
}

/// Samples of a model.
#[derive(Clone, Debug)]
pub struct SampleSet {
    /// The type of an element.
    pub dtype: Dtype,
    /// Sequences.
    pub sequences: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Place of the first token of each in its sequence.
    pub position: usize,
    /// Heads of keys and values.
    pub heads: usize,
    /// Heads of queries; 0 where there are no queries.
    pub query_heads: usize,
    /// Elements of a head.
    pub dim: usize,
    /// The layers that there are, by number.
    pub layers: BTreeMap<usize, Layer>,
}

impl SampleSet {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, with the path.
    pub fn read(path: &Path) -> Result<Self, String> {
        let told = |reason: String| format!("{}: {reason}", path.display());
        let bytes = fs::read(path).map_err(|error| told(error.to_string()))?;
        let file =
            SafeTensors::deserialize(&bytes).map_err(|error| told(format!("this is no safetensors file: {error}")))?;
        Self::from_tensors(&file).map_err(told)
    }

    fn from_tensors(file: &SafeTensors<'_>) -> Result<Self, String> {
        let mut found: BTreeMap<usize, [Option<TensorView<'_>>; 3]> = BTreeMap::new();
        for (name, tensor) in file.iter() {
            if let Some((layer, part)) = place(name) {
                found.entry(layer).or_default()[part] = Some(tensor);
            }
        }
        let Some(first) = found.values().find_map(|parts| parts[0].as_ref()) else {
            return Err(String::from(
                "there is no tensor layerL.k (L is the number of a layer) in this file",
            ));
        };
        let [sequences, tokens, heads, dim] = four(first, "the keys")?;
        let dtype = dtype(first)?;
        let queries = found.values().find_map(|parts| parts[2].as_ref());
        let query_heads = queries.map_or(Ok(0), |queries| four(queries, "the queries").map(|shape| shape[2]))?;
        if query_heads % heads != 0 {
            return Err(format!(
                "{query_heads} heads of queries can't share {heads} heads of keys and values"
            ));
        }
        let mut layers = BTreeMap::new();
        for (number, [key, value, query]) in &found {
            let part = |tensor: &Option<TensorView<'_>>, letter: char, heads: usize| -> Result<Vec<u8>, String> {
                let name = format!("layer{number}.{letter}");
                let tensor = tensor
                    .as_ref()
                    .ok_or_else(|| format!("there is no tensor {name} in this file"))?;
                let right = [sequences, tokens, heads, dim];
                if tensor.shape() != right {
                    return Err(format!(
                        "{name} is {:?}, and {right:?} would fit the other tensors",
                        tensor.shape()
                    ));
                }
                if tensor.dtype() != first.dtype() {
                    return Err(format!(
                        "{name} is {:?}, and other tensors are {:?}",
                        tensor.dtype(),
                        first.dtype()
                    ));
                }
                Ok(tensor.data().to_vec())
            };
            let layer = Layer {
                planes: [part(key, 'k', heads)?, part(value, 'v', heads)?],
                queries: match query {
                    Some(_) => part(query, 'q', query_heads)?,
                    None => Vec::new(),
                },
            };
            layers.insert(*number, layer);
        }
        Ok(Self {
            dtype,
            sequences,
            tokens,
            position: 0,
            heads,
            query_heads,
            dim,
            layers,
        })
    }

    /// Appends the sequences of another file of the same model.
    ///
    /// # Errors
    /// What does not go together.
    pub fn append(&mut self, more: Self) -> Result<(), String> {
        let model = |set: &Self| (set.dtype, set.tokens, set.heads, set.dim);
        if model(self) != model(&more) || !self.layers.keys().eq(more.layers.keys()) {
            return Err(format!(
                "{}, and the files before are {}",
                more.describe(),
                self.describe()
            ));
        }
        self.sequences += more.sequences;
        for (layer, more) in self.layers.values_mut().zip(more.layers.into_values()) {
            for (plane, more) in layer.planes.iter_mut().zip(more.planes) {
                plane.extend(more);
            }
            layer.queries.extend(more.queries);
        }
        Ok(())
    }

    /// In a sentence.
    pub fn describe(&self) -> String {
        let layers: Vec<String> = self.layers.keys().map(ToString::to_string).collect();
        format!(
            "{} sequences of {} tokens, {} heads of {} elements, {}, layers {}",
            self.sequences,
            self.tokens,
            self.heads,
            self.dim,
            self.dtype,
            layers.join(" ")
        )
    }

    /// Bytes of a token in a tensor with so many heads.
    fn token_bytes(&self, heads: usize) -> usize {
        heads * self.dim * 2
    }

    /// The same with elements of another type, rounded to nearest.
    pub fn converted(mut self, dtype: Dtype) -> Self {
        if dtype != self.dtype {
            for layer in self.layers.values_mut() {
                let [key, value] = &mut layer.planes;
                for tensor in [key, value, &mut layer.queries] {
                    for element in tensor.as_chunks_mut::<2>().0 {
                        let value = number(self.dtype, *element);
                        *element = match dtype {
                            Dtype::Bf16 => bf16::from_f32(value).to_le_bytes(),
                            _ => f16::from_f32(value.clamp(-65504.0, 65504.0)).to_le_bytes(),
                        };
                    }
                }
            }
            self.dtype = dtype;
        }
        self
    }

    /// The first and the second half: of the sequences, or, where there is but one, of its tokens.
    pub fn halves(&self) -> [Self; 2] {
        if self.sequences > 1 {
            let middle = self.sequences / 2;
            return [
                self.part(0..middle, 0..self.tokens),
                self.part(middle..self.sequences, 0..self.tokens),
            ];
        }
        let middle = self.tokens / 2;
        [self.part(0..1, 0..middle), self.part(0..1, middle..self.tokens)]
    }

    fn part(&self, sequences: Range<usize>, tokens: Range<usize>) -> Self {
        let cut = |tensor: &[u8], heads: usize| -> Vec<u8> {
            let token_bytes = self.token_bytes(heads);
            let all = tensor.chunks_exact((token_bytes * self.tokens).max(1));
            let some = all.skip(sequences.start).take(sequences.len());
            some.flat_map(|sequence| &sequence[tokens.start * token_bytes..tokens.end * token_bytes])
                .copied()
                .collect()
        };
        let layers = self.layers.iter().map(|(number, layer)| {
            let [key, value] = &layer.planes;
            let layer = Layer {
                planes: [cut(key, self.heads), cut(value, self.heads)],
                queries: cut(&layer.queries, self.query_heads),
            };
            (*number, layer)
        });
        Self {
            sequences: sequences.len(),
            tokens: tokens.len(),
            position: self.position + tokens.start,
            layers: layers.collect(),
            ..*self
        }
    }

    /// Which layer's samples stand for each layer of the model: its own, or those of the nearest one before (of the
    /// first, where there is none before).
    pub fn stand_ins(&self) -> Vec<usize> {
        let last = self.layers.keys().next_back().copied().unwrap_or(0);
        let first = self.layers.keys().next().copied().unwrap_or(0);
        (0..=last)
            .map(|layer| {
                self.layers
                    .range(..=layer)
                    .next_back()
                    .map_or(first, |(number, _)| *number)
            })
            .collect()
    }

    /// Tells which layers are trained with the samples of others; `None` where each has its own.
    pub fn stand_ins_note(&self) -> Option<String> {
        let stand_ins = self.stand_ins();
        let others = stand_ins.iter().enumerate().filter(|(layer, from)| layer != *from);
        let others: Vec<String> = others
            .map(|(layer, from)| format!("layer {layer} those of layer {from}"))
            .collect();
        match others.is_empty() {
            true => None,
            false => Some(format!(
                "layers without samples take the nearest before: {}",
                others.join(", ")
            )),
        }
    }

    /// As training takes them.
    pub fn to_train(&self, rope: Option<Rope>) -> train::Samples<'_> {
        let planes = |layer: &usize| {
            let layer = &self.layers[layer];
            [layer.planes[0].as_slice(), layer.planes[1].as_slice()]
        };
        train::Samples {
            dtype: self.dtype,
            heads: self.heads,
            dim: self.dim,
            sequence_tokens: self.tokens,
            layers: self.stand_ins().iter().map(planes).collect(),
            rope,
        }
    }
}

/// The layer of a tensor's name, and which of k, v, q it is.
fn place(name: &str) -> Option<(usize, usize)> {
    let (layer, part) = name.strip_prefix("layer")?.split_once('.')?;
    let layer: usize = layer.parse().ok().filter(|layer| *layer < 1024)?;
    Some((layer, ["k", "v", "q"].iter().position(|letter| *letter == part)?))
}

fn four(tensor: &TensorView<'_>, what: &str) -> Result<[usize; 4], String> {
    let shape = tensor.shape();
    match <[usize; 4]>::try_from(shape) {
        Ok(shape) if !shape.contains(&0) => Ok(shape),
        _ => Err(format!(
            "{what} are {shape:?}; they must be [sequences, tokens, heads, dim]"
        )),
    }
}

fn dtype(tensor: &TensorView<'_>) -> Result<Dtype, String> {
    match tensor.dtype() {
        safetensors::Dtype::F16 => Ok(Dtype::F16),
        safetensors::Dtype::BF16 => Ok(Dtype::Bf16),
        other => Err(format!("the elements are {other:?}; samples have F16 or BF16")),
    }
}

/// The number of an element, as codecs read it: a NaN is 0, an infinity the largest finite number of its sign.
pub fn number(dtype: Dtype, element: [u8; 2]) -> f32 {
    let (value, max) = match dtype {
        Dtype::Bf16 => (bf16::from_le_bytes(element).to_f32(), bf16::MAX.to_f32()),
        _ => (f16::from_le_bytes(element).to_f32(), f16::MAX.to_f32()),
    };
    if value.is_nan() { 0.0 } else { value.clamp(-max, max) }
}

/// The numbers of all elements.
pub fn numbers(dtype: Dtype, bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(move |element| number(dtype, *element))
}
