//! Where an engine keeps the keys and values of a layer.

use crate::error::{ConfigError, Status};
use crate::geometry::{Geometry, check};

/// How tokens and heads lie within one plane of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// `[token][head][dim]`: all heads of one token together, as in a block.
    Nhd,
    /// `[head][token][dim]`: all tokens of one head together.
    Hnd,
}

/// How keys and values of one layer lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planes {
    /// Two buffers, `[page, ...]` each. Also for a geometry of one plane.
    Separate,
    /// One buffer, all keys and then all values: `[2, page, ...]`.
    Outer,
    /// One buffer, the keys and then the values of each page: `[page, 2, ...]`.
    Inner,
}

/// The engine's side as it states it, not yet checked. [`Paged::new`] checks it.
///
/// A stride of 0 stands for the one without gaps that `order` and `planes` imply, computed from the inside out
/// with the strides that are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagedShape {
    /// Pages of a layer: 1 to 2^40. Every page index is below it.
    pub pages_count: u64,
    /// Tokens of a page: 1 to 65536; divides the block's tokens or is divided by them.
    pub tokens_per_page: u64,
    /// How tokens and heads lie in a page.
    pub order: Order,
    /// How keys and values lie to each other.
    pub planes: Planes,
    /// From one page to the next, bytes; or 0.
    pub page_stride_bytes: u64,
    /// From a key to the value of the same place within one buffer, bytes; or 0. Not used with separate buffers.
    pub plane_stride_bytes: u64,
    /// From one token to the next within a page, bytes; or 0.
    pub token_stride_bytes: u64,
    /// From one head to the next of the same token, bytes; or 0.
    pub head_stride_bytes: u64,
}

impl PagedShape {
    /// Without gaps.
    pub const fn dense(pages_count: u64, tokens_per_page: u64, order: Order, planes: Planes) -> Self {
        Self {
            pages_count,
            tokens_per_page,
            order,
            planes,
            page_stride_bytes: 0,
            plane_stride_bytes: 0,
            token_stride_bytes: 0,
            head_stride_bytes: 0,
        }
    }

    /// vLLM with FlashAttention: one tensor a layer, `[2, pages, tokens, heads, dim]`.
    pub const fn vllm_flash_attention(pages_count: u64, tokens_per_page: u64) -> Self {
        Self::dense(pages_count, tokens_per_page, Order::Nhd, Planes::Outer)
    }

    /// FlashInfer (vLLM, SGLang): one tensor a layer, `[pages, 2, tokens, heads, dim]` or, with [`Order::Hnd`],
    /// `[pages, 2, heads, tokens, dim]`.
    pub const fn flash_infer(pages_count: u64, tokens_per_page: u64, order: Order) -> Self {
        Self::dense(pages_count, tokens_per_page, order, Planes::Inner)
    }

    /// vLLM with multi-head latent attention: one tensor a layer, `[pages, tokens, dim]`; for a geometry of one
    /// plane and one head.
    pub const fn vllm_mla(pages_count: u64, tokens_per_page: u64) -> Self {
        Self::dense(pages_count, tokens_per_page, Order::Nhd, Planes::Separate)
    }

    /// SGLang: two tensors a layer, `[tokens, heads, dim]` each, of `pages_count * tokens_per_page` tokens. With its
    /// page size of 1, token indices are page indices.
    pub const fn sglang(pages_count: u64, tokens_per_page: u64) -> Self {
        Self::dense(pages_count, tokens_per_page, Order::Nhd, Planes::Separate)
    }

    /// TensorRT-LLM with one pool for all layers, `[pages, layers, 2, heads, tokens, dim]`. The base of a layer is
    /// the pool's plus the layer's number times [`Geometry::layer_bytes`] of a block of `tokens_per_page` tokens.
    pub const fn tensorrt_llm_pool(geometry: &Geometry, pages_count: u64, tokens_per_page: u64) -> Self {
        let shape = geometry.shape();
        let page_stride_bytes = (shape.layers_count * shape.planes_count)
            .saturating_mul(geometry.token_bytes() as u64)
            .saturating_mul(tokens_per_page);
        Self {
            page_stride_bytes,
            ..Self::dense(pages_count, tokens_per_page, Order::Hnd, Planes::Inner)
        }
    }
}

