//! Tables of codecs.
//!
//! The codecs vq and xc need tables that were trained on keys and values of the model: once, before any engine is
//! opened, on 10,000 tokens or more of text like that which the model will see. Tables are one flat piece of bytes,
//! versioned and checksummed, for one model (layers, heads, dimension, rotary embedding); the code of a block says by
//! their digest which tables it needs. Keep them as long as there are codes that were made with them.
//!
//! ```c
//! kvc_codec_samples_t samples = KVC_CODEC_SAMPLES_INIT;
//! ...
//! uint64_t capacity, bytes;
//! kvc_codec_train_bytes_max(&samples, &capacity, NULL);
//! void *tables = aligned_alloc(64, capacity);
//! kvc_codec_train(&samples, tables, capacity, &bytes, NULL);
//! kvc_codec_tables_save("model.kvct", tables, bytes, NULL);
//! ```
//!
//! In later runs:
//!
//! ```c
//! kvc_codec_tables_file_bytes("model.kvct", &bytes, NULL);
//! uint64_t capacity = (bytes + 63) / 64 * 64;
//! void *tables = aligned_alloc(64, capacity);
//! kvc_codec_tables_load("model.kvct", tables, capacity, &bytes, NULL);
//! ```
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. `growable!` asserts the layouts. Besides:
//!
//! - **C1** Paths end with a NUL byte and stay for the call.

use core::ffi::{CStr, c_char, c_void};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::vec::Vec;

use crate::capi::arguments::{bytes, mirror, output, values, values_mut};
use crate::capi::config::{Refusal, choice, kvc_error_t, or, refusing};
use crate::capi::geometry::{KVC_DTYPE_BF16, KVC_DTYPE_F16};
use crate::capi::growable::{growable, read, target};
use crate::capi::guard::plain;
use crate::capi::version::kvc_status_t;
use crate::codec::train::{Samples, bytes_max, train};
use crate::codec::{CodecKind, Rope, RopePairs, Tables, tables_file_bytes, tables_load};
use crate::error::{ConfigError, Status};
use crate::layout::Dtype;

/// Training finds the rotary embedding out from the keys. The default.
pub const KVC_ROPE_AUTO: u64 = 0;
/// The keys went through no rotary embedding.
pub const KVC_ROPE_NONE: u64 = 1;
/// Elements `i` and `i + rope_dim / 2` of a head are turned together (Llama in the usual weights, GPT-NeoX).
pub const KVC_ROPE_HALF: u64 = 2;
/// Elements `2 i` and `2 i + 1` of a head are turned together (GPT-J).
pub const KVC_ROPE_INTERLEAVED: u64 = 3;

/// Keys and values of a model to train tables on. Initialise with `KVC_CODEC_SAMPLES_INIT`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_codec_samples_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Type of one element: `KVC_DTYPE_F16` or `KVC_DTYPE_BF16`. Required.
    pub dtype: u64,
    /// Layers: 1 to 1024. Required.
    pub layers_count: u64,
    /// Heads of keys and values: 1 to 1024. Required.
    pub kv_heads_count: u64,
    /// Elements of one head's vector: 32 to 256, in steps of 16. Required.
    pub head_dim: u64,
    /// Tokens of all sequences together: 256 to 16777216. Required.
    pub tokens_count: u64,
    /// Tokens of each sequence, 0 for one sequence: positions begin anew with each. Default 0.
    pub sequence_tokens_count: u64,
    /// For each layer, its keys: `[token][head][element]`, the sequences one behind the other. Required.
    pub keys: *const *const c_void,
    /// For each layer, its values. Required.
    pub values: *const *const c_void,
    /// Which codecs to train for: bit `1 << KVC_CODEC_VQ`, bit `1 << KVC_CODEC_XC`. Default both.
    pub codecs: u64,
    /// The rotary embedding that the keys went through (`KVC_ROPE_...`). Default `KVC_ROPE_AUTO`.
    pub rope: u64,
    /// The base of its frequencies; 10000 for one. Required with `KVC_ROPE_HALF` and `KVC_ROPE_INTERLEAVED`.
    pub rope_theta: f64,
    /// Elements of each head that are turned, the first ones, an even number; 0 for all. Default 0.
    pub rope_dim: u64,
}

