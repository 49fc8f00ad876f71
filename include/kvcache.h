/* libkvcache: a cache engine that a C program links. One library, one header, no daemon.
 *
 * The engine keeps immutable blocks of bytes under 32-byte keys: the key/value blocks of a language model first of
 * all, training samples too. It is sized once, when it is opened, and never allocates again. This header is the
 * manual: the next pages say how everything works together, then each chapter lists its structs and functions. It is
 * generated from the library's source; do not edit it.
 *
 * THE FIVE-MINUTE TOUR
 *
 * Open an engine of 64 MiB for blocks of up to 64 KiB, put a block, read it back, close:
 *
 *     kvc_config_t config = KVC_CONFIG_INIT;
 *     config.block_bytes = 64 << 10;
 *     config.cpu_bytes = 64 << 20;
 *
 *     kvc_engine_t *engine;
 *     kvc_error_t error = KVC_ERROR_INIT;
 *     if (kvc_engine_open(&config, &engine, &error) != KVC_OK) {
 *         fprintf(stderr, "%s\n", error.message);
 *         return 1;
 *     }
 *
 *     kvc_key_t key;
 *     kvc_key_derive(0, NULL, 0, "greeting", 8, &key);
 *     kvc_put(engine, &key, "hello", 5, NULL);
 *
 *     char buffer[64 << 10];
 *     uint64_t bytes;
 *     if (kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes) == KVC_OK)
 *         printf("%.*s\n", (int)bytes, buffer);
 *
 *     kvc_close(engine);
 *
 * Without copies: kvc_reserve lends room inside the engine to fill in place, kvc_commit makes it readable;
 * kvc_acquire lends a view of a block and kvc_release gives it back. For the blocks of a prompt, derive a chain of
 * keys with kvc_key_chain_many and ask how much of it is there with kvc_match or take it with kvc_acquire_many. To
 * hand over work and fetch the results later, open a lane: kvc_submit, kvc_reap.
 *
 * To have blocks outlast memory and the process, give the engine files; it copies down what memory gives up, and up
 * what is asked for:
 *
 *     config.nvme_path = "cache.nvme";
 *     config.nvme_bytes = 100ull << 30;
 *     ...
 *     uint64_t blocks_written;
 *     kvc_flush(engine, UINT64_MAX, &blocks_written);
 *
 * Compile with cc program.c $(pkg-config --cflags --libs kvcache).
 *
 * WORDS
 *
 * - block: immutable bytes under a key, at most block_bytes of the configuration.
 * - key: 32 opaque bytes, compared whole. Bring your own or derive them (chapter Keys).
 * - tier: a place where blocks live: the memory of the host, and below it up to two file tiers.
 * - slot: room for one block in the memory tier.
 * - segment: what a file tier writes in order and gives up whole.
 * - resident: readable, in whichever tier. A reserved block is not resident until it is committed.
 * - pin: keeps a block where it is until it is released.
 * - lane: one producer's private queues of operations and completions. ticket: one submitted operation.
 * - geometry: what a key/value block consists of: layers, heads, tokens, element type.
 * - plane: the keys, or the values, of one layer of a block.
 * - codec: how a plane is encoded in fewer bytes. code: what a block is encoded as. tables: what some codecs need to
 *   know about a model, trained on samples of it.
 * - plan: the exact bytes of everything, computed before anything exists.
 *
 * STATUSES
 *
 * Almost every function returns kvc_status_t. Zero is done. Positive is an answer that a correct program meets in
 * normal use (KVC_MISS, KVC_AGAIN). Negative is an error: the program, the configuration or the machine is at fault.
 * Numbers never change meaning. There is no errno and no last error: a refused configuration is explained in a
 * kvc_error_t that the caller brings, everything else is in the number. kvc_status_name gives its name.
 *
 * Outputs are written only on success (KVC_OK): after any other status they hold what they held before. The
 * exceptions are said where they occur: kvc_error_t, the statuses inside the items of a batch, kvc_view_ready while
 * it answers KVC_PENDING, and the buffers that codecs write to. Batches say how many they did.
 *
 * Every function that takes an engine can also answer the following; the functions list only what is special:
 * - KVC_E_NULL: the engine, or another pointer that must not be NULL, is NULL.
 * - KVC_E_HANDLE: the engine is not an open engine (closed already, or never one). It is not dereferenced to find
 *   out.
 * - KVC_E_ARGUMENT: a pointer is misaligned for its type, or a count is larger than any array can be.
 * - KVC_E_UNSUPPORTED: a flag, an opcode or a field that this version does not know.
 * - KVC_E_SHUTDOWN: after kvc_shutdown, where the call would begin new work.
 * - KVC_E_FORKED: the engine was opened by a parent process, see Processes.
 * - KVC_E_INTERNAL: a failure inside the library was caught before it reached the caller. From then on every call
 *   answers KVC_E_POISONED; the engine can only be closed. The library never takes its host down.
 *
 * THREADS
 *
 * A parameter const kvc_engine_t * means: any number of threads may be in this call, and in others, at once. A
 * parameter kvc_engine_t * (kvc_shutdown, kvc_close) means: no other thread is in a call on this engine, and after
 * kvc_close none will be. Functions without an engine may always be called at once. What is different is said under
 * Threads:. The same holds for const kvc_codec_t * and kvc_codec_t * (kvc_codec_close).
 *
 * On the memory tier, match, get, acquire, release, reserve and commit take no lock and make no system call; a reader
 * of a block writes nothing that other readers of the same block share, so readers do not slow each other down.
 *
 * A lane belongs to one thread at a time. A second thread that uses it meanwhile gets KVC_E_BUSY.
 *
 * The library runs the threads that workers_count asks for and no other; there is none for each request to a device.
 * With none at all (tick mode, the default) all work is done in the caller's own calls: operations of a lane in
 * kvc_reap, kvc_wait and kvc_tick, upkeep in kvc_tick, and the file tiers' reads and writes in kvc_tick and in every
 * call that waits.
 *
 * What waits, and what never does:
 * - Never, whatever the devices do: match, touch, retain, remove, prefetch, submit, reap, cancel, tick, release,
 *   commit, abort, everything that watches; get and acquire of blocks that are in memory; acquire with
 *   KVC_ACQUIRE_PARTIAL; operations on lanes. A slow or stalled device does not hold them up. In tick mode a device
 *   that is read and written by the calling thread itself (KVC_IO_POSITIONAL, the disk tier) takes up the time of the
 *   call that drives it: kvc_tick, kvc_reap.
 * - For a device, and no longer than it makes progress (nvme_stall_ms, disk_stall_ms): kvc_get, kvc_get_many,
 *   kvc_acquire and kvc_acquire_many of blocks that are below memory; kvc_engine_open; kvc_shutdown, for at most ten
 *   minutes; kvc_close, for requests under way.
 * - For as long as they are told: kvc_wait, kvc_flush; kvc_reserve, kvc_put and kvc_put_many, where everything that
 *   could go is still to be written down (write_wait_ms).
 *
 * MEMORY
 *
 * kvc_engine_open obtains exactly the bytes that the plan names, in one mapping, or uses the memory that the caller
 * brings. After it no thread of the library allocates: not on the heap, not in the address space, not in files. Full
 * is an answer: a full tier evicts blocks by its policy, and answers KVC_AGAIN when everything is held.
 *
 * With dedup blocks with different keys that hold the same bytes share one slot of the memory tier; each is found,
 * removed, evicted, reported and written to file tiers by itself, and the slot is free again when the last of them
 * has left memory. A put fills a slot of its own first and gives it back if the bytes are there already, so that also
 * the second copy of a block may cost an eviction. Bytes are shared from one commit to the next: blocks that were
 * copied up from a file tier, and blocks of which the same bytes were being committed at the same moment, have slots
 * of their own.
 *
 * File tiers are no exception. Their files get their full size when the engine opens, so that no write meets a full
 * file system; the plan names it (file_bytes). In memory they cost what the plan says: up to 220 bytes for each block
 * that a tier may know, and buffers for as many requests as its ..._depth.
 *
 * Each function says under Memory: what becomes of its pointers:
 * - borrowed: read or written during the call only; the caller's again when it returns.
 * - lent: the library lends its own memory to the caller, until the call that is named gives it back.
 * - copied: the library takes a copy; the caller's again when the call returns.
 * - kept: must stay valid and unchanged until the operation is complete (operations of a lane).
 *
 * A pair of pointer and count may be (NULL, 0): an empty array. NULL with another count is KVC_E_NULL. Pointers must
 * be aligned as their type asks; a wrong pointer that is neither NULL nor misaligned cannot be detected.
 *
 * HANDLES AND VALUES
 *
 * Engines and codecs are the only opaque pointers. Each is an address in a table of the library and is never
 * dereferenced before it was found there, so a wrong or closed one is KVC_E_HANDLE. The tables' places are used in
 * turn: only after about a thousand others were opened can the handle of a closed one become that of another. At most
 * 1024 engines and 1024 codecs are open in one process.
 *
 * Blocks, pins, tickets and lanes are pairs of index and generation. They may be copied and compared freely, hold
 * nothing, and need no destruction. One that was released, reclaimed or made up is KVC_E_STALE. All zero is never
 * valid.
 *
 * TIERS
 *
 * The engine keeps blocks in memory, and below it in up to two files: the NVMe tier (nvme_path), a file or a block
 * device that is read and written past the page cache, and the disk tier (disk_path), a file on a slow or a network
 * disk. Either may be there without the other. A block is one block, whichever tiers have it: match, touch, retain
 * and remove see all of them, and a put of a block that is anywhere answers KVC_EXISTS. kvc_match_each says which
 * tiers have it.
 *
 * Down: blocks are written to the first file tier when memory is about to give them up (KVC_WRITE_BACK) or as soon as
 * they are committed (KVC_WRITE_THROUGH). Only what the tier does not have is written, and only what it admits
 * (nvme_admission): all, what was used again, or what is of a kind that mostly is. It writes no more in any 24 hours
 * than nvme_endurance_bytes_per_day; the budget of a day is handed out bit by bit, and a reopened file begins with
 * none. What the first file tier gives up goes to the second, on the same terms (disk_...).
 *
 * Up: a block that is got or acquired and not in memory is copied there, and stays in the file: when memory gives it
 * up again, nothing has to be written. It stays in memory like any other from the hit on that nvme_promotion_hits
 * counts, and is the first to go before that. kvc_prefetch copies up ahead of use.
 *
 * Each file is a log of segments. Blocks are appended; when there is no room, the oldest segment is given up whole,
 * and those of its blocks that were hit there are written again. Before a byte from a file reaches the caller, its
 * key, its generation, its geometry and its checksums are verified, part by part as it arrives. What fails is a miss,
 * is counted (checksum_failures), reported (KVC_EVENT_DAMAGED) and dropped.
 *
 * DURABILITY
 *
 * What is in a file is found again when an engine of the same block_bytes and geometries is opened on it. What was
 * committed before a kvc_flush that answered KVC_OK is durable (fdatasync): it is found after the process was killed
 * or the machine lost power at any later point, unless the tier has given it up since to make room. What was removed
 * before it stays removed. Blocks that were not flushed may be found too, never wrong ones. kvc_shutdown flushes;
 * kvc_close alone does not.
 *
 * Opening reads metadata, and takes the time of a few small reads for each segment. Of the blocks it reads only those
 * that may have been half written when the last process ended: at most as much as the tier has under way at once, for
 * one segment or two. Half-written ones are passed over and counted (blocks_damaged). A file has a lock: a second
 * engine, in this process or another, is refused with KVC_E_FILE_BUSY. A file of another geometry, another block or
 * segment size or another version of the format is refused with KVC_E_FILE_MISMATCH and a message that says what it
 * holds and what was asked; one that holds something else with KVC_E_FILE_FOREIGN; neither is touched, unless
 * file_overwrite is 1. Damage does not keep an engine from opening: what cannot be verified is dropped and counted
 * (blocks_damaged), unless damage is KVC_DAMAGE_REFUSE.
 *
 * WHEN A DISK FAILS
 *
 * A request that fails, or moves fewer bytes than it should, is repeated a few times (io_retries). What still fails
 * is a miss when it was a read, and a block that is not in the tier when it was a write (io_errors). A device that
 * keeps failing, or that makes no progress for nvme_stall_ms (disk_stall_ms), is given up: the tier goes offline,
 * with KVC_EVENT_OFFLINE, and is not used again until the engine is opened anew. kvc_tier_get says so, and kvc_flush
 * answers KVC_E_OFFLINE. Blocks that only this tier had are misses from then on. Memory, and the other file tier, go
 * on serving. A file that is truncated or deleted under a running engine is such a failure too, no more.
 *
 * UNDER MEMORY PRESSURE
 *
 * When a block needs room in memory, this gives way, in this order:
 * - free slots. With file tiers, ticks and workers keep some free ahead of need: they begin below
 *   slots_free_low_permille and go on up to slots_free_high_permille.
 * - blocks that a file tier has, in the order of the policy: only their copy in memory goes.
 * - blocks that no file tier has and that it admits: they are written down first, and the call waits for that, for at
 *   most write_wait_ms. Blocks that are not admitted do not wait.
 * - after that time, blocks that are not written down: they are gone, and counted (writes_skipped).
 * - nothing else: when all blocks are held, the answer is KVC_AGAIN.
 *
 * STRUCTS THAT GROW
 *
 * A struct whose first field is struct_size may get new fields at its end in later versions. Set the field with the
 * initializer of its type, KVC_CONFIG_INIT for kvc_config_t, which makes everything else zero. Zero in a field always
 * means its default. So a program compiled against an older header works with a newer library: the fields that it
 * does not know are zero. The other way round, a newer program with an older library, works as long as the fields
 * that the library does not know are zero, else the answer is KVC_E_UNSUPPORTED: nothing that was asked for is
 * ignored. A struct_size that is 0, no multiple of 8, or smaller than in the first version is KVC_E_ARGUMENT. Where
 * such a struct is an output, the library writes no more than struct_size bytes and leaves struct_size as it is; what
 * a longer caller has at the end stays as it was.
 *
 * All other structs never change. They have no padding, and their sizes are asserted at the end of this header.
 *
 * PROCESSES
 *
 * An engine belongs to the process that opened it, and so do its files. After fork, the child gets KVC_E_FORKED from
 * every call and may open an engine of its own, with files of its own. Codecs work on in the child. The library
 * installs no signal handlers; no function may be called from one.
 *
 * LIMITS
 *
 * Blocks have 1 byte to 2 GiB; the memory tier and each file have at most 64 TiB, a file at most 2^20 segments of at
 * most 4 GiB, and all tiers together 2^31 - 2 blocks. Every field of the configuration states its range. The library
 * is for 64-bit machines.
 */
#ifndef KVCACHE_H
#define KVCACHE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ===================================================================================================================
 * VERSIONS AND STATUSES
 * ===================================================================================================================
 */

/* Major version of this header. */
#define KVC_VERSION_MAJOR 0

/* Minor version of this header. While the major version is 0 it is also in the library's SONAME: two minor versions
 * do not mix.
 */
#define KVC_VERSION_MINOR 1

/* Patch version of this header. */
#define KVC_VERSION_PATCH 0

/* Version of the binary interface: the major version times 65536, plus the minor version. */
#define KVC_ABI_VERSION 1

/* What a function answers: 0 done, positive expected in normal use, negative an error. */
typedef int32_t kvc_status_t;

/* Done. */
#define KVC_OK 0

/* The block is not resident. */
#define KVC_MISS 1

/* Another producer is filling this block, it is still arriving from a file tier, or the operation is still under way.
 */
#define KVC_PENDING 2

/* No room at present: everything is held or a bounded table is full. The same call may succeed later. */
#define KVC_AGAIN 3

/* The block is resident already; nothing was stored. */
#define KVC_EXISTS 4

/* The operation was cancelled before it began, or while it waited for a file tier. */
#define KVC_CANCELLED 5

/* The time given ran out; the operation goes on. */
#define KVC_TIMEOUT 6

/* An argument is outside its documented range. */
#define KVC_E_ARGUMENT (-100)

/* A pointer that must not be NULL is NULL. */
#define KVC_E_NULL (-101)

/* The handle is not that of an open engine. */
#define KVC_E_HANDLE (-102)

/* The block, pin, lane or ticket was released, reclaimed or never existed. */
#define KVC_E_STALE (-103)

/* The caller asks for something that this version of the library does not know. */
#define KVC_E_UNSUPPORTED (-104)

/* More bytes than a block may have. */
#define KVC_E_TOO_LARGE (-105)

/* The buffer is smaller than what has to go into it; nothing was written. */
#define KVC_E_TOO_SMALL (-106)

/* The bytes are not what the library made: a code or tables that do not verify. */
#define KVC_E_DAMAGED (-107)

/* A field of the configuration is outside its range. */
#define KVC_E_CONFIG (-200)

/* Two fields of the configuration contradict each other. */
#define KVC_E_CONFLICT (-201)

/* The system did not give the memory that the plan asks for. */
#define KVC_E_NO_MEMORY (-300)

/* Huge pages are required and not to be had. */
#define KVC_E_HUGE_PAGES (-301)

/* The memory could not be locked. */
#define KVC_E_LOCK (-302)

/* A worker thread could not be started. */
#define KVC_E_THREAD (-303)

