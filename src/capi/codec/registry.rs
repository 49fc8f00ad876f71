//! The codecs that C programs hold.
//!
//! # Soundness
//! The invariants are those of [`crate::capi::codec`].

use super::kvc_codec_t;
use crate::capi::guard::plain;
use crate::capi::registry::Table;
use crate::capi::version::kvc_status_t;
use crate::codec::BlockCodec;
use crate::error::Status;
use std::boxed::Box;

/// The codecs. Their tables are lent by the caller (C1).
static CODECS: Table<BlockCodec<'static>> = Table::new();

/// Keeps a codec and answers with its handle; gives it back when the table is full.
pub(super) fn insert(codec: Box<BlockCodec<'static>>) -> Result<*mut kvc_codec_t, Box<BlockCodec<'static>>> {
    CODECS.insert(codec)
}

/// Ends a codec.
// The error is that of a value that can't be ended; a codec always can.
#[allow(clippy::result_large_err)]
pub(super) fn close(codec: *mut kvc_codec_t) -> Result<(), Status> {
    CODECS.close(codec.cast_const(), |_| Ok(()))
}

/// Runs a function on a codec. It has no state, so a panic leaves it as it was.
///
/// # Safety
/// C2 for `codec`.
pub(super) unsafe fn with_codec(
    codec: *const kvc_codec_t,
    body: impl FnOnce(&BlockCodec<'static>) -> Result<(), Status>,
) -> kvc_status_t {
    plain(|| {
        // SAFETY: C2, asked of the caller.
        let codec = unsafe { CODECS.find(codec) }?;
        body(codec)
    })
}