/// The longest piece that is contiguous in a page as well as in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// All tokens of a plane of a page.
    Page,
    /// All heads of one token.
    Token,
    /// One head of one token.
    Row,
}

/// The checked engine's side together with the geometry of the blocks. Pages do not overlap and every place of
/// every page lies within [`base_bytes`](Self::base_bytes) behind its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paged {
    geometry: Geometry,
    pages_count: u64,
    pub(super) tokens_per_page: usize,
    pub(super) page_stride_bytes: usize,
    pub(super) plane_stride_bytes: usize,
    pub(super) token_stride_bytes: usize,
    pub(super) head_stride_bytes: usize,
    base_bytes: usize,
    separate: bool,
    pub(super) order: Order,
    pub(super) grain: Grain,
    /// Pages that follow one another by number continue one another in memory, token for token.
    pub(super) pages_continue: bool,
}

impl Paged {
    /// Checks the engine's side against the geometry.
    ///
    /// # Errors
    /// - [`Status::Config`] with field, value and range: a count out of range, a stride so small that two places
    ///   would overlap, or strides so large that a buffer would not fit the address space.
    /// - [`Status::Conflict`] for `tokens_per_page`: neither divides `tokens_per_block` nor is divided by it.
    pub fn new(geometry: &Geometry, shape: &PagedShape) -> Result<Self, ConfigError> {
        const STRIDE_BYTES_MAX: u64 = 1 << 50;
        let blocks = geometry.shape();
        let (tokens, heads, planes) = (shape.tokens_per_page, blocks.kv_heads_count, blocks.planes_count);
        check(
            "pages_count",
            shape.pages_count,
            1,
            1 << 40,
            "an engine has at least one page",
        )?;
        check("tokens_per_page", tokens, 1, 1 << 16, "a page has at least one token")?;
        if !tokens.is_multiple_of(blocks.tokens_per_block) && !blocks.tokens_per_block.is_multiple_of(tokens) {
            return Err(ConfigError::new(
                Status::Conflict,
                "tokens_per_page",
                tokens,
                1,
                1 << 16,
                "tokens per page must divide the tokens per block or be a multiple of them",
            ));
        }

        // From the inside out; 0 means: without a gap. Saturation ends in a refusal below.
        let given_or = |given: u64, dense: u64| if given == 0 { dense } else { given };
        let row = geometry.row_bytes() as u64;
        let (head_stride, token_stride, plane_page) = match shape.order {
            Order::Nhd => {
                let head_stride = given_or(shape.head_stride_bytes, row);
                let token_stride = given_or(shape.token_stride_bytes, heads.saturating_mul(head_stride));
                (head_stride, token_stride, tokens.saturating_mul(token_stride))
            }
            Order::Hnd => {
                let token_stride = given_or(shape.token_stride_bytes, row);
                let head_stride = given_or(shape.head_stride_bytes, tokens.saturating_mul(token_stride));
                (head_stride, token_stride, heads.saturating_mul(head_stride))
            }
        };
        let (plane_stride, page_stride) = match shape.planes {
            Planes::Separate => (0, given_or(shape.page_stride_bytes, plane_page)),
            Planes::Outer => {
                let page_stride = given_or(shape.page_stride_bytes, plane_page);
                (
                    given_or(shape.plane_stride_bytes, shape.pages_count.saturating_mul(page_stride)),
                    page_stride,
                )
            }
            Planes::Inner => {
                let plane_stride = given_or(shape.plane_stride_bytes, plane_page);
                (
                    plane_stride,
                    given_or(shape.page_stride_bytes, planes.saturating_mul(plane_stride)),
                )
            }
        };
        let separate = shape.planes == Planes::Separate || planes == 1;

        // Places cannot overlap if, from the smallest stride to the largest, each is at least as long as what it
        // steps over. A dimension of one place has no stride.
        let mut steps = [
            ("head_stride_bytes", head_stride, heads),
            ("token_stride_bytes", token_stride, tokens),
            ("page_stride_bytes", page_stride, shape.pages_count),
            ("plane_stride_bytes", plane_stride, if separate { 1 } else { planes }),
        ];
        steps.sort_unstable_by_key(|&(_, stride, _)| stride);
        let mut extent = row;
        for (field, stride, count) in steps.into_iter().filter(|&(_, _, count)| count > 1) {
            check(
                field,
                stride,
                extent,
                STRIDE_BYTES_MAX,
                "a stride steps over everything that lies inside it",
            )?;
            extent = stride.saturating_mul(count - 1).saturating_add(extent);
        }
        check(
            "base_bytes",
            extent,
            1,
            isize::MAX as u64,
            "the buffer of a layer must fit the address space",
        )?;

        // A dimension of one place takes whatever stride makes runs longest.
        let token_stride = if tokens == 1 { page_stride } else { token_stride };
        let head_stride = if heads == 1 { row } else { head_stride };
        let token_whole = head_stride == row;
        let grain = match token_whole {
            true if token_stride == heads * row => Grain::Page,
            true => Grain::Token,
            false => Grain::Row,
        };
        // All of these are at most `extent` where they are used, and 0 serves where they are not.
        let fit = |stride: u64| usize::try_from(stride).unwrap_or(0);
        Ok(Self {
            geometry: *geometry,
            pages_count: shape.pages_count,
            tokens_per_page: tokens as usize,
            page_stride_bytes: fit(page_stride),
            plane_stride_bytes: if separate { 0 } else { fit(plane_stride) },
            token_stride_bytes: fit(token_stride),
            head_stride_bytes: fit(head_stride),
            base_bytes: extent as usize,
            separate,
            order: shape.order,
            grain,
            pages_continue: token_whole && tokens.checked_mul(token_stride) == Some(page_stride),
        })
    }

