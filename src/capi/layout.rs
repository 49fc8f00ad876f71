//! Layout: between an inference engine's pages and a block.
//!
//! An inference engine keeps the keys and values of each layer in pages of a few tokens, and finds a request's pages
//! through a block table. A block of the cache has the same tokens of all layers in one piece, laid out
//! `[layer][key, value][token][head][element]` without gaps. Gather copies pages into a block (into a reservation, for
//! one), scatter copies a block (a view, for one) into pages; the functions that end in `_layer` move one layer, so
//! that the first layer can be used while the others are still being loaded.
//!
//! How to describe the pages of common engines:
//!
//! ```text
//! engine                 pages of a layer                    order  planes
//! vLLM, FlashAttention   [2][page][token][head][element]     NHD    OUTER
//! vLLM, FlashInfer       [page][2][token][head][element]     NHD    INNER
//! vLLM, FlashInfer HND   [page][2][head][token][element]     HND    INNER
//! vLLM, MLA              [page][token][element]              NHD    SEPARATE, planes_count and kv_heads_count 1
//! SGLang                 keys, values: [token][head][element] NHD   SEPARATE, tokens_per_page as the page size
//! ```
//!
//! For anything else with contiguous elements of a head, fill in the strides.
//!
//! These functions have no engine and may always be called from any number of threads at once. They work on memory of
//! the host.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]; the pointers in `kvc_paged_t` are each valid for the bytes that the
//! described pages span, as its documentation asks.

use core::ffi::c_void;
use std::sync::OnceLock;

use super::arguments::{buffer, bytes, mirror, values};
use super::geometry::kvc_geometry_t;
use super::growable::{growable, read};
use super::guard::plain;
use super::reads::temperature;
use super::version::kvc_status_t;
use crate::copy::Copier;
use crate::error::Status;
use crate::layout::{Bases, Geometry, Order, Paged, PagedShape, Planes, Table};

/// Within a plane of a page: all heads of one token together, `[token][head][element]`.
pub const KVC_ORDER_NHD: u64 = 1;
/// Within a plane of a page: all tokens of one head together, `[head][token][element]`.
pub const KVC_ORDER_HND: u64 = 2;

/// Keys and values of a layer in two buffers. Also for a geometry of one plane.
pub const KVC_PLANES_SEPARATE: u64 = 1;
/// Keys and values of a layer in one buffer: all keys, then all values.
pub const KVC_PLANES_OUTER: u64 = 2;
/// Keys and values of a layer in one buffer: the keys and then the values of each page.
pub const KVC_PLANES_INNER: u64 = 3;

/// The pages of an inference engine. Initialise with `KVC_PAGED_INIT`.
///
/// A stride of 0 stands for the one without gaps. Strides are in bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_paged_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Pages of a layer, 1 to 2^40; page numbers are below it. Required.
    pub pages_count: u64,
    /// Tokens of a page, 1 to 65536; divides `tokens_per_block` of the geometry or is divided by it. Required.
    pub tokens_per_page: u64,
    /// How tokens and heads lie in a plane (`KVC_ORDER_...`). Required.
    pub order: u64,
    /// How keys and values lie to each other (`KVC_PLANES_...`). Required.
    pub planes: u64,
    /// From one page to the next, or 0.
    pub page_stride_bytes: u64,
    /// From a key to the value of the same place within one buffer, or 0. Not used with separate buffers.
    pub plane_stride_bytes: u64,
    /// From one token to the next within a page, or 0.
    pub token_stride_bytes: u64,
    /// From one head to the next of the same token, or 0.
    pub head_stride_bytes: u64,
    /// For each layer, where its pages begin: the keys, or keys and values where they share a buffer. Required.
    pub keys: *const *mut c_void,
    /// How many there are: `layers_count` of the geometry.
    pub keys_count: u64,
    /// For each layer, where the pages of its values begin; NULL unless `KVC_PLANES_SEPARATE` with two planes.
    pub values: *const *mut c_void,
    /// How many there are: `layers_count` of the geometry, or 0.
    pub values_count: u64,
}

growable!(kvc_paged_t = 104);

/// A pointer in an array of pointers.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Base(*mut c_void);

mirror!(Base = *mut u8 {});

/// How this machine copies best, found out once.
fn copier() -> Copier {
    static COPIER: OnceLock<Copier> = OnceLock::new();
    *COPIER.get_or_init(Copier::detect)
}