/// What tables say about themselves. Initialise with `KVC_CODEC_TABLES_INFO_INIT`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_codec_tables_info_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Bytes of the tables.
    pub bytes: u64,
    /// Layers of the model.
    pub layers_count: u64,
    /// Planes of a layer: 2 for keys and values.
    pub planes_count: u64,
    /// Heads of keys and values.
    pub kv_heads_count: u64,
    /// Elements of one head's vector.
    pub head_dim: u64,
    /// Tokens of the samples.
    pub tokens_count: u64,
    /// Which codecs they were trained for: bits as in `kvc_codec_samples_t`.
    pub codecs: u64,
    /// The rotary embedding of the keys (`KVC_ROPE_...`), never `KVC_ROPE_AUTO`.
    pub rope: u64,
    /// The base of its frequencies.
    pub rope_theta: f64,
    /// Elements of each head that are turned.
    pub rope_dim: u64,
    /// The checksum: codes say by it which tables they need.
    pub digest: u64,
}

growable!(kvc_codec_samples_t = 104, kvc_codec_tables_info_t = 96);

/// A pointer in an array of pointers.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plane(*const c_void);

mirror!(Plane = *const c_void {});

const TRAINED: [CodecKind; 2] = [CodecKind::Vq, CodecKind::Xc];

/// What is said about tables that were refused.
pub(super) fn refusal(field: &'static str, status: Status) -> ConfigError {
    let reason = match status {
        Status::Argument => "tables begin at a multiple of 64 bytes",
        Status::Unsupported => "the tables are of another version; train them with this one",
        _ => "the tables are damaged, or they are no tables",
    };
    ConfigError::new(status, field, 0, 0, 0, reason)
}

/// What is said about a field of samples.
fn unfit(field: &'static str, value: u64, value_min: u64, value_max: u64, reason: &'static str) -> ConfigError {
    ConfigError::new(Status::Config, field, value, value_min, value_max, reason)
}

fn ranged(field: &'static str, value: u64, value_min: u64, value_max: u64) -> Result<usize, ConfigError> {
    if (value_min..=value_max).contains(&value) {
        Ok(value as usize)
    } else {
        let reason = "tables can't be trained on such samples";
        Err(unfit(field, value, value_min, value_max, reason))
    }
}

impl kvc_codec_samples_t {
    /// The codecs to train for.
    fn kinds(&self) -> Result<Vec<CodecKind>, ConfigError> {
        let all = bits(TRAINED.into_iter());
        if self.codecs & !all != 0 {
            return Err(unfit("codecs", self.codecs, 0, all, "tables are trained for vq and xc"));
        }
        let asked = or(self.codecs, all);
        let kinds = TRAINED.into_iter().filter(|kind| asked & bit(*kind) != 0);
        Ok(kinds.collect())
    }

    /// Layers, heads, elements of a head, tokens.
    fn sizes(&self) -> Result<[usize; 4], ConfigError> {
        let head_dim = ranged("head_dim", self.head_dim, 32, 256)?;
        if !head_dim.is_multiple_of(16) {
            let reason = "tables are for heads of 32 to 256 elements, in steps of 16";
            return Err(unfit("head_dim", self.head_dim, 32, 256, reason));
        }
        Ok([
            ranged("layers_count", self.layers_count, 1, 1 << 10)?,
            ranged("kv_heads_count", self.kv_heads_count, 1, 1 << 10)?,
            head_dim,
            ranged("tokens_count", self.tokens_count, 256, 1 << 24)?,
        ])
    }