/* The device is not there. */
#define KVC_E_NO_DEVICE (-304)

/* An event file descriptor could not be made. */
#define KVC_E_EVENT_FD (-305)

/* The file could not be opened, made or locked; the system's error number says why. */
#define KVC_E_FILE (-306)

/* The file system has no room for the tier's file; nothing was written. */
#define KVC_E_NO_SPACE (-307)

/* Another process, or another engine, has the file open. */
#define KVC_E_FILE_BUSY (-308)

/* The file holds a tier of another geometry, layout or version. */
#define KVC_E_FILE_MISMATCH (-309)

/* The file holds something, and it is no tier. */
#define KVC_E_FILE_FOREIGN (-310)

/* The file is damaged, and the configuration asks for a refusal then. */
#define KVC_E_FILE_DAMAGED (-311)

/* io_uring is required and not permitted here. */
#define KVC_E_NO_URING (-312)

/* The device fails or stalls; the tier is offline. */
#define KVC_E_OFFLINE (-313)

/* The tier's endurance budget is used up for now. */
#define KVC_E_ENDURANCE (-314)

/* The engine still has pins, reservations, open lanes or operations under way, or a lane is used by two threads at
 * once.
 */
#define KVC_E_BUSY (-400)

/* The engine was shut down. */
#define KVC_E_SHUTDOWN (-401)

/* The library had an internal failure earlier; the engine refuses work and can only be closed. */
#define KVC_E_POISONED (-402)

/* The engine was opened by a parent process; a forked child must open its own. */
#define KVC_E_FORKED (-403)

/* An internal failure was caught at the boundary; the engine is poisoned. */
#define KVC_E_INTERNAL (-900)

/* The version of the binary interface that the library was built with; equal to KVC_ABI_VERSION of a header that
 * fits.
 *
 * Threads: any, at once.
 *
 * Memory: none.
 */
uint32_t kvc_abi_version(void);

/* The library's version as text, "0.1.0" for one.
 *
 * Threads: any, at once.
 *
 * Memory: lent for as long as the library is loaded; never NULL.
 */
const char *kvc_version(void);

/* The name of a status, "KVC_MISS" for one; "KVC_UNKNOWN" for a number that means nothing.
 *
 * Threads: any, at once.
 *
 * Memory: lent for as long as the library is loaded; never NULL.
 */
const char *kvc_status_name(kvc_status_t status);

/* ===================================================================================================================
 * VALUES: KEYS, BLOCKS, PINS, LANES, TICKETS
 * ===================================================================================================================
 *
 * These are small structs that are copied freely. Pairs of index and generation name something inside the engine; a
 * pair whose thing is gone is KVC_E_STALE wherever it is used. A pair of zeros names nothing.
 */

/* Memory of devices. Reserved: no tier of this kind exists yet. */
#define KVC_TIER_GPU 0

/* Memory of the host. */
#define KVC_TIER_CPU 1

/* A file, or a block device, that is read and written past the page cache. */
#define KVC_TIER_NVME 2

/* A file that is read and written through the page cache, for slow and network disks. */
#define KVC_TIER_DISK 3

/* A store on another machine. Reserved: no tier of this kind exists yet. */
#define KVC_TIER_REMOTE 4

/* How many kinds of tiers there are: tiers are numbers below this. */
#define KVC_TIERS_COUNT 5

/* An open engine. Made by kvc_engine_open, ended by kvc_close.
 *
 * Only ever used by pointer, and never dereferenced: see Handles and values.
 */
typedef struct kvc_engine_t kvc_engine_t;

/* The name of a block: 32 opaque bytes, compared whole. Any 32 bytes are a valid key.
 *
 * Bring your own or derive them: see the chapter Keys.
 */
typedef struct kvc_key_t {
    /* The bytes, in the order in which they are stored and hashed. */
    uint8_t bytes[32];
} kvc_key_t;

/* A block that is or was resident. */
typedef struct kvc_block_t {
    /* Place in the block table. */
    uint32_t index;
    /* How often the place was used. */
    uint32_t generation;
} kvc_block_t;

/* A pin that keeps a block where it is. */
typedef struct kvc_pin_t {
    /* Place in the pin table. */
    uint32_t index;
    /* How often the place was used. */
    uint32_t generation;
} kvc_pin_t;

/* A lane: one producer's private queues. */
typedef struct kvc_lane_t {
    /* Place in the lane table. */
    uint32_t index;
    /* How often the place was used. */
    uint32_t generation;
} kvc_lane_t;

/* A submitted operation of a lane. */
typedef struct kvc_ticket_t {
    /* Place in the lane's ticket table. */
    uint32_t index;
    /* How often the place was used. */
    uint32_t generation;
} kvc_ticket_t;

/* ===================================================================================================================
 * GEOMETRY: WHAT A KEY/VALUE BLOCK CONSISTS OF
 * ===================================================================================================================
 *
 * A block without geometry is plain bytes, and most programs need no more. State geometries in the configuration to
 * gather and scatter blocks (chapter Layout) and for tiers that encode blocks. The engine knows up to 16 of them by
 * number, from 1; number 0 means plain bytes.
 */

/* Elements are IEEE 754 binary32. */
#define KVC_DTYPE_F32 1

/* Elements are IEEE 754 binary16. */
#define KVC_DTYPE_F16 2

/* Elements are the upper half of a binary32. */
#define KVC_DTYPE_BF16 3

/* Elements have 8 bits: 4 of exponent, 3 of mantissa. */
#define KVC_DTYPE_F8_E4M3 4

/* Elements have 8 bits: 5 of exponent, 2 of mantissa. */
#define KVC_DTYPE_F8_E5M2 5

/* Elements are signed integers of 8 bits. */
#define KVC_DTYPE_I8 6

/* Elements are unsigned integers of 8 bits, or bytes that only the engine of the model understands. */
#define KVC_DTYPE_U8 7

/* The dimensions of a key/value block. A block is laid out [layer][key, value][token][head][element], the first index
 * being the slowest, without gaps.
 */
typedef struct kvc_geometry_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Layers with keys and values in the block: 1 to 1024. Required. */
    uint64_t layers_count;
    /* 2 for keys and values, 1 where one vector stands for both (multi-head latent attention). 0 means 2. */
    uint64_t planes_count;
    /* Heads of keys and values on this worker, not those of the queries: 1 to 1024. Required. */
    uint64_t kv_heads_count;
    /* Elements of one head's vector: 1 to 65536. Required. */
    uint64_t head_dim;
    /* Tokens of a block: 1 to 65536. Required. */
    uint64_t tokens_per_block;
    /* Type of one element (KVC_DTYPE_...). Required. */
    uint64_t dtype;
} kvc_geometry_t;

/* Computes the bytes of a block of this geometry.
 *
 * Use it for block_bytes of the configuration.
 *
 * Threads: any, at once.
 *
 * Memory: geometry and bytes_out are borrowed.
 *
 * Statuses: KVC_OK; KVC_E_CONFIG when a dimension is outside its range or the block would have more than 1 GiB;
 * KVC_E_NULL; KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size, see Structs that grow.
 */
kvc_status_t kvc_geometry_block_bytes(const kvc_geometry_t *geometry, uint64_t *bytes_out);

/* ===================================================================================================================
 * CHOOSING CODECS: WHICH CODEC ENCODES WHICH PLANES
 * ===================================================================================================================
 *
 * Chapter Codecs says what each of them is. The same choice serves a codec of its own (kvc_codec_open) and a file
 * tier of an engine (nvme_codec, disk_codec of kvc_config_t).
 */

/* The bytes as they are. */
#define KVC_CODEC_RAW 0

/* Lossless: byte planes, the one with the exponents compressed. */
#define KVC_CODEC_LZ 1

/* 8 bits, E4M3, without a scale. */
#define KVC_CODEC_F8 2

/* Integers of 8 bits, a scale per vector. */
#define KVC_CODEC_I8 3

/* Rotated, 16 levels per element, a scale per 32 elements. */
#define KVC_CODEC_N4 4

/* Rotated, coded along a trellis, 4 bits. */
#define KVC_CODEC_T4 5

/* Rotated, coded along a trellis, 3 bits. */
#define KVC_CODEC_T3 6

/* Rotated, coded along a trellis, 2 bits. */
#define KVC_CODEC_T2 7

/* Codebooks that were trained on samples, 2 bits. Needs tables. */
#define KVC_CODEC_VQ 8

/* Transform coder, calibrated on samples, at a chosen rate. Needs tables. */
#define KVC_CODEC_XC 9

/* How many codecs there are: they are the numbers below this. */
#define KVC_CODECS_COUNT 10

/* Most exceptions for layers in a kvc_codec_config_t. */
#define KVC_CODEC_LAYERS_COUNT_MAX 8

/* Layers that are encoded in another way than the rest. */
typedef struct kvc_codec_layer_t {
    /* First layer, from 0. */
    uint32_t layer_first;
    /* Last layer, itself included. */
    uint32_t layer_last;
    /* The codec of their keys (KVC_CODEC_...). */
    uint32_t codec_key;
    /* The codec of their values. */
    uint32_t codec_value;
} kvc_codec_layer_t;

/* How blocks are encoded. Initialise with KVC_CODEC_CONFIG_INIT. */
typedef struct kvc_codec_config_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* What the blocks consist of. Required. */
    const kvc_geometry_t *geometry;
    /* The codec of keys (KVC_CODEC_...), and of the one plane of geometries that have one. Default KVC_CODEC_RAW. */
    uint64_t codec_key;
    /* The codec of values. Default KVC_CODEC_RAW. */
    uint64_t codec_value;
    /* Tokens at the beginning of each sequence that are kept exactly, at most 65535. Default 0. */
    uint64_t exact_tokens;
    /* Layers at the beginning that are kept exactly, at most 1024; they go before layers. Default 0. */
    uint64_t exact_layers_first;
    /* Layers at the end that are kept exactly, at most 1024; they go before layers. Default 0. */
    uint64_t exact_layers_last;
    /* States of the trellis of t4, t3 and t2: 256, or 64, which encodes faster and loses a little. Default 256. */
    uint64_t trellis_states;
    /* 1 to have t4, t3 and t2 take the mean of each channel off the keys of a block first, else 0. Default 0. */
    uint64_t key_mean;
    /* Rate of xc in thousandths of a bit per element, 500 to 6000. Default 2300. */
    uint64_t xc_millibits;
    /* Relative error, in thousandths, that a sampled block may have before a tier takes the next better codec, at
     * most 1000; 0 is no bound. Tiers look at it, kvc_codec_encode does not. Default 0.
     */
    uint64_t error_max_permille;
    /* How many of layers are filled in, at most 8. Default 0. */
    uint64_t layers_count;
    /* Exceptions; a later one goes before an earlier one. */
    kvc_codec_layer_t layers[8];
    /* Tables for vq and xc, at a multiple of 64 bytes, or NULL. */
    const void *codec_tables;
    /* Bytes of the tables. */
    uint64_t codec_tables_bytes;
} kvc_codec_config_t;

/* ===================================================================================================================
 * CONFIGURATION
 * ===================================================================================================================
 *
 * Everything that an engine is made from is in one struct, and zero means the default in almost every field. What was
 * refused, and why, is in another.
 */

/* "None of it" in those fields of the configuration where zero means a default. */
#define KVC_NONE UINT64_MAX

/* Evict what was used least recently. */
#define KVC_POLICY_LRU 1

/* Evict by three queues (S3-FIFO), which keeps what is used often through a scan of what is used once. */
#define KVC_POLICY_S3FIFO 2

/* Evict what was used least often, where uses count half as much for each turnover of the cache since. */
#define KVC_POLICY_LFU 3

/* Evict by recency and frequency in a proportion that is learnt from what was given up too early (ARC, with clocks).
 */
#define KVC_POLICY_ARC 4

/* Evict by one queue and a hand that passes over what was used since it last passed (SIEVE). */
#define KVC_POLICY_SIEVE 5

/* Evict what was used least, weighed by the cost of computing it again (Greedy-Dual-Size-Frequency). */
#define KVC_POLICY_GDSF 6

/* Evict what is worth least to the program: see kvc_importance_begin. */
#define KVC_POLICY_IMPORTANCE 7

/* What will be wanted last goes first, learnt on line from how long blocks of its kind wait for their next use; of a
 * prompt the tail before what comes before it. The default.
 */
#define KVC_POLICY_HAZARD 8

/* Whichever of KVC_POLICY_HAZARD, KVC_POLICY_S3FIFO and KVC_POLICY_LRU does best on a sample of the keys; begins with
 * the first.
 */
#define KVC_POLICY_ADAPTIVE 9

/* Ordinary pages. The default. */
#define KVC_HUGE_PAGES_OFF 0

/* Transparent huge pages where the kernel gives them. */
#define KVC_HUGE_PAGES_ADVISE 1

/* Reserved huge pages, else opening fails with KVC_E_HUGE_PAGES. */
#define KVC_HUGE_PAGES_REQUIRE 2

/* The engine reads the system's monotonic clock. The default. */
#define KVC_CLOCK_SYSTEM 0

/* The engine's time is what kvc_tick is told, and stands still in between: a run can be repeated exactly. */
#define KVC_CLOCK_TICKS 1

/* Pages are touched by their first use: opening is instant. The default. */
#define KVC_PREFAULT_NONE 0

/* Pages are touched in the background: by the worker thread, or piece by piece by each tick. */
#define KVC_PREFAULT_LAZY 1

/* Pages are touched before open returns. */
#define KVC_PREFAULT_ALL 2

/* A file tier takes every block that memory gives up. The default. */
#define KVC_ADMISSION_ALL 1

/* A file tier takes blocks that were used again after they were stored. */
#define KVC_ADMISSION_SECOND_HIT 2

/* A file tier takes blocks of a kind that is asked for again, as a sample of all blocks that leave memory shows.
 * Kinds go by the time since the last use, the place in the chain, whether the block was used since it came, and
 * whether it is short.
 */
#define KVC_ADMISSION_REUSE 3

/* Blocks are written to the first file tier when memory is about to give them up. The default. */
#define KVC_WRITE_BACK 1

/* Blocks are written to the first file tier as soon as they are committed. */
#define KVC_WRITE_THROUGH 2

/* What cannot be verified in a file is dropped and counted when the engine opens. The default. */
#define KVC_DAMAGE_DROP 1

/* A damaged file is refused with KVC_E_FILE_DAMAGED, and stays as it is. */
#define KVC_DAMAGE_REFUSE 2

/* The NVMe tier uses io_uring where it is permitted, else positional reads and writes. The default. */
#define KVC_IO_AUTO 1

/* The NVMe tier uses io_uring, or opening fails with KVC_E_NO_URING. */
#define KVC_IO_URING 2

/* The NVMe tier uses positional reads and writes, on the thread that drives it. */
#define KVC_IO_POSITIONAL 3

/* The blocks of a conversation are copied up before its next request is due. */
#define KVC_PREFETCH_TURNS 1

/* Sequences and strides are followed: reading every n-th block in the order in which they were first stored. */
#define KVC_PREFETCH_SEQUENCES 2

/* It is learnt which block is used after which. */
#define KVC_PREFETCH_SUCCESSORS 4

/* What an engine is made from. block_bytes and cpu_bytes are required; zero in any other field means its default.
 *
 * Initialise with KVC_CONFIG_INIT (all defaults), or with kvc_config_init, which writes the defaults out.
 */