/// What all four functions are told.
struct Pages<'a> {
    paged: Paged,
    keys: &'a [*mut u8],
    values: &'a [*mut u8],
    table: Table<'a, u32>,
}

impl<'a> Pages<'a> {
    /// # Safety
    /// I1 for all pointers.
    unsafe fn checked(
        geometry: *const kvc_geometry_t,
        paged: *const kvc_paged_t,
        pages: *const u32,
        pages_count: u64,
        token_first: u64,
    ) -> Result<Self, Status> {
        // SAFETY: I1, asked of the caller, here and below.
        let (geometry, paged) = unsafe { (read(geometry)?, read(paged)?) };
        let geometry: Geometry = geometry.checked().map_err(|error| error.status)?;
        let shape = PagedShape {
            pages_count: paged.pages_count,
            tokens_per_page: paged.tokens_per_page,
            order: match paged.order {
                KVC_ORDER_NHD => Order::Nhd,
                KVC_ORDER_HND => Order::Hnd,
                _ => return Err(Status::Config),
            },
            planes: match paged.planes {
                KVC_PLANES_SEPARATE => Planes::Separate,
                KVC_PLANES_OUTER => Planes::Outer,
                KVC_PLANES_INNER => Planes::Inner,
                _ => return Err(Status::Config),
            },
            page_stride_bytes: paged.page_stride_bytes,
            plane_stride_bytes: paged.plane_stride_bytes,
            token_stride_bytes: paged.token_stride_bytes,
            head_stride_bytes: paged.head_stride_bytes,
        };
        // SAFETY: as above.
        let (keys, values, pages) = unsafe {
            (
                values(paged.keys.cast::<Base>(), paged.keys_count)?,
                values(paged.values.cast::<Base>(), paged.values_count)?,
                values(pages, pages_count)?,
            )
        };
        Ok(Self {
            paged: Paged::new(&geometry, &shape).map_err(|error| error.status)?,
            keys,
            values,
            table: Table { pages, token_first },
        })
    }

    fn block_bytes(&self) -> u64 {
        self.paged.geometry().block_bytes() as u64
    }

    fn layer_bytes(&self) -> u64 {
        self.paged.geometry().layer_bytes() as u64
    }

    /// The bases, to read from.
    ///
    /// Pointers to mutable and to constant bytes have one layout; only the promise differs.
    fn sources(&self) -> Bases<'a, *const u8> {
        // SAFETY: the types differ in mutability alone; the slices are those that were checked.
        let constant = |bases: &'a [*mut u8]| unsafe { &*(core::ptr::from_ref(bases) as *const [*const u8]) };
        Bases {
            keys: constant(self.keys),
            values: constant(self.values),
        }
    }

    /// The bases, to write to.
    fn targets(&self) -> Bases<'a, *mut u8> {
        Bases {
            keys: self.keys,
            values: self.values,
        }
    }
}

/// A buffer must have what the block, or the layer, needs.
fn enough(bytes: u64, needed: u64) -> Result<(), Status> {
    if bytes >= needed { Ok(()) } else { Err(Status::TooSmall) }
}

/// Copies the pages of one block into its contiguous form.
///
/// `pages` are the block's part of the request's block table: the numbers of the pages in the order of their tokens, as
/// many as a block spans, 1 where a page holds several blocks. `token_first` is the first token within the first page:
/// 0, except where a page holds several blocks.
///
/// Flags: `KVC_COPY_HOT` or `KVC_COPY_COLD`.
///
/// Threads: any, at once, as long as nobody writes these pages.
///
/// Memory: all pointers, also those in `paged`, are borrowed. Pages are only read. Block and pages must not overlap.
///
/// Statuses: `KVC_OK`; `KVC_E_CONFIG` or `KVC_E_CONFLICT` for a geometry or a `kvc_paged_t` with a field outside its
/// range, also strides with which two places would overlap; `KVC_E_ARGUMENT` for a page number, a number of pages or of
/// pointers, or a `token_first` that does not fit; `KVC_E_TOO_SMALL` when `block_bytes` is less than the block of the
/// geometry; `KVC_E_NULL`; `KVC_E_UNSUPPORTED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_layout_gather(
    geometry: *const kvc_geometry_t,
    paged: *const kvc_paged_t,
    pages: *const u32,
    pages_count: u64,
    token_first: u64,
    flags: u32,
    block_out: *mut c_void,
    block_bytes: u64,
) -> kvc_status_t {
    plain(|| {
        let temperature = temperature(flags)?;
        // SAFETY: I1, asked of the caller.
        let from = unsafe { Pages::checked(geometry, paged, pages, pages_count, token_first) }?;
        enough(block_bytes, from.block_bytes())?;
        let target = buffer(block_out, block_bytes)?;
        // SAFETY: I1, asked of the caller; the block is long enough.
        unsafe {
            from.paged
                .gather_raw(copier(), temperature, &from.sources(), from.table, target)
        }
    })
}

