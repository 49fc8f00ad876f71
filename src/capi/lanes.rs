//! Lanes: handing over work and fetching the results later.
//!
//! A lane is one producer's private pair of queues. Submit operations in batches, each with a `user_data` of your own;
//! get completions back with `kvc_reap`, or wait for one with `kvc_wait`. With workers (`workers_count` of the
//! configuration) the work is done on the library's threads and an event fd tells when there is something to reap; in
//! tick mode it is done inside `kvc_reap`, `kvc_wait` and `kvc_tick`. Each operation completes exactly once: reaped, or
//! fetched by `kvc_wait`.
//!
//! Operations of one lane begin in the order in which they were submitted. One that needs blocks from a file tier waits
//! for them without holding anybody up: the next ones begin meanwhile, so completions may come in another order. Such
//! an operation can still be cancelled.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. `mirror!` asserts the layouts. Besides:
//!
//! - **L1** What a submitted operation points to (`keys`, `data`) stays valid until its completion: kept, as the manual
//!   says. `info` is copied at submission.

use core::ffi::c_void;
use core::time::Duration;

use super::arguments::{buffer, flags, mirror, output, output_optional, values, values_mut};
use super::guard::with_engine;
use super::reads::{KVC_MATCH_TOUCH, kvc_view_t, temperature};
use super::types::{kvc_block_t, kvc_engine_t, kvc_key_t, kvc_lane_t, kvc_ticket_t};
use super::version::kvc_status_t;
use super::writes::{kvc_put_info_t, put_info};
use crate::block::PutInfo;
use crate::copy::Temperature;
use crate::engine::{Completion, Opcode, Submission};
use crate::error::Status;

/// `kvc_match` of `keys`. The result is the count.
pub const KVC_OP_MATCH: u32 = 1;
/// `kvc_get` of each of `keys`: block i goes to `data + i * bytes`. Ends at the first that fails, with its status. The
/// result is, for one key, the bytes of the block; for more, how many were copied.
pub const KVC_OP_GET: u32 = 2;
/// `kvc_put` of each of `keys`, as a chain: block i has `bytes` bytes and is at `data + i * bytes`. Ends at the first
/// that cannot be stored, with its status; among several, blocks that exist are passed over. The result is how many
/// were stored. `info` may be NULL.
pub const KVC_OP_PUT: u32 = 3;
/// `kvc_remove` of `keys`. The result is the count.
pub const KVC_OP_REMOVE: u32 = 4;
/// `kvc_touch` of `keys`. The result is the count.
pub const KVC_OP_TOUCH: u32 = 5;
/// `kvc_acquire_many` of `keys`: `data` points to `keys_count` structs of type `kvc_view_t`, and `bytes` is their size
/// in bytes, all together. The result is the count; the status is `KVC_MISS` where it is 0.
pub const KVC_OP_ACQUIRE: u32 = 6;
/// `kvc_prefetch` of `keys`. The result is how many are on their way because of it.
pub const KVC_OP_PREFETCH: u32 = 7;
/// `kvc_flush` of everything that was committed or removed before the operation begins; completes when that is durable.
/// Takes no keys. The result is how many blocks had to be written.
pub const KVC_OP_FLUSH: u32 = 8;

/// An operation to submit. Set what the opcode does not use to zero.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_op_t {
    /// What to do (`KVC_OP_...`).
    pub opcode: u32,
    /// The flags that the opcode's function takes: `KVC_MATCH_TOUCH` for match, `KVC_COPY_HOT` or `KVC_COPY_COLD` for
    /// get. Zero for the others.
    pub flags: u32,
    /// Anything; comes back in the completion.
    pub user_data: u64,
    /// Keys. Kept until the completion.
    pub keys: *const kvc_key_t,
    /// How many.
    pub keys_count: u64,
    /// Bytes to read or write, as the opcode says. Kept until the completion.
    pub data: *mut c_void,
    /// Bytes at `data`, as the opcode says.
    pub bytes: u64,
    /// For put: what is to be said about the blocks; may be NULL. Copied.
    pub info: *const kvc_put_info_t,
    /// Zero; reserved.
    pub block: kvc_block_t,
}