typedef struct kvc_config_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Most bytes of one block, 1 to 2^31. Required. */
    uint64_t block_bytes;
    /* Bytes of the slots of the memory tier, at least one slot and at most 2^46. Metadata comes on top; the plan says
     * how much. Required.
     */
    uint64_t cpu_bytes;
    /* How victims are chosen (KVC_POLICY_...). Default KVC_POLICY_HAZARD. */
    uint64_t policy;
    /* Most views held at once (kvc_acquire), 1 to 2^20. Default 4096. */
    uint64_t pins_count;
    /* Sets of cache lines that reading threads have to themselves, a power of two from 1 to 1024; at least as many as
     * threads that read at once. Default 64.
     */
    uint64_t stripes_count;
    /* Most lanes open at once, 1 to 1024; KVC_NONE for none. Default 8. */
    uint64_t lanes_count;
    /* Most operations of one lane under way, a power of two from 1 to 65536. Default 256. */
    uint64_t lane_depth;
    /* Events remembered for kvc_events_read, a power of two from 1 to 2^20; KVC_NONE for none. Default 1024. */
    uint64_t events_count;
    /* Threads that the library runs, at most 64. Default 0: tick mode, the caller drives. */
    uint64_t workers_count;
    /* Huge pages for the engine's own mapping (KVC_HUGE_PAGES_...). Default KVC_HUGE_PAGES_OFF. */
    uint64_t huge_pages;
    /* 1 to lock the memory so that it is never swapped out, else 0. Default 0. */
    uint64_t memory_lock;
    /* When pages are touched for the first time (KVC_PREFAULT_...). Default KVC_PREFAULT_NONE. */
    uint64_t prefault;
    /* Milliseconds after which a view that was not released is taken back, at most 400 days: for callers that crash
     * without closing. A view that is used after that time may show another block. Default 0: never.
     */
    uint64_t pin_expiry_ms;
    /* Milliseconds after which a reservation that was neither committed nor aborted is taken back, at most 400 days.
     * Memory that is written after that time may belong to another block. Default 0: never.
     */
    uint64_t reservation_expiry_ms;
    /* Seed of the index's hash; the same seed gives the same run. Set it to a secret random number where keys come
     * from people who might choose them to collide. Default 0.
     */
    uint64_t hash_seed;
    /* One memory hit of this many is timed for the histograms, a power of two from 1 to 2^20; KVC_NONE times none.
     * Default 64.
     */
    uint64_t latency_sample_count;
    /* Where the engine's time comes from (KVC_CLOCK_...). KVC_CLOCK_TICKS is for tick mode only (workers_count 0).
     * Default KVC_CLOCK_SYSTEM.
     */
    uint64_t clock;
    /* Memory that the caller brings, aligned to 4096 bytes; lent by the caller until kvc_close. huge_pages,
     * memory_lock and KVC_PREFAULT_ALL are the caller's business then. Default NULL: the library maps its own.
     */
    void *memory;
    /* Bytes at memory, at least the plan's bytes. 0 exactly when memory is NULL. */
    uint64_t memory_bytes;
    /* The geometries that blocks can name by number, the first one being number 1. Default NULL: none. Borrowed. */
    const kvc_geometry_t *geometries;
    /* How many there are at geometries, at most 16. All have the struct_size of the first. */
    uint64_t geometries_count;
    /* Path of the NVMe tier's file: made where there is none, read where it holds what an engine of the same
     * configuration left. Or a block device, whose contents are the tier's then. Given exactly when nvme_bytes is not
     * 0. Default NULL: no such tier. Borrowed.
     */
    const char *nvme_path;
    /* Bytes of the NVMe tier's file, at least four segments and at most 2^46; all of it is taken when the engine
     * opens. Default 0: no such tier.
     */
    uint64_t nvme_bytes;
    /* Bytes of the NVMe tier that are written in order and given up together, a multiple of 4096 with room for the
     * largest block, at most 4 GiB. Default: a 64th of the file within 16 and 64 MiB, an eighth of a small file, but
     * room for two of the largest blocks.
     */
    uint64_t nvme_segment_bytes;
    /* Most blocks known in the NVMe tier; each costs up to 220 bytes of memory. Default: as many of block_bytes as
     * the file has room for.
     */
    uint64_t nvme_blocks_count;
    /* Most requests to the NVMe tier's device under way, 4 to 256; each has a buffer of 264 KiB, or more for blocks
     * above 64 MiB, and there are more buffers where the largest block needs them. Default 32.
     */
    uint64_t nvme_depth;
    /* Which blocks the NVMe tier takes (KVC_ADMISSION_...). Default KVC_ADMISSION_ALL. */
    uint64_t nvme_admission;
    /* Most bytes written to the NVMe tier's file in any 24 hours, at least four segments. Default 0: no bound. */
    uint64_t nvme_endurance_bytes_per_day;
    /* The hit in the NVMe tier, counted from 1, from which on a block stays in memory once it was copied up, 1 to
     * 255; before it, it is the first to go again. Default 1.
     */
    uint64_t nvme_promotion_hits;
    /* Milliseconds without any progress of the device after which the NVMe tier goes offline, at most one hour.
     * Default 10000.
     */
    uint64_t nvme_stall_ms;
    /* Path of the disk tier's file: made where there is none, read where it holds what an engine of the same
     * configuration left. Given exactly when disk_bytes is not 0. Default NULL: no such tier. Borrowed.
     */
    const char *disk_path;
    /* Bytes of the disk tier's file, at least four segments and at most 2^46; all of it is taken when the engine
     * opens. Default 0: no such tier.
     */
    uint64_t disk_bytes;
    /* Bytes of the disk tier that are written in order and given up together, a multiple of 4096 with room for the
     * largest block, at most 4 GiB. Default: a 64th of the file within 16 and 64 MiB, an eighth of a small file, but
     * room for two of the largest blocks.
     */
    uint64_t disk_segment_bytes;
    /* Most blocks known in the disk tier; each costs up to 220 bytes of memory. Default: as many of block_bytes as
     * the file has room for.
     */
    uint64_t disk_blocks_count;
    /* Most requests to the disk tier's device under way, 4 to 256; each has a buffer of 264 KiB, or more for blocks
     * above 64 MiB, and there are more buffers where the largest block needs them. Default 32.
     */
    uint64_t disk_depth;
    /* Which blocks the disk tier takes (KVC_ADMISSION_...). Default KVC_ADMISSION_ALL. */
    uint64_t disk_admission;
    /* Most bytes written to the disk tier's file in any 24 hours, at least four segments. Default 0: no bound. */
    uint64_t disk_endurance_bytes_per_day;
    /* The hit in the disk tier, counted from 1, from which on a block stays in memory once it was copied up, 1 to
     * 255; before it, it is the first to go again. Default 1.
     */
    uint64_t disk_promotion_hits;
    /* Milliseconds without any progress of the device after which the disk tier goes offline, at most one hour.
     * Default 10000.
     */
    uint64_t disk_stall_ms;
    /* When blocks are written to the first file tier (KVC_WRITE_...). Default KVC_WRITE_BACK. */
    uint64_t write_policy;
    /* What opening does about a damaged file (KVC_DAMAGE_...). Default KVC_DAMAGE_DROP. */
    uint64_t damage;
    /* How the NVMe tier's file is read and written (KVC_IO_...). Default KVC_IO_AUTO. */
    uint64_t io_engine;
    /* 1 to overwrite files that hold something else (another geometry, another version, no tier at all) instead of
     * refusing them, else 0. Default 0.
     */
    uint64_t file_overwrite;
    /* Share of the memory tier's slots, in thousandths, below which ticks and workers begin to make room, at most
     * slots_free_high_permille; only with file tiers; KVC_NONE for 0. Default 20.
     */
    uint64_t slots_free_low_permille;
    /* Share of the slots, in thousandths, up to which they make room then, at most 500; KVC_NONE for 0. Default 40.
     */
    uint64_t slots_free_high_permille;
    /* Milliseconds that a put waits for room while what would have to go is still being written down, at most one
     * hour; after that an unwritten block is given up. KVC_NONE: never wait. Default 1000.
     */
    uint64_t write_wait_ms;
    /* How the NVMe tier encodes blocks that have a geometry. geometry and the tables of the codec's configuration are
     * not looked at: it is the block's geometry, and codec_tables below. Default NULL: not at all. Borrowed.
     */
    const kvc_codec_config_t *nvme_codec;
    /* How the disk tier encodes blocks that have a geometry, as nvme_codec. Default NULL: not at all. Borrowed. */
    const kvc_codec_config_t *disk_codec;
    /* Tables for vq and xc; copied, so that they may begin anywhere. Default NULL: none. Borrowed. */
    const void *codec_tables;
    /* Bytes at codec_tables. 0 exactly when that is NULL. */
    uint64_t codec_tables_bytes;
    /* Most keys in an importance table (kvc_importance_begin), of which there are two; 24 bytes a key. Default 0: no
     * table.
     */
    uint64_t importance_count;
    /* 1 to let blocks with different keys that hold the same bytes share a slot of the memory tier, else 0. Then
     * there can be up to twice as many blocks in memory as slots; each costs metadata as the plan says. At its commit
     * each block is hashed, and compared whole with a block of the same digest before they share. Default 0.
     */
    uint64_t dedup;
    /* What is copied up from a file tier ahead of its use (KVC_PREFETCH_..., added together), by ticks and workers.
     * Default 0: nothing.
     */
    uint64_t prefetch;
    /* Conversations that KVC_PREFETCH_TURNS remembers, at most 2^20; each costs 128 bytes of memory. Default 4096. */
    uint64_t prefetch_conversations_count;
    /* Successors that KVC_PREFETCH_SUCCESSORS remembers, 4 to 65536; each costs 24 bytes of memory. Default 65536. */
    uint64_t prefetch_successors_count;
    /* Least probability of being used at which a block is copied up ahead, in thousandths, at most 1000. Default 290.
     */
    uint64_t prefetch_confidence_permille;
    /* Most bytes of slots with blocks that were copied up ahead and not used yet, at most cpu_bytes. Default: an
     * eighth of cpu_bytes.
     */
    uint64_t prefetch_bytes;
    /* Most bytes copied up ahead in a second, and in one burst. Default 0: no bound. */
    uint64_t prefetch_bytes_per_second;
    /* Share of a file tier's hits that KVC_ADMISSION_REUSE may cost, in thousandths, at most 500: the more, the fewer
     * blocks are written. Default 50.
     */
    uint64_t admission_loss_permille;
    /* 1 to let ticks and workers move prefetch_confidence_permille (between half of it and twice it, 100 to 950) and
     * admission_loss_permille (between a quarter of it and twice it, 5 to 200) towards what serves better, each only
     * where it is in use; else 0. A step that does not serve better is taken back. Default 0.
     */
    uint64_t tuning;
} kvc_config_t;

/* Why a configuration was refused. Initialise with KVC_ERROR_INIT.
 *
 * Written only when a call that takes one refuses its configuration or cannot obtain what it asks for; otherwise it
 * stays as it was.
 */
typedef struct kvc_error_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* The status that the call answered. */
    int64_t status;
    /* The value that the field had. */
    uint64_t value;
    /* The smallest permitted value. */
    uint64_t value_min;
    /* The largest permitted value. */
    uint64_t value_max;
    /* The operating system's error number where one is behind this, else 0. */
    int64_t os_error;
    /* The field of kvc_config_t or kvc_geometry_t, with a closing NUL byte. */
    char field[32];
    /* All of this as a sentence for people, with a closing NUL byte. */
    char message[256];
} kvc_error_t;

/* Writes every default out, so that they can be looked at and changed one by one.
 *
 * Set struct_size before (KVC_CONFIG_INIT does); it stays as it is. block_bytes and cpu_bytes become zero: they have
 * no default. So do the file tiers' sizes and paths: by default there are none.
 *
 * Threads: any, at once.
 *
 * Memory: config is borrowed.
 *
 * Statuses: KVC_OK; KVC_E_NULL; KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_config_init(kvc_config_t *config);

/* ===================================================================================================================
 * PLAN, OPEN, CLOSE
 * ===================================================================================================================
 *
 * Fill in a kvc_config_t, look at the plan if you like (it is computed without obtaining anything), open. The engine
 * obtains exactly what the plan says, from the system or from memory that the caller brings, and nothing afterwards.
 */

/* How many components a plan has room for. */
#define KVC_COMPONENTS_COUNT_MAX 32

/* One line of the plan. */
typedef struct kvc_component_t {
    /* What it is, with a closing NUL byte: "slots". */
    char name[32];
    /* The tier it belongs to (KVC_TIER_...). */
    uint64_t tier;
    /* 1 for bookkeeping, 0 for payload and for the buffers of the file tiers. */
    uint64_t metadata;
    /* Bytes from the start of the engine's memory. */
    uint64_t offset;
    /* How many. */
    uint64_t count;
    /* Bytes of each. */
    uint64_t bytes_each;
    /* Bytes of all, rounded up to whole pages. */
    uint64_t bytes;
} kvc_component_t;

/* The exact bytes of everything an engine will ever hold. Initialise with KVC_PLAN_INIT. */
typedef struct kvc_plan_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Bytes of everything: what open obtains, or what the caller brings. */
    uint64_t bytes;
    /* Bytes of bookkeeping: everything but the slots and the buffers of the file tiers. */
    uint64_t metadata_bytes;
    /* Bytes per block of key, index, state, facts, policy and place in the file tiers, rounded up. */
    uint64_t metadata_bytes_per_block;
    /* Most blocks resident at once, in all tiers together. */
    uint64_t blocks_count;
    /* Slots of the memory tier. */
    uint64_t slots_count;
    /* Bytes from one slot to the next: block_bytes rounded up to a cache line or a page. */
    uint64_t slot_bytes;
    /* Alignment in bytes that memory brought by the caller must have. */
    uint64_t memory_alignment_bytes;
    /* Bytes of memory per tier, in the order of KVC_TIER_...; the last three are reserved and zero. */
    uint64_t tier_bytes[8];
    /* How many of components are filled in. */
    uint64_t components_count;
    /* Every component, in the order in which they lie in memory. */
    kvc_component_t components[32];
    /* Bytes of each tier's file, in the order of KVC_TIER_..., 0 where there is none; not part of bytes, which is
     * memory.
     */
    uint64_t file_bytes[8];
} kvc_plan_t;

/* Computes the exact bytes of everything that an engine of this configuration would ever hold. Obtains nothing.
 *
 * The answer depends on nothing but the configuration. memory, memory_bytes, the paths and the codecs' tables are not
 * looked at: the plan says what to bring.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed. error_out may be NULL.
 *
 * Statuses: KVC_OK; KVC_E_CONFIG and KVC_E_CONFLICT with the field, the value and the permitted range in error_out;
 * KVC_E_NULL; KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_plan_compute(const kvc_config_t *config, kvc_plan_t *plan_out, kvc_error_t *error_out);

/* Opens an engine: obtains what the plan says, reads what the files of its tiers hold, starts the workers if there
 * are to be any.
 *
 * A file that exists is read before anything is written to it: its metadata, and of its blocks those that may have
 * been half written when the last process ended, but not the others. One that holds the tier of an engine of the same
 * block_bytes, geometries and segments is taken over with all its blocks. What cannot be verified there is dropped
 * and counted (blocks_damaged of kvc_stats_t), unless damage asks for a refusal. A file that was made by a call that
 * fails is removed again.
 *
 * See also: kvc_plan_compute, kvc_close.
 *
 * Threads: any, at once. Waits for the files' devices.
 *
 * Memory: config, its geometries, paths, codecs and tables, engine_out and error_out are borrowed; error_out may be
 * NULL. memory of the configuration is lent by the caller until kvc_close. Of the functions with an engine, only this
 * one allocates.
 *
 * Statuses: KVC_OK; KVC_E_CONFIG and KVC_E_CONFLICT with the field, the value and the permitted range in error_out;
 * KVC_E_NO_MEMORY, KVC_E_HUGE_PAGES, KVC_E_LOCK, KVC_E_THREAD, KVC_E_EVENT_FD with the system's error number there;
 * for the files, under the name of the path's field, KVC_E_FILE and KVC_E_NO_SPACE with the system's error number,
 * KVC_E_FILE_BUSY, KVC_E_FILE_MISMATCH with what the file holds and what was asked, KVC_E_FILE_FOREIGN,
 * KVC_E_FILE_DAMAGED, KVC_E_NO_URING, and KVC_E_UNSUPPORTED for a tier that the library was built without;
 * KVC_E_DAMAGED and KVC_E_UNSUPPORTED under the field codec_tables; KVC_AGAIN when 1024 engines are open; KVC_E_NULL;
 * KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_engine_open(const kvc_config_t *config,
                             kvc_engine_t **engine_out,
                             kvc_error_t *error_out);

/* Winds the engine up: refuses new work, completes what lanes have queued, and makes durable what can be (as
 * kvc_flush, for at most ten minutes).
 *
 * Afterwards kvc_reserve, kvc_put, kvc_put_many, kvc_lane_open and kvc_submit answer KVC_E_SHUTDOWN. Everything else
 * still works, so that completions can be reaped and everything can be given back before kvc_close. A second shutdown
 * does nothing.
 *
 * Threads: no other call on this engine. Waits for the files' devices.
 *
 * Memory: none.
 *
 * Statuses: KVC_OK, whatever could be made durable; to know, call kvc_flush before.
 */
kvc_status_t kvc_shutdown(kvc_engine_t *engine);

/* Closes the engine and gives its memory and its files back. Needs no shutdown before.
 *
 * Does not write down what no file holds: to find it again, call kvc_flush or kvc_shutdown first.
 *
 * The handle is wrong from then on: KVC_E_HANDLE. An engine that is in use stays open and as it was.
 *
 * Threads: no other call on this engine, and none afterwards.
 *
 * Memory: what the engine lent must have been given back. memory of the configuration is the caller's again.
 *
 * Statuses: KVC_OK; KVC_E_BUSY while there are pins, reservations, open lanes or operations under way. An engine that
 * is poisoned can always be closed.
 */
kvc_status_t kvc_close(kvc_engine_t *engine);

/* ===================================================================================================================
 * KEYS: DERIVING 32 BYTES FROM WHATEVER NAMES A BLOCK
 * ===================================================================================================================
 *
 * Keys are derived with SHA-256, so two different inputs never share a key in practice, and tenants with different
 * namespaces or secret salts can neither collide nor probe each other's blocks. The exact definition, for other
 * languages to reproduce (test vectors come with the source, in tests/vectors/):
 *
 *     derive      SHA-256("kvcache:bytes:v1" | namespace, 8 bytes | salt_bytes, 8 bytes | salt | bytes)
 *     chain_root  SHA-256("kvcache:root_:v1" | namespace, 8 bytes | salt_bytes, 8 bytes | salt)
 *     chain       SHA-256("kvcache:chain:v1" | parent, 32 bytes | tokens, 4 bytes each)
 *
 * with integers little-endian. A chain names the blocks of a prompt: the key of each block is derived from the key
 * before it and the block's own tokens, so it stands for everything up to its end. Two prompts share keys exactly as
 * far as their blocks agree, and no further. Put into the root's salt whatever else makes blocks differ: the model,
 * its revision, an adapter, the geometry.
 *
 * These functions have no engine, may always be called from any number of threads at once, and only borrow their
 * pointers. All of them answer KVC_OK, KVC_E_NULL, KVC_E_ARGUMENT for misaligned pointers and impossible counts, and
 * what is listed.
 */