    /// The rotary embedding; `None` to find it out.
    fn rope(&self) -> Result<Option<Rope>, ConfigError> {
        let pairs = match self.rope {
            KVC_ROPE_AUTO => return Ok(None),
            KVC_ROPE_NONE => return Ok(Some(Rope::NONE)),
            KVC_ROPE_HALF => RopePairs::Half,
            KVC_ROPE_INTERLEAVED => RopePairs::Interleaved,
            rope => return choice("rope", rope, KVC_ROPE_INTERLEAVED, None),
        };
        let dim = or(self.rope_dim, self.head_dim);
        if dim > self.head_dim || !dim.is_multiple_of(2) {
            let reason = "an even number of elements of a head is turned";
            return Err(unfit("rope_dim", dim, 2, self.head_dim, reason));
        }
        // More than all bases in use; not a number is in no range.
        if !(1.0..=1e12).contains(&self.rope_theta) {
            let reason = "the base of a rotary embedding is a number from 1 to 10^12; 10000 is usual";
            return Err(unfit(
                "rope_theta",
                self.rope_theta as u64,
                1,
                1_000_000_000_000,
                reason,
            ));
        }
        Ok(Some(Rope {
            pairs,
            theta: self.rope_theta,
            dim: dim as usize,
        }))
    }

    /// The samples.
    ///
    /// # Safety
    /// I1 for keys and values, for as long as what is returned is used.
    unsafe fn checked<'s>(&self) -> Result<Samples<'s>, Refusal> {
        let dtype = match self.dtype {
            KVC_DTYPE_F16 => Dtype::F16,
            KVC_DTYPE_BF16 => Dtype::Bf16,
            dtype => {
                let reason = "samples have elements of 16 bits: f16 (2) or bf16 (3)";
                return Err(Ok(unfit("dtype", dtype, KVC_DTYPE_F16, KVC_DTYPE_BF16, reason)));
            }
        };
        let [layers, heads, dim, tokens] = self.sizes().map_err(Ok)?;
        let sequence_tokens = or(self.sequence_tokens_count, self.tokens_count);
        let sequence_tokens = ranged("sequence_tokens_count", sequence_tokens, 1, self.tokens_count).map_err(Ok)?;
        let rope = self.rope().map_err(Ok)?;
        // At most 10 + 8 + 24 + 1 bits.
        let plane_bytes = (heads * dim * tokens) as u64 * dtype.bytes();
        // SAFETY: I1, asked of the caller, here and below.
        let (keys, values) = unsafe {
            (
                values(self.keys.cast::<Plane>(), layers as u64).map_err(Err)?,
                values(self.values.cast::<Plane>(), layers as u64).map_err(Err)?,
            )
        };
        let planes = keys.iter().zip(values).map(|(&key, &value)| {
            // SAFETY: as above.
            unsafe { Ok([bytes(key, plane_bytes)?, bytes(value, plane_bytes)?]) }
        });
        Ok(Samples {
            dtype,
            heads,
            dim,
            sequence_tokens,
            layers: planes.collect::<Result<_, Status>>().map_err(Err)?,
            rope,
        })
    }
}

fn bit(kind: CodecKind) -> u64 {
    1 << kind as u64
}

fn bits(kinds: impl Iterator<Item = CodecKind>) -> u64 {
    kinds.fold(0, |bits, kind| bits | bit(kind))
}

impl kvc_codec_tables_info_t {
    fn new(tables: &Tables<'_>) -> Self {
        let info = tables.info();
        Self {
            struct_size: 0,
            bytes: info.bytes,
            layers_count: info.layers as u64,
            planes_count: info.planes as u64,
            kv_heads_count: info.heads as u64,
            head_dim: info.dim as u64,
            tokens_count: info.tokens,
            codecs: bits(TRAINED.into_iter().filter(|kind| tables.has(*kind))),
            rope: match info.rope.pairs {
                RopePairs::None => KVC_ROPE_NONE,
                RopePairs::Half => KVC_ROPE_HALF,
                RopePairs::Interleaved => KVC_ROPE_INTERLEAVED,
            },
            rope_theta: info.rope.theta,
            rope_dim: info.rope.dim as u64,
            digest: info.digest,
        }
    }
}