// Not a mirror of the library's own: `info` is converted at submission. Mirrors itself, so that arrays can be read.
mirror!(
    kvc_op_t = kvc_op_t {
        opcode,
        flags,
        user_data,
        keys,
        keys_count,
        data,
        bytes,
        info,
        block
    }
);

/// What became of an operation.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_done_t {
    /// The operation's `user_data`.
    pub user_data: u64,
    /// The operation's ticket.
    pub ticket: kvc_ticket_t,
    /// What the blocking function would have answered.
    pub status: kvc_status_t,
    /// The operation's opcode.
    pub opcode: u32,
    /// A count or a number of bytes, as the opcode says.
    pub result: u64,
}

mirror!(
    kvc_done_t = Completion {
        user_data,
        ticket,
        status,
        opcode,
        result
    }
);

/// Operations that are converted at a time, on the stack.
const CHUNK_COUNT: usize = 16;

/// What a chunk holds before it is filled.
fn submission_empty() -> Submission {
    Submission {
        opcode: Opcode::Match,
        user_data: 0,
        keys: core::ptr::null(),
        keys_count: 0,
        data: core::ptr::null_mut(),
        bytes: 0,
        info: PutInfo::default(),
        touch: false,
        temperature: Temperature::Auto,
    }
}

impl kvc_op_t {
    /// Checks the operation and copies what is not kept.
    ///
    /// # Safety
    /// I1 for `info`. L1 for the rest, which is only passed on.
    unsafe fn checked(&self) -> Result<Submission, Status> {
        let opcode = Opcode::from_code(self.opcode).ok_or(Status::Unsupported)?;
        let touch = opcode == Opcode::Match && flags(self.flags, KVC_MATCH_TOUCH)? != 0;
        let temperature = match opcode {
            Opcode::Match => Temperature::Auto,
            Opcode::Get => temperature(self.flags)?,
            _ => {
                flags(self.flags, 0)?;
                Temperature::Auto
            }
        };
        if self.block
            != (kvc_block_t {
                index: 0,
                generation: 0,
            })
        {
            return Err(Status::Unsupported);
        }
        // SAFETY: I1 and L1, asked of the caller. Only checked here: NULL, alignment, size.
        unsafe { values(self.keys, self.keys_count) }?;
        match opcode {
            Opcode::Get | Opcode::Put => {
                let bytes = self.bytes.checked_mul(self.keys_count).ok_or(Status::Argument)?;
                buffer(self.data, bytes)?;
            }
            Opcode::Acquire => {
                // SAFETY: as above.
                let room = unsafe { values(self.data.cast::<kvc_view_t>().cast_const(), self.keys_count) }?;
                if self.bytes != size_of_val(room) as u64 {
                    return Err(Status::Argument);
                }
            }
            Opcode::Match | Opcode::Remove | Opcode::Touch | Opcode::Prefetch => {}
            Opcode::Flush if self.keys_count == 0 => {}
            Opcode::Flush => return Err(Status::Unsupported),
        }
        let info = if opcode == Opcode::Put {
            self.info
        } else {
            core::ptr::null()
        };
        Ok(Submission {
            opcode,
            user_data: self.user_data,
            keys: self.keys.cast(),
            keys_count: self.keys_count,
            data: self.data.cast(),
            // The engine counts views, the header bytes.
            bytes: if opcode == Opcode::Acquire {
                self.keys_count
            } else {
                self.bytes
            },
            // SAFETY: I1, asked of the caller.
            info: unsafe { put_info(info) }?,
            touch,
            temperature,
        })
    }
}

/// Opens a lane.
///
/// Threads: any, at once.
///
/// Memory: `lane_out` is borrowed. The lane's queues are in the engine's plan.
///
/// Statuses: `KVC_OK`; `KVC_AGAIN` when `lanes_count` of the configuration are open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_lane_open(engine: *const kvc_engine_t, lane_out: *mut kvc_lane_t) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let lane_out = output(lane_out)?;
            lane_out.write(cache.lane_open()?);
            Ok(())
        })
    }
}

