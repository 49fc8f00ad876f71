//! Layout: between an inference engine's pages and a block.
//!
//! Gather copies the pages of one block into its contiguous form (into `Reservation.bytes`, for one), scatter copies a
//! block (`View.bytes`, for one) into pages. `pages` are the block's part of the request's block table: the numbers
//! of its pages in the order of their tokens. `token_first` is the first token within the first page: 0, except where
//! a page holds several blocks.
//!
//! No engine is needed. Any number of threads may call these at once, as long as nobody else writes pages that are
//! read or touches pages that are written. Everything is borrowed; block and pages must not overlap.
//!
//! error.Config and error.Conflict say that the geometry or the pages have a field outside its range, error.Argument
//! that a page number, a number of pages or pointers, a layer or token_first does not fit, error.TooSmall that the
//! block's memory is too small.

const c = @import("c.zig");
const status = @import("status.zig");
const types = @import("types.zig");

const Copy = types.Copy;
const Error = status.Error;
const Geometry = types.Geometry;
const Paged = types.Paged;
const check = status.check;

/// The bytes of a block of this geometry: what to use for block_bytes. (kvc_geometry_block_bytes)
pub fn blockBytes(geometry: *const Geometry) Error!u64 {
    var bytes: u64 = 0;
    try check(c.kvc_geometry_block_bytes(@ptrCast(geometry), &bytes));
    return bytes;
}

/// Copies the pages of one block into its contiguous form. (kvc_layout_gather)
pub fn gather(
    geometry: *const Geometry,
    paged: *const Paged,
    pages: []const u32,
    token_first: u64,
    copy: Copy,
    block_out: []u8,
) Error!void {
    const raw = paged.raw();
    return check(c.kvc_layout_gather(
        @ptrCast(geometry),
        &raw,
        pages.ptr,
        pages.len,
        token_first,
        @backingInt(copy),
        block_out.ptr,
        block_out.len,
    ));
}

/// Copies one layer of the pages of one block; `target_out` begins with this layer. (kvc_layout_gather_layer)
pub fn gatherLayer(
    geometry: *const Geometry,
    paged: *const Paged,
    pages: []const u32,
    token_first: u64,
    layer: u64,
    copy: Copy,
    target_out: []u8,
) Error!void {
    const raw = paged.raw();
    return check(c.kvc_layout_gather_layer(
        @ptrCast(geometry),
        &raw,
        pages.ptr,
        pages.len,
        token_first,
        layer,
        @backingInt(copy),
        target_out.ptr,
        target_out.len,
    ));
}

/// Copies a block into pages, the way back of `gather`. (kvc_layout_scatter)
pub fn scatter(
    geometry: *const Geometry,
    paged: *const Paged,
    pages: []const u32,
    token_first: u64,
    copy: Copy,
    block: []const u8,
) Error!void {
    const raw = paged.raw();
    return check(c.kvc_layout_scatter(
        @ptrCast(geometry),
        &raw,
        pages.ptr,
        pages.len,
        token_first,
        @backingInt(copy),
        block.ptr,
        block.len,
    ));
}

/// Copies one layer of a block into pages; `source` begins with this layer. (kvc_layout_scatter_layer)
pub fn scatterLayer(
    geometry: *const Geometry,
    paged: *const Paged,
    pages: []const u32,
    token_first: u64,
    layer: u64,
    copy: Copy,
    source: []const u8,
) Error!void {
    const raw = paged.raw();
    return check(c.kvc_layout_scatter_layer(
        @ptrCast(geometry),
        &raw,
        pages.ptr,
        pages.len,
        token_first,
        layer,
        @backingInt(copy),
        source.ptr,
        source.len,
    ));
}