/// The path of a text.
///
/// # Safety
/// I1 and C1 for the text, for as long as what is returned is used.
unsafe fn path<'p>(text: *const c_char) -> Result<&'p Path, Refusal> {
    if text.is_null() {
        return Err(Err(Status::Null));
    }
    // SAFETY: I1 and C1, asked of the caller.
    let text = unsafe { CStr::from_ptr(text) };
    Ok(Path::new(OsStr::from_bytes(text.to_bytes())))
}

/// Says how many bytes tables that are trained on such samples have at most. Looks at no keys or values.
///
/// Much more than tables have in the end: ask for memory that the system gives as it is touched.
///
/// Threads: any, at once.
///
/// Memory: `samples`, `bytes_out` and `error_out` are borrowed; `error_out` may be NULL.
///
/// Statuses: `KVC_OK`; `KVC_E_CONFIG` with the field, the value and the permitted range in `error_out`; `KVC_E_NULL`;
/// `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_train_bytes_max(
    samples: *const kvc_codec_samples_t,
    bytes_out: *mut u64,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1, asked of the caller, here and below.
    unsafe {
        refusing(error_out, || {
            let samples = read(samples).map_err(Err)?;
            let bytes_out = output(bytes_out).map_err(Err)?;
            let [layers, heads, dim, _] = samples.sizes().map_err(Ok)?;
            let kinds = samples.kinds().map_err(Ok)?;
            bytes_out.write(bytes_max(layers, heads, dim, &kinds) as u64);
            Ok(())
        })
    }
}

/// Trains tables.
///
/// Takes seconds to many minutes: the more layers, channels and tokens, the longer. The same samples give the same
/// tables. NaNs and infinities in the samples count as what codecs read them as.
///
/// Threads: any, at once.
///
/// Memory: `samples`, the arrays of keys and values and what they point to, `tables_out`, `bytes_out` and `error_out`
/// are borrowed; `error_out` may be NULL. Allocates, about as much as the samples of two layers as binary32, and gives
/// it back.
///
/// Statuses: `KVC_OK`; `bytes_out` receives the length of the tables. `KVC_E_TOO_SMALL`, before anything is trained,
/// when `capacity_bytes` is less than `kvc_codec_train_bytes_max` says; `KVC_E_CONFIG` and `KVC_E_CONFLICT` with the
/// field, the value and the permitted range in `error_out`; `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for
/// `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_train(
    samples: *const kvc_codec_samples_t,
    tables_out: *mut c_void,
    capacity_bytes: u64,
    bytes_out: *mut u64,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1, asked of the caller, here and below.
    unsafe {
        refusing(error_out, || {
            let samples = read(samples).map_err(Err)?;
            let bytes_out = output(bytes_out).map_err(Err)?;
            let target = values_mut(tables_out.cast::<u8>(), capacity_bytes).map_err(Err)?;
            let kinds = samples.kinds().map_err(Ok)?;
            let samples = samples.checked()?;
            if target.len() < bytes_max(samples.layers.len(), samples.heads, samples.dim, &kinds) {
                return Err(Err(Status::TooSmall));
            }
            let tables = train(&samples, &kinds).map_err(Ok)?;
            let target = target.get_mut(..tables.len()).ok_or(Err(Status::TooSmall))?;
            target.copy_from_slice(&tables);
            bytes_out.write(tables.len() as u64);
            Ok(())
        })
    }
}