/// Closes a lane whose operations are all completed and fetched.
///
/// Threads: one at a time on a lane.
///
/// Memory: none.
///
/// Statuses: `KVC_OK`; `KVC_E_STALE` when the lane is not open; `KVC_E_BUSY` while operations are under way or not
/// fetched yet, or another thread is on the lane.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_lane_close(engine: *const kvc_engine_t, lane: kvc_lane_t) -> kvc_status_t {
    // SAFETY: I3, asked of the caller.
    unsafe { with_engine(engine, |cache| cache.lane_close(lane.into())) }
}

/// Gives the event fd of a lane: readable when there is something to reap.
///
/// For epoll, poll, asyncio and the like. Read its 8 bytes before reaping, as with every event fd of Linux. It belongs
/// to the library: do not close it; it is valid until the lane is closed. Workers signal it; in tick mode, a `kvc_tick`
/// of another thread does.
///
/// Threads: any, at once.
///
/// Memory: `fd_out` is borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_STALE` when the lane is not open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_lane_event_fd(
    engine: *const kvc_engine_t,
    lane: kvc_lane_t,
    fd_out: *mut i32,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let fd_out = output(fd_out)?;
            fd_out.write(cache.lane_event_fd(lane.into())?);
            Ok(())
        })
    }
}

/// Submits operations on a lane, in order, as many as there is room for.
///
/// `taken_count_out` receives how many were taken. The first operation that is not taken ends the batch; submit from
/// there on again, and if there is something wrong with that operation, the status then says what.
///
/// Threads: one at a time on a lane.
///
/// Memory: `ops`, and `info` of each, are copied. What `keys` and `data` of an operation point to is kept until its
/// completion. `tickets_out` has `ops_count` elements, of which as many as are taken are written; NULL if you do not
/// want tickets.
///
/// Statuses: `KVC_OK`, also when not all were taken; if not even the first one was: `KVC_AGAIN` when `lane_depth`
/// operations are under way or not reaped yet, `KVC_E_UNSUPPORTED` for its opcode or flags, `KVC_E_ARGUMENT`,
/// `KVC_E_NULL`. `KVC_E_STALE` when the lane is not open; `KVC_E_BUSY` when another thread is on the lane.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_submit(
    engine: *const kvc_engine_t,
    lane: kvc_lane_t,
    ops: *const kvc_op_t,
    ops_count: u64,
    tickets_out: *mut kvc_ticket_t,
    taken_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1, I3 and L1, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (ops, taken_count_out) = (values(ops, ops_count)?, output(taken_count_out)?);
            let mut tickets = if tickets_out.is_null() {
                None
            } else {
                Some(values_mut(tickets_out, ops_count)?)
            };
            if ops.is_empty() {
                // Says whether the lane is there.
                cache.submit(lane.into(), &[], None)?;
            }
            let mut taken_count = 0;
            let mut chunk = [submission_empty(); CHUNK_COUNT];
            for ops in ops.chunks(CHUNK_COUNT) {
                let mut ready_count = 0;
                let mut refusal = None;
                for (target, op) in chunk.iter_mut().zip(ops) {
                    match op.checked() {
                        Ok(submission) => *target = submission,
                        Err(status) => {
                            refusal = Some(status);
                            break;
                        }
                    }
                    ready_count += 1;
                }
                let ready = chunk.get(..ready_count).unwrap_or_default();
                let tickets = tickets
                    .as_deref_mut()
                    .and_then(|all| all.get_mut(taken_count..taken_count + ready_count));
                let taken = if ready.is_empty() {
                    Err(refusal.unwrap_or(Status::Argument))
                } else {
                    cache.submit(lane.into(), ready, tickets)
                };
                match taken {
                    Ok(count) => {
                        taken_count += count as usize;
                        if count as usize != ops.len() {
                            break;
                        }
                    }
                    // What was taken before cannot be taken back; the next call names the reason.
                    Err(_) if taken_count != 0 => break,
                    Err(status) => return Err(status),
                }
            }
            taken_count_out.write(taken_count as u64);
            Ok(())
        })
    }
}

