//! Made-up keys, values and queries, and safetensors files written byte by byte.

use half::{bf16, f16};

/// Numbers that look Gaussian; each channel has a scale of its own.
pub fn numbers(count: usize, channels: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..count)
        .map(|at| {
            let gaussian: f32 = (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
            gaussian * (0.5 + (at % channels) as f32 / channels as f32)
        })
        .collect()
}

/// As binary16, little-endian.
pub fn f16_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|&number| f16::from_f32(number).to_le_bytes())
        .collect()
}

/// As bfloat16, little-endian.
pub fn bf16_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|&number| bf16::from_f32(number).to_le_bytes())
        .collect()
}

/// The numbers of binary16.
pub fn of_f16(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
        .collect()
}

/// Root of the squared difference over the squared norm.
pub fn relative_error(found: &[f32], right: &[f32]) -> f64 {
    let square = |number: f32| f64::from(number) * f64::from(number);
    let difference: f64 = found
        .iter()
        .zip(right)
        .map(|(found, right)| square(found - right))
        .sum();
    (difference / right.iter().copied().map(square).sum::<f64>()).sqrt()
}

/// A tensor of a file: name, type, shape, bytes.
pub struct Tensor {
    /// `layer0.k` for one.
    pub name: String,
    /// `F16`, `BF16`, `F32`.
    pub dtype: &'static str,
    /// Sequences, tokens, heads, elements of a head.
    pub shape: Vec<usize>,
    /// Its elements.
    pub bytes: Vec<u8>,
}

/// A safetensors file: the length of the header, the header, the tensors one after the other.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut entries = serde_json::Map::new();
    let mut body: Vec<u8> = Vec::new();
    for tensor in tensors {
        let end = body.len() + tensor.bytes.len();
        let entry = serde_json::json!({
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [body.len(), end],
        });
        entries.insert(tensor.name.clone(), entry);
        body.extend(&tensor.bytes);
    }
    let header = serde_json::Value::Object(entries).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(body);
    file
}

/// Sequences, tokens, heads, elements of a head of the samples below.
pub const SHAPE: [usize; 4] = [4, 160, 2, 32];

/// Keys, values and, with four heads, queries of these layers; binary16.
pub fn model(layers: &[usize], queries: bool) -> Vec<Tensor> {
    let [sequences, tokens, heads, dim] = SHAPE;
    let mut tensors = Vec::new();
    for &layer in layers {
        for (place, (part, heads)) in [("k", heads), ("v", heads), ("q", 2 * heads)].into_iter().enumerate() {
            if part == "q" && !queries {
                continue;
            }
            let seed = (layer * 3 + place) as u64 + 1;
            let shape = vec![sequences, tokens, heads, dim];
            tensors.push(Tensor {
                name: format!("layer{layer}.{part}"),
                dtype: "F16",
                bytes: f16_bytes(&numbers(shape.iter().product(), heads * dim, seed)),
                shape,
            });
        }
    }
    tensors
}