/* Derives the key of any string of bytes within a namespace and under a salt.
 *
 * The way in for names that are not 32 bytes long: an engine's own hash with a group number, a file name with an
 * offset. The salt may be empty (NULL, 0), and so may the bytes.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 */
kvc_status_t kvc_key_derive(uint64_t namespace_id,
                            const void *salt,
                            uint64_t salt_bytes,
                            const void *data,
                            uint64_t data_bytes,
                            kvc_key_t *key_out);

/* Derives the parent of the first block of every chain in this namespace and under this salt.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 */
kvc_status_t kvc_key_chain_root(uint64_t namespace_id, const void *salt, uint64_t salt_bytes, kvc_key_t *key_out);

/* Derives the key of the block that holds these tokens and follows the block parent.
 *
 * key_out may be parent.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 */
kvc_status_t kvc_key_chain(const kvc_key_t *parent,
                           const uint32_t *tokens,
                           uint64_t tokens_count,
                           kvc_key_t *key_out);

/* Derives the keys of all full blocks of a prompt, the first one chained to parent.
 *
 * There are tokens_count / tokens_per_block of them; tokens after the last full block have no key yet. To go on
 * later, pass the last key as the parent and the tokens from there on.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed. keys_out has room for keys_capacity keys.
 *
 * Statuses: KVC_OK; KVC_E_ARGUMENT when tokens_per_block is 0; KVC_E_TOO_SMALL when there are more full blocks than
 * keys_capacity.
 */
kvc_status_t kvc_key_chain_many(const kvc_key_t *parent,
                                const uint32_t *tokens,
                                uint64_t tokens_count,
                                uint64_t tokens_per_block,
                                kvc_key_t *keys_out,
                                uint64_t keys_capacity,
                                uint64_t *keys_count_out);

/* ===================================================================================================================
 * READING: MATCH, GET, ACQUIRE
 * ===================================================================================================================
 *
 * kvc_match asks how much of a chain of keys is resident, without touching payload. kvc_get copies a block into the
 * caller's buffer. kvc_acquire lends the block itself: nothing is copied, and the block stays where it is, readable
 * and unchanged, until kvc_release.
 *
 * Resident is a block in any tier. One that is in a file tier only is copied up into memory when it is got or
 * acquired, and the call waits for that; on a lane (KVC_OP_GET, KVC_OP_ACQUIRE) nobody has to wait. kvc_prefetch
 * begins it ahead of use. With KVC_ACQUIRE_PARTIAL a block is lent while it is still arriving, so that its first
 * layers can be used before its last are there.
 */

/* For match: count the resident blocks as used, so that they are evicted later. Without it, match only looks. */
#define KVC_MATCH_TOUCH 1

/* For copies: the bytes are read soon by this core and shall be in its cache. */
#define KVC_COPY_HOT 1

/* For copies: the bytes are not read soon and shall not displace what is in the cache. Without KVC_COPY_HOT and
 * KVC_COPY_COLD the size of the block decides.
 */
#define KVC_COPY_COLD 2

/* For acquire: lend a block of a file tier at once, while it is still arriving; kvc_view_ready says how much of it is
 * there.
 */
#define KVC_ACQUIRE_PARTIAL 1

/* One item of a batch of gets or puts: a key, where its bytes are or go, and what became of it. */
typedef struct kvc_item_t {
    /* The block's key. */
    kvc_key_t key;
    /* Get: where the bytes go. Put: where they are; not written. */
    void *data;
    /* Get: room in bytes at data. Put: bytes of the block. */
    uint64_t bytes;
    /* Written by the library. Get: bytes of the block if the status is KVC_OK, else 0. Put: bytes stored. */
    uint64_t bytes_out;
    /* Written by the library: what became of this item. */
    kvc_status_t status;
    /* Zero. */
    uint32_t flags;
} kvc_item_t;

/* A block that the engine lends: bytes bytes at data, readable and unchanged until kvc_release. */
typedef struct kvc_view_t {
    /* The block's bytes, aligned to at least 64. */
    const void *data;
    /* How many there are. */
    uint64_t bytes;
    /* The block. */
    kvc_block_t block;
    /* What holds it. */
    kvc_pin_t pin;
} kvc_view_t;

/* Room for a block that the engine lends to its producer until kvc_commit or kvc_abort. */
typedef struct kvc_reservation_t {
    /* Where the block's bytes go, aligned to at least 64. What is there before is undefined. */
    void *data;
    /* Room in bytes: what was asked for. */
    uint64_t bytes;
    /* The block to be. */
    kvc_block_t block;
    /* Zero. */
    uint64_t reserved;
} kvc_reservation_t;

/* Counts the keys at the beginning of the list whose blocks are resident: the longest resident prefix.
 *
 * Resident is a block in whichever tier; kvc_match_each says in which. Keys after the first that is not resident do
 * not count, resident or not. The answer is a snapshot: a block may be evicted right afterwards, and one in a file
 * tier may turn out damaged when it is read. To keep it, use kvc_acquire_many.
 *
 * Flags: KVC_MATCH_TOUCH.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 *
 * Statuses: KVC_OK, also for a count of 0.
 */
kvc_status_t kvc_match(const kvc_engine_t *engine,
                       const kvc_key_t *keys,
                       uint64_t keys_count,
                       uint32_t flags,
                       uint64_t *matched_count_out);

/* Says for each key in which tiers its block is resident.
 *
 * For hybrid models, whose layers keep different parts of a prompt, a prefix is not enough. tiers_out[i] becomes the
 * sum of 1 << KVC_TIER_... over the tiers that have block i: 2 for the memory of the host, 4 for the NVMe tier, 8 for
 * the disk tier, 0 for not resident.
 *
 * Flags: KVC_MATCH_TOUCH.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed. tiers_out has keys_count elements.
 *
 * Statuses: KVC_OK, also when none is resident.
 */
kvc_status_t kvc_match_each(const kvc_engine_t *engine,
                            const kvc_key_t *keys,
                            uint64_t keys_count,
                            uint32_t flags,
                            uint8_t *tiers_out,
                            uint64_t *resident_count_out);

/* Copies a block into the caller's buffer. A block that is in a file tier only is copied up into memory first, and
 * stays there, as the tier's promotion_hits say; it stays in the file too.
 *
 * Flags: KVC_COPY_HOT or KVC_COPY_COLD.
 *
 * Threads: any, at once. Waits for a block below memory until it is there, or until the device fails or makes no
 * progress for ..._stall_ms of the configuration. A block in memory is never waited for.
 *
 * Memory: all pointers are borrowed; target need not be initialised. Nothing is written to it unless the status is
 * KVC_OK.
 *
 * Statuses: KVC_OK; KVC_MISS, also while a producer still fills it, and when what the file held could not be read or
 * was not what was written (the block is dropped then); KVC_E_TOO_SMALL when the block has more than target_bytes
 * bytes; KVC_AGAIN when more copies are under way than there are pins for, or when everything in memory is held and
 * there is no room to copy the block up; KVC_E_ARGUMENT for both flags at once.
 */
kvc_status_t kvc_get(const kvc_engine_t *engine,
                     const kvc_key_t *key,
                     void *target,
                     uint64_t target_bytes,
                     uint32_t flags,
                     uint64_t *bytes_out);

/* Copies many blocks, each into its own buffer. Every item gets a status of its own, as kvc_get would answer. Blocks
 * below memory are copied up ahead of their turn, several at once.
 *
 * Flags: KVC_COPY_HOT or KVC_COPY_COLD, for all items. The flags of the items must be zero.
 *
 * Threads: any, at once. Waits as kvc_get does.
 *
 * Memory: all pointers, also those in the items, are borrowed.
 *
 * Statuses: KVC_OK whatever became of the items; hits_count_out receives how many of them have KVC_OK. After any
 * other status the items are as they were.
 */
kvc_status_t kvc_get_many(const kvc_engine_t *engine,
                          kvc_item_t *items,
                          uint64_t items_count,
                          uint32_t flags,
                          uint64_t *hits_count_out);

/* Lends a block to the caller, without copying it. Release the view with kvc_release.
 *
 * A held block is neither evicted nor moved. It may be removed meanwhile (kvc_remove): then nobody finds it any more,
 * and its memory is reused after the last view is released.
 *
 * A block that is in a file tier only is copied up into memory first, and the call waits for that. With
 * KVC_ACQUIRE_PARTIAL it does not: the view is of the block's whole length, and only as many bytes of it may be read
 * as kvc_view_ready says.
 *
 * Flags: KVC_ACQUIRE_PARTIAL.
 *
 * Threads: any, at once. Waits as kvc_get does; with KVC_ACQUIRE_PARTIAL it does not wait.
 *
 * Memory: key and view_out are borrowed. view_out->data is lent until kvc_release; do not write to it. When the
 * configuration sets pin_expiry_ms, no longer than that.
 *
 * Statuses: KVC_OK; KVC_MISS, also while a producer still fills it, and when what the file held could not be read or
 * was not what was written; KVC_AGAIN when all pins are in use, or there is no room to copy the block up.
 */
kvc_status_t kvc_acquire(const kvc_engine_t *engine,
                         const kvc_key_t *key,
                         uint32_t flags,
                         kvc_view_t *view_out);

/* Says how many bytes of a block that was acquired with KVC_ACQUIRE_PARTIAL are there and verified, from its first
 * byte on. The number only grows.
 *
 * In tick mode the block arrives in kvc_tick and in calls that wait; this call moves it on too. Ask again until the
 * answer is no longer KVC_PENDING, and use the layers that are there meanwhile.
 *
 * Threads: any, at once. Does not wait.
 *
 * Memory: view and bytes_ready_out are borrowed.
 *
 * Statuses: KVC_OK when all bytes are there, also for a view that was acquired without the flag; KVC_PENDING while
 * they arrive; in both cases bytes_ready_out receives how many are there. KVC_MISS when the rest could not be read or
 * was not what was written, or the block was removed before it had arrived: release the view, its bytes are
 * worthless, also those that were ready. KVC_E_STALE when the view was released already, expired, or never was a view
 * of this engine.
 */
kvc_status_t kvc_view_ready(const kvc_engine_t *engine,
                            const kvc_view_t *view,
                            uint64_t *bytes_ready_out);

/* Lends the blocks of the longest resident prefix of the list: kvc_match and kvc_acquire in one.
 *
 * Stops at the first block that is not resident or cannot be copied up, or when the pins run out. Views of that many
 * blocks are written. Blocks below memory are copied up, several at once, and waited for.
 *
 * Flags: none yet.
 *
 * Threads: any, at once. Waits as kvc_get does.
 *
 * Memory: all pointers are borrowed; views_out has keys_count elements. The data of the views is lent until they are
 * released.
 *
 * Statuses: KVC_OK, also for a count of 0.
 */
kvc_status_t kvc_acquire_many(const kvc_engine_t *engine,
                              const kvc_key_t *keys,
                              uint64_t keys_count,
                              uint32_t flags,
                              kvc_view_t *views_out,
                              uint64_t *views_count_out);

/* Gives a view back.
 *
 * Threads: any, at once; also another one than the one that acquired.
 *
 * Memory: view is borrowed and not changed. Its data must not be used any more.
 *
 * Statuses: KVC_OK; KVC_E_STALE when it was released already, expired, or never was a view of this engine.
 */
kvc_status_t kvc_release(const kvc_engine_t *engine, const kvc_view_t *view);

/* Gives many views back.
 *
 * Threads: any, at once.
 *
 * Memory: views is borrowed and not changed; the data of the views must not be used any more. released_count_out may
 * be NULL.
 *
 * Statuses: KVC_OK; a view that was stale is passed over, so that released_count_out is less than views_count.
 */
kvc_status_t kvc_release_many(const kvc_engine_t *engine,
                              const kvc_view_t *views,
                              uint64_t views_count,
                              uint64_t *released_count_out);

/* ===================================================================================================================
 * WRITING: RESERVE, COMMIT, PUT
 * ===================================================================================================================
 *
 * kvc_put copies bytes in. kvc_reserve lends room to fill in place (by the program itself, a read from a file, a
 * device) and kvc_commit makes it readable, all at once; nobody sees a block before. Blocks are immutable: a second
 * put of the same key answers KVC_EXISTS and stores nothing, and while one producer fills a block, others get
 * KVC_PENDING, so that the same work is not done twice.
 *
 * A full tier evicts blocks by its policy. When nothing can be evicted because everything is held, the answer is
 * KVC_AGAIN. With file tiers, what has to go is written down first where that is still to do: the chapter Under
 * memory pressure says in which order, and how long a call waits for it.
 */

/* For kvc_put_info_t: never evict the block while there is one without this flag that could be. */
#define KVC_PUT_PROTECTED 1

/* What a put says about its block, for the policy to decide by. Initialise with KVC_PUT_INFO_INIT; everything may
 * stay zero.
 */
typedef struct kvc_put_info_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Key of the block before this one in the request's chain; it need not be resident. NULL for none. Copied. */
    const kvc_key_t *parent;
    /* Place in the request's chain, from 0. */
    uint64_t chain_index;
    /* Tokens in the block. */
    uint64_t tokens_count;
    /* What computing the block again would cost, in microseconds. */
    uint64_t recompute_cost_us;
    /* The conversation that the block belongs to; 0 for none. */
    uint64_t conversation_id;
    /* The namespace that the block is cleared with (kvc_namespace_clear); any number. */
    uint64_t namespace_id;
    /* Retention priority, 0 (evicted first) to 100. */
    uint64_t priority;
    /* KVC_PUT_PROTECTED or 0. */
    uint64_t flags;
    /* Milliseconds after which priority and protection lapse, at most 400 days; 0 for never. */
    uint64_t expiry_ms;
    /* Which of the configuration's geometries the block has, from 1; 0 for plain bytes. */
    uint64_t geometry_id;
    /* How much keeping the block is worth, 0 for nothing in particular, at most 2^32 - 1; what KVC_POLICY_IMPORTANCE
     * goes by where its table does not have the key.
     */
    uint64_t importance;
} kvc_put_info_t;

/* Lends room for a block of bytes bytes to its producer. Fill it, then kvc_commit; or give it up with kvc_abort.
 *
 * Until then the block is not resident, and other producers of the same key get KVC_PENDING.
 *
 * Threads: any, at once. Where there is room only after a block was written to a file tier, waits for that, at most
 * write_wait_ms of the configuration.
 *
 * Memory: key, info and reservation_out are borrowed; info may be NULL. reservation_out->data is lent until
 * kvc_commit or kvc_abort; when the configuration sets reservation_expiry_ms, no longer than that.
 *
 * Statuses: KVC_OK; KVC_EXISTS; KVC_PENDING; KVC_AGAIN when everything is held; KVC_E_TOO_LARGE for more than
 * block_bytes of the configuration; KVC_E_ARGUMENT for 0 bytes and for values of info outside their range.
 */
kvc_status_t kvc_reserve(const kvc_engine_t *engine,
                         const kvc_key_t *key,
                         uint64_t bytes,
                         const kvc_put_info_t *info,
                         kvc_reservation_t *reservation_out);

/* Makes a reserved block readable.
 *
 * bytes says how much was filled in, from the beginning, at most what was reserved; 0 means all of it.
 *
 * With dedup the bytes are hashed and, where a block with the same digest is in memory, compared with it; if they are
 * the same the two blocks share that one's place.
 *
 * Threads: any, at once; also another one than the one that reserved.
 *
 * Memory: reservation is borrowed and not changed. Its data must not be written any more; with dedup it may be
 * another block's already, and is not to be read either.
 *
 * Statuses: KVC_OK; KVC_E_STALE when it was committed or aborted already, or expired; KVC_E_TOO_LARGE for more bytes
 * than were reserved.
 */
kvc_status_t kvc_commit(const kvc_engine_t *engine, const kvc_reservation_t *reservation, uint64_t bytes);

/* Gives a reservation up; the room is free again.
 *
 * Threads: any, at once; also another one than the one that reserved.
 *
 * Memory: reservation is borrowed and not changed. Its data must not be written any more.
 *
 * Statuses: KVC_OK; KVC_E_STALE when it was committed or aborted already, or expired.
 */
kvc_status_t kvc_abort(const kvc_engine_t *engine, const kvc_reservation_t *reservation);

/* Stores a block: reserve, copy and commit in one.
 *
 * Threads: any, at once.
 *
 * Memory: key, source and info are borrowed; info may be NULL.
 *
 * Statuses: KVC_OK; KVC_EXISTS; KVC_PENDING while another producer fills it; KVC_AGAIN when everything is held;
 * KVC_E_TOO_LARGE for more than block_bytes of the configuration; KVC_E_ARGUMENT for 0 bytes and for values of info
 * outside their range.
 */
kvc_status_t kvc_put(const kvc_engine_t *engine,
                     const kvc_key_t *key,
                     const void *source,
                     uint64_t source_bytes,
                     const kvc_put_info_t *info);