/// Fetches completions, the oldest first, as many as there are and `done_out` has room for.
///
/// In tick mode it does the work of the lane first.
///
/// Threads: one at a time on a lane.
///
/// Memory: all pointers are borrowed. `done_out` has `capacity` elements, of which `done_count_out` are written.
///
/// Statuses: `KVC_OK`, also when there was none; `KVC_E_STALE` when the lane is not open; `KVC_E_BUSY` when another
/// thread is on the lane.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_reap(
    engine: *const kvc_engine_t,
    lane: kvc_lane_t,
    done_out: *mut kvc_done_t,
    capacity: u64,
    done_count_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let (done_out, done_count_out) = (values_mut(done_out, capacity)?, output(done_count_out)?);
            done_count_out.write(cache.reap(lane.into(), done_out)?);
            Ok(())
        })
    }
}

/// Waits for one operation, and fetches its completion, which is then not reaped any more.
///
/// `timeout_ns` 0 does not wait; UINT64_MAX waits for ever. In tick mode it does the work of the lane itself, and moves
/// the file tiers on.
///
/// Threads: one at a time on a lane.
///
/// Memory: `done_out` is borrowed; NULL if you only want the status of this call.
///
/// Statuses: `KVC_OK`, whatever the operation's own status in `done_out`; `KVC_TIMEOUT`, and the operation goes on;
/// `KVC_E_STALE` when the lane is not open or the completion was fetched before; `KVC_E_BUSY` when another thread is on
/// the lane.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_wait(
    engine: *const kvc_engine_t,
    lane: kvc_lane_t,
    ticket: kvc_ticket_t,
    timeout_ns: u64,
    done_out: *mut kvc_done_t,
) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let done_out = output_optional(done_out)?;
            done_out.write(cache.wait(lane.into(), ticket.into(), Duration::from_nanos(timeout_ns))?);
            Ok(())
        })
    }
}

/// Cancels an operation that has not begun, or that waits for blocks from a file tier. It completes with
/// `KVC_CANCELLED` and is reaped like any other. Blocks that are on their way arrive in memory nevertheless.
///
/// Threads: one at a time on a lane.
///
/// Memory: none.
///
/// Statuses: `KVC_OK`; `KVC_PENDING` when it is too late, and the operation completes as usual; `KVC_E_STALE` when the
/// lane is not open or the completion was fetched before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_cancel(
    engine: *const kvc_engine_t,
    lane: kvc_lane_t,
    ticket: kvc_ticket_t,
) -> kvc_status_t {
    // SAFETY: I3, asked of the caller.
    unsafe { with_engine(engine, |cache| cache.cancel(lane.into(), ticket.into())) }
}

/// Does the engine's work in tick mode: operations of all lanes, the file tiers' reads and writes, expiry, upkeep.
///
/// Call it now and then, every millisecond for one; nothing is lost between, it only happens later. The work of one
/// call is bounded. With workers it does nothing that they would not do.
///
/// `now_ns` is the engine's time in nanoseconds where the configuration has `KVC_CLOCK_TICKS`; it never goes back: a
/// smaller number than before counts as the greatest so far. Otherwise the engine reads the system's clock, and
/// `now_ns` is not used: pass 0.
///
/// Threads: any, at once.
///
/// Memory: `progress_out` is borrowed and may be NULL.
///
/// Statuses: `KVC_OK`; `progress_out` receives how many things were done: 0 means that there was nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_tick(engine: *const kvc_engine_t, now_ns: u64, progress_out: *mut u64) -> kvc_status_t {
    // SAFETY: I1 and I3, asked of the caller, here and below.
    unsafe {
        with_engine(engine, |cache| {
            let progress_out = output_optional(progress_out)?;
            progress_out.write(cache.tick(now_ns));
            Ok(())
        })
    }
}
