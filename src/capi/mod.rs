//! libkvcache: a cache engine that a C program links. One library, one header, no daemon.
//!
//! The engine keeps immutable blocks of bytes under 32-byte keys: the key/value blocks of a language model first of
//! all, training samples too. It is sized once, when it is opened, and never allocates again. This header is the
//! manual: the next pages say how everything works together, then each chapter lists its structs and functions.
//! It is generated from the library's source; do not edit it.
//!
//! # The five-minute tour
//!
//! Open an engine of 64 MiB for blocks of up to 64 KiB, put a block, read it back, close:
//!
//! ```c
//! kvc_config_t config = KVC_CONFIG_INIT;
//! config.block_bytes = 64 << 10;
//! config.cpu_bytes = 64 << 20;
//!
//! kvc_engine_t *engine;
//! kvc_error_t error = KVC_ERROR_INIT;
//! if (kvc_engine_open(&config, &engine, &error) != KVC_OK) {
//!     fprintf(stderr, "%s\n", error.message);
//!     return 1;
//! }
//!
//! kvc_key_t key;
//! kvc_key_derive(0, NULL, 0, "greeting", 8, &key);
//! kvc_put(engine, &key, "hello", 5, NULL);
//!
//! char buffer[64 << 10];
//! uint64_t bytes;
//! if (kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes) == KVC_OK)
//!     printf("%.*s\n", (int)bytes, buffer);
//!
//! kvc_close(engine);
//! ```
//!
//! Without copies: `kvc_reserve` lends room inside the engine to fill in place, `kvc_commit` makes it readable;
//! `kvc_acquire` lends a view of a block and `kvc_release` gives it back. For the blocks of a prompt, derive a chain of
//! keys with `kvc_key_chain_many` and ask how much of it is there with `kvc_match` or take it with `kvc_acquire_many`.
//! To hand over work and fetch the results later, open a lane: `kvc_submit`, `kvc_reap`.
//!
//! To have blocks outlast memory and the process, give the engine files; it copies down what memory gives up, and up
//! what is asked for:
//!
//! ```c
//! config.nvme_path = "cache.nvme";
//! config.nvme_bytes = 100ull << 30;
//! ...
//! uint64_t blocks_written;
//! kvc_flush(engine, UINT64_MAX, &blocks_written);
//! ```
//!
//! Compile with `cc program.c $(pkg-config --cflags --libs kvcache)`.
//!
//! # Words
//!
//! - block: immutable bytes under a key, at most `block_bytes` of the configuration.
//! - key: 32 opaque bytes, compared whole. Bring your own or derive them (chapter Keys).
//! - tier: a place where blocks live: the memory of the host, and below it up to two file tiers.
//! - slot: room for one block in the memory tier.
//! - segment: what a file tier writes in order and gives up whole.
//! - resident: readable, in whichever tier. A reserved block is not resident until it is committed.
//! - pin: keeps a block where it is until it is released.
//! - lane: one producer's private queues of operations and completions. ticket: one submitted operation.
//! - geometry: what a key/value block consists of: layers, heads, tokens, element type.
//! - plane: the keys, or the values, of one layer of a block.
//! - codec: how a plane is encoded in fewer bytes. code: what a block is encoded as. tables: what some codecs need to
//!   know about a model, trained on samples of it.
//! - plan: the exact bytes of everything, computed before anything exists.
//!
//! # Statuses
//!
//! Almost every function returns `kvc_status_t`. Zero is done. Positive is an answer that a correct program meets in
//! normal use (`KVC_MISS`, `KVC_AGAIN`). Negative is an error: the program, the configuration or the machine is at
//! fault. Numbers never change meaning. There is no errno and no last error: a refused configuration is explained in
//! a `kvc_error_t` that the caller brings, everything else is in the number. `kvc_status_name` gives its name.
//!
//! Outputs are written only on success (`KVC_OK`): after any other status they hold what they held before. The
//! exceptions are said where they occur: `kvc_error_t`, the statuses inside the items of a batch, `kvc_view_ready`
//! while it answers `KVC_PENDING`, and the buffers that codecs write to. Batches say how many they did.
//!
//! Every function that takes an engine can also answer the following; the functions list only what is special:
//! - `KVC_E_NULL`: the engine, or another pointer that must not be NULL, is NULL.
//! - `KVC_E_HANDLE`: the engine is not an open engine (closed already, or never one). It is not dereferenced to find
//!   out.
//! - `KVC_E_ARGUMENT`: a pointer is misaligned for its type, or a count is larger than any array can be.
//! - `KVC_E_UNSUPPORTED`: a flag, an opcode or a field that this version does not know.
//! - `KVC_E_SHUTDOWN`: after `kvc_shutdown`, where the call would begin new work.
//! - `KVC_E_FORKED`: the engine was opened by a parent process, see Processes.
//! - `KVC_E_INTERNAL`: a failure inside the library was caught before it reached the caller. From then on every call
//!   answers `KVC_E_POISONED`; the engine can only be closed. The library never takes its host down.
//!
//! # Threads
//!
//! A parameter `const kvc_engine_t *` means: any number of threads may be in this call, and in others, at once. A
//! parameter `kvc_engine_t *` (`kvc_shutdown`, `kvc_close`) means: no other thread is in a call on this engine, and
//! after `kvc_close` none will be. Functions without an engine may always be called at once. What is different is said
//! under `Threads:`. The same holds for `const kvc_codec_t *` and `kvc_codec_t *` (`kvc_codec_close`).
//!
//! On the memory tier, match, get, acquire, release, reserve and commit take no lock and make no system call; a reader
//! of a block writes nothing that other readers of the same block share, so readers do not slow each other down.
//!
//! A lane belongs to one thread at a time. A second thread that uses it meanwhile gets `KVC_E_BUSY`.
//!
//! The library runs the threads that `workers_count` asks for and no other; there is none for each request to a device.
//! With none at all (tick mode, the default) all work is done in the caller's own calls: operations of a lane in
//! `kvc_reap`, `kvc_wait` and `kvc_tick`, upkeep in `kvc_tick`, and the file tiers' reads and writes in `kvc_tick` and
//! in every call that waits.
//!
//! What waits, and what never does:
//! - Never, whatever the devices do: match, touch, retain, remove, prefetch, submit, reap, cancel, tick, release,
//!   commit, abort, everything that watches; get and acquire of blocks that are in memory; acquire with
//!   `KVC_ACQUIRE_PARTIAL`; operations on lanes. A slow or stalled device does not hold them up. In tick mode a device
//!   that is read and written by the calling thread itself (`KVC_IO_POSITIONAL`, the disk tier) takes up the time of
//!   the call that drives it: `kvc_tick`, `kvc_reap`.
//! - For a device, and no longer than it makes progress (`nvme_stall_ms`, `disk_stall_ms`): `kvc_get`, `kvc_get_many`,
//!   `kvc_acquire` and `kvc_acquire_many` of blocks that are below memory; `kvc_engine_open`; `kvc_shutdown`, for at
//!   most ten minutes; `kvc_close`, for requests under way.
//! - For as long as they are told: `kvc_wait`, `kvc_flush`; `kvc_reserve`, `kvc_put` and `kvc_put_many`, where
//!   everything that could go is still to be written down (`write_wait_ms`).
//!
//! # Memory
//!
//! `kvc_engine_open` obtains exactly the bytes that the plan names, in one mapping, or uses the memory that the caller
//! brings. After it no thread of the library allocates: not on the heap, not in the address space, not in files. Full
//! is an answer: a full tier evicts blocks by its policy, and answers `KVC_AGAIN` when everything is held.
//!
//! With `dedup` blocks with different keys that hold the same bytes share one slot of the memory tier; each is found,
//! removed, evicted, reported and written to file tiers by itself, and the slot is free again when the last of them has
//! left memory. A put fills a slot of its own first and gives it back if the bytes are there already, so that also the
//! second copy of a block may cost an eviction. Bytes are shared from one commit to the next: blocks that were copied
//! up from a file tier, and blocks of which the same bytes were being committed at the same moment, have slots of
//! their own.
//!
//! File tiers are no exception. Their files get their full size when the engine opens, so that no write meets a full
//! file system; the plan names it (`file_bytes`). In memory they cost what the plan says: up to 220 bytes for each
//! block that a tier may know, and buffers for as many requests as its `..._depth`.
//!
//! Each function says under `Memory:` what becomes of its pointers:
//! - borrowed: read or written during the call only; the caller's again when it returns.
//! - lent: the library lends its own memory to the caller, until the call that is named gives it back.
//! - copied: the library takes a copy; the caller's again when the call returns.
//! - kept: must stay valid and unchanged until the operation is complete (operations of a lane).
//!
//! A pair of pointer and count may be (NULL, 0): an empty array. NULL with another count is `KVC_E_NULL`. Pointers must
//! be aligned as their type asks; a wrong pointer that is neither NULL nor misaligned cannot be detected.
//!
//! # Handles and values
//!
//! Engines and codecs are the only opaque pointers. Each is an address in a table of the library and is never
//! dereferenced before it was found there, so a wrong or closed one is `KVC_E_HANDLE`. The tables' places are used in
//! turn: only after about a thousand others were opened can the handle of a closed one become that of another. At most
//! 1024 engines and 1024 codecs are open in one process.
//!
//! Blocks, pins, tickets and lanes are pairs of index and generation. They may be copied and compared freely, hold
//! nothing, and need no destruction. One that was released, reclaimed or made up is `KVC_E_STALE`. All zero is never
//! valid.
//!
//! # Tiers
//!
//! The engine keeps blocks in memory, and below it in up to two files: the NVMe tier (`nvme_path`), a file or a block
//! device that is read and written past the page cache, and the disk tier (`disk_path`), a file on a slow or a network
//! disk. Either may be there without the other. A block is one block, whichever tiers have it: match, touch, retain and
//! remove see all of them, and a put of a block that is anywhere answers `KVC_EXISTS`. `kvc_match_each` says which
//! tiers have it.
//!
//! Down: blocks are written to the first file tier when memory is about to give them up (`KVC_WRITE_BACK`) or as soon
//! as they are committed (`KVC_WRITE_THROUGH`). Only what the tier does not have is written, and only what it admits
//! (`nvme_admission`): all, what was used again, or what is of a kind that mostly is. It writes no more in any 24 hours
//! than `nvme_endurance_bytes_per_day`; the budget of a day is handed out bit by bit, and a reopened file begins with
//! none. What the first file tier gives up goes to the second, on the same terms (`disk_...`).
//!
//! Up: a block that is got or acquired and not in memory is copied there, and stays in the file: when memory gives it
//! up again, nothing has to be written. It stays in memory like any other from the hit on that `nvme_promotion_hits`
//! counts, and is the first to go before that. `kvc_prefetch` copies up ahead of use.
//!
//! Each file is a log of segments. Blocks are appended; when there is no room, the oldest segment is given up whole,
//! and those of its blocks that were hit there are written again. Before a byte from a file reaches the caller, its
//! key, its generation, its geometry and its checksums are verified, part by part as it arrives. What fails is a miss,
//! is counted (`checksum_failures`), reported (`KVC_EVENT_DAMAGED`) and dropped.
//!
//! # Durability
//!
//! What is in a file is found again when an engine of the same `block_bytes` and geometries is opened on it. What was
//! committed before a `kvc_flush` that answered `KVC_OK` is durable (`fdatasync`): it is found after the process was
//! killed or the machine lost power at any later point, unless the tier has given it up since to make room. What was
//! removed before it stays removed. Blocks that were not flushed may be found too, never wrong ones. `kvc_shutdown`
//! flushes; `kvc_close` alone does not.
//!
//! Opening reads metadata, and takes the time of a few small reads for each segment. Of the blocks it reads only those
//! that may have been half written when the last process ended: at most as much as the tier has under way at once, for
//! one segment or two. Half-written ones are passed over and counted (`blocks_damaged`). A file has a lock: a second
//! engine, in this process or another, is refused with `KVC_E_FILE_BUSY`. A file of another geometry, another block or
//! segment size or another version of the format is refused with `KVC_E_FILE_MISMATCH` and a message that says what it
//! holds and what was asked; one that holds something else with `KVC_E_FILE_FOREIGN`; neither is touched, unless
//! `file_overwrite` is 1. Damage does not keep an engine from opening: what cannot be verified is dropped and counted
//! (`blocks_damaged`), unless `damage` is `KVC_DAMAGE_REFUSE`.
//!
//! # When a disk fails
//!
//! A request that fails, or moves fewer bytes than it should, is repeated a few times (`io_retries`). What still fails
//! is a miss when it was a read, and a block that is not in the tier when it was a write (`io_errors`). A device that
//! keeps failing, or that makes no progress for `nvme_stall_ms` (`disk_stall_ms`), is given up: the tier goes offline,
//! with `KVC_EVENT_OFFLINE`, and is not used again until the engine is opened anew. `kvc_tier_get` says so, and
//! `kvc_flush` answers `KVC_E_OFFLINE`. Blocks that only this tier had are misses from then on. Memory, and the other
//! file tier, go on serving. A file that is truncated or deleted under a running engine is such a failure too, no more.
//!
//! # Under memory pressure
//!
//! When a block needs room in memory, this gives way, in this order:
//! - free slots. With file tiers, ticks and workers keep some free ahead of need: they begin below
//!   `slots_free_low_permille` and go on up to `slots_free_high_permille`.
//! - blocks that a file tier has, in the order of the policy: only their copy in memory goes.
//! - blocks that no file tier has and that it admits: they are written down first, and the call waits for that, for at
//!   most `write_wait_ms`. Blocks that are not admitted do not wait.
//! - after that time, blocks that are not written down: they are gone, and counted (`writes_skipped`).
//! - nothing else: when all blocks are held, the answer is `KVC_AGAIN`.
//!
//! # Structs that grow
//!
//! A struct whose first field is `struct_size` may get new fields at its end in later versions. Set the field with the
//! initializer of its type, `KVC_CONFIG_INIT` for `kvc_config_t`, which makes everything else zero. Zero in a field
//! always means its default. So a program compiled against an older header works with a newer library: the fields
//! that it does not know are zero. The other way round, a newer program with an older library, works as long as
//! the fields that the library does not know are zero, else the answer is `KVC_E_UNSUPPORTED`: nothing that was asked
//! for is ignored. A `struct_size` that is 0, no multiple of 8, or smaller than in the first version is
//! `KVC_E_ARGUMENT`. Where such a struct is an output, the library writes no more than `struct_size` bytes and leaves
//! `struct_size` as it is; what a longer caller has at the end stays as it was.
//!
//! All other structs never change. They have no padding, and their sizes are asserted at the end of this header.
//!
//! # Processes
//!
//! An engine belongs to the process that opened it, and so do its files. After `fork`, the child gets `KVC_E_FORKED`
//! from every call and may open an engine of its own, with files of its own. Codecs work on in the child. The library
//! installs no signal handlers; no function may be called from one.
//!
//! # Limits
//!
//! Blocks have 1 byte to 2 GiB; the memory tier and each file have at most 64 TiB, a file at most 2^20 segments of at
//! most 4 GiB, and all tiers together 2^31 - 2 blocks. Every field of the configuration states its range. The library
//! is for 64-bit machines.
//!
//! # Soundness
//!
//! This room is the only one with `extern "C"` functions. They trust their caller with exactly the following, and
//! every unsafe block in the room cites one of these:
//!
//! - **I1** A pointer that is neither NULL nor misaligned, with the count that belongs to it, is valid for reads of so
//!   many values during the call, and for writes where the parameter is not `const`; nobody else writes there
//!   meanwhile. Where the chapter "Memory" says lent or kept, this holds for longer, as said there.
//! - **I2** Types that cross the boundary by pointer have no invalid bit patterns: integers, arrays of integers, raw
//!   pointers. (`types` asserts the layouts; a new type must keep to it.)
//! - **I3** `kvc_close` and `kvc_shutdown` have the engine for themselves, so a `Cache` found in the registry lives
//!   until the call that found it returns.
//! - **I4** The engine is never reached through the caller's pointer, only through the registry's own.
//! - **I5** No panic crosses the boundary: every function body runs in the guard.
#![allow(unsafe_code, non_camel_case_types)]
// What a caller has to keep is said once, above (I1), and under `Memory:` of each function.
#![allow(clippy::missing_safety_doc)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the C interface is for 64-bit machines: its structs have pointers beside 64-bit integers");

mod arguments;
mod growable;
mod guard;
mod registry;

mod codec;
mod config;
mod geometry;
mod importance;
mod keys;
mod lanes;
mod layout;
mod manage;
mod observe;
mod open;
mod reads;
mod stats;
mod tiers;
mod types;
mod version;
mod writes;

pub use codec::choice::*;
pub use codec::tables::*;
pub use codec::*;
pub use config::*;
pub use geometry::*;
pub use importance::*;
pub use keys::*;
pub use lanes::*;
pub use layout::*;
pub use manage::*;
pub use observe::*;
pub use open::*;
pub use reads::*;
pub use stats::*;
pub use tiers::*;
pub use types::*;
pub use version::*;
pub use writes::*;

/// Files whose items become chapters of `kvcache.h`, in the order of the chapters.
pub const HEADER_CHAPTERS: &[&str] = &[
    "version",
    "types",
    "geometry",
    "codec/choice",
    "config",
    "open",
    "keys",
    "reads",
    "writes",
    "manage",
    "importance",
    "tiers",
    "lanes",
    "stats",
    "observe",
    "layout",
    "codec",
    "codec/tables",
];