/// Copies one layer of the pages of one block. As `kvc_layout_gather`, but `target_out` begins with this layer.
///
/// Threads: any, at once, as long as nobody writes these pages.
///
/// Memory: as `kvc_layout_gather`.
///
/// Statuses: as `kvc_layout_gather`; `KVC_E_ARGUMENT` also for a layer that the geometry does not have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_layout_gather_layer(
    geometry: *const kvc_geometry_t,
    paged: *const kvc_paged_t,
    pages: *const u32,
    pages_count: u64,
    token_first: u64,
    layer: u64,
    flags: u32,
    target_out: *mut c_void,
    target_bytes: u64,
) -> kvc_status_t {
    plain(|| {
        let temperature = temperature(flags)?;
        // SAFETY: I1, asked of the caller.
        let from = unsafe { Pages::checked(geometry, paged, pages, pages_count, token_first) }?;
        enough(target_bytes, from.layer_bytes())?;
        let target = buffer(target_out, target_bytes)?;
        let bases = from.sources();
        // SAFETY: I1, asked of the caller; the target is long enough.
        unsafe {
            from.paged
                .gather_layer_raw(copier(), temperature, layer as usize, &bases, from.table, target)
        }
    })
}

/// Copies a block into the pages of an inference engine: the way back of `kvc_layout_gather`.
///
/// Flags: `KVC_COPY_HOT` or `KVC_COPY_COLD`.
///
/// Threads: any, at once, as long as nobody else touches these pages.
///
/// Memory: all pointers, also those in `paged`, are borrowed. The pages of the table are written, others are not
/// touched. Block and pages must not overlap.
///
/// Statuses: as `kvc_layout_gather`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_layout_scatter(
    geometry: *const kvc_geometry_t,
    paged: *const kvc_paged_t,
    pages: *const u32,
    pages_count: u64,
    token_first: u64,
    flags: u32,
    block: *const c_void,
    block_bytes: u64,
) -> kvc_status_t {
    plain(|| {
        let temperature = temperature(flags)?;
        // SAFETY: I1, asked of the caller.
        let to = unsafe { Pages::checked(geometry, paged, pages, pages_count, token_first) }?;
        enough(block_bytes, to.block_bytes())?;
        // SAFETY: I1, asked of the caller.
        let source = unsafe { bytes(block, block_bytes) }?.as_ptr();
        // SAFETY: I1, asked of the caller; the block is long enough.
        unsafe {
            to.paged
                .scatter_raw(copier(), temperature, source, &to.targets(), to.table)
        }
    })
}

/// Copies one layer of a block into pages. As `kvc_layout_scatter`, but `source` begins with this layer.
///
/// Threads: any, at once, as long as nobody else touches these pages of this layer.
///
/// Memory: as `kvc_layout_scatter`.
///
/// Statuses: as `kvc_layout_gather_layer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_layout_scatter_layer(
    geometry: *const kvc_geometry_t,
    paged: *const kvc_paged_t,
    pages: *const u32,
    pages_count: u64,
    token_first: u64,
    layer: u64,
    flags: u32,
    source: *const c_void,
    source_bytes: u64,
) -> kvc_status_t {
    plain(|| {
        let temperature = temperature(flags)?;
        // SAFETY: I1, asked of the caller.
        let to = unsafe { Pages::checked(geometry, paged, pages, pages_count, token_first) }?;
        enough(source_bytes, to.layer_bytes())?;
        // SAFETY: I1, asked of the caller.
        let source = unsafe { bytes(source, source_bytes) }?.as_ptr();
        let bases = to.targets();
        // SAFETY: I1, asked of the caller; the source is long enough.
        unsafe {
            to.paged
                .scatter_layer_raw(copier(), temperature, layer as usize, source, &bases, to.table)
        }
    })
}