/* Stores a chain of blocks, in order: each item's parent is the item before it, and the first one's is that of info.
 *
 * info says the rest about all of them; its chain_index is that of the first. Every item gets a status of its own, as
 * kvc_put would answer. Blocks that exist or are pending are passed over. At the first item that cannot be stored for
 * another reason the batch ends, because a chain with a hole is never matched beyond it; the items after it get
 * KVC_CANCELLED.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers, also those in the items, are borrowed; info may be NULL.
 *
 * Statuses: KVC_OK whatever became of the items; stored_count_out receives how many of them have KVC_OK.
 * KVC_E_ARGUMENT for values of info outside their range. After any other status than KVC_OK the items are as they
 * were.
 */
kvc_status_t kvc_put_many(const kvc_engine_t *engine,
                          kvc_item_t *items,
                          uint64_t items_count,
                          const kvc_put_info_t *info,
                          uint64_t *stored_count_out);

/* ===================================================================================================================
 * KEEPING AND DROPPING: REMOVE, TOUCH, RETAIN, CLEAR
 * ===================================================================================================================
 */

/* For kvc_retain: never evict the blocks while there is one without this flag that could be. */
#define KVC_RETAIN_PROTECTED 1

/* Removes blocks, from all tiers. From then on nobody finds them.
 *
 * A block that somebody holds goes once the last view of it is released; it counts as removed. A block that is not
 * resident is passed over. What was in a file tier stays removed when the engine is opened again, once the next
 * kvc_flush answered KVC_OK; after a crash before that it may be there again.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 *
 * Statuses: KVC_OK, also when none was resident.
 */
kvc_status_t kvc_remove(const kvc_engine_t *engine,
                        const kvc_key_t *keys,
                        uint64_t keys_count,
                        uint64_t *removed_count_out);

/* Counts blocks as used now, so that they are evicted later, without reading them, in whichever tier they are.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 *
 * Statuses: KVC_OK, also when none was resident; touched_count_out receives how many were.
 */
kvc_status_t kvc_touch(const kvc_engine_t *engine,
                       const kvc_key_t *keys,
                       uint64_t keys_count,
                       uint64_t *touched_count_out);

/* Changes how long resident blocks are kept: priority, protection and when both lapse.
 *
 * priority is 0 (evicted first) to 100; expiry_ms is milliseconds from now, 0 for never, at most 400 days. Blocks
 * that are not resident are passed over.
 *
 * Flags: KVC_RETAIN_PROTECTED.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 *
 * Statuses: KVC_OK, also when none was resident; retained_count_out receives how many were; KVC_E_ARGUMENT for a
 * priority or an expiry outside its range.
 */
kvc_status_t kvc_retain(const kvc_engine_t *engine,
                        const kvc_key_t *keys,
                        uint64_t keys_count,
                        uint32_t priority,
                        uint64_t expiry_ms,
                        uint32_t flags,
                        uint64_t *retained_count_out);

/* Removes every block that was put with this namespace (namespace_id of kvc_put_info_t).
 *
 * Takes time proportional to the number of blocks there can be. Blocks put meanwhile may stay.
 *
 * Threads: any, at once.
 *
 * Memory: removed_count_out is borrowed.
 *
 * Statuses: KVC_OK, also when there was none.
 */
kvc_status_t kvc_namespace_clear(const kvc_engine_t *engine, uint64_t namespace_id, uint64_t *removed_count_out);

/* Bounds how much the blocks of a namespace may lose in the file tiers.
 *
 * A tier whose codec is coarser than error_max_permille, as it is known or as samples show it, does not get them:
 * they are dropped there rather than degraded, and counted (quality_refusals of kvc_stats_t). 0 permits lossless
 * codecs only; UINT64_MAX takes the bound back. What is in a tier already stays. kvc_flush leaves out what no tier is
 * fine enough for.
 *
 * Threads: any, at once. Does not wait.
 *
 * Memory: nothing is borrowed.
 *
 * Statuses: KVC_OK; KVC_E_ARGUMENT for more than 1000; KVC_E_UNSUPPORTED without a file tier; KVC_AGAIN when 64
 * namespaces have had a bound, or another thread is just setting one.
 */
kvc_status_t kvc_namespace_quality_set(const kvc_engine_t *engine,
                                       uint64_t namespace_id,
                                       uint64_t error_max_permille);

/* ===================================================================================================================
 * IMPORTANCE: WHAT BLOCKS ARE WORTH TO THE PROGRAM, FOR KVC_POLICY_IMPORTANCE
 * ===================================================================================================================
 *
 * A program that knows what it will need, as a training run knows the next epoch's samples, tells the engine. The
 * importance of a block is what the table in use says of its key, else what its put said (importance of
 * kvc_put_info_t), else 0; the lowest goes first.
 *
 * A new table is built beside the one in use: kvc_importance_begin, kvc_importance_set as often as is needed, and
 * kvc_importance_swap puts it in place at once. How many keys a table holds says importance_count of the
 * configuration.
 */

/* Begins a new importance table, empty, beside the one in use. One that was begun and not swapped in is dropped.
 *
 * Threads: any, at once; one of them builds at a time. Does not wait; clears the table, about a millisecond for a
 * million keys.
 *
 * Memory: nothing is borrowed.
 *
 * Statuses: KVC_OK; KVC_AGAIN while another thread is in one of the three calls; KVC_E_UNSUPPORTED where
 * importance_count is 0; KVC_E_SHUTDOWN.
 */
kvc_status_t kvc_importance_begin(const kvc_engine_t *engine);

/* Sets the importance of keys in the table that was begun, whether such blocks are there or not.
 *
 * The last importance of a key counts. Nothing is evicted by it before kvc_importance_swap.
 *
 * Threads: any, at once; one of them builds at a time. Does not wait.
 *
 * Memory: both arrays have keys_count elements and are borrowed.
 *
 * Statuses: KVC_OK; KVC_AGAIN while another thread is in one of the three calls; KVC_E_STALE when no table was begun;
 * KVC_E_TOO_LARGE for more different keys than importance_count, of which those before are set; KVC_E_UNSUPPORTED
 * where that is 0; KVC_E_SHUTDOWN.
 */
kvc_status_t kvc_importance_set(const kvc_engine_t *engine,
                                const kvc_key_t *keys,
                                const uint32_t *importances,
                                uint64_t keys_count);

/* Puts the table that was begun in the place of the one in use, all at once.
 *
 * The policy learns of it in one go, about a microsecond for each block in memory, in this thread; where another one
 * is just choosing a victim, that one or the next does it before it chooses again.
 *
 * Threads: any, at once. Does not wait.
 *
 * Memory: nothing is borrowed.
 *
 * Statuses: KVC_OK; KVC_AGAIN while another thread is in one of the three calls; KVC_E_STALE when no table was begun;
 * KVC_E_UNSUPPORTED where importance_count is 0; KVC_E_SHUTDOWN.
 */
kvc_status_t kvc_importance_swap(const kvc_engine_t *engine);

/* ===================================================================================================================
 * FILE TIERS: AHEAD OF USE, DURABLE, IN WHAT STATE
 * ===================================================================================================================
 *
 * The chapters Tiers, Durability and When a disk fails at the beginning say how the tiers below memory work.
 */

/* The tier works. */
#define KVC_TIER_STATE_ONLINE 1

/* The tier's device failed or stalled; it is not used any more until the engine is opened again. */
#define KVC_TIER_STATE_OFFLINE 2

/* A file tier at present. Initialise with KVC_TIER_INIT. */
typedef struct kvc_tier_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Whether it works (KVC_TIER_STATE_...). */
    uint64_t state;
    /* How its file is read and written, with a closing NUL byte: "io_uring", "pread", "mmap". */
    char io_name[32];
    /* Bytes of the file. */
    uint64_t file_bytes;
    /* Segments of the file. */
    uint64_t segments_count;
    /* Now: segments that hold nothing. */
    uint64_t segments_free;
    /* Most blocks that can be in the tier. */
    uint64_t blocks_count_max;
    /* Now: blocks in the tier. */
    uint64_t blocks_count;
    /* Bytes written to the file since the engine was opened, headers and padding included. */
    uint64_t bytes_written;
    /* Blocks copied up from the tier. */
    uint64_t hits;
    /* Bytes of the blocks read from the tier. */
    uint64_t read_bytes;
    /* Blocks written to the tier. */
    uint64_t writes;
    /* Bytes of the blocks written to the tier. */
    uint64_t write_bytes;
    /* Blocks written to the tier again because they were hit there. */
    uint64_t reinserts;
    /* Blocks that left the tier with their segment. */
    uint64_t evictions;
    /* Now: the codec of keys (KVC_CODEC_...), after the fallbacks that there were. */
    uint64_t codec_key;
    /* Now: the codec of values. */
    uint64_t codec_value;
    /* Blocks encoded for the tier. */
    uint64_t blocks_coded;
    /* Bytes of those blocks, as put. */
    uint64_t plain_bytes;
    /* Bytes of their codes: eight times this, over the elements in plain_bytes, are the bits per element. */
    uint64_t coded_bytes;
    /* Blocks that were decoded again and compared since the codecs at present were taken: the first 16, then one of
     * 64.
     */
    uint64_t quality_samples_count;
    /* Mean relative error of the samples in millionths: the root of the squared error over the squared norm. */
    uint64_t error_ppm_mean;
    /* Largest relative error of a sample in millionths. */
    uint64_t error_ppm_max;
    /* How often the tier took a better codec because the samples' error was above error_max_permille. */
    uint64_t codec_fallbacks_count;
} kvc_tier_t;

/* Says what a file tier (KVC_TIER_NVME, KVC_TIER_DISK) is and does at present.
 *
 * Takes a few microseconds: it looks at every stripe.
 *
 * Threads: any, at once.
 *
 * Memory: tier_out is borrowed.
 *
 * Statuses: KVC_OK, also for a tier that is offline; KVC_E_NO_DEVICE when the engine has no file tier of this kind;
 * KVC_E_UNSUPPORTED for a number that is no tier; KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_tier_get(const kvc_engine_t *engine, uint32_t tier, kvc_tier_t *tier_out);

/* Begins copying blocks up from the file tiers into memory, and does not wait: for blocks that are needed soon.
 *
 * Blocks that are in memory already, or nowhere, are passed over. What finds no room in memory, or no free request,
 * is not begun. A block that was begun is not held: it may be evicted again before it is used. In tick mode it
 * arrives in kvc_tick and in calls that wait.
 *
 * Flags: none yet.
 *
 * Threads: any, at once. Does not wait.
 *
 * Memory: all pointers are borrowed.
 *
 * Statuses: KVC_OK; begun_count_out receives how many are on their way because of this call, 0 without a file tier.
 */
kvc_status_t kvc_prefetch(const kvc_engine_t *engine,
                          const kvc_key_t *keys,
                          uint64_t keys_count,
                          uint32_t flags,
                          uint64_t *begun_count_out);

/* Says that a conversation is over, or paused: the wish for its blocks is dropped, and none is made before its next
 * request (KVC_PREFETCH_TURNS). What is on its way already arrives.
 *
 * conversation_id is that of kvc_put_info_t.
 *
 * Threads: any, at once. Does not wait.
 *
 * Memory: borrows nothing.
 *
 * Statuses: KVC_OK; KVC_MISS if no such conversation is remembered; KVC_AGAIN while a tick is learning.
 */
kvc_status_t kvc_prefetch_cancel(const kvc_engine_t *engine, uint64_t conversation_id);

/* Makes everything durable that was committed or removed before the call.
 *
 * Every block that no file tier holds is written to the first one, whatever its admission filter says; then the files
 * are synced (fdatasync). After KVC_OK the blocks survive the process being killed and the machine losing power, as
 * far as the device keeps its promises. Blocks that the tier gives up later to make room are not kept by it.
 *
 * timeout_ns 0 does not wait: what can be begun is begun. UINT64_MAX waits as long as the device makes progress.
 *
 * Threads: any, at once. Waits for the files' devices.
 *
 * Memory: blocks_written_out is borrowed.
 *
 * Statuses: KVC_OK; blocks_written_out receives how many blocks had to be written; KVC_TIMEOUT, and writing goes on;
 * KVC_E_ENDURANCE when the endurance budget does not allow all of it: what fitted is durable; KVC_E_OFFLINE when the
 * tier is offline; KVC_E_UNSUPPORTED without a file tier.
 */
kvc_status_t kvc_flush(const kvc_engine_t *engine,
                       uint64_t timeout_ns,
                       uint64_t *blocks_written_out);

/* ===================================================================================================================
 * LANES: HANDING OVER WORK AND FETCHING THE RESULTS LATER
 * ===================================================================================================================
 *
 * A lane is one producer's private pair of queues. Submit operations in batches, each with a user_data of your own;
 * get completions back with kvc_reap, or wait for one with kvc_wait. With workers (workers_count of the
 * configuration) the work is done on the library's threads and an event fd tells when there is something to reap; in
 * tick mode it is done inside kvc_reap, kvc_wait and kvc_tick. Each operation completes exactly once: reaped, or
 * fetched by kvc_wait.
 *
 * Operations of one lane begin in the order in which they were submitted. One that needs blocks from a file tier
 * waits for them without holding anybody up: the next ones begin meanwhile, so completions may come in another order.
 * Such an operation can still be cancelled.
 */

/* kvc_match of keys. The result is the count. */
#define KVC_OP_MATCH 1

/* kvc_get of each of keys: block i goes to data + i * bytes. Ends at the first that fails, with its status. The
 * result is, for one key, the bytes of the block; for more, how many were copied.
 */
#define KVC_OP_GET 2

/* kvc_put of each of keys, as a chain: block i has bytes bytes and is at data + i * bytes. Ends at the first that
 * cannot be stored, with its status; among several, blocks that exist are passed over. The result is how many were
 * stored. info may be NULL.
 */
#define KVC_OP_PUT 3

/* kvc_remove of keys. The result is the count. */
#define KVC_OP_REMOVE 4

/* kvc_touch of keys. The result is the count. */
#define KVC_OP_TOUCH 5

/* kvc_acquire_many of keys: data points to keys_count structs of type kvc_view_t, and bytes is their size in bytes,
 * all together. The result is the count; the status is KVC_MISS where it is 0.
 */
#define KVC_OP_ACQUIRE 6

/* kvc_prefetch of keys. The result is how many are on their way because of it. */
#define KVC_OP_PREFETCH 7

/* kvc_flush of everything that was committed or removed before the operation begins; completes when that is durable.
 * Takes no keys. The result is how many blocks had to be written.
 */
#define KVC_OP_FLUSH 8

/* An operation to submit. Set what the opcode does not use to zero. */
typedef struct kvc_op_t {
    /* What to do (KVC_OP_...). */
    uint32_t opcode;
    /* The flags that the opcode's function takes: KVC_MATCH_TOUCH for match, KVC_COPY_HOT or KVC_COPY_COLD for get.
     * Zero for the others.
     */
    uint32_t flags;
    /* Anything; comes back in the completion. */
    uint64_t user_data;
    /* Keys. Kept until the completion. */
    const kvc_key_t *keys;
    /* How many. */
    uint64_t keys_count;
    /* Bytes to read or write, as the opcode says. Kept until the completion. */
    void *data;
    /* Bytes at data, as the opcode says. */
    uint64_t bytes;
    /* For put: what is to be said about the blocks; may be NULL. Copied. */
    const kvc_put_info_t *info;
    /* Zero; reserved. */
    kvc_block_t block;
} kvc_op_t;

/* What became of an operation. */
typedef struct kvc_done_t {
    /* The operation's user_data. */
    uint64_t user_data;
    /* The operation's ticket. */
    kvc_ticket_t ticket;
    /* What the blocking function would have answered. */
    kvc_status_t status;
    /* The operation's opcode. */
    uint32_t opcode;
    /* A count or a number of bytes, as the opcode says. */
    uint64_t result;
} kvc_done_t;

/* Opens a lane.
 *
 * Threads: any, at once.
 *
 * Memory: lane_out is borrowed. The lane's queues are in the engine's plan.
 *
 * Statuses: KVC_OK; KVC_AGAIN when lanes_count of the configuration are open.
 */
kvc_status_t kvc_lane_open(const kvc_engine_t *engine, kvc_lane_t *lane_out);

/* Closes a lane whose operations are all completed and fetched.
 *
 * Threads: one at a time on a lane.
 *
 * Memory: none.
 *
 * Statuses: KVC_OK; KVC_E_STALE when the lane is not open; KVC_E_BUSY while operations are under way or not fetched
 * yet, or another thread is on the lane.
 */
kvc_status_t kvc_lane_close(const kvc_engine_t *engine, kvc_lane_t lane);

/* Gives the event fd of a lane: readable when there is something to reap.
 *
 * For epoll, poll, asyncio and the like. Read its 8 bytes before reaping, as with every event fd of Linux. It belongs
 * to the library: do not close it; it is valid until the lane is closed. Workers signal it; in tick mode, a kvc_tick
 * of another thread does.
 *
 * Threads: any, at once.
 *
 * Memory: fd_out is borrowed.
 *
 * Statuses: KVC_OK; KVC_E_STALE when the lane is not open.
 */
kvc_status_t kvc_lane_event_fd(const kvc_engine_t *engine,
                               kvc_lane_t lane,
                               int32_t *fd_out);

