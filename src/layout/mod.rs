//! Geometry of key/value blocks, and the way between an engine's pages and a block.
//!
//! An inference engine keeps the keys and values of one *layer* in pages of a few tokens and finds the pages of a
//! request through a block table. The cache keeps a *block*: the same tokens of all layers in one contiguous range.
//!
//! ```text
//! block                                        block_bytes()
//! ├─ layer 0 ─────────────┬─ layer 1 ──────────┬─ … ┤
//! │                       │  layer_range(1)    │
//! ├─ keys ───┬─ values ───┤  layer_bytes()     │
//! │          │ plane_bytes()
//! ├─ token 0 ─┬─ token 1 ─┬─ … ┤
//! │           │ token_bytes()
//! ├─ head 0 ─┬─ head 1 ─┬─ … ┤
//! │          │ row_bytes()
//! └─ head_dim elements ─┘
//! ```
//!
//! The first index is the slowest: `[layer][keys, values][token][head][dim]`, without gaps, whatever order the
//! engine's pages have. So a block that one engine stored can be loaded by another, and one layer is one range
//! ([`Geometry::layer_range`]) that can be loaded while the layers before it are computed.
//!
//! [`Geometry`] says what a block is, [`Paged`] where the engine keeps it; [`Paged::gather`] and
//! [`Paged::scatter`] move it, whole or by layer, in the longest runs that both sides allow.
//!
//! # Engines
//! | engine | pages of a layer | as |
//! | --- | --- | --- |
//! | vLLM, FlashAttention | `[2, pages, tokens, heads, dim]` | [`PagedShape::vllm_flash_attention`] |
//! | vLLM, FlashInfer | `[pages, 2, tokens, heads, dim]` | [`PagedShape::flash_infer`] with [`Order::Nhd`] |
//! | vLLM, FlashInfer HND | `[pages, 2, heads, tokens, dim]` | [`PagedShape::flash_infer`] with [`Order::Hnd`] |
//! | vLLM, MLA | `[pages, tokens, dim]` | [`PagedShape::vllm_mla`], one plane, one head |
//! | SGLang | keys, values: `[tokens, heads, dim]` each | [`PagedShape::sglang`] |
//! | TensorRT-LLM, one pool | `[pages, layers, 2, heads, tokens, dim]` | [`PagedShape::tensorrt_llm_pool`] |
//! | TensorRT-LLM, by layer | `[pages, 2, heads, tokens, dim]` | [`PagedShape::flash_infer`] with [`Order::Hnd`] |
//!
//! Anything else with a contiguous head dimension is a [`PagedShape`] with its strides filled in.

mod paged;
mod transfer;

pub use crate::geometry::{BLOCK_BYTES_MAX, Dtype, Geometry, Shape};
pub use paged::{Order, Paged, PagedShape, Planes};
pub use transfer::{Bases, BasesMut, PageIndex, Table};