    /// The geometry of the blocks.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Pages of a layer.
    pub const fn pages_count(&self) -> u64 {
        self.pages_count
    }

    /// Bytes behind each base that belong to the pages.
    pub const fn base_bytes(&self) -> usize {
        self.base_bytes
    }

    /// Whether keys and values have bases of their own. With one plane there are only keys, and this is true.
    pub const fn separate(&self) -> bool {
        self.separate
    }

    /// Indices that the table of one block has: the pages that a block spans, 1 where a page holds several blocks.
    pub const fn pages_per_block(&self) -> usize {
        (self.geometry.shape().tokens_per_block as usize).div_ceil(self.tokens_per_page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Dtype, Shape};

    fn geometry(planes_count: u64, kv_heads_count: u64) -> Geometry {
        let shape = Shape {
            layers_count: 3,
            planes_count,
            kv_heads_count,
            head_dim: 8,
            tokens_per_block: 16,
            dtype: Dtype::F16,
        };
        Geometry::new(&shape).unwrap()
    }

    #[test]
    fn named_shapes_have_the_strides_of_their_tensors() {
        // Row 16 bytes, 4 heads, pages of 8 tokens: a plane of a page is 512 bytes; 10 pages.
        let geometry = geometry(2, 4);
        for (shape, page, plane, token, head, base, separate, grain) in [
            (
                PagedShape::vllm_flash_attention(10, 8),
                512,
                5120,
                64,
                16,
                10240,
                false,
                Grain::Page,
            ),
            (
                PagedShape::flash_infer(10, 8, Order::Nhd),
                1024,
                512,
                64,
                16,
                10240,
                false,
                Grain::Page,
            ),
            (
                PagedShape::flash_infer(10, 8, Order::Hnd),
                1024,
                512,
                16,
                128,
                10240,
                false,
                Grain::Row,
            ),
            (PagedShape::sglang(10, 8), 512, 0, 64, 16, 5120, true, Grain::Page),
            (
                PagedShape::tensorrt_llm_pool(&geometry, 10, 8),
                3072,
                512,
                16,
                128,
                9 * 3072 + 1024,
                false,
                Grain::Row,
            ),
        ] {
            let paged = Paged::new(&geometry, &shape).unwrap();
            assert_eq!(
                (
                    paged.page_stride_bytes,
                    paged.plane_stride_bytes,
                    paged.token_stride_bytes,
                    paged.head_stride_bytes
                ),
                (page, plane, token, head),
                "{shape:?}"
            );
            assert_eq!(
                (paged.base_bytes(), paged.separate(), paged.grain),
                (base, separate, grain),
                "{shape:?}"
            );
            assert_eq!(paged.pages_per_block(), 2);
        }
    }

    #[test]
    fn dimensions_of_one_place_do_not_shorten_runs() {
        let grain = |heads, tokens, order, planes| {
            let paged = Paged::new(&geometry(2, heads), &PagedShape::dense(10, tokens, order, planes)).unwrap();
            (paged.grain, paged.pages_continue)
        };
        assert_eq!(grain(1, 8, Order::Hnd, Planes::Separate), (Grain::Page, true));
        assert_eq!(grain(4, 1, Order::Hnd, Planes::Separate), (Grain::Page, true));
        assert_eq!(grain(4, 1, Order::Nhd, Planes::Outer), (Grain::Page, true));
        assert_eq!(grain(4, 8, Order::Nhd, Planes::Inner), (Grain::Page, false));
        assert_eq!(grain(4, 1, Order::Nhd, Planes::Inner), (Grain::Token, true));
        assert_eq!(grain(4, 8, Order::Hnd, Planes::Separate), (Grain::Row, false));
        let padded = PagedShape {
            token_stride_bytes: 80,
            ..PagedShape::sglang(10, 8)
        };
        let paged = Paged::new(&geometry(2, 4), &padded).unwrap();
        assert_eq!((paged.grain, paged.pages_continue), (Grain::Token, true));
    }

    #[test]
    fn strides_under_which_places_overlap_are_refused_by_name() {
        let dense = PagedShape::flash_infer(10, 8, Order::Nhd);
        for (shape, field, value_min) in [
            (
                PagedShape {
                    head_stride_bytes: 15,
                    ..dense
                },
                "head_stride_bytes",
                16,
            ),
            (
                PagedShape {
                    token_stride_bytes: 63,
                    ..dense
                },
                "token_stride_bytes",
                64,
            ),
            (
                PagedShape {
                    plane_stride_bytes: 511,
                    ..dense
                },
                "plane_stride_bytes",
                512,
            ),
            (
                PagedShape {
                    page_stride_bytes: 1023,
                    ..dense
                },
                "page_stride_bytes",
                1024,
            ),
            (
                PagedShape {
                    page_stride_bytes: u64::MAX,
                    ..dense
                },
                "page_stride_bytes",
                1024,
            ),
        ] {
            let error = Paged::new(&geometry(2, 4), &shape).unwrap_err();
            assert_eq!(
                (error.status, error.field, error.value_min),
                (Status::Config, field, value_min),
                "{error}"
            );
        }
        // Keys and values of one head side by side: the plane is the smallest stride.
        let woven = PagedShape {
            plane_stride_bytes: 16,
            head_stride_bytes: 32,
            page_stride_bytes: 1024,
            ..dense
        };
        assert_eq!(Paged::new(&geometry(2, 4), &woven).unwrap().base_bytes(), 10240);
    }

    #[test]
    fn counts_out_of_range_are_refused_by_name() {
        for (shape, status, field) in [
            (PagedShape::sglang(0, 8), Status::Config, "pages_count"),
            (PagedShape::sglang(u64::MAX, 8), Status::Config, "pages_count"),
            (PagedShape::sglang(10, 0), Status::Config, "tokens_per_page"),
            (PagedShape::sglang(10, 65537), Status::Config, "tokens_per_page"),
            (PagedShape::sglang(10, 12), Status::Conflict, "tokens_per_page"),
            (
                PagedShape {
                    page_stride_bytes: 1 << 50,
                    ..PagedShape::sglang(1 << 40, 8)
                },
                Status::Config,
                "base_bytes",
            ),
        ] {
            let error = Paged::new(&geometry(2, 4), &shape).unwrap_err();
            assert_eq!((error.status, error.field), (status, field), "{error}");
        }
        for (tokens_per_page, pages_per_block) in [(1, 16), (4, 4), (16, 1), (32, 1), (64, 1)] {
            let paged = Paged::new(&geometry(2, 4), &PagedShape::sglang(10, tokens_per_page)).unwrap();
            assert_eq!(paged.pages_per_block(), pages_per_block);
        }
    }

    #[test]
    fn one_plane_needs_no_values() {
        for planes in [Planes::Separate, Planes::Outer, Planes::Inner] {
            let paged = Paged::new(&geometry(1, 1), &PagedShape::dense(10, 16, Order::Nhd, planes)).unwrap();
            assert!(paged.separate());
            assert_eq!(paged.base_bytes(), 10 * 16 * 16);
        }
    }
}
