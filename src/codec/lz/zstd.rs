//! Zstandard in memory that is lent: contexts that never allocate.
//!
//! # Soundness
//! - **I1** A context lives in its workspace, which is borrowed exclusively for as long as the value is there. The
//!   library was told the workspace's length, stays within it, and has nothing to free: a static context that needs
//!   more memory answers with an error.
//! - **I2** A context is taken up again only where [`Scratch`] says that the front of the memory holds it. That is said
//!   by nobody but this file, of a context that has just done its work there; and it is forgotten as soon as any of the
//!   memory is handed out otherwise. So the bytes are as the library left them, at the address where it left them.
//! - **I3** Input and output are slices, handed over with their lengths; the library reads and writes within these,
//!   whatever the input holds.
#![allow(unsafe_code)]

use crate::budget::LZ_WORKSPACE_BYTES;
use crate::codec::scratch::{Front, Scratch};
use crate::error::Status;
use core::marker::PhantomData;
use core::ptr::NonNull;
use zstd_safe::zstd_sys::{
    ZSTD_CCtx, ZSTD_CCtx_setParameter, ZSTD_DCtx, ZSTD_ErrorCode, ZSTD_cParameter, ZSTD_compress2, ZSTD_decompressDCtx,
    ZSTD_initStaticCCtx, ZSTD_initStaticDCtx, ZSTD_isError, ZSTD_strategy,
};
#[cfg(test)]
use zstd_safe::zstd_sys::{ZSTD_compressionParameters, ZSTD_estimateCCtxSize_usingCParams, ZSTD_estimateDCtxSize};

/// How far back matches may lie.
const WINDOW_LOG: u32 = 17;
/// Entries of the table that finds them: 32 KiB, which is all that is cleared for a call.
const HASH_LOG: u32 = 13;
const MATCH_BYTES_MIN: u32 = 7;
/// `ZSTD_c_literalCompressionMode`, and its value that has literals always coded.
const LITERAL_MODE: ZSTD_cParameter = ZSTD_cParameter::ZSTD_c_experimentalParam5;
const LITERALS_CODED: u32 = 1;
/// Positions passed over at each step where matches are not looked for: the largest that the library takes.
const STEP_MAX: u32 = 1 << 17;

/// Bytes that [`Compressor::new`] takes.
#[cfg(test)]
pub(super) fn compressor_bytes() -> usize {
    let parameters = ZSTD_compressionParameters {
        windowLog: WINDOW_LOG,
        chainLog: HASH_LOG,
        hashLog: HASH_LOG,
        searchLog: 1,
        minMatch: MATCH_BYTES_MIN,
        targetLength: 0,
        strategy: ZSTD_strategy::ZSTD_fast,
    };
    // SAFETY: a function of numbers.
    unsafe { ZSTD_estimateCCtxSize_usingCParams(parameters) }
}

/// Bytes that [`Decompressor::new`] takes.
#[cfg(test)]
pub(super) fn decompressor_bytes() -> usize {
    // SAFETY: a function of nothing.
    unsafe { ZSTD_estimateDCtxSize() }
}

/// What the compressor looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Only how often each byte occurs.
    Literals,
    /// What occurred before, too.
    Matches,
}

/// Lends a compressor and the rest of the scratch. The next call of its kind finds it again at the front: making one
/// asks the processor what it is, which takes longer on a virtual machine than compressing 16 KiB.
///
/// # Errors
/// [`Status::TooSmall`], and those of `work`.
pub(super) fn with_compressor<R>(
    scratch: &mut Scratch<'_>,
    work: impl FnOnce(&mut Compressor<'_>, &mut Scratch<'_>) -> Result<R, Status>,
) -> Result<R, Status> {
    let (front, mut lent) = scratch.lend_with_front();
    let workspace = lent.take::<u64>(LZ_WORKSPACE_BYTES / 8)?;
    let mut compressor = match front {
        Front::Compressor => Compressor::resume(workspace)?,
        _ => Compressor::new(workspace)?,
    };
    let answer = work(&mut compressor, &mut lent)?;
    scratch.keep(Front::Compressor);
    Ok(answer)
}

/// Lends a decompressor, likewise.
///
/// # Errors
/// [`Status::TooSmall`], and those of `work`.
pub(super) fn with_decompressor<R>(
    scratch: &mut Scratch<'_>,
    work: impl FnOnce(&mut Decompressor<'_>, &mut Scratch<'_>) -> Result<R, Status>,
) -> Result<R, Status> {
    let (front, mut lent) = scratch.lend_with_front();
    let workspace = lent.take::<u64>(LZ_WORKSPACE_BYTES / 8)?;
    let mut decompressor = match front {
        Front::Decompressor => Decompressor::resume(workspace)?,
        _ => Decompressor::new(workspace)?,
    };
    let answer = work(&mut decompressor, &mut lent)?;
    scratch.keep(Front::Decompressor);
    Ok(answer)
}