/* Submits operations on a lane, in order, as many as there is room for.
 *
 * taken_count_out receives how many were taken. The first operation that is not taken ends the batch; submit from
 * there on again, and if there is something wrong with that operation, the status then says what.
 *
 * Threads: one at a time on a lane.
 *
 * Memory: ops, and info of each, are copied. What keys and data of an operation point to is kept until its
 * completion. tickets_out has ops_count elements, of which as many as are taken are written; NULL if you do not want
 * tickets.
 *
 * Statuses: KVC_OK, also when not all were taken; if not even the first one was: KVC_AGAIN when lane_depth operations
 * are under way or not reaped yet, KVC_E_UNSUPPORTED for its opcode or flags, KVC_E_ARGUMENT, KVC_E_NULL. KVC_E_STALE
 * when the lane is not open; KVC_E_BUSY when another thread is on the lane.
 */
kvc_status_t kvc_submit(const kvc_engine_t *engine,
                        kvc_lane_t lane,
                        const kvc_op_t *ops,
                        uint64_t ops_count,
                        kvc_ticket_t *tickets_out,
                        uint64_t *taken_count_out);

/* Fetches completions, the oldest first, as many as there are and done_out has room for.
 *
 * In tick mode it does the work of the lane first.
 *
 * Threads: one at a time on a lane.
 *
 * Memory: all pointers are borrowed. done_out has capacity elements, of which done_count_out are written.
 *
 * Statuses: KVC_OK, also when there was none; KVC_E_STALE when the lane is not open; KVC_E_BUSY when another thread
 * is on the lane.
 */
kvc_status_t kvc_reap(const kvc_engine_t *engine,
                      kvc_lane_t lane,
                      kvc_done_t *done_out,
                      uint64_t capacity,
                      uint64_t *done_count_out);

/* Waits for one operation, and fetches its completion, which is then not reaped any more.
 *
 * timeout_ns 0 does not wait; UINT64_MAX waits for ever. In tick mode it does the work of the lane itself, and moves
 * the file tiers on.
 *
 * Threads: one at a time on a lane.
 *
 * Memory: done_out is borrowed; NULL if you only want the status of this call.
 *
 * Statuses: KVC_OK, whatever the operation's own status in done_out; KVC_TIMEOUT, and the operation goes on;
 * KVC_E_STALE when the lane is not open or the completion was fetched before; KVC_E_BUSY when another thread is on
 * the lane.
 */
kvc_status_t kvc_wait(const kvc_engine_t *engine,
                      kvc_lane_t lane,
                      kvc_ticket_t ticket,
                      uint64_t timeout_ns,
                      kvc_done_t *done_out);

/* Cancels an operation that has not begun, or that waits for blocks from a file tier. It completes with KVC_CANCELLED
 * and is reaped like any other. Blocks that are on their way arrive in memory nevertheless.
 *
 * Threads: one at a time on a lane.
 *
 * Memory: none.
 *
 * Statuses: KVC_OK; KVC_PENDING when it is too late, and the operation completes as usual; KVC_E_STALE when the lane
 * is not open or the completion was fetched before.
 */
kvc_status_t kvc_cancel(const kvc_engine_t *engine, kvc_lane_t lane, kvc_ticket_t ticket);

/* Does the engine's work in tick mode: operations of all lanes, the file tiers' reads and writes, expiry, upkeep.
 *
 * Call it now and then, every millisecond for one; nothing is lost between, it only happens later. The work of one
 * call is bounded. With workers it does nothing that they would not do.
 *
 * now_ns is the engine's time in nanoseconds where the configuration has KVC_CLOCK_TICKS; it never goes back: a
 * smaller number than before counts as the greatest so far. Otherwise the engine reads the system's clock, and now_ns
 * is not used: pass 0.
 *
 * Threads: any, at once.
 *
 * Memory: progress_out is borrowed and may be NULL.
 *
 * Statuses: KVC_OK; progress_out receives how many things were done: 0 means that there was nothing to do.
 */
kvc_status_t kvc_tick(const kvc_engine_t *engine, uint64_t now_ns, uint64_t *progress_out);

/* ===================================================================================================================
 * STATISTICS
 * ===================================================================================================================
 *
 * How often each thing happened, and what is the case now. This works at any time, also after a shutdown, costs the
 * hot path nothing that readers share, and allocates nothing. Numbers are each current; together they are no cut
 * through one instant.
 */

/* What happened since the engine was opened, and what is the case now. Initialise with KVC_STATS_INIT.
 *
 * Fields that begin with "Now" go up and down; all others count from 0 and wrap at 2^64.
 */
typedef struct kvc_stats_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Keys that match found resident. */
    uint64_t match_hits;
    /* Keys that match did not find. */
    uint64_t match_misses;
    /* Blocks copied out by get. */
    uint64_t get_hits;
    /* Keys that get did not find. */
    uint64_t get_misses;
    /* Bytes copied out by get. */
    uint64_t get_bytes;
    /* Blocks pinned by acquire. */
    uint64_t acquires;
    /* Keys that acquire did not find. */
    uint64_t acquire_misses;
    /* Pins given back. */
    uint64_t releases;
    /* Blocks reserved for a producer. */
    uint64_t reserves;
    /* Blocks that became readable. */
    uint64_t commits;
    /* Bytes of the blocks that became readable. */
    uint64_t commit_bytes;
    /* Reservations given up by their producer. */
    uint64_t aborts;
    /* Puts and reserves answered with EXISTS. */
    uint64_t puts_existing;
    /* Puts and reserves answered with PENDING. */
    uint64_t puts_pending;
    /* Calls refused with AGAIN: everything pinned or a bounded table full. */
    uint64_t refusals;
    /* Blocks that the policy evicted to make room. */
    uint64_t evictions;
    /* Blocks that the lock-free sweep evicted, while another thread had the policy. */
    uint64_t evictions_swept;
    /* Evictions taken back because a reader held the block. */
    uint64_t eviction_rollbacks;
    /* Places given back by blocks that were evicted, removed or given up. */
    uint64_t frees;
    /* Blocks removed by the caller. */
    uint64_t removes;
    /* Blocks touched by the caller. */
    uint64_t touches;
    /* Pins taken back after their time. */
    uint64_t pins_expired;
    /* Reservations taken back after their time. */
    uint64_t reservations_expired;
    /* Events that a writer gave up because its slot was still being written. */
    uint64_t events_lost;
    /* Calls of tick. */
    uint64_t ticks;
    /* Operations taken from a lane. */
    uint64_t operations_submitted;
    /* Operations completed on a lane. */
    uint64_t operations_completed;
    /* Operations cancelled before they began. */
    uint64_t operations_cancelled;
    /* Now: blocks in memory that can be read. kvc_tier_get says how many are in a file tier. */
    uint64_t blocks_resident;
    /* Now: blocks that are being filled by their producer. */
    uint64_t blocks_reserved;
    /* Slots of the memory tier. */
    uint64_t slots_count;
    /* Now: slots of the memory tier that are free. */
    uint64_t slots_free;
    /* Bytes of all slots. */
    uint64_t bytes_capacity;
    /* Now: views that are held (kvc_acquire). */
    uint64_t pins_in_use;
    /* Now: age in nanoseconds of the oldest of them. */
    uint64_t pins_age_ns_max;
    /* Now: lanes that are open. */
    uint64_t lanes_open;
    /* The number that the next event will have. */
    uint64_t event_sequence_next;
    /* Blocks copied up from a file tier into memory. */
    uint64_t raises;
    /* Blocks that could not be copied up: failed verification or reading, or no room. */
    uint64_t raise_failures;
    /* Blocks copied up from the NVMe tier. */
    uint64_t nvme_hits;
    /* Blocks written to the NVMe tier. */
    uint64_t nvme_writes;
    /* Bytes of the blocks written to the NVMe tier. */
    uint64_t nvme_write_bytes;
    /* Bytes written to the NVMe tier's file, headers and padding included. */
    uint64_t nvme_file_bytes;
    /* Bytes of the blocks read from the NVMe tier. */
    uint64_t nvme_read_bytes;
    /* Blocks written to the NVMe tier again because they were hit there. */
    uint64_t nvme_reinserts;
    /* Blocks that left the NVMe tier with their segment. */
    uint64_t nvme_evictions;
    /* Blocks copied up from the disk tier. */
    uint64_t disk_hits;
    /* Blocks written to the disk tier. */
    uint64_t disk_writes;
    /* Bytes of the blocks written to the disk tier. */
    uint64_t disk_write_bytes;
    /* Bytes written to the disk tier's file, headers and padding included. */
    uint64_t disk_file_bytes;
    /* Bytes of the blocks read from the disk tier. */
    uint64_t disk_read_bytes;
    /* Blocks written to the disk tier again because they were hit there. */
    uint64_t disk_reinserts;
    /* Blocks that left the disk tier with their segment. */
    uint64_t disk_evictions;
    /* Blocks dropped because what a file held was not what was written. */
    uint64_t checksum_failures;
    /* Requests to a file tier's device that failed after their retries. */
    uint64_t io_errors;
    /* Requests to a file tier's device that were repeated. */
    uint64_t io_retries;
    /* Blocks that memory gave up before they could be written down. */
    uint64_t writes_skipped;
    /* Blocks that no file tier admitted: filter, endurance budget or no room. */
    uint64_t writes_refused;
    /* Blocks whose copying up was begun ahead of use. */
    uint64_t prefetches;
    /* Calls of flush that made everything durable. */
    uint64_t flushes;
    /* Blocks found in the files when the engine was opened. */
    uint64_t blocks_recovered;
    /* Records and tables found damaged or half written when the engine was opened. */
    uint64_t blocks_damaged;
    /* Blocks removed by the caller that were not in memory. */
    uint64_t removes_below;
    /* Times that a tier took a better codec because the error was above its bound. */
    uint64_t codec_fallbacks;
    /* Times that a tier's codec was coarser than a block's namespace permits. */
    uint64_t quality_refusals;
    /* Blocks that were encoded anew on their way from one file tier to another. */
    uint64_t transcodes;
    /* Blocks that were committed into the slot of another block with the same bytes (dedup). */
    uint64_t dedup_hits;
    /* Now: bytes of blocks in memory that share another block's slot instead of taking one of their own. */
    uint64_t dedup_bytes_saved;
    /* Times that two blocks had the same digest and other bytes, and did not share a slot. */
    uint64_t dedup_collisions;
    /* Wishes of prefetching: conversations, and blocks that follow a pattern. */
    uint64_t prefetch_wishes;
    /* Blocks copied up ahead of use that were used. */
    uint64_t prefetches_used;
    /* Blocks that were wished and asked for before they could be copied up. */
    uint64_t prefetches_late;
    /* Blocks copied up ahead of use and evicted without one. */
    uint64_t prefetches_wasted;
    /* Milliseconds from copying up ahead of use to the use, of all blocks together. */
    uint64_t prefetch_lead_ms;
    /* Steps of a threshold that were tried (tuning). */
    uint64_t tuning_tried;
    /* Steps that served better and were kept. */
    uint64_t tuning_kept;
    /* Steps that did not and were taken back. */
    uint64_t tuning_taken_back;
    /* Now: least probability at which a block is copied up ahead of use, in thousandths; 0 where prefetching is off.
     */
    uint64_t tuning_confidence_permille;
    /* Now: hits that admission by reuse may cost, in thousandths; 0 where no file tier admits by reuse. */
    uint64_t tuning_admission_loss_permille;
} kvc_stats_t;

/* What fits into the engine; does not change while it is open. Initialise with KVC_CAPACITY_INIT. */
typedef struct kvc_capacity_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Most blocks resident at once, in all tiers together. */
    uint64_t blocks_count;
    /* Most bytes of one block. */
    uint64_t block_bytes;
    /* Bytes of all slots of the memory tier. */
    uint64_t cpu_bytes;
    /* Most views held at once. */
    uint64_t pins_count;
    /* Most lanes open at once. */
    uint64_t lanes_count;
    /* Most operations of one lane under way. */
    uint64_t lane_depth;
    /* Bytes of everything in memory, as in the plan. */
    uint64_t bytes;
} kvc_capacity_t;

/* Reads all counters and gauges.
 *
 * Takes a few microseconds: it looks at every stripe and every pin.
 *
 * Threads: any, at once.
 *
 * Memory: stats_out is borrowed.
 *
 * Statuses: KVC_OK; KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_stats_get(const kvc_engine_t *engine, kvc_stats_t *stats_out);

/* Says what fits.
 *
 * Threads: any, at once.
 *
 * Memory: capacity_out is borrowed.
 *
 * Statuses: KVC_OK; KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_capacity_get(const kvc_engine_t *engine, kvc_capacity_t *capacity_out);

/* ===================================================================================================================
 * WATCHING: LATENCIES, METRICS, EVENTS, WHO HOLDS WHAT
 * ===================================================================================================================
 *
 * As the statistics, all of this works at any time, also after a shutdown, costs the hot path nothing that readers
 * share, and allocates nothing.
 */

/* Finding the longest resident prefix, one call. */
#define KVC_OPERATION_MATCH 0

/* Copying a block out. */
#define KVC_OPERATION_GET 1

/* Lending a block. */
#define KVC_OPERATION_ACQUIRE 2

/* Reserving room for a block, with the eviction that it may need. */
#define KVC_OPERATION_RESERVE 3

/* Making a reserved block readable. */
#define KVC_OPERATION_COMMIT 4

/* Copying a block in. */
#define KVC_OPERATION_PUT 5

/* Removing blocks. */
#define KVC_OPERATION_REMOVE 6

/* Copying a block between tiers: up into memory from the tier given, or down into it. */
#define KVC_OPERATION_MOVE 7

/* From submission on a lane to completion. */
#define KVC_OPERATION_SUBMIT 8

/* One call of tick. */
#define KVC_OPERATION_TICK 9

/* How many kinds of operations there are: they are numbers below this. */
#define KVC_OPERATIONS_COUNT 10

/* The block became readable in the tier. */
#define KVC_EVENT_STORED 1

/* The caller removed the block, from all tiers. */
#define KVC_EVENT_REMOVED 2

/* The block left the tier, to make room in it; it may still be in another one. */
#define KVC_EVENT_EVICTED 3

/* The block was moved and is now in the tier given. Reserved: blocks are copied between tiers, which is stored in the
 * one and, later, evicted from the other.
 */
#define KVC_EVENT_MOVED 4

/* A view of the block was taken back after its time (pin_expiry_ms). */
#define KVC_EVENT_PIN_EXPIRED 5

/* What the tier's file held under this key was not what was written; the block was dropped there. */
#define KVC_EVENT_DAMAGED 6

/* The tier went offline: its device fails or stalls. The key is zero, and so is the block. All blocks that only this
 * tier held are gone, without an event of their own.
 */
#define KVC_EVENT_OFFLINE 7

/* The tier's codec was coarser on this model than error_max_permille permits: it takes the next better one from now
 * on. The key is that of the block that showed it.
 */
#define KVC_EVENT_CODEC_FALLBACK 8

/* How long the timed operations of one kind took in one tier. Initialise with KVC_HISTOGRAM_INIT.
 *
 * One operation of latency_sample_count (of the configuration) is timed. A quantile is never below the exact value
 * and at most one eighth above it. Everything is 0 where nothing was timed.
 */
typedef struct kvc_histogram_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Operations timed. */
    uint64_t count;
    /* Their latencies together, in nanoseconds. */
    uint64_t latency_ns_sum;
    /* The longest, in nanoseconds. */
    uint64_t latency_ns_max;
    /* Half of them took no longer, in nanoseconds. */
    uint64_t latency_ns_p50;
    /* 90 of 100 took no longer, in nanoseconds. */
    uint64_t latency_ns_p90;
    /* 99 of 100 took no longer, in nanoseconds. */
    uint64_t latency_ns_p99;
    /* 999 of 1000 took no longer, in nanoseconds. */
    uint64_t latency_ns_p999;
} kvc_histogram_t;

/* One thing that happened to a block, for a router that follows which blocks are where. */
typedef struct kvc_event_t {
    /* The event's number; the next event has the next one. */
    uint64_t sequence;
    /* The engine's clock when it happened, in nanoseconds. */
    uint64_t time_ns;
    /* The block's key. */
    kvc_key_t key;
    /* The block. */
    kvc_block_t block;
    /* What happened (KVC_EVENT_...). */
    uint32_t kind;
    /* In which tier (KVC_TIER_...). */
    uint32_t tier;
} kvc_event_t;

/* A view that is held. */
typedef struct kvc_pin_info_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* The key of the block held. */
    kvc_key_t key;
    /* The block held. */
    kvc_block_t block;
    /* The pin. */
    kvc_pin_t pin;
    /* How long it has been held, in nanoseconds; 0 for a view taken a moment ago. */
    uint64_t age_ns;
} kvc_pin_info_t;

/* Reads how long the operations of one kind (KVC_OPERATION_...) took in one tier (KVC_TIER_...).
 *
 * Threads: any, at once.
 *
 * Memory: histogram_out is borrowed.
 *
 * Statuses: KVC_OK; KVC_E_UNSUPPORTED for an operation or a tier that this version does not know; KVC_E_ARGUMENT and
 * KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_histogram_get(const kvc_engine_t *engine,
                               uint32_t operation,
                               uint32_t tier,
                               kvc_histogram_t *histogram_out);

/* Writes all metrics as the text that a Prometheus scraper reads, with a closing NUL byte.
 *
 * 64 KiB are always enough for an engine of this version.
 *
 * Threads: any, at once.
 *
 * Memory: buffer and bytes_out are borrowed.
 *
 * Statuses: KVC_OK; bytes_out receives the length of the text without the NUL byte; KVC_E_TOO_SMALL when the buffer
 * has not room for both, and then what is in the buffer is undefined.
 */