/// Checks tables and says what they are. Reads all of them.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_ARGUMENT` when the tables do not begin at a multiple of 64 bytes; `KVC_E_DAMAGED` for
/// what is no tables; `KVC_E_UNSUPPORTED` for another version; `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED`
/// for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_tables_check(
    tables: *const c_void,
    tables_bytes: u64,
    info_out: *mut kvc_codec_tables_info_t,
) -> kvc_status_t {
    plain(|| {
        // SAFETY: I1, asked of the caller.
        let (info_out, tables) = unsafe { (target(info_out)?, bytes(tables, tables_bytes)?) };
        info_out.write(&kvc_codec_tables_info_t::new(&Tables::open(tables)?));
        Ok(())
    })
}

/// Writes tables to a file, durably. A file that is there is replaced in one step: whoever opens it finds the old
/// tables or the new ones, also after a crash.
///
/// Threads: any, at once. Waits for the file's device.
///
/// Memory: all pointers are borrowed; `error_out` may be NULL.
///
/// Statuses: `KVC_OK`; `KVC_E_FILE` and `KVC_E_NO_SPACE` with the system's error number in `error_out`, and a file that
/// was there is as it was; `KVC_E_ARGUMENT`, `KVC_E_DAMAGED` and `KVC_E_UNSUPPORTED` for the tables, as
/// `kvc_codec_tables_check`; `KVC_E_NULL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_tables_save(
    path: *const c_char,
    tables: *const c_void,
    tables_bytes: u64,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1 and C1, asked of the caller, here and below.
    unsafe {
        refusing(error_out, || {
            let path = self::path(path)?;
            let tables = bytes(tables, tables_bytes).map_err(Err)?;
            let tables = Tables::open(tables).map_err(|status| Ok(refusal("tables", status)))?;
            tables.save(path).map_err(Ok)
        })
    }
}

/// Says how many bytes the tables in a file have. Reads its header only.
///
/// Threads: any, at once. Waits for the file's device.
///
/// Memory: all pointers are borrowed; `error_out` may be NULL.
///
/// Statuses: `KVC_OK`; `KVC_E_FILE` with the system's error number in `error_out`; `KVC_E_FILE_FOREIGN` for a file of
/// something else; `KVC_E_DAMAGED` for one that is not as long as it says; `KVC_E_NULL`; `KVC_E_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_tables_file_bytes(
    path: *const c_char,
    bytes_out: *mut u64,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1 and C1, asked of the caller, here and below.
    unsafe {
        refusing(error_out, || {
            let path = self::path(path)?;
            let bytes_out = output(bytes_out).map_err(Err)?;
            bytes_out.write(tables_file_bytes(path).map_err(Ok)?);
            Ok(())
        })
    }
}

/// Reads tables from a file into memory that begins at a multiple of 64 bytes, and checks them.
///
/// Threads: any, at once. Waits for the file's device.
///
/// Memory: all pointers are borrowed; `error_out` may be NULL. After an error what is in `tables_out` is undefined.
///
/// Statuses: `KVC_OK`; `bytes_out` receives the length of the tables. `KVC_E_TOO_SMALL` with the length that is needed
/// as `value_min` in `error_out`; `KVC_E_ARGUMENT`, `KVC_E_DAMAGED` and `KVC_E_UNSUPPORTED` as
/// `kvc_codec_tables_check`; `KVC_E_FILE` and `KVC_E_FILE_FOREIGN` as `kvc_codec_tables_file_bytes`; `KVC_E_NULL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_tables_load(
    path: *const c_char,
    tables_out: *mut c_void,
    capacity_bytes: u64,
    bytes_out: *mut u64,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1 and C1, asked of the caller, here and below.
    unsafe {
        refusing(error_out, || {
            let path = self::path(path)?;
            let bytes_out = output(bytes_out).map_err(Err)?;
            let target = values_mut(tables_out.cast::<u8>(), capacity_bytes).map_err(Err)?;
            let tables = tables_load(path, target).map_err(Ok)?;
            bytes_out.write(tables.info().bytes);
            Ok(())
        })
    }
}