/// Compresses.
pub(super) struct Compressor<'w> {
    context: NonNull<ZSTD_CCtx>,
    workspace: PhantomData<&'w mut [u64]>,
}

impl<'w> Compressor<'w> {
    /// A compressor that lives in `workspace`.
    ///
    /// # Errors
    /// [`Status::TooSmall`].
    pub(super) fn new(workspace: &'w mut [u64]) -> Result<Self, Status> {
        // SAFETY: I1.
        let context = unsafe { ZSTD_initStaticCCtx(workspace.as_mut_ptr().cast(), size_of_val(workspace)) };
        let mut compressor = Self {
            context: NonNull::new(context).ok_or(Status::TooSmall)?,
            workspace: PhantomData,
        };
        for (parameter, value) in [
            (ZSTD_cParameter::ZSTD_c_windowLog, WINDOW_LOG),
            (ZSTD_cParameter::ZSTD_c_hashLog, HASH_LOG),
            (ZSTD_cParameter::ZSTD_c_chainLog, HASH_LOG),
            (ZSTD_cParameter::ZSTD_c_searchLog, 1),
            (ZSTD_cParameter::ZSTD_c_minMatch, MATCH_BYTES_MIN),
            (ZSTD_cParameter::ZSTD_c_strategy, ZSTD_strategy::ZSTD_fast as u32),
            (LITERAL_MODE, LITERALS_CODED),
        ] {
            compressor.set(parameter, value)?;
        }
        Ok(compressor)
    }

    /// The compressor that lives in `workspace` (I2).
    fn resume(workspace: &'w mut [u64]) -> Result<Self, Status> {
        Ok(Self {
            context: NonNull::new(workspace.as_mut_ptr().cast()).ok_or(Status::TooSmall)?,
            workspace: PhantomData,
        })
    }

    fn set(&mut self, parameter: ZSTD_cParameter, value: u32) -> Result<(), Status> {
        // SAFETY: I1.
        let answer = unsafe { ZSTD_CCtx_setParameter(self.context.as_ptr(), parameter, value as i32) };
        if is_error(answer) {
            return Err(Status::TooSmall);
        }
        Ok(())
    }

    /// Compresses `input` into one frame and returns its length; `None` if it does not fit into `output`.
    ///
    /// # Errors
    /// [`Status::TooSmall`] if the workspace is.
    pub(super) fn compress(
        &mut self,
        search: Search,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<Option<usize>, Status> {
        let step = match search {
            Search::Literals => STEP_MAX,
            Search::Matches => 0,
        };
        self.set(ZSTD_cParameter::ZSTD_c_targetLength, step)?;
        // SAFETY: I1, I3.
        let answer = unsafe {
            ZSTD_compress2(
                self.context.as_ptr(),
                output.as_mut_ptr().cast(),
                output.len(),
                input.as_ptr().cast(),
                input.len(),
            )
        };
        if !is_error(answer) {
            return Ok(Some(answer));
        }
        let full = (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();
        if answer == full {
            Ok(None)
        } else {
            Err(Status::TooSmall)
        }
    }
}

/// Decompresses.
pub(super) struct Decompressor<'w> {
    context: NonNull<ZSTD_DCtx>,
    workspace: PhantomData<&'w mut [u64]>,
}

impl<'w> Decompressor<'w> {
    /// A decompressor that lives in `workspace`.
    ///
    /// # Errors
    /// [`Status::TooSmall`].
    pub(super) fn new(workspace: &'w mut [u64]) -> Result<Self, Status> {
        // SAFETY: I1.
        let context = unsafe { ZSTD_initStaticDCtx(workspace.as_mut_ptr().cast(), size_of_val(workspace)) };
        Ok(Self {
            context: NonNull::new(context).ok_or(Status::TooSmall)?,
            workspace: PhantomData,
        })
    }

    /// The decompressor that lives in `workspace` (I2).
    fn resume(workspace: &'w mut [u64]) -> Result<Self, Status> {
        Ok(Self {
            context: NonNull::new(workspace.as_mut_ptr().cast()).ok_or(Status::TooSmall)?,
            workspace: PhantomData,
        })
    }

    /// Decompresses frames that are to fill `output`.
    ///
    /// # Errors
    /// [`Status::Damaged`] if they do not.
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), Status> {
        // SAFETY: I1, I3.
        let answer = unsafe {
            ZSTD_decompressDCtx(
                self.context.as_ptr(),
                output.as_mut_ptr().cast(),
                output.len(),
                input.as_ptr().cast(),
                input.len(),
            )
        };
        if answer == output.len() {
            Ok(())
        } else {
            Err(Status::Damaged)
        }
    }
}

fn is_error(answer: usize) -> bool {
    // SAFETY: a function of a number.
    unsafe { ZSTD_isError(answer) != 0 }
}