kvc_status_t kvc_metrics_write(const kvc_engine_t *engine, char *buffer, uint64_t buffer_bytes, uint64_t *bytes_out);

/* Reads events, oldest first, as many as events_out has room for.
 *
 * sequence_inout is the reader's own place: begin with 0, and pass it again each time. Every reader has its own;
 * reading takes nothing away. Events that the ring has overwritten before this reader came are counted in
 * lost_count_out; so the reader knows when to compare its picture with the engine (kvc_match_each). With events_count
 * of KVC_NONE there are none.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed. events_out has capacity elements, of which count_out are written.
 *
 * Statuses: KVC_OK, also when there was none.
 */
kvc_status_t kvc_events_read(const kvc_engine_t *engine,
                             uint64_t *sequence_inout,
                             kvc_event_t *events_out,
                             uint64_t capacity,
                             uint64_t *count_out,
                             uint64_t *lost_count_out);

/* Lists the views that are held, as many as there is room for: to find callers that forgot to release.
 *
 * Set struct_size of the first element (KVC_PIN_INFO_INIT): it holds for all of them, and the library writes it to
 * every element that it fills in. Fields that the library does not know become zero.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed. pins_out has capacity elements; what is in elements that are not filled in is
 * undefined afterwards.
 *
 * Statuses: KVC_OK; count_out receives how many views are held, which may be more than capacity. KVC_E_ARGUMENT and
 * KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_pins_get(const kvc_engine_t *engine,
                          kvc_pin_info_t *pins_out,
                          uint64_t capacity,
                          uint64_t *count_out);

/* ===================================================================================================================
 * LAYOUT: BETWEEN AN INFERENCE ENGINE'S PAGES AND A BLOCK
 * ===================================================================================================================
 *
 * An inference engine keeps the keys and values of each layer in pages of a few tokens, and finds a request's pages
 * through a block table. A block of the cache has the same tokens of all layers in one piece, laid out [layer][key,
 * value][token][head][element] without gaps. Gather copies pages into a block (into a reservation, for one), scatter
 * copies a block (a view, for one) into pages; the functions that end in _layer move one layer, so that the first
 * layer can be used while the others are still being loaded.
 *
 * How to describe the pages of common engines:
 *
 *     engine                 pages of a layer                    order  planes
 *     vLLM, FlashAttention   [2][page][token][head][element]     NHD    OUTER
 *     vLLM, FlashInfer       [page][2][token][head][element]     NHD    INNER
 *     vLLM, FlashInfer HND   [page][2][head][token][element]     HND    INNER
 *     vLLM, MLA              [page][token][element]              NHD    SEPARATE, planes_count and kv_heads_count 1
 *     SGLang                 keys, values: [token][head][element] NHD   SEPARATE, tokens_per_page as the page size
 *
 * For anything else with contiguous elements of a head, fill in the strides.
 *
 * These functions have no engine and may always be called from any number of threads at once. They work on memory of
 * the host.
 */

/* Within a plane of a page: all heads of one token together, [token][head][element]. */
#define KVC_ORDER_NHD 1

/* Within a plane of a page: all tokens of one head together, [head][token][element]. */
#define KVC_ORDER_HND 2

/* Keys and values of a layer in two buffers. Also for a geometry of one plane. */
#define KVC_PLANES_SEPARATE 1

/* Keys and values of a layer in one buffer: all keys, then all values. */
#define KVC_PLANES_OUTER 2

/* Keys and values of a layer in one buffer: the keys and then the values of each page. */
#define KVC_PLANES_INNER 3

/* The pages of an inference engine. Initialise with KVC_PAGED_INIT.
 *
 * A stride of 0 stands for the one without gaps. Strides are in bytes.
 */
typedef struct kvc_paged_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Pages of a layer, 1 to 2^40; page numbers are below it. Required. */
    uint64_t pages_count;
    /* Tokens of a page, 1 to 65536; divides tokens_per_block of the geometry or is divided by it. Required. */
    uint64_t tokens_per_page;
    /* How tokens and heads lie in a plane (KVC_ORDER_...). Required. */
    uint64_t order;
    /* How keys and values lie to each other (KVC_PLANES_...). Required. */
    uint64_t planes;
    /* From one page to the next, or 0. */
    uint64_t page_stride_bytes;
    /* From a key to the value of the same place within one buffer, or 0. Not used with separate buffers. */
    uint64_t plane_stride_bytes;
    /* From one token to the next within a page, or 0. */
    uint64_t token_stride_bytes;
    /* From one head to the next of the same token, or 0. */
    uint64_t head_stride_bytes;
    /* For each layer, where its pages begin: the keys, or keys and values where they share a buffer. Required. */
    void *const *keys;
    /* How many there are: layers_count of the geometry. */
    uint64_t keys_count;
    /* For each layer, where the pages of its values begin; NULL unless KVC_PLANES_SEPARATE with two planes. */
    void *const *values;
    /* How many there are: layers_count of the geometry, or 0. */
    uint64_t values_count;
} kvc_paged_t;

/* Copies the pages of one block into its contiguous form.
 *
 * pages are the block's part of the request's block table: the numbers of the pages in the order of their tokens, as
 * many as a block spans, 1 where a page holds several blocks. token_first is the first token within the first page:
 * 0, except where a page holds several blocks.
 *
 * Flags: KVC_COPY_HOT or KVC_COPY_COLD.
 *
 * Threads: any, at once, as long as nobody writes these pages.
 *
 * Memory: all pointers, also those in paged, are borrowed. Pages are only read. Block and pages must not overlap.
 *
 * Statuses: KVC_OK; KVC_E_CONFIG or KVC_E_CONFLICT for a geometry or a kvc_paged_t with a field outside its range,
 * also strides with which two places would overlap; KVC_E_ARGUMENT for a page number, a number of pages or of
 * pointers, or a token_first that does not fit; KVC_E_TOO_SMALL when block_bytes is less than the block of the
 * geometry; KVC_E_NULL; KVC_E_UNSUPPORTED.
 */
kvc_status_t kvc_layout_gather(const kvc_geometry_t *geometry,
                               const kvc_paged_t *paged,
                               const uint32_t *pages,
                               uint64_t pages_count,
                               uint64_t token_first,
                               uint32_t flags,
                               void *block_out,
                               uint64_t block_bytes);

/* Copies one layer of the pages of one block. As kvc_layout_gather, but target_out begins with this layer.
 *
 * Threads: any, at once, as long as nobody writes these pages.
 *
 * Memory: as kvc_layout_gather.
 *
 * Statuses: as kvc_layout_gather; KVC_E_ARGUMENT also for a layer that the geometry does not have.
 */
kvc_status_t kvc_layout_gather_layer(const kvc_geometry_t *geometry,
                                     const kvc_paged_t *paged,
                                     const uint32_t *pages,
                                     uint64_t pages_count,
                                     uint64_t token_first,
                                     uint64_t layer,
                                     uint32_t flags,
                                     void *target_out,
                                     uint64_t target_bytes);

/* Copies a block into the pages of an inference engine: the way back of kvc_layout_gather.
 *
 * Flags: KVC_COPY_HOT or KVC_COPY_COLD.
 *
 * Threads: any, at once, as long as nobody else touches these pages.
 *
 * Memory: all pointers, also those in paged, are borrowed. The pages of the table are written, others are not
 * touched. Block and pages must not overlap.
 *
 * Statuses: as kvc_layout_gather.
 */
kvc_status_t kvc_layout_scatter(const kvc_geometry_t *geometry,
                                const kvc_paged_t *paged,
                                const uint32_t *pages,
                                uint64_t pages_count,
                                uint64_t token_first,
                                uint32_t flags,
                                const void *block,
                                uint64_t block_bytes);

/* Copies one layer of a block into pages. As kvc_layout_scatter, but source begins with this layer.
 *
 * Threads: any, at once, as long as nobody else touches these pages of this layer.
 *
 * Memory: as kvc_layout_scatter.
 *
 * Statuses: as kvc_layout_gather_layer.
 */
kvc_status_t kvc_layout_scatter_layer(const kvc_geometry_t *geometry,
                                      const kvc_paged_t *paged,
                                      const uint32_t *pages,
                                      uint64_t pages_count,
                                      uint64_t token_first,
                                      uint64_t layer,
                                      uint32_t flags,
                                      const void *source,
                                      uint64_t source_bytes);

/* ===================================================================================================================
 * CODECS: KEYS AND VALUES IN FEWER BYTES
 * ===================================================================================================================
 *
 * A codec encodes a block of a geometry (chapter Geometry), plane by plane: the keys and the values of each layer by
 * themselves, each in a codec of its own if you like. The code of a block says what it is; it is decoded whole or one
 * layer alone, on any machine, to the same bytes.
 *
 *     kvc_geometry_t geometry = KVC_GEOMETRY_INIT;
 *     geometry.layers_count = 32, geometry.kv_heads_count = 8, geometry.head_dim = 128;
 *     geometry.tokens_per_block = 16, geometry.dtype = KVC_DTYPE_BF16;
 *     kvc_codec_config_t config = KVC_CODEC_CONFIG_INIT;
 *     config.geometry = &geometry;
 *     config.codec_key = KVC_CODEC_T4, config.codec_value = KVC_CODEC_T3;
 *
 *     kvc_codec_description_t sizes = KVC_CODEC_DESCRIPTION_INIT;
 *     kvc_codec_describe(&config, &sizes, NULL);
 *     void *code = malloc(sizes.code_bytes_max), *scratch = malloc(sizes.scratch_bytes);
 *
 *     kvc_codec_t *codec;
 *     kvc_codec_open(&config, &codec, NULL);
 *     uint64_t bytes;
 *     kvc_codec_encode(codec, block, sizes.block_bytes, position, KVC_CODEC_RAW, code, sizes.code_bytes_max,
 *                      scratch, sizes.scratch_bytes, &bytes);
 *     kvc_codec_decode(codec, code, bytes, block, sizes.block_bytes, scratch, sizes.scratch_bytes);
 *     kvc_codec_close(codec);
 *
 * - KVC_CODEC_RAW: the bytes. KVC_CODEC_LZ: lossless, the exponents compressed.
 * - KVC_CODEC_F8, 8 bits an element: E4M3, for exchange with devices. KVC_CODEC_I8, 8.13 bits: integers, a scale per
 *   vector.
 * - KVC_CODEC_N4, 4.5 bits: rotated, 16 levels. KVC_CODEC_T4, KVC_CODEC_T3, KVC_CODEC_T2, about 4.1, 3.1 and 2.1
 *   bits: rotated, coded along a trellis.
 * - KVC_CODEC_VQ, about 2.1 bits, and KVC_CODEC_XC, at the rate you ask for: they need tables (chapter Tables of
 *   codecs) that were trained on keys and values of the model.
 *
 * Codecs take elements of 16 bits (KVC_DTYPE_F16, KVC_DTYPE_BF16); all but raw, lz and f8 take heads of 32 to 256
 * elements in steps of 16. What a codec decodes is finite: a NaN becomes 0, an infinity the largest finite number of
 * its sign; raw and lz keep them. No code makes the library read or write out of bounds. One that was damaged is
 * refused with KVC_E_DAMAGED or decodes to finite numbers that are not the right ones: keep a checksum beside codes
 * that travel, as the file tiers do.
 *
 * Encoding and decoding allocate nothing and make no system calls; the memory that they work in (scratch) is the
 * caller's, one for each thread. Its content does not matter. It may begin anywhere.
 */

/* A codec for blocks of one geometry. Made by kvc_codec_open, ended by kvc_codec_close.
 *
 * Only ever used by pointer, and never dereferenced: see Handles and values.
 */
typedef struct kvc_codec_t kvc_codec_t;

/* What a codec makes of a block. Initialise with KVC_CODEC_DESCRIPTION_INIT. */
typedef struct kvc_codec_description_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Bytes of a block. */
    uint64_t block_bytes;
    /* Most bytes of the code of a block: what a slot for one must have. */
    uint64_t code_bytes_max;
    /* Bytes of memory that encoding and decoding take. */
    uint64_t scratch_bytes;
    /* Thousandths of a bit per element of a block without exact tokens, everything counted: exact where fixed_rate is
     * 1, else the rate asked for with xc and the most with lz.
     */
    uint64_t millibits;
    /* 1 if every block without exact tokens has a code of the same length, else 0. */
    uint64_t fixed_rate;
    /* 1 if a decoded block is the block that was encoded, bit by bit, else 0. */
    uint64_t exact;
    /* 1 if kvc_codec_open needs tables, else 0. */
    uint64_t tables_needed;
    /* Relative error to be expected of the coarsest plane, in thousandths: the root of the squared error over the
     * squared norm.
     */
    uint64_t error_nominal_permille;
    /* The instructions that this machine has for it, with a closing NUL byte: "portable", "avx2", "avx512". The codes
     * do not depend on it.
     */
    char instructions_name[32];
} kvc_codec_description_t;

/* What the code of a block says about itself. Initialise with KVC_CODEC_INFO_INIT. */
typedef struct kvc_codec_info_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* The coarsest codec of its planes. */
    uint64_t codec;
    /* The coarsest codec that the block had gone through before it was encoded. */
    uint64_t codec_before;
    /* Planes: layers times keys and values. */
    uint64_t planes_count;
    /* Tokens at the beginning of the block that are kept exactly. */
    uint64_t exact_tokens;
    /* Place of the block's first token in its sequence. */
    uint64_t position;
    /* Digest of the tables that it was encoded with; 0 for none. */
    uint64_t tables_digest;
} kvc_codec_info_t;

/* The name of a codec, "t3" for one; "unknown" for a number that means nothing.
 *
 * Threads: any, at once.
 *
 * Memory: lent for as long as the library is loaded; never NULL.
 */
const char *kvc_codec_name(uint64_t codec);

/* Says what a codec of this configuration needs and what it makes of a block. Obtains nothing.
 *
 * Tables are not needed to know, and not looked at.
 *
 * Threads: any, at once.
 *
 * Memory: config, its geometry, description_out and error_out are borrowed; error_out may be NULL.
 *
 * Statuses: KVC_OK; KVC_E_CONFIG and KVC_E_CONFLICT with the field, the value and the permitted range in error_out,
 * also for a geometry that the codec can't take; KVC_E_UNSUPPORTED for lz in a library without it; KVC_E_NULL;
 * KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_codec_describe(const kvc_codec_config_t *config,
                                kvc_codec_description_t *description_out,
                                kvc_error_t *error_out);

/* Opens a codec. It needs no engine.
 *
 * Reads all of the tables once, to check them.
 *
 * See also: kvc_codec_describe, kvc_codec_close.
 *
 * Threads: any, at once.
 *
 * Memory: config, its geometry, codec_out and error_out are borrowed; error_out may be NULL. codec_tables of the
 * configuration are lent by the caller until kvc_codec_close, and must not change. Allocates less than 4 KiB.
 *
 * Statuses: KVC_OK; KVC_E_CONFIG and KVC_E_CONFLICT with the field, the value and the permitted range in error_out,
 * also for a geometry that the codec can't take, and for tables that are missing or of another model; under the field
 * codec_tables, KVC_E_ARGUMENT where they are misaligned, KVC_E_DAMAGED, and KVC_E_UNSUPPORTED for another version;
 * KVC_E_UNSUPPORTED for lz in a library without it; KVC_AGAIN when 1024 codecs are open; KVC_E_NULL; KVC_E_ARGUMENT
 * and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_codec_open(const kvc_codec_config_t *config,
                            kvc_codec_t **codec_out,
                            kvc_error_t *error_out);

/* Closes a codec.
 *
 * The handle is wrong from then on: KVC_E_HANDLE.
 *
 * Threads: no other call on this codec, and none afterwards.
 *
 * Memory: codec_tables of the configuration are the caller's again.
 *
 * Statuses: KVC_OK; KVC_E_NULL; KVC_E_HANDLE for what is no open codec.
 */
kvc_status_t kvc_codec_close(kvc_codec_t *codec);

/* Encodes a block.
 *
 * position is the place of the block's first token in its sequence, from 0: it says which tokens are kept exactly,
 * and xc undoes rotary embeddings by it. codec_before is the coarsest codec that the block went through before
 * (KVC_CODEC_...), KVC_CODEC_RAW if none: the code says so later.
 *
 * code_bytes_max of the description is always enough for a code, scratch_bytes for the scratch. A plane whose code
 * would be no shorter than the plane is kept as it is.
 *
 * Threads: any, at once, each with its own scratch.
 *
 * Memory: all pointers are borrowed; none of the memory overlaps. The content of scratch is lost.
 *
 * Statuses: KVC_OK; bytes_out receives the length of the code. KVC_E_ARGUMENT when block_bytes is not the block of
 * the geometry, and for a codec_before that is no codec; KVC_E_TOO_SMALL when the code does not fit into
 * capacity_bytes, or the scratch is too small; KVC_E_NULL; KVC_E_HANDLE. After an error what is in code_out is
 * undefined.
 */
kvc_status_t kvc_codec_encode(const kvc_codec_t *codec,
                              const void *block,
                              uint64_t block_bytes,
                              uint64_t position,
                              uint64_t codec_before,
                              void *code_out,
                              uint64_t capacity_bytes,
                              void *scratch,
                              uint64_t scratch_bytes,
                              uint64_t *bytes_out);

/* Decodes a block.
 *
 * The codec may be another than the one that encoded it, as long as the geometry is the same and it has the tables
 * that the code needs: the code says how each plane was encoded.
 *
 * Threads: any, at once, each with its own scratch.
 *
 * Memory: all pointers are borrowed; none of the memory overlaps. The content of scratch is lost.
 *
 * Statuses: KVC_OK; KVC_E_DAMAGED for what is no code of a block of this geometry; KVC_E_UNSUPPORTED for another
 * version, and where the codec has not the tables that the code needs; KVC_E_ARGUMENT when block_bytes is not the
 * block of the geometry; KVC_E_TOO_SMALL when the scratch is too small; KVC_E_NULL; KVC_E_HANDLE. After an error what
 * is in block_out is undefined.
 */
kvc_status_t kvc_codec_decode(const kvc_codec_t *codec,
                              const void *code,
                              uint64_t code_bytes,
                              void *block_out,
                              uint64_t block_bytes,
                              void *scratch,
                              uint64_t scratch_bytes);

/* Decodes one layer alone. As kvc_codec_decode, but layer_out receives this layer only.
 *
 * Takes the time of this layer, not of the block. code is still the whole code.
 *
 * Threads: any, at once, each with its own scratch.
 *
 * Memory: as kvc_codec_decode.
 *
 * Statuses: as kvc_codec_decode; KVC_E_ARGUMENT when layer_bytes is not a layer of the geometry, and for a layer that
 * it does not have.
 */
kvc_status_t kvc_codec_decode_layer(const kvc_codec_t *codec,
                                    const void *code,
                                    uint64_t code_bytes,
                                    uint64_t layer,
                                    void *layer_out,
                                    uint64_t layer_bytes,
                                    void *scratch,
                                    uint64_t scratch_bytes);

/* Says what a code is, without decoding it.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 *
 * Statuses: KVC_OK; KVC_E_DAMAGED and KVC_E_UNSUPPORTED as kvc_codec_decode; KVC_E_NULL; KVC_E_HANDLE; KVC_E_ARGUMENT
 * and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_codec_inspect(const kvc_codec_t *codec,
                               const void *code,
                               uint64_t code_bytes,
                               kvc_codec_info_t *info_out);

/* ===================================================================================================================
 * TABLES OF CODECS
 * ===================================================================================================================
 *
 * The codecs vq and xc need tables that were trained on keys and values of the model: once, before any engine is
 * opened, on 10,000 tokens or more of text like that which the model will see. Tables are one flat piece of bytes,
 * versioned and checksummed, for one model (layers, heads, dimension, rotary embedding); the code of a block says by
 * their digest which tables it needs. Keep them as long as there are codes that were made with them.
 *
 *     kvc_codec_samples_t samples = KVC_CODEC_SAMPLES_INIT;
 *     ...
 *     uint64_t capacity, bytes;
 *     kvc_codec_train_bytes_max(&samples, &capacity, NULL);
 *     void *tables = aligned_alloc(64, capacity);
 *     kvc_codec_train(&samples, tables, capacity, &bytes, NULL);
 *     kvc_codec_tables_save("model.kvct", tables, bytes, NULL);
 *
 * In later runs:
 *
 *     kvc_codec_tables_file_bytes("model.kvct", &bytes, NULL);
 *     uint64_t capacity = (bytes + 63) / 64 * 64;
 *     void *tables = aligned_alloc(64, capacity);
 *     kvc_codec_tables_load("model.kvct", tables, capacity, &bytes, NULL);
 */

/* Training finds the rotary embedding out from the keys. The default. */
#define KVC_ROPE_AUTO 0

/* The keys went through no rotary embedding. */
#define KVC_ROPE_NONE 1

/* Elements i and i + rope_dim / 2 of a head are turned together (Llama in the usual weights, GPT-NeoX). */
#define KVC_ROPE_HALF 2

/* Elements 2 i and 2 i + 1 of a head are turned together (GPT-J). */
#define KVC_ROPE_INTERLEAVED 3

/* Keys and values of a model to train tables on. Initialise with KVC_CODEC_SAMPLES_INIT. */
typedef struct kvc_codec_samples_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Type of one element: KVC_DTYPE_F16 or KVC_DTYPE_BF16. Required. */
    uint64_t dtype;
    /* Layers: 1 to 1024. Required. */
    uint64_t layers_count;
    /* Heads of keys and values: 1 to 1024. Required. */
    uint64_t kv_heads_count;
    /* Elements of one head's vector: 32 to 256, in steps of 16. Required. */
    uint64_t head_dim;
    /* Tokens of all sequences together: 256 to 16777216. Required. */
    uint64_t tokens_count;
    /* Tokens of each sequence, 0 for one sequence: positions begin anew with each. Default 0. */
    uint64_t sequence_tokens_count;
    /* For each layer, its keys: [token][head][element], the sequences one behind the other. Required. */
    const void *const *keys;
    /* For each layer, its values. Required. */
    const void *const *values;
    /* Which codecs to train for: bit 1 << KVC_CODEC_VQ, bit 1 << KVC_CODEC_XC. Default both. */
    uint64_t codecs;
    /* The rotary embedding that the keys went through (KVC_ROPE_...). Default KVC_ROPE_AUTO. */
    uint64_t rope;
    /* The base of its frequencies; 10000 for one. Required with KVC_ROPE_HALF and KVC_ROPE_INTERLEAVED. */
    double rope_theta;
    /* Elements of each head that are turned, the first ones, an even number; 0 for all. Default 0. */
    uint64_t rope_dim;
} kvc_codec_samples_t;

/* What tables say about themselves. Initialise with KVC_CODEC_TABLES_INFO_INIT. */
typedef struct kvc_codec_tables_info_t {
    /* Bytes of this struct as the caller knows it. */
    uint64_t struct_size;
    /* Bytes of the tables. */
    uint64_t bytes;
    /* Layers of the model. */
    uint64_t layers_count;
    /* Planes of a layer: 2 for keys and values. */
    uint64_t planes_count;
    /* Heads of keys and values. */
    uint64_t kv_heads_count;
    /* Elements of one head's vector. */
    uint64_t head_dim;
    /* Tokens of the samples. */
    uint64_t tokens_count;
    /* Which codecs they were trained for: bits as in kvc_codec_samples_t. */
    uint64_t codecs;
    /* The rotary embedding of the keys (KVC_ROPE_...), never KVC_ROPE_AUTO. */
    uint64_t rope;
    /* The base of its frequencies. */
    double rope_theta;
    /* Elements of each head that are turned. */
    uint64_t rope_dim;
    /* The checksum: codes say by it which tables they need. */
    uint64_t digest;
} kvc_codec_tables_info_t;

/* Says how many bytes tables that are trained on such samples have at most. Looks at no keys or values.
 *
 * Much more than tables have in the end: ask for memory that the system gives as it is touched.
 *
 * Threads: any, at once.
 *
 * Memory: samples, bytes_out and error_out are borrowed; error_out may be NULL.
 *
 * Statuses: KVC_OK; KVC_E_CONFIG with the field, the value and the permitted range in error_out; KVC_E_NULL;
 * KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_codec_train_bytes_max(const kvc_codec_samples_t *samples,
                                       uint64_t *bytes_out,
                                       kvc_error_t *error_out);

/* Trains tables.
 *
 * Takes seconds to many minutes: the more layers, channels and tokens, the longer. The same samples give the same
 * tables. NaNs and infinities in the samples count as what codecs read them as.
 *
 * Threads: any, at once.
 *
 * Memory: samples, the arrays of keys and values and what they point to, tables_out, bytes_out and error_out are
 * borrowed; error_out may be NULL. Allocates, about as much as the samples of two layers as binary32, and gives it
 * back.
 *
 * Statuses: KVC_OK; bytes_out receives the length of the tables. KVC_E_TOO_SMALL, before anything is trained, when
 * capacity_bytes is less than kvc_codec_train_bytes_max says; KVC_E_CONFIG and KVC_E_CONFLICT with the field, the
 * value and the permitted range in error_out; KVC_E_NULL; KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_codec_train(const kvc_codec_samples_t *samples,
                             void *tables_out,
                             uint64_t capacity_bytes,
                             uint64_t *bytes_out,
                             kvc_error_t *error_out);

/* Checks tables and says what they are. Reads all of them.
 *
 * Threads: any, at once.
 *
 * Memory: all pointers are borrowed.
 *
 * Statuses: KVC_OK; KVC_E_ARGUMENT when the tables do not begin at a multiple of 64 bytes; KVC_E_DAMAGED for what is
 * no tables; KVC_E_UNSUPPORTED for another version; KVC_E_NULL; KVC_E_ARGUMENT and KVC_E_UNSUPPORTED for struct_size.
 */
kvc_status_t kvc_codec_tables_check(const void *tables,
                                    uint64_t tables_bytes,
                                    kvc_codec_tables_info_t *info_out);

/* Writes tables to a file, durably. A file that is there is replaced in one step: whoever opens it finds the old
 * tables or the new ones, also after a crash.
 *
 * Threads: any, at once. Waits for the file's device.
 *
 * Memory: all pointers are borrowed; error_out may be NULL.
 *
 * Statuses: KVC_OK; KVC_E_FILE and KVC_E_NO_SPACE with the system's error number in error_out, and a file that was
 * there is as it was; KVC_E_ARGUMENT, KVC_E_DAMAGED and KVC_E_UNSUPPORTED for the tables, as kvc_codec_tables_check;
 * KVC_E_NULL.
 */
kvc_status_t kvc_codec_tables_save(const char *path,
                                   const void *tables,
                                   uint64_t tables_bytes,
                                   kvc_error_t *error_out);

/* Says how many bytes the tables in a file have. Reads its header only.
 *
 * Threads: any, at once. Waits for the file's device.
 *
 * Memory: all pointers are borrowed; error_out may be NULL.
 *
 * Statuses: KVC_OK; KVC_E_FILE with the system's error number in error_out; KVC_E_FILE_FOREIGN for a file of
 * something else; KVC_E_DAMAGED for one that is not as long as it says; KVC_E_NULL; KVC_E_ARGUMENT.
 */
kvc_status_t kvc_codec_tables_file_bytes(const char *path, uint64_t *bytes_out, kvc_error_t *error_out);

/* Reads tables from a file into memory that begins at a multiple of 64 bytes, and checks them.
 *
 * Threads: any, at once. Waits for the file's device.
 *
 * Memory: all pointers are borrowed; error_out may be NULL. After an error what is in tables_out is undefined.
 *
 * Statuses: KVC_OK; bytes_out receives the length of the tables. KVC_E_TOO_SMALL with the length that is needed as
 * value_min in error_out; KVC_E_ARGUMENT, KVC_E_DAMAGED and KVC_E_UNSUPPORTED as kvc_codec_tables_check; KVC_E_FILE
 * and KVC_E_FILE_FOREIGN as kvc_codec_tables_file_bytes; KVC_E_NULL.
 */
kvc_status_t kvc_codec_tables_load(const char *path,
                                   void *tables_out,
                                   uint64_t capacity_bytes,
                                   uint64_t *bytes_out,
                                   kvc_error_t *error_out);

/* ===================================================================================================================
 * INITIALIZERS AND SIZES
 * ===================================================================================================================
 *
 * Everything zero but struct_size: kvc_config_t config = KVC_CONFIG_INIT;
 */
#ifdef __cplusplus
} /* extern "C" */
template <class T> inline T kvc_sized_() {
    T value = T();
    value.struct_size = sizeof(T);
    return value;
}
#define KVC_SIZED_(type) (kvc_sized_<type>())
#define KVC_ASSERT_(condition, text) static_assert(condition, text)
extern "C" {
#else
#define KVC_SIZED_(type) {.struct_size = sizeof(type)}
#define KVC_ASSERT_(condition, text) _Static_assert(condition, text)
#endif

#define KVC_GEOMETRY_INIT KVC_SIZED_(kvc_geometry_t)
#define KVC_CONFIG_INIT KVC_SIZED_(kvc_config_t)
#define KVC_PLAN_INIT KVC_SIZED_(kvc_plan_t)
#define KVC_ERROR_INIT KVC_SIZED_(kvc_error_t)
#define KVC_PUT_INFO_INIT KVC_SIZED_(kvc_put_info_t)
#define KVC_STATS_INIT KVC_SIZED_(kvc_stats_t)
#define KVC_CAPACITY_INIT KVC_SIZED_(kvc_capacity_t)
#define KVC_HISTOGRAM_INIT KVC_SIZED_(kvc_histogram_t)
#define KVC_PIN_INFO_INIT KVC_SIZED_(kvc_pin_info_t)
#define KVC_TIER_INIT KVC_SIZED_(kvc_tier_t)
#define KVC_PAGED_INIT KVC_SIZED_(kvc_paged_t)
#define KVC_CODEC_CONFIG_INIT KVC_SIZED_(kvc_codec_config_t)
#define KVC_CODEC_DESCRIPTION_INIT KVC_SIZED_(kvc_codec_description_t)
#define KVC_CODEC_INFO_INIT KVC_SIZED_(kvc_codec_info_t)
#define KVC_CODEC_SAMPLES_INIT KVC_SIZED_(kvc_codec_samples_t)
#define KVC_CODEC_TABLES_INFO_INIT KVC_SIZED_(kvc_codec_tables_info_t)

KVC_ASSERT_(sizeof(kvc_key_t) == 32, "kvc_key_t has 32 bytes");
KVC_ASSERT_(sizeof(kvc_block_t) == 8, "kvc_block_t has 8 bytes");
KVC_ASSERT_(sizeof(kvc_pin_t) == 8, "kvc_pin_t has 8 bytes");
KVC_ASSERT_(sizeof(kvc_lane_t) == 8, "kvc_lane_t has 8 bytes");
KVC_ASSERT_(sizeof(kvc_ticket_t) == 8, "kvc_ticket_t has 8 bytes");
KVC_ASSERT_(sizeof(kvc_view_t) == 32, "kvc_view_t has 32 bytes");
KVC_ASSERT_(sizeof(kvc_reservation_t) == 32, "kvc_reservation_t has 32 bytes");
KVC_ASSERT_(sizeof(kvc_item_t) == 64, "kvc_item_t has 64 bytes");
KVC_ASSERT_(sizeof(kvc_op_t) == 64, "kvc_op_t has 64 bytes");
KVC_ASSERT_(sizeof(kvc_done_t) == 32, "kvc_done_t has 32 bytes");
KVC_ASSERT_(sizeof(kvc_event_t) == 64, "kvc_event_t has 64 bytes");
KVC_ASSERT_(sizeof(kvc_component_t) == 80, "kvc_component_t has 80 bytes");
KVC_ASSERT_(sizeof(kvc_geometry_t) == 56, "kvc_geometry_t has 56 bytes");
KVC_ASSERT_(sizeof(kvc_config_t) == 488, "kvc_config_t has 488 bytes");
KVC_ASSERT_(sizeof(kvc_plan_t) == 2760, "kvc_plan_t has 2760 bytes");
KVC_ASSERT_(sizeof(kvc_error_t) == 336, "kvc_error_t has 336 bytes");
KVC_ASSERT_(sizeof(kvc_put_info_t) == 96, "kvc_put_info_t has 96 bytes");
KVC_ASSERT_(sizeof(kvc_stats_t) == 640, "kvc_stats_t has 640 bytes");
KVC_ASSERT_(sizeof(kvc_capacity_t) == 64, "kvc_capacity_t has 64 bytes");
KVC_ASSERT_(sizeof(kvc_histogram_t) == 64, "kvc_histogram_t has 64 bytes");
KVC_ASSERT_(sizeof(kvc_pin_info_t) == 64, "kvc_pin_info_t has 64 bytes");
KVC_ASSERT_(sizeof(kvc_tier_t) == 216, "kvc_tier_t has 216 bytes");
KVC_ASSERT_(sizeof(kvc_paged_t) == 104, "kvc_paged_t has 104 bytes");
KVC_ASSERT_(sizeof(kvc_codec_layer_t) == 16, "kvc_codec_layer_t has 16 bytes");
KVC_ASSERT_(sizeof(kvc_codec_config_t) == 240, "kvc_codec_config_t has 240 bytes");
KVC_ASSERT_(sizeof(kvc_codec_description_t) == 104, "kvc_codec_description_t has 104 bytes");
KVC_ASSERT_(sizeof(kvc_codec_info_t) == 56, "kvc_codec_info_t has 56 bytes");
KVC_ASSERT_(sizeof(kvc_codec_samples_t) == 104, "kvc_codec_samples_t has 104 bytes");
KVC_ASSERT_(sizeof(kvc_codec_tables_info_t) == 96, "kvc_codec_tables_info_t has 96 bytes");

#ifdef __cplusplus
}
#endif

#endif /* KVCACHE_H */
