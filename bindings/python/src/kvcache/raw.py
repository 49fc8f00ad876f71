"""The C interface as it is: generated from include/kvcache.h by generate.py, do not edit.

Everything of the header under its own name, for what the classes of this package do not do: the constants, the structs
and the functions, whose manual is the header. All pointers are `c_void_p` here: an address as an int, a ctypes array,
`byref(struct)`, bytes for what is only read, or None. Functions answer their status as an int and raise nothing; they
release the GIL. Nothing keeps memory alive that C holds on to: that is the caller's task.

    import ctypes
    from kvcache import raw

    bytes_out = ctypes.c_uint64()
    status = raw.kvc_geometry_block_bytes(ctypes.byref(raw.init(raw.kvc_geometry_t)), ctypes.byref(bytes_out))
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, c_char, c_char_p, c_double, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from ctypes import sizeof as size_of
from typing import Any, Final, TypeVar

from ._load import library

_Bytes = bytes  # The structs have fields of that name.
_Struct = TypeVar("_Struct", bound=Structure)


def init(struct: type[_Struct]) -> _Struct:
    """A struct of this type as its KVC_..._INIT makes it: everything zero but struct_size, if it has one."""
    value = struct()
    if struct._fields_[0][0] == "struct_size":
        value.struct_size = size_of(struct)
    return value


def _bind(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
    return function  # type: ignore[no-any-return]


KVC_VERSION_MAJOR: Final = 0
"""Major version of this header."""
KVC_VERSION_MINOR: Final = 1
"""Minor version of this header. While the major version is 0 it is also in the library's SONAME: two minor ..."""
KVC_VERSION_PATCH: Final = 0
"""Patch version of this header."""
KVC_ABI_VERSION: Final = 1
"""Version of the binary interface: the major version times 65536, plus the minor version."""
KVC_OK: Final = 0
"""Done."""
KVC_MISS: Final = 1
"""The block is not resident."""
KVC_PENDING: Final = 2
"""Another producer is filling this block, it is still arriving from a file tier, or the operation is still ..."""
KVC_AGAIN: Final = 3
"""No room at present: everything is held or a bounded table is full. The same call may succeed later."""
KVC_EXISTS: Final = 4
"""The block is resident already; nothing was stored."""
KVC_CANCELLED: Final = 5
"""The operation was cancelled before it began, or while it waited for a file tier."""
KVC_TIMEOUT: Final = 6
"""The time given ran out; the operation goes on."""
KVC_E_ARGUMENT: Final = -100
"""An argument is outside its documented range."""
KVC_E_NULL: Final = -101
"""A pointer that must not be NULL is NULL."""
KVC_E_HANDLE: Final = -102
"""The handle is not that of an open engine."""
KVC_E_STALE: Final = -103
"""The block, pin, lane or ticket was released, reclaimed or never existed."""
KVC_E_UNSUPPORTED: Final = -104
"""The caller asks for something that this version of the library does not know."""
KVC_E_TOO_LARGE: Final = -105
"""More bytes than a block may have."""
KVC_E_TOO_SMALL: Final = -106
"""The buffer is smaller than what has to go into it; nothing was written."""
KVC_E_DAMAGED: Final = -107
"""The bytes are not what the library made: a code or tables that do not verify."""
KVC_E_CONFIG: Final = -200
"""A field of the configuration is outside its range."""
KVC_E_CONFLICT: Final = -201
"""Two fields of the configuration contradict each other."""
KVC_E_NO_MEMORY: Final = -300
"""The system did not give the memory that the plan asks for."""
KVC_E_HUGE_PAGES: Final = -301
"""Huge pages are required and not to be had."""
KVC_E_LOCK: Final = -302
"""The memory could not be locked."""
KVC_E_THREAD: Final = -303
"""A worker thread could not be started."""
KVC_E_NO_DEVICE: Final = -304
"""The device is not there."""
KVC_E_EVENT_FD: Final = -305
"""An event file descriptor could not be made."""
KVC_E_FILE: Final = -306
"""The file could not be opened, made or locked; the system's error number says why."""
KVC_E_NO_SPACE: Final = -307
"""The file system has no room for the tier's file; nothing was written."""
KVC_E_FILE_BUSY: Final = -308
"""Another process, or another engine, has the file open."""
KVC_E_FILE_MISMATCH: Final = -309
"""The file holds a tier of another geometry, layout or version."""
KVC_E_FILE_FOREIGN: Final = -310
"""The file holds something, and it is no tier."""
KVC_E_FILE_DAMAGED: Final = -311
"""The file is damaged, and the configuration asks for a refusal then."""
KVC_E_NO_URING: Final = -312
"""io_uring is required and not permitted here."""
KVC_E_OFFLINE: Final = -313
"""The device fails or stalls; the tier is offline."""
KVC_E_ENDURANCE: Final = -314
"""The tier's endurance budget is used up for now."""
KVC_E_BUSY: Final = -400
"""The engine still has pins, reservations, open lanes or operations under way, or a lane is used by two ..."""
KVC_E_SHUTDOWN: Final = -401
"""The engine was shut down."""
KVC_E_POISONED: Final = -402
"""The library had an internal failure earlier; the engine refuses work and can only be closed."""
KVC_E_FORKED: Final = -403
"""The engine was opened by a parent process; a forked child must open its own."""
KVC_E_INTERNAL: Final = -900
"""An internal failure was caught at the boundary; the engine is poisoned."""
KVC_TIER_GPU: Final = 0
"""Memory of devices. Reserved: no tier of this kind exists yet."""
KVC_TIER_CPU: Final = 1
"""Memory of the host."""
KVC_TIER_NVME: Final = 2
"""A file, or a block device, that is read and written past the page cache."""
KVC_TIER_DISK: Final = 3
"""A file that is read and written through the page cache, for slow and network disks."""
KVC_TIER_REMOTE: Final = 4
"""A store on another machine. Reserved: no tier of this kind exists yet."""
KVC_TIERS_COUNT: Final = 5
"""How many kinds of tiers there are: tiers are numbers below this."""
KVC_DTYPE_F32: Final = 1
"""Elements are IEEE 754 binary32."""
KVC_DTYPE_F16: Final = 2
"""Elements are IEEE 754 binary16."""
KVC_DTYPE_BF16: Final = 3
"""Elements are the upper half of a binary32."""
KVC_DTYPE_F8_E4M3: Final = 4
"""Elements have 8 bits: 4 of exponent, 3 of mantissa."""
KVC_DTYPE_F8_E5M2: Final = 5
"""Elements have 8 bits: 5 of exponent, 2 of mantissa."""
KVC_DTYPE_I8: Final = 6
"""Elements are signed integers of 8 bits."""
KVC_DTYPE_U8: Final = 7
"""Elements are unsigned integers of 8 bits, or bytes that only the engine of the model understands."""
KVC_CODEC_RAW: Final = 0
"""The bytes as they are."""
KVC_CODEC_LZ: Final = 1
"""Lossless: byte planes, the one with the exponents compressed."""
KVC_CODEC_F8: Final = 2
"""8 bits, E4M3, without a scale."""
KVC_CODEC_I8: Final = 3
"""Integers of 8 bits, a scale per vector."""
KVC_CODEC_N4: Final = 4
"""Rotated, 16 levels per element, a scale per 32 elements."""
KVC_CODEC_T4: Final = 5
"""Rotated, coded along a trellis, 4 bits."""
KVC_CODEC_T3: Final = 6
"""Rotated, coded along a trellis, 3 bits."""
KVC_CODEC_T2: Final = 7
"""Rotated, coded along a trellis, 2 bits."""
KVC_CODEC_VQ: Final = 8
"""Codebooks that were trained on samples, 2 bits. Needs tables."""
KVC_CODEC_XC: Final = 9
"""Transform coder, calibrated on samples, at a chosen rate. Needs tables."""
KVC_CODECS_COUNT: Final = 10
"""How many codecs there are: they are the numbers below this."""
KVC_CODEC_LAYERS_COUNT_MAX: Final = 8
"""Most exceptions for layers in a kvc_codec_config_t."""
KVC_NONE: Final = 2**64 - 1
""""None of it" in those fields of the configuration where zero means a default."""
KVC_POLICY_LRU: Final = 1
"""Evict what was used least recently."""
KVC_POLICY_S3FIFO: Final = 2
"""Evict by three queues (S3-FIFO), which keeps what is used often through a scan of what is used once."""
KVC_POLICY_LFU: Final = 3
"""Evict what was used least often, where uses count half as much for each turnover of the cache since."""
KVC_POLICY_ARC: Final = 4
"""Evict by recency and frequency in a proportion that is learnt from what was given up too early (ARC, with ..."""
KVC_POLICY_SIEVE: Final = 5
"""Evict by one queue and a hand that passes over what was used since it last passed (SIEVE)."""
KVC_POLICY_GDSF: Final = 6
"""Evict what was used least, weighed by the cost of computing it again (Greedy-Dual-Size-Frequency)."""
KVC_POLICY_IMPORTANCE: Final = 7
"""Evict what is worth least to the program: see kvc_importance_begin."""
KVC_POLICY_HAZARD: Final = 8
"""What will be wanted last goes first, learnt on line from how long blocks of its kind wait for their next ..."""
KVC_POLICY_ADAPTIVE: Final = 9
"""Whichever of KVC_POLICY_HAZARD, KVC_POLICY_S3FIFO and KVC_POLICY_LRU does best on a sample of the keys; ..."""
KVC_HUGE_PAGES_OFF: Final = 0
"""Ordinary pages. The default."""
KVC_HUGE_PAGES_ADVISE: Final = 1
"""Transparent huge pages where the kernel gives them."""
KVC_HUGE_PAGES_REQUIRE: Final = 2
"""Reserved huge pages, else opening fails with KVC_E_HUGE_PAGES."""
KVC_CLOCK_SYSTEM: Final = 0
"""The engine reads the system's monotonic clock. The default."""
KVC_CLOCK_TICKS: Final = 1
"""The engine's time is what kvc_tick is told, and stands still in between: a run can be repeated exactly."""
KVC_PREFAULT_NONE: Final = 0
"""Pages are touched by their first use: opening is instant. The default."""
KVC_PREFAULT_LAZY: Final = 1
"""Pages are touched in the background: by the worker thread, or piece by piece by each tick."""
KVC_PREFAULT_ALL: Final = 2
"""Pages are touched before open returns."""
KVC_ADMISSION_ALL: Final = 1
"""A file tier takes every block that memory gives up. The default."""
KVC_ADMISSION_SECOND_HIT: Final = 2
"""A file tier takes blocks that were used again after they were stored."""
KVC_ADMISSION_REUSE: Final = 3
"""A file tier takes blocks of a kind that is asked for again, as a sample of all blocks that leave memory ..."""
KVC_WRITE_BACK: Final = 1
"""Blocks are written to the first file tier when memory is about to give them up. The default."""
KVC_WRITE_THROUGH: Final = 2
"""Blocks are written to the first file tier as soon as they are committed."""
KVC_DAMAGE_DROP: Final = 1
"""What cannot be verified in a file is dropped and counted when the engine opens. The default."""
KVC_DAMAGE_REFUSE: Final = 2
"""A damaged file is refused with KVC_E_FILE_DAMAGED, and stays as it is."""
KVC_IO_AUTO: Final = 1
"""The NVMe tier uses io_uring where it is permitted, else positional reads and writes. The default."""
KVC_IO_URING: Final = 2
"""The NVMe tier uses io_uring, or opening fails with KVC_E_NO_URING."""
KVC_IO_POSITIONAL: Final = 3
"""The NVMe tier uses positional reads and writes, on the thread that drives it."""
KVC_PREFETCH_TURNS: Final = 1
"""The blocks of a conversation are copied up before its next request is due."""
KVC_PREFETCH_SEQUENCES: Final = 2
"""Sequences and strides are followed: reading every n-th block in the order in which they were first stored."""
KVC_PREFETCH_SUCCESSORS: Final = 4
"""It is learnt which block is used after which."""
KVC_COMPONENTS_COUNT_MAX: Final = 32
"""How many components a plan has room for."""
KVC_MATCH_TOUCH: Final = 1
"""For match: count the resident blocks as used, so that they are evicted later. Without it, match only looks."""
KVC_COPY_HOT: Final = 1
"""For copies: the bytes are read soon by this core and shall be in its cache."""
KVC_COPY_COLD: Final = 2
"""For copies: the bytes are not read soon and shall not displace what is in the cache. Without KVC_COPY_HOT ..."""
KVC_ACQUIRE_PARTIAL: Final = 1
"""For acquire: lend a block of a file tier at once, while it is still arriving; kvc_view_ready says how much ..."""
KVC_PUT_PROTECTED: Final = 1
"""For kvc_put_info_t: never evict the block while there is one without this flag that could be."""
KVC_RETAIN_PROTECTED: Final = 1
"""For kvc_retain: never evict the blocks while there is one without this flag that could be."""
KVC_TIER_STATE_ONLINE: Final = 1
"""The tier works."""
KVC_TIER_STATE_OFFLINE: Final = 2
"""The tier's device failed or stalled; it is not used any more until the engine is opened again."""
KVC_OP_MATCH: Final = 1
"""kvc_match of keys. The result is the count."""
KVC_OP_GET: Final = 2
"""kvc_get of each of keys: block i goes to data + i * bytes. Ends at the first that fails, with its status. ..."""
KVC_OP_PUT: Final = 3
"""kvc_put of each of keys, as a chain: block i has bytes bytes and is at data + i * bytes. Ends at the first ..."""
KVC_OP_REMOVE: Final = 4
"""kvc_remove of keys. The result is the count."""
KVC_OP_TOUCH: Final = 5
"""kvc_touch of keys. The result is the count."""
KVC_OP_ACQUIRE: Final = 6
"""kvc_acquire_many of keys: data points to keys_count structs of type kvc_view_t, and bytes is their size in ..."""
KVC_OP_PREFETCH: Final = 7
"""kvc_prefetch of keys. The result is how many are on their way because of it."""
KVC_OP_FLUSH: Final = 8
"""kvc_flush of everything that was committed or removed before the operation begins; completes when that is ..."""
KVC_OPERATION_MATCH: Final = 0
"""Finding the longest resident prefix, one call."""
KVC_OPERATION_GET: Final = 1
"""Copying a block out."""
KVC_OPERATION_ACQUIRE: Final = 2
"""Lending a block."""
KVC_OPERATION_RESERVE: Final = 3
"""Reserving room for a block, with the eviction that it may need."""
KVC_OPERATION_COMMIT: Final = 4
"""Making a reserved block readable."""
KVC_OPERATION_PUT: Final = 5
"""Copying a block in."""
KVC_OPERATION_REMOVE: Final = 6
"""Removing blocks."""
KVC_OPERATION_MOVE: Final = 7
"""Copying a block between tiers: up into memory from the tier given, or down into it."""
KVC_OPERATION_SUBMIT: Final = 8
"""From submission on a lane to completion."""
KVC_OPERATION_TICK: Final = 9
"""One call of tick."""
KVC_OPERATIONS_COUNT: Final = 10
"""How many kinds of operations there are: they are numbers below this."""
KVC_EVENT_STORED: Final = 1
"""The block became readable in the tier."""
KVC_EVENT_REMOVED: Final = 2
"""The caller removed the block, from all tiers."""
KVC_EVENT_EVICTED: Final = 3
"""The block left the tier, to make room in it; it may still be in another one."""
KVC_EVENT_MOVED: Final = 4
"""The block was moved and is now in the tier given. Reserved: blocks are copied between tiers, which is stored ..."""
KVC_EVENT_PIN_EXPIRED: Final = 5
"""A view of the block was taken back after its time (pin_expiry_ms)."""
KVC_EVENT_DAMAGED: Final = 6
"""What the tier's file held under this key was not what was written; the block was dropped there."""
KVC_EVENT_OFFLINE: Final = 7
"""The tier went offline: its device fails or stalls. The key is zero, and so is the block. All blocks that ..."""
KVC_EVENT_CODEC_FALLBACK: Final = 8
"""The tier's codec was coarser on this model than error_max_permille permits: it takes the next better one ..."""
KVC_ORDER_NHD: Final = 1
"""Within a plane of a page: all heads of one token together, [token][head][element]."""
KVC_ORDER_HND: Final = 2
"""Within a plane of a page: all tokens of one head together, [head][token][element]."""
KVC_PLANES_SEPARATE: Final = 1
"""Keys and values of a layer in two buffers. Also for a geometry of one plane."""
KVC_PLANES_OUTER: Final = 2
"""Keys and values of a layer in one buffer: all keys, then all values."""
KVC_PLANES_INNER: Final = 3
"""Keys and values of a layer in one buffer: the keys and then the values of each page."""
KVC_ROPE_AUTO: Final = 0
"""Training finds the rotary embedding out from the keys. The default."""
KVC_ROPE_NONE: Final = 1
"""The keys went through no rotary embedding."""
KVC_ROPE_HALF: Final = 2
"""Elements i and i + rope_dim / 2 of a head are turned together (Llama in the usual weights, GPT-NeoX)."""
KVC_ROPE_INTERLEAVED: Final = 3
"""Elements 2 i and 2 i + 1 of a head are turned together (GPT-J)."""


class kvc_key_t(Structure):
    """The name of a block: 32 opaque bytes, compared whole. Any 32 bytes are a valid key."""

    _fields_ = [
        ("bytes", c_uint8 * 32),
    ]
    bytes: Any
    """The bytes, in the order in which they are stored and hashed."""


class kvc_block_t(Structure):
    """A block that is or was resident."""

    _fields_ = [
        ("index", c_uint32),
        ("generation", c_uint32),
    ]
    index: int
    """Place in the block table."""
    generation: int
    """How often the place was used."""


class kvc_pin_t(Structure):
    """A pin that keeps a block where it is."""

    _fields_ = [
        ("index", c_uint32),
        ("generation", c_uint32),
    ]
    index: int
    """Place in the pin table."""
    generation: int
    """How often the place was used."""


class kvc_lane_t(Structure):
    """A lane: one producer's private queues."""

    _fields_ = [
        ("index", c_uint32),
        ("generation", c_uint32),
    ]
    index: int
    """Place in the lane table."""
    generation: int
    """How often the place was used."""


class kvc_ticket_t(Structure):
    """A submitted operation of a lane."""

    _fields_ = [
        ("index", c_uint32),
        ("generation", c_uint32),
    ]
    index: int
    """Place in the lane's ticket table."""
    generation: int
    """How often the place was used."""


class kvc_geometry_t(Structure):
    """The dimensions of a key/value block. A block is laid out [layer][key, value][token][head][element], the ..."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("layers_count", c_uint64),
        ("planes_count", c_uint64),
        ("kv_heads_count", c_uint64),
        ("head_dim", c_uint64),
        ("tokens_per_block", c_uint64),
        ("dtype", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    layers_count: int
    """Layers with keys and values in the block: 1 to 1024. Required."""
    planes_count: int
    """2 for keys and values, 1 where one vector stands for both (multi-head latent attention). 0 means 2."""
    kv_heads_count: int
    """Heads of keys and values on this worker, not those of the queries: 1 to 1024. Required."""
    head_dim: int
    """Elements of one head's vector: 1 to 65536. Required."""
    tokens_per_block: int
    """Tokens of a block: 1 to 65536. Required."""
    dtype: int
    """Type of one element (KVC_DTYPE_...). Required."""


class kvc_codec_layer_t(Structure):
    """Layers that are encoded in another way than the rest."""

    _fields_ = [
        ("layer_first", c_uint32),
        ("layer_last", c_uint32),
        ("codec_key", c_uint32),
        ("codec_value", c_uint32),
    ]
    layer_first: int
    """First layer, from 0."""
    layer_last: int
    """Last layer, itself included."""
    codec_key: int
    """The codec of their keys (KVC_CODEC_...)."""
    codec_value: int
    """The codec of their values."""


class kvc_codec_config_t(Structure):
    """How blocks are encoded. Initialise with KVC_CODEC_CONFIG_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("geometry", c_void_p),
        ("codec_key", c_uint64),
        ("codec_value", c_uint64),
        ("exact_tokens", c_uint64),
        ("exact_layers_first", c_uint64),
        ("exact_layers_last", c_uint64),
        ("trellis_states", c_uint64),
        ("key_mean", c_uint64),
        ("xc_millibits", c_uint64),
        ("error_max_permille", c_uint64),
        ("layers_count", c_uint64),
        ("layers", kvc_codec_layer_t * 8),
        ("codec_tables", c_void_p),
        ("codec_tables_bytes", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    geometry: int | None
    """What the blocks consist of. Required."""
    codec_key: int
    """The codec of keys (KVC_CODEC_...), and of the one plane of geometries that have one. Default KVC_CODEC_RAW."""
    codec_value: int
    """The codec of values. Default KVC_CODEC_RAW."""
    exact_tokens: int
    """Tokens at the beginning of each sequence that are kept exactly, at most 65535. Default 0."""
    exact_layers_first: int
    """Layers at the beginning that are kept exactly, at most 1024; they go before layers. Default 0."""
    exact_layers_last: int
    """Layers at the end that are kept exactly, at most 1024; they go before layers. Default 0."""
    trellis_states: int
    """States of the trellis of t4, t3 and t2: 256, or 64, which encodes faster and loses a little. Default 256."""
    key_mean: int
    """1 to have t4, t3 and t2 take the mean of each channel off the keys of a block first, else 0. Default 0."""
    xc_millibits: int
    """Rate of xc in thousandths of a bit per element, 500 to 6000. Default 2300."""
    error_max_permille: int
    """Relative error, in thousandths, that a sampled block may have before a tier takes the next better codec, ..."""
    layers_count: int
    """How many of layers are filled in, at most 8. Default 0."""
    layers: Any
    """Exceptions; a later one goes before an earlier one."""
    codec_tables: int | None
    """Tables for vq and xc, at a multiple of 64 bytes, or NULL."""
    codec_tables_bytes: int
    """Bytes of the tables."""


class kvc_config_t(Structure):
    """What an engine is made from. block_bytes and cpu_bytes are required; zero in any other field means its ..."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("block_bytes", c_uint64),
        ("cpu_bytes", c_uint64),
        ("policy", c_uint64),
        ("pins_count", c_uint64),
        ("stripes_count", c_uint64),
        ("lanes_count", c_uint64),
        ("lane_depth", c_uint64),
        ("events_count", c_uint64),
        ("workers_count", c_uint64),
        ("huge_pages", c_uint64),
        ("memory_lock", c_uint64),
        ("prefault", c_uint64),
        ("pin_expiry_ms", c_uint64),
        ("reservation_expiry_ms", c_uint64),
        ("hash_seed", c_uint64),
        ("latency_sample_count", c_uint64),
        ("clock", c_uint64),
        ("memory", c_void_p),
        ("memory_bytes", c_uint64),
        ("geometries", c_void_p),
        ("geometries_count", c_uint64),
        ("nvme_path", c_void_p),
        ("nvme_bytes", c_uint64),
        ("nvme_segment_bytes", c_uint64),
        ("nvme_blocks_count", c_uint64),
        ("nvme_depth", c_uint64),
        ("nvme_admission", c_uint64),
        ("nvme_endurance_bytes_per_day", c_uint64),
        ("nvme_promotion_hits", c_uint64),
        ("nvme_stall_ms", c_uint64),
        ("disk_path", c_void_p),
        ("disk_bytes", c_uint64),
        ("disk_segment_bytes", c_uint64),
        ("disk_blocks_count", c_uint64),
        ("disk_depth", c_uint64),
        ("disk_admission", c_uint64),
        ("disk_endurance_bytes_per_day", c_uint64),
        ("disk_promotion_hits", c_uint64),
        ("disk_stall_ms", c_uint64),
        ("write_policy", c_uint64),
        ("damage", c_uint64),
        ("io_engine", c_uint64),
        ("file_overwrite", c_uint64),
        ("slots_free_low_permille", c_uint64),
        ("slots_free_high_permille", c_uint64),
        ("write_wait_ms", c_uint64),
        ("nvme_codec", c_void_p),
        ("disk_codec", c_void_p),
        ("codec_tables", c_void_p),
        ("codec_tables_bytes", c_uint64),
        ("importance_count", c_uint64),
        ("dedup", c_uint64),
        ("prefetch", c_uint64),
        ("prefetch_conversations_count", c_uint64),
        ("prefetch_successors_count", c_uint64),
        ("prefetch_confidence_permille", c_uint64),
        ("prefetch_bytes", c_uint64),
        ("prefetch_bytes_per_second", c_uint64),
        ("admission_loss_permille", c_uint64),
        ("tuning", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    block_bytes: int
    """Most bytes of one block, 1 to 2^31. Required."""
    cpu_bytes: int
    """Bytes of the slots of the memory tier, at least one slot and at most 2^46. Metadata comes on top; the ..."""
    policy: int
    """How victims are chosen (KVC_POLICY_...). Default KVC_POLICY_HAZARD."""
    pins_count: int
    """Most views held at once (kvc_acquire), 1 to 2^20. Default 4096."""
    stripes_count: int
    """Sets of cache lines that reading threads have to themselves, a power of two from 1 to 1024; at least as ..."""
    lanes_count: int
    """Most lanes open at once, 1 to 1024; KVC_NONE for none. Default 8."""
    lane_depth: int
    """Most operations of one lane under way, a power of two from 1 to 65536. Default 256."""
    events_count: int
    """Events remembered for kvc_events_read, a power of two from 1 to 2^20; KVC_NONE for none. Default 1024."""
    workers_count: int
    """Threads that the library runs, at most 64. Default 0: tick mode, the caller drives."""
    huge_pages: int
    """Huge pages for the engine's own mapping (KVC_HUGE_PAGES_...). Default KVC_HUGE_PAGES_OFF."""
    memory_lock: int
    """1 to lock the memory so that it is never swapped out, else 0. Default 0."""
    prefault: int
    """When pages are touched for the first time (KVC_PREFAULT_...). Default KVC_PREFAULT_NONE."""
    pin_expiry_ms: int
    """Milliseconds after which a view that was not released is taken back, at most 400 days: for callers that ..."""
    reservation_expiry_ms: int
    """Milliseconds after which a reservation that was neither committed nor aborted is taken back, at most 400 ..."""
    hash_seed: int
    """Seed of the index's hash; the same seed gives the same run. Set it to a secret random number where keys ..."""
    latency_sample_count: int
    """One memory hit of this many is timed for the histograms, a power of two from 1 to 2^20; KVC_NONE times ..."""
    clock: int
    """Where the engine's time comes from (KVC_CLOCK_...). KVC_CLOCK_TICKS is for tick mode only (workers_count ..."""
    memory: int | None
    """Memory that the caller brings, aligned to 4096 bytes; lent by the caller until kvc_close. huge_pages, ..."""
    memory_bytes: int
    """Bytes at memory, at least the plan's bytes. 0 exactly when memory is NULL."""
    geometries: int | None
    """The geometries that blocks can name by number, the first one being number 1. Default NULL: none. Borrowed."""
    geometries_count: int
    """How many there are at geometries, at most 16. All have the struct_size of the first."""
    nvme_path: int | None
    """Path of the NVMe tier's file: made where there is none, read where it holds what an engine of the same ..."""
    nvme_bytes: int
    """Bytes of the NVMe tier's file, at least four segments and at most 2^46; all of it is taken when the ..."""
    nvme_segment_bytes: int
    """Bytes of the NVMe tier that are written in order and given up together, a multiple of 4096 with room for ..."""
    nvme_blocks_count: int
    """Most blocks known in the NVMe tier; each costs up to 220 bytes of memory. Default: as many of ..."""
    nvme_depth: int
    """Most requests to the NVMe tier's device under way, 4 to 256; each has a buffer of 264 KiB, or more for ..."""
    nvme_admission: int
    """Which blocks the NVMe tier takes (KVC_ADMISSION_...). Default KVC_ADMISSION_ALL."""
    nvme_endurance_bytes_per_day: int
    """Most bytes written to the NVMe tier's file in any 24 hours, at least four segments. Default 0: no bound."""
    nvme_promotion_hits: int
    """The hit in the NVMe tier, counted from 1, from which on a block stays in memory once it was copied up, 1 ..."""
    nvme_stall_ms: int
    """Milliseconds without any progress of the device after which the NVMe tier goes offline, at most one ..."""
    disk_path: int | None
    """Path of the disk tier's file: made where there is none, read where it holds what an engine of the same ..."""
    disk_bytes: int
    """Bytes of the disk tier's file, at least four segments and at most 2^46; all of it is taken when the ..."""
    disk_segment_bytes: int
    """Bytes of the disk tier that are written in order and given up together, a multiple of 4096 with room for ..."""
    disk_blocks_count: int
    """Most blocks known in the disk tier; each costs up to 220 bytes of memory. Default: as many of ..."""
    disk_depth: int
    """Most requests to the disk tier's device under way, 4 to 256; each has a buffer of 264 KiB, or more for ..."""
    disk_admission: int
    """Which blocks the disk tier takes (KVC_ADMISSION_...). Default KVC_ADMISSION_ALL."""
    disk_endurance_bytes_per_day: int
    """Most bytes written to the disk tier's file in any 24 hours, at least four segments. Default 0: no bound."""
    disk_promotion_hits: int
    """The hit in the disk tier, counted from 1, from which on a block stays in memory once it was copied up, 1 ..."""
    disk_stall_ms: int
    """Milliseconds without any progress of the device after which the disk tier goes offline, at most one ..."""
    write_policy: int
    """When blocks are written to the first file tier (KVC_WRITE_...). Default KVC_WRITE_BACK."""
    damage: int
    """What opening does about a damaged file (KVC_DAMAGE_...). Default KVC_DAMAGE_DROP."""
    io_engine: int
    """How the NVMe tier's file is read and written (KVC_IO_...). Default KVC_IO_AUTO."""
    file_overwrite: int
    """1 to overwrite files that hold something else (another geometry, another version, no tier at all) ..."""
    slots_free_low_permille: int
    """Share of the memory tier's slots, in thousandths, below which ticks and workers begin to make room, at ..."""
    slots_free_high_permille: int
    """Share of the slots, in thousandths, up to which they make room then, at most 500; KVC_NONE for 0. Default 40."""
    write_wait_ms: int
    """Milliseconds that a put waits for room while what would have to go is still being written down, at most ..."""
    nvme_codec: int | None
    """How the NVMe tier encodes blocks that have a geometry. geometry and the tables of the codec's ..."""
    disk_codec: int | None
    """How the disk tier encodes blocks that have a geometry, as nvme_codec. Default NULL: not at all. Borrowed."""
    codec_tables: int | None
    """Tables for vq and xc; copied, so that they may begin anywhere. Default NULL: none. Borrowed."""
    codec_tables_bytes: int
    """Bytes at codec_tables. 0 exactly when that is NULL."""
    importance_count: int
    """Most keys in an importance table (kvc_importance_begin), of which there are two; 24 bytes a key. Default ..."""
    dedup: int
    """1 to let blocks with different keys that hold the same bytes share a slot of the memory tier, else 0. ..."""
    prefetch: int
    """What is copied up from a file tier ahead of its use (KVC_PREFETCH_..., added together), by ticks and ..."""
    prefetch_conversations_count: int
    """Conversations that KVC_PREFETCH_TURNS remembers, at most 2^20; each costs 128 bytes of memory. Default 4096."""
    prefetch_successors_count: int
    """Successors that KVC_PREFETCH_SUCCESSORS remembers, 4 to 65536; each costs 24 bytes of memory. Default 65536."""
    prefetch_confidence_permille: int
    """Least probability of being used at which a block is copied up ahead, in thousandths, at most 1000. ..."""
    prefetch_bytes: int
    """Most bytes of slots with blocks that were copied up ahead and not used yet, at most cpu_bytes. Default: ..."""
    prefetch_bytes_per_second: int
    """Most bytes copied up ahead in a second, and in one burst. Default 0: no bound."""
    admission_loss_permille: int
    """Share of a file tier's hits that KVC_ADMISSION_REUSE may cost, in thousandths, at most 500: the more, ..."""
    tuning: int
    """1 to let ticks and workers move prefetch_confidence_permille (between half of it and twice it, 100 to ..."""


class kvc_error_t(Structure):
    """Why a configuration was refused. Initialise with KVC_ERROR_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("status", c_int64),
        ("value", c_uint64),
        ("value_min", c_uint64),
        ("value_max", c_uint64),
        ("os_error", c_int64),
        ("field", c_char * 32),
        ("message", c_char * 256),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    status: int
    """The status that the call answered."""
    value: int
    """The value that the field had."""
    value_min: int
    """The smallest permitted value."""
    value_max: int
    """The largest permitted value."""
    os_error: int
    """The operating system's error number where one is behind this, else 0."""
    field: _Bytes
    """The field of kvc_config_t or kvc_geometry_t, with a closing NUL byte."""
    message: _Bytes
    """All of this as a sentence for people, with a closing NUL byte."""


class kvc_component_t(Structure):
    """One line of the plan."""

    _fields_ = [
        ("name", c_char * 32),
        ("tier", c_uint64),
        ("metadata", c_uint64),
        ("offset", c_uint64),
        ("count", c_uint64),
        ("bytes_each", c_uint64),
        ("bytes", c_uint64),
    ]
    name: _Bytes
    """What it is, with a closing NUL byte: "slots"."""
    tier: int
    """The tier it belongs to (KVC_TIER_...)."""
    metadata: int
    """1 for bookkeeping, 0 for payload and for the buffers of the file tiers."""
    offset: int
    """Bytes from the start of the engine's memory."""
    count: int
    """How many."""
    bytes_each: int
    """Bytes of each."""
    bytes: int
    """Bytes of all, rounded up to whole pages."""


class kvc_plan_t(Structure):
    """The exact bytes of everything an engine will ever hold. Initialise with KVC_PLAN_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("bytes", c_uint64),
        ("metadata_bytes", c_uint64),
        ("metadata_bytes_per_block", c_uint64),
        ("blocks_count", c_uint64),
        ("slots_count", c_uint64),
        ("slot_bytes", c_uint64),
        ("memory_alignment_bytes", c_uint64),
        ("tier_bytes", c_uint64 * 8),
        ("components_count", c_uint64),
        ("components", kvc_component_t * 32),
        ("file_bytes", c_uint64 * 8),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    bytes: int
    """Bytes of everything: what open obtains, or what the caller brings."""
    metadata_bytes: int
    """Bytes of bookkeeping: everything but the slots and the buffers of the file tiers."""
    metadata_bytes_per_block: int
    """Bytes per block of key, index, state, facts, policy and place in the file tiers, rounded up."""
    blocks_count: int
    """Most blocks resident at once, in all tiers together."""
    slots_count: int
    """Slots of the memory tier."""
    slot_bytes: int
    """Bytes from one slot to the next: block_bytes rounded up to a cache line or a page."""
    memory_alignment_bytes: int
    """Alignment in bytes that memory brought by the caller must have."""
    tier_bytes: Any
    """Bytes of memory per tier, in the order of KVC_TIER_...; the last three are reserved and zero."""
    components_count: int
    """How many of components are filled in."""
    components: Any
    """Every component, in the order in which they lie in memory."""
    file_bytes: Any
    """Bytes of each tier's file, in the order of KVC_TIER_..., 0 where there is none; not part of bytes, which ..."""


class kvc_item_t(Structure):
    """One item of a batch of gets or puts: a key, where its bytes are or go, and what became of it."""

    _fields_ = [
        ("key", kvc_key_t),
        ("data", c_void_p),
        ("bytes", c_uint64),
        ("bytes_out", c_uint64),
        ("status", c_int32),
        ("flags", c_uint32),
    ]
    key: kvc_key_t
    """The block's key."""
    data: int | None
    """Get: where the bytes go. Put: where they are; not written."""
    bytes: int
    """Get: room in bytes at data. Put: bytes of the block."""
    bytes_out: int
    """Written by the library. Get: bytes of the block if the status is KVC_OK, else 0. Put: bytes stored."""
    status: int
    """Written by the library: what became of this item."""
    flags: int
    """Zero."""


class kvc_view_t(Structure):
    """A block that the engine lends: bytes bytes at data, readable and unchanged until kvc_release."""

    _fields_ = [
        ("data", c_void_p),
        ("bytes", c_uint64),
        ("block", kvc_block_t),
        ("pin", kvc_pin_t),
    ]
    data: int | None
    """The block's bytes, aligned to at least 64."""
    bytes: int
    """How many there are."""
    block: kvc_block_t
    """The block."""
    pin: kvc_pin_t
    """What holds it."""


class kvc_reservation_t(Structure):
    """Room for a block that the engine lends to its producer until kvc_commit or kvc_abort."""

    _fields_ = [
        ("data", c_void_p),
        ("bytes", c_uint64),
        ("block", kvc_block_t),
        ("reserved", c_uint64),
    ]
    data: int | None
    """Where the block's bytes go, aligned to at least 64. What is there before is undefined."""
    bytes: int
    """Room in bytes: what was asked for."""
    block: kvc_block_t
    """The block to be."""
    reserved: int
    """Zero."""


class kvc_put_info_t(Structure):
    """What a put says about its block, for the policy to decide by. Initialise with KVC_PUT_INFO_INIT; ..."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("parent", c_void_p),
        ("chain_index", c_uint64),
        ("tokens_count", c_uint64),
        ("recompute_cost_us", c_uint64),
        ("conversation_id", c_uint64),
        ("namespace_id", c_uint64),
        ("priority", c_uint64),
        ("flags", c_uint64),
        ("expiry_ms", c_uint64),
        ("geometry_id", c_uint64),
        ("importance", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    parent: int | None
    """Key of the block before this one in the request's chain; it need not be resident. NULL for none. Copied."""
    chain_index: int
    """Place in the request's chain, from 0."""
    tokens_count: int
    """Tokens in the block."""
    recompute_cost_us: int
    """What computing the block again would cost, in microseconds."""
    conversation_id: int
    """The conversation that the block belongs to; 0 for none."""
    namespace_id: int
    """The namespace that the block is cleared with (kvc_namespace_clear); any number."""
    priority: int
    """Retention priority, 0 (evicted first) to 100."""
    flags: int
    """KVC_PUT_PROTECTED or 0."""
    expiry_ms: int
    """Milliseconds after which priority and protection lapse, at most 400 days; 0 for never."""
    geometry_id: int
    """Which of the configuration's geometries the block has, from 1; 0 for plain bytes."""
    importance: int
    """How much keeping the block is worth, 0 for nothing in particular, at most 2^32 - 1; what ..."""


class kvc_tier_t(Structure):
    """A file tier at present. Initialise with KVC_TIER_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("state", c_uint64),
        ("io_name", c_char * 32),
        ("file_bytes", c_uint64),
        ("segments_count", c_uint64),
        ("segments_free", c_uint64),
        ("blocks_count_max", c_uint64),
        ("blocks_count", c_uint64),
        ("bytes_written", c_uint64),
        ("hits", c_uint64),
        ("read_bytes", c_uint64),
        ("writes", c_uint64),
        ("write_bytes", c_uint64),
        ("reinserts", c_uint64),
        ("evictions", c_uint64),
        ("codec_key", c_uint64),
        ("codec_value", c_uint64),
        ("blocks_coded", c_uint64),
        ("plain_bytes", c_uint64),
        ("coded_bytes", c_uint64),
        ("quality_samples_count", c_uint64),
        ("error_ppm_mean", c_uint64),
        ("error_ppm_max", c_uint64),
        ("codec_fallbacks_count", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    state: int
    """Whether it works (KVC_TIER_STATE_...)."""
    io_name: _Bytes
    """How its file is read and written, with a closing NUL byte: "io_uring", "pread", "mmap"."""
    file_bytes: int
    """Bytes of the file."""
    segments_count: int
    """Segments of the file."""
    segments_free: int
    """Now: segments that hold nothing."""
    blocks_count_max: int
    """Most blocks that can be in the tier."""
    blocks_count: int
    """Now: blocks in the tier."""
    bytes_written: int
    """Bytes written to the file since the engine was opened, headers and padding included."""
    hits: int
    """Blocks copied up from the tier."""
    read_bytes: int
    """Bytes of the blocks read from the tier."""
    writes: int
    """Blocks written to the tier."""
    write_bytes: int
    """Bytes of the blocks written to the tier."""
    reinserts: int
    """Blocks written to the tier again because they were hit there."""
    evictions: int
    """Blocks that left the tier with their segment."""
    codec_key: int
    """Now: the codec of keys (KVC_CODEC_...), after the fallbacks that there were."""
    codec_value: int
    """Now: the codec of values."""
    blocks_coded: int
    """Blocks encoded for the tier."""
    plain_bytes: int
    """Bytes of those blocks, as put."""
    coded_bytes: int
    """Bytes of their codes: eight times this, over the elements in plain_bytes, are the bits per element."""
    quality_samples_count: int
    """Blocks that were decoded again and compared since the codecs at present were taken: the first 16, then ..."""
    error_ppm_mean: int
    """Mean relative error of the samples in millionths: the root of the squared error over the squared norm."""
    error_ppm_max: int
    """Largest relative error of a sample in millionths."""
    codec_fallbacks_count: int
    """How often the tier took a better codec because the samples' error was above error_max_permille."""


class kvc_op_t(Structure):
    """An operation to submit. Set what the opcode does not use to zero."""

    _fields_ = [
        ("opcode", c_uint32),
        ("flags", c_uint32),
        ("user_data", c_uint64),
        ("keys", c_void_p),
        ("keys_count", c_uint64),
        ("data", c_void_p),
        ("bytes", c_uint64),
        ("info", c_void_p),
        ("block", kvc_block_t),
    ]
    opcode: int
    """What to do (KVC_OP_...)."""
    flags: int
    """The flags that the opcode's function takes: KVC_MATCH_TOUCH for match, KVC_COPY_HOT or KVC_COPY_COLD for ..."""
    user_data: int
    """Anything; comes back in the completion."""
    keys: int | None
    """Keys. Kept until the completion."""
    keys_count: int
    """How many."""
    data: int | None
    """Bytes to read or write, as the opcode says. Kept until the completion."""
    bytes: int
    """Bytes at data, as the opcode says."""
    info: int | None
    """For put: what is to be said about the blocks; may be NULL. Copied."""
    block: kvc_block_t
    """Zero; reserved."""


class kvc_done_t(Structure):
    """What became of an operation."""

    _fields_ = [
        ("user_data", c_uint64),
        ("ticket", kvc_ticket_t),
        ("status", c_int32),
        ("opcode", c_uint32),
        ("result", c_uint64),
    ]
    user_data: int
    """The operation's user_data."""
    ticket: kvc_ticket_t
    """The operation's ticket."""
    status: int
    """What the blocking function would have answered."""
    opcode: int
    """The operation's opcode."""
    result: int
    """A count or a number of bytes, as the opcode says."""


class kvc_stats_t(Structure):
    """What happened since the engine was opened, and what is the case now. Initialise with KVC_STATS_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("match_hits", c_uint64),
        ("match_misses", c_uint64),
        ("get_hits", c_uint64),
        ("get_misses", c_uint64),
        ("get_bytes", c_uint64),
        ("acquires", c_uint64),
        ("acquire_misses", c_uint64),
        ("releases", c_uint64),
        ("reserves", c_uint64),
        ("commits", c_uint64),
        ("commit_bytes", c_uint64),
        ("aborts", c_uint64),
        ("puts_existing", c_uint64),
        ("puts_pending", c_uint64),
        ("refusals", c_uint64),
        ("evictions", c_uint64),
        ("evictions_swept", c_uint64),
        ("eviction_rollbacks", c_uint64),
        ("frees", c_uint64),
        ("removes", c_uint64),
        ("touches", c_uint64),
        ("pins_expired", c_uint64),
        ("reservations_expired", c_uint64),
        ("events_lost", c_uint64),
        ("ticks", c_uint64),
        ("operations_submitted", c_uint64),
        ("operations_completed", c_uint64),
        ("operations_cancelled", c_uint64),
        ("blocks_resident", c_uint64),
        ("blocks_reserved", c_uint64),
        ("slots_count", c_uint64),
        ("slots_free", c_uint64),
        ("bytes_capacity", c_uint64),
        ("pins_in_use", c_uint64),
        ("pins_age_ns_max", c_uint64),
        ("lanes_open", c_uint64),
        ("event_sequence_next", c_uint64),
        ("raises", c_uint64),
        ("raise_failures", c_uint64),
        ("nvme_hits", c_uint64),
        ("nvme_writes", c_uint64),
        ("nvme_write_bytes", c_uint64),
        ("nvme_file_bytes", c_uint64),
        ("nvme_read_bytes", c_uint64),
        ("nvme_reinserts", c_uint64),
        ("nvme_evictions", c_uint64),
        ("disk_hits", c_uint64),
        ("disk_writes", c_uint64),
        ("disk_write_bytes", c_uint64),
        ("disk_file_bytes", c_uint64),
        ("disk_read_bytes", c_uint64),
        ("disk_reinserts", c_uint64),
        ("disk_evictions", c_uint64),
        ("checksum_failures", c_uint64),
        ("io_errors", c_uint64),
        ("io_retries", c_uint64),
        ("writes_skipped", c_uint64),
        ("writes_refused", c_uint64),
        ("prefetches", c_uint64),
        ("flushes", c_uint64),
        ("blocks_recovered", c_uint64),
        ("blocks_damaged", c_uint64),
        ("removes_below", c_uint64),
        ("codec_fallbacks", c_uint64),
        ("quality_refusals", c_uint64),
        ("transcodes", c_uint64),
        ("dedup_hits", c_uint64),
        ("dedup_bytes_saved", c_uint64),
        ("dedup_collisions", c_uint64),
        ("prefetch_wishes", c_uint64),
        ("prefetches_used", c_uint64),
        ("prefetches_late", c_uint64),
        ("prefetches_wasted", c_uint64),
        ("prefetch_lead_ms", c_uint64),
        ("tuning_tried", c_uint64),
        ("tuning_kept", c_uint64),
        ("tuning_taken_back", c_uint64),
        ("tuning_confidence_permille", c_uint64),
        ("tuning_admission_loss_permille", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    match_hits: int
    """Keys that match found resident."""
    match_misses: int
    """Keys that match did not find."""
    get_hits: int
    """Blocks copied out by get."""
    get_misses: int
    """Keys that get did not find."""
    get_bytes: int
    """Bytes copied out by get."""
    acquires: int
    """Blocks pinned by acquire."""
    acquire_misses: int
    """Keys that acquire did not find."""
    releases: int
    """Pins given back."""
    reserves: int
    """Blocks reserved for a producer."""
    commits: int
    """Blocks that became readable."""
    commit_bytes: int
    """Bytes of the blocks that became readable."""
    aborts: int
    """Reservations given up by their producer."""
    puts_existing: int
    """Puts and reserves answered with EXISTS."""
    puts_pending: int
    """Puts and reserves answered with PENDING."""
    refusals: int
    """Calls refused with AGAIN: everything pinned or a bounded table full."""
    evictions: int
    """Blocks that the policy evicted to make room."""
    evictions_swept: int
    """Blocks that the lock-free sweep evicted, while another thread had the policy."""
    eviction_rollbacks: int
    """Evictions taken back because a reader held the block."""
    frees: int
    """Places given back by blocks that were evicted, removed or given up."""
    removes: int
    """Blocks removed by the caller."""
    touches: int
    """Blocks touched by the caller."""
    pins_expired: int
    """Pins taken back after their time."""
    reservations_expired: int
    """Reservations taken back after their time."""
    events_lost: int
    """Events that a writer gave up because its slot was still being written."""
    ticks: int
    """Calls of tick."""
    operations_submitted: int
    """Operations taken from a lane."""
    operations_completed: int
    """Operations completed on a lane."""
    operations_cancelled: int
    """Operations cancelled before they began."""
    blocks_resident: int
    """Now: blocks in memory that can be read. kvc_tier_get says how many are in a file tier."""
    blocks_reserved: int
    """Now: blocks that are being filled by their producer."""
    slots_count: int
    """Slots of the memory tier."""
    slots_free: int
    """Now: slots of the memory tier that are free."""
    bytes_capacity: int
    """Bytes of all slots."""
    pins_in_use: int
    """Now: views that are held (kvc_acquire)."""
    pins_age_ns_max: int
    """Now: age in nanoseconds of the oldest of them."""
    lanes_open: int
    """Now: lanes that are open."""
    event_sequence_next: int
    """The number that the next event will have."""
    raises: int
    """Blocks copied up from a file tier into memory."""
    raise_failures: int
    """Blocks that could not be copied up: failed verification or reading, or no room."""
    nvme_hits: int
    """Blocks copied up from the NVMe tier."""
    nvme_writes: int
    """Blocks written to the NVMe tier."""
    nvme_write_bytes: int
    """Bytes of the blocks written to the NVMe tier."""
    nvme_file_bytes: int
    """Bytes written to the NVMe tier's file, headers and padding included."""
    nvme_read_bytes: int
    """Bytes of the blocks read from the NVMe tier."""
    nvme_reinserts: int
    """Blocks written to the NVMe tier again because they were hit there."""
    nvme_evictions: int
    """Blocks that left the NVMe tier with their segment."""
    disk_hits: int
    """Blocks copied up from the disk tier."""
    disk_writes: int
    """Blocks written to the disk tier."""
    disk_write_bytes: int
    """Bytes of the blocks written to the disk tier."""
    disk_file_bytes: int
    """Bytes written to the disk tier's file, headers and padding included."""
    disk_read_bytes: int
    """Bytes of the blocks read from the disk tier."""
    disk_reinserts: int
    """Blocks written to the disk tier again because they were hit there."""
    disk_evictions: int
    """Blocks that left the disk tier with their segment."""
    checksum_failures: int
    """Blocks dropped because what a file held was not what was written."""
    io_errors: int
    """Requests to a file tier's device that failed after their retries."""
    io_retries: int
    """Requests to a file tier's device that were repeated."""
    writes_skipped: int
    """Blocks that memory gave up before they could be written down."""
    writes_refused: int
    """Blocks that no file tier admitted: filter, endurance budget or no room."""
    prefetches: int
    """Blocks whose copying up was begun ahead of use."""
    flushes: int
    """Calls of flush that made everything durable."""
    blocks_recovered: int
    """Blocks found in the files when the engine was opened."""
    blocks_damaged: int
    """Records and tables found damaged or half written when the engine was opened."""
    removes_below: int
    """Blocks removed by the caller that were not in memory."""
    codec_fallbacks: int
    """Times that a tier took a better codec because the error was above its bound."""
    quality_refusals: int
    """Times that a tier's codec was coarser than a block's namespace permits."""
    transcodes: int
    """Blocks that were encoded anew on their way from one file tier to another."""
    dedup_hits: int
    """Blocks that were committed into the slot of another block with the same bytes (dedup)."""
    dedup_bytes_saved: int
    """Now: bytes of blocks in memory that share another block's slot instead of taking one of their own."""
    dedup_collisions: int
    """Times that two blocks had the same digest and other bytes, and did not share a slot."""
    prefetch_wishes: int
    """Wishes of prefetching: conversations, and blocks that follow a pattern."""
    prefetches_used: int
    """Blocks copied up ahead of use that were used."""
    prefetches_late: int
    """Blocks that were wished and asked for before they could be copied up."""
    prefetches_wasted: int
    """Blocks copied up ahead of use and evicted without one."""
    prefetch_lead_ms: int
    """Milliseconds from copying up ahead of use to the use, of all blocks together."""
    tuning_tried: int
    """Steps of a threshold that were tried (tuning)."""
    tuning_kept: int
    """Steps that served better and were kept."""
    tuning_taken_back: int
    """Steps that did not and were taken back."""
    tuning_confidence_permille: int
    """Now: least probability at which a block is copied up ahead of use, in thousandths; 0 where prefetching ..."""
    tuning_admission_loss_permille: int
    """Now: hits that admission by reuse may cost, in thousandths; 0 where no file tier admits by reuse."""


class kvc_capacity_t(Structure):
    """What fits into the engine; does not change while it is open. Initialise with KVC_CAPACITY_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("blocks_count", c_uint64),
        ("block_bytes", c_uint64),
        ("cpu_bytes", c_uint64),
        ("pins_count", c_uint64),
        ("lanes_count", c_uint64),
        ("lane_depth", c_uint64),
        ("bytes", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    blocks_count: int
    """Most blocks resident at once, in all tiers together."""
    block_bytes: int
    """Most bytes of one block."""
    cpu_bytes: int
    """Bytes of all slots of the memory tier."""
    pins_count: int
    """Most views held at once."""
    lanes_count: int
    """Most lanes open at once."""
    lane_depth: int
    """Most operations of one lane under way."""
    bytes: int
    """Bytes of everything in memory, as in the plan."""


class kvc_histogram_t(Structure):
    """How long the timed operations of one kind took in one tier. Initialise with KVC_HISTOGRAM_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("count", c_uint64),
        ("latency_ns_sum", c_uint64),
        ("latency_ns_max", c_uint64),
        ("latency_ns_p50", c_uint64),
        ("latency_ns_p90", c_uint64),
        ("latency_ns_p99", c_uint64),
        ("latency_ns_p999", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    count: int
    """Operations timed."""
    latency_ns_sum: int
    """Their latencies together, in nanoseconds."""
    latency_ns_max: int
    """The longest, in nanoseconds."""
    latency_ns_p50: int
    """Half of them took no longer, in nanoseconds."""
    latency_ns_p90: int
    """90 of 100 took no longer, in nanoseconds."""
    latency_ns_p99: int
    """99 of 100 took no longer, in nanoseconds."""
    latency_ns_p999: int
    """999 of 1000 took no longer, in nanoseconds."""


class kvc_event_t(Structure):
    """One thing that happened to a block, for a router that follows which blocks are where."""

    _fields_ = [
        ("sequence", c_uint64),
        ("time_ns", c_uint64),
        ("key", kvc_key_t),
        ("block", kvc_block_t),
        ("kind", c_uint32),
        ("tier", c_uint32),
    ]
    sequence: int
    """The event's number; the next event has the next one."""
    time_ns: int
    """The engine's clock when it happened, in nanoseconds."""
    key: kvc_key_t
    """The block's key."""
    block: kvc_block_t
    """The block."""
    kind: int
    """What happened (KVC_EVENT_...)."""
    tier: int
    """In which tier (KVC_TIER_...)."""


class kvc_pin_info_t(Structure):
    """A view that is held."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("key", kvc_key_t),
        ("block", kvc_block_t),
        ("pin", kvc_pin_t),
        ("age_ns", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    key: kvc_key_t
    """The key of the block held."""
    block: kvc_block_t
    """The block held."""
    pin: kvc_pin_t
    """The pin."""
    age_ns: int
    """How long it has been held, in nanoseconds; 0 for a view taken a moment ago."""


class kvc_paged_t(Structure):
    """The pages of an inference engine. Initialise with KVC_PAGED_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("pages_count", c_uint64),
        ("tokens_per_page", c_uint64),
        ("order", c_uint64),
        ("planes", c_uint64),
        ("page_stride_bytes", c_uint64),
        ("plane_stride_bytes", c_uint64),
        ("token_stride_bytes", c_uint64),
        ("head_stride_bytes", c_uint64),
        ("keys", c_void_p),
        ("keys_count", c_uint64),
        ("values", c_void_p),
        ("values_count", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    pages_count: int
    """Pages of a layer, 1 to 2^40; page numbers are below it. Required."""
    tokens_per_page: int
    """Tokens of a page, 1 to 65536; divides tokens_per_block of the geometry or is divided by it. Required."""
    order: int
    """How tokens and heads lie in a plane (KVC_ORDER_...). Required."""
    planes: int
    """How keys and values lie to each other (KVC_PLANES_...). Required."""
    page_stride_bytes: int
    """From one page to the next, or 0."""
    plane_stride_bytes: int
    """From a key to the value of the same place within one buffer, or 0. Not used with separate buffers."""
    token_stride_bytes: int
    """From one token to the next within a page, or 0."""
    head_stride_bytes: int
    """From one head to the next of the same token, or 0."""
    keys: int | None
    """For each layer, where its pages begin: the keys, or keys and values where they share a buffer. Required."""
    keys_count: int
    """How many there are: layers_count of the geometry."""
    values: int | None
    """For each layer, where the pages of its values begin; NULL unless KVC_PLANES_SEPARATE with two planes."""
    values_count: int
    """How many there are: layers_count of the geometry, or 0."""


class kvc_codec_description_t(Structure):
    """What a codec makes of a block. Initialise with KVC_CODEC_DESCRIPTION_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("block_bytes", c_uint64),
        ("code_bytes_max", c_uint64),
        ("scratch_bytes", c_uint64),
        ("millibits", c_uint64),
        ("fixed_rate", c_uint64),
        ("exact", c_uint64),
        ("tables_needed", c_uint64),
        ("error_nominal_permille", c_uint64),
        ("instructions_name", c_char * 32),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    block_bytes: int
    """Bytes of a block."""
    code_bytes_max: int
    """Most bytes of the code of a block: what a slot for one must have."""
    scratch_bytes: int
    """Bytes of memory that encoding and decoding take."""
    millibits: int
    """Thousandths of a bit per element of a block without exact tokens, everything counted: exact where ..."""
    fixed_rate: int
    """1 if every block without exact tokens has a code of the same length, else 0."""
    exact: int
    """1 if a decoded block is the block that was encoded, bit by bit, else 0."""
    tables_needed: int
    """1 if kvc_codec_open needs tables, else 0."""
    error_nominal_permille: int
    """Relative error to be expected of the coarsest plane, in thousandths: the root of the squared error over ..."""
    instructions_name: _Bytes
    """The instructions that this machine has for it, with a closing NUL byte: "portable", "avx2", "avx512". ..."""


class kvc_codec_info_t(Structure):
    """What the code of a block says about itself. Initialise with KVC_CODEC_INFO_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("codec", c_uint64),
        ("codec_before", c_uint64),
        ("planes_count", c_uint64),
        ("exact_tokens", c_uint64),
        ("position", c_uint64),
        ("tables_digest", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    codec: int
    """The coarsest codec of its planes."""
    codec_before: int
    """The coarsest codec that the block had gone through before it was encoded."""
    planes_count: int
    """Planes: layers times keys and values."""
    exact_tokens: int
    """Tokens at the beginning of the block that are kept exactly."""
    position: int
    """Place of the block's first token in its sequence."""
    tables_digest: int
    """Digest of the tables that it was encoded with; 0 for none."""


class kvc_codec_samples_t(Structure):
    """Keys and values of a model to train tables on. Initialise with KVC_CODEC_SAMPLES_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("dtype", c_uint64),
        ("layers_count", c_uint64),
        ("kv_heads_count", c_uint64),
        ("head_dim", c_uint64),
        ("tokens_count", c_uint64),
        ("sequence_tokens_count", c_uint64),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("codecs", c_uint64),
        ("rope", c_uint64),
        ("rope_theta", c_double),
        ("rope_dim", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    dtype: int
    """Type of one element: KVC_DTYPE_F16 or KVC_DTYPE_BF16. Required."""
    layers_count: int
    """Layers: 1 to 1024. Required."""
    kv_heads_count: int
    """Heads of keys and values: 1 to 1024. Required."""
    head_dim: int
    """Elements of one head's vector: 32 to 256, in steps of 16. Required."""
    tokens_count: int
    """Tokens of all sequences together: 256 to 16777216. Required."""
    sequence_tokens_count: int
    """Tokens of each sequence, 0 for one sequence: positions begin anew with each. Default 0."""
    keys: int | None
    """For each layer, its keys: [token][head][element], the sequences one behind the other. Required."""
    values: int | None
    """For each layer, its values. Required."""
    codecs: int
    """Which codecs to train for: bit 1 << KVC_CODEC_VQ, bit 1 << KVC_CODEC_XC. Default both."""
    rope: int
    """The rotary embedding that the keys went through (KVC_ROPE_...). Default KVC_ROPE_AUTO."""
    rope_theta: float
    """The base of its frequencies; 10000 for one. Required with KVC_ROPE_HALF and KVC_ROPE_INTERLEAVED."""
    rope_dim: int
    """Elements of each head that are turned, the first ones, an even number; 0 for all. Default 0."""


class kvc_codec_tables_info_t(Structure):
    """What tables say about themselves. Initialise with KVC_CODEC_TABLES_INFO_INIT."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("bytes", c_uint64),
        ("layers_count", c_uint64),
        ("planes_count", c_uint64),
        ("kv_heads_count", c_uint64),
        ("head_dim", c_uint64),
        ("tokens_count", c_uint64),
        ("codecs", c_uint64),
        ("rope", c_uint64),
        ("rope_theta", c_double),
        ("rope_dim", c_uint64),
        ("digest", c_uint64),
    ]
    struct_size: int
    """Bytes of this struct as the caller knows it."""
    bytes: int
    """Bytes of the tables."""
    layers_count: int
    """Layers of the model."""
    planes_count: int
    """Planes of a layer: 2 for keys and values."""
    kv_heads_count: int
    """Heads of keys and values."""
    head_dim: int
    """Elements of one head's vector."""
    tokens_count: int
    """Tokens of the samples."""
    codecs: int
    """Which codecs they were trained for: bits as in kvc_codec_samples_t."""
    rope: int
    """The rotary embedding of the keys (KVC_ROPE_...), never KVC_ROPE_AUTO."""
    rope_theta: float
    """The base of its frequencies."""
    rope_dim: int
    """Elements of each head that are turned."""
    digest: int
    """The checksum: codes say by it which tables they need."""


kvc_abi_version = _bind("kvc_abi_version", c_uint32)
"""(): The version of the binary interface that the library was built with; equal to KVC_ABI_VERSION of a ..."""
kvc_version = _bind("kvc_version", c_char_p)
"""(): The library's version as text, "0.1.0" for one."""
kvc_status_name = _bind("kvc_status_name", c_char_p, c_int32)
"""(status): The name of a status, "KVC_MISS" for one; "KVC_UNKNOWN" for a number that means nothing."""
kvc_geometry_block_bytes = _bind("kvc_geometry_block_bytes", c_int32, c_void_p, c_void_p)
"""(geometry, bytes_out): Computes the bytes of a block of this geometry."""
kvc_config_init = _bind("kvc_config_init", c_int32, c_void_p)
"""(config): Writes every default out, so that they can be looked at and changed one by one."""
kvc_plan_compute = _bind("kvc_plan_compute", c_int32, c_void_p, c_void_p, c_void_p)
"""(config, plan_out, error_out): Computes the exact bytes of everything that an engine of this configuration ..."""
kvc_engine_open = _bind("kvc_engine_open", c_int32, c_void_p, c_void_p, c_void_p)
"""(config, engine_out, error_out): Opens an engine: obtains what the plan says, reads what the files of its ..."""
kvc_shutdown = _bind("kvc_shutdown", c_int32, c_void_p)
"""(engine): Winds the engine up: refuses new work, completes what lanes have queued, and makes durable what ..."""
kvc_close = _bind("kvc_close", c_int32, c_void_p)
"""(engine): Closes the engine and gives its memory and its files back. Needs no shutdown before."""
kvc_key_derive = _bind("kvc_key_derive", c_int32, c_uint64, c_void_p, c_uint64, c_void_p, c_uint64, c_void_p)
"""(namespace_id, salt, salt_bytes, data, data_bytes, key_out): Derives the key of any string of bytes within a ..."""
kvc_key_chain_root = _bind("kvc_key_chain_root", c_int32, c_uint64, c_void_p, c_uint64, c_void_p)
"""(namespace_id, salt, salt_bytes, key_out): Derives the parent of the first block of every chain in this ..."""
kvc_key_chain = _bind("kvc_key_chain", c_int32, c_void_p, c_void_p, c_uint64, c_void_p)
"""(parent, tokens, tokens_count, key_out): Derives the key of the block that holds these tokens and follows ..."""
kvc_key_chain_many = _bind(
    "kvc_key_chain_many", c_int32, c_void_p, c_void_p, c_uint64, c_uint64, c_void_p, c_uint64, c_void_p
)
"""(parent, tokens, tokens_count, tokens_per_block, keys_out, keys_capacity, keys_count_out): Derives the keys ..."""
kvc_match = _bind("kvc_match", c_int32, c_void_p, c_void_p, c_uint64, c_uint32, c_void_p)
"""(engine, keys, keys_count, flags, matched_count_out): Counts the keys at the beginning of the list whose ..."""
kvc_match_each = _bind("kvc_match_each", c_int32, c_void_p, c_void_p, c_uint64, c_uint32, c_void_p, c_void_p)
"""(engine, keys, keys_count, flags, tiers_out, resident_count_out): Says for each key in which tiers its block ..."""
kvc_get = _bind("kvc_get", c_int32, c_void_p, c_void_p, c_void_p, c_uint64, c_uint32, c_void_p)
"""(engine, key, target, target_bytes, flags, bytes_out): Copies a block into the caller's buffer. A block that ..."""
kvc_get_many = _bind("kvc_get_many", c_int32, c_void_p, c_void_p, c_uint64, c_uint32, c_void_p)
"""(engine, items, items_count, flags, hits_count_out): Copies many blocks, each into its own buffer. Every ..."""
kvc_acquire = _bind("kvc_acquire", c_int32, c_void_p, c_void_p, c_uint32, c_void_p)
"""(engine, key, flags, view_out): Lends a block to the caller, without copying it. Release the view with ..."""
kvc_view_ready = _bind("kvc_view_ready", c_int32, c_void_p, c_void_p, c_void_p)
"""(engine, view, bytes_ready_out): Says how many bytes of a block that was acquired with KVC_ACQUIRE_PARTIAL ..."""
kvc_acquire_many = _bind("kvc_acquire_many", c_int32, c_void_p, c_void_p, c_uint64, c_uint32, c_void_p, c_void_p)
"""(engine, keys, keys_count, flags, views_out, views_count_out): Lends the blocks of the longest resident ..."""
kvc_release = _bind("kvc_release", c_int32, c_void_p, c_void_p)
"""(engine, view): Gives a view back."""
kvc_release_many = _bind("kvc_release_many", c_int32, c_void_p, c_void_p, c_uint64, c_void_p)
"""(engine, views, views_count, released_count_out): Gives many views back."""
kvc_reserve = _bind("kvc_reserve", c_int32, c_void_p, c_void_p, c_uint64, c_void_p, c_void_p)
"""(engine, key, bytes, info, reservation_out): Lends room for a block of bytes bytes to its producer. Fill it, ..."""
kvc_commit = _bind("kvc_commit", c_int32, c_void_p, c_void_p, c_uint64)
"""(engine, reservation, bytes): Makes a reserved block readable."""
kvc_abort = _bind("kvc_abort", c_int32, c_void_p, c_void_p)
"""(engine, reservation): Gives a reservation up; the room is free again."""
kvc_put = _bind("kvc_put", c_int32, c_void_p, c_void_p, c_void_p, c_uint64, c_void_p)
"""(engine, key, source, source_bytes, info): Stores a block: reserve, copy and commit in one."""
kvc_put_many = _bind("kvc_put_many", c_int32, c_void_p, c_void_p, c_uint64, c_void_p, c_void_p)
"""(engine, items, items_count, info, stored_count_out): Stores a chain of blocks, in order: each item's parent ..."""
kvc_remove = _bind("kvc_remove", c_int32, c_void_p, c_void_p, c_uint64, c_void_p)
"""(engine, keys, keys_count, removed_count_out): Removes blocks, from all tiers. From then on nobody finds them."""
kvc_touch = _bind("kvc_touch", c_int32, c_void_p, c_void_p, c_uint64, c_void_p)
"""(engine, keys, keys_count, touched_count_out): Counts blocks as used now, so that they are evicted later, ..."""
kvc_retain = _bind("kvc_retain", c_int32, c_void_p, c_void_p, c_uint64, c_uint32, c_uint64, c_uint32, c_void_p)
"""(engine, keys, keys_count, priority, expiry_ms, flags, retained_count_out): Changes how long resident blocks ..."""
kvc_namespace_clear = _bind("kvc_namespace_clear", c_int32, c_void_p, c_uint64, c_void_p)
"""(engine, namespace_id, removed_count_out): Removes every block that was put with this namespace ..."""
kvc_namespace_quality_set = _bind("kvc_namespace_quality_set", c_int32, c_void_p, c_uint64, c_uint64)
"""(engine, namespace_id, error_max_permille): Bounds how much the blocks of a namespace may lose in the file tiers."""
kvc_importance_begin = _bind("kvc_importance_begin", c_int32, c_void_p)
"""(engine): Begins a new importance table, empty, beside the one in use. One that was begun and not swapped in ..."""
kvc_importance_set = _bind("kvc_importance_set", c_int32, c_void_p, c_void_p, c_void_p, c_uint64)
"""(engine, keys, importances, keys_count): Sets the importance of keys in the table that was begun, whether ..."""
kvc_importance_swap = _bind("kvc_importance_swap", c_int32, c_void_p)
"""(engine): Puts the table that was begun in the place of the one in use, all at once."""
kvc_tier_get = _bind("kvc_tier_get", c_int32, c_void_p, c_uint32, c_void_p)
"""(engine, tier, tier_out): Says what a file tier (KVC_TIER_NVME, KVC_TIER_DISK) is and does at present."""
kvc_prefetch = _bind("kvc_prefetch", c_int32, c_void_p, c_void_p, c_uint64, c_uint32, c_void_p)
"""(engine, keys, keys_count, flags, begun_count_out): Begins copying blocks up from the file tiers into ..."""
kvc_prefetch_cancel = _bind("kvc_prefetch_cancel", c_int32, c_void_p, c_uint64)
"""(engine, conversation_id): Says that a conversation is over, or paused: the wish for its blocks is dropped, ..."""
kvc_flush = _bind("kvc_flush", c_int32, c_void_p, c_uint64, c_void_p)
"""(engine, timeout_ns, blocks_written_out): Makes everything durable that was committed or removed before the call."""
kvc_lane_open = _bind("kvc_lane_open", c_int32, c_void_p, c_void_p)
"""(engine, lane_out): Opens a lane."""
kvc_lane_close = _bind("kvc_lane_close", c_int32, c_void_p, kvc_lane_t)
"""(engine, lane): Closes a lane whose operations are all completed and fetched."""
kvc_lane_event_fd = _bind("kvc_lane_event_fd", c_int32, c_void_p, kvc_lane_t, c_void_p)
"""(engine, lane, fd_out): Gives the event fd of a lane: readable when there is something to reap."""
kvc_submit = _bind("kvc_submit", c_int32, c_void_p, kvc_lane_t, c_void_p, c_uint64, c_void_p, c_void_p)
"""(engine, lane, ops, ops_count, tickets_out, taken_count_out): Submits operations on a lane, in order, as ..."""
kvc_reap = _bind("kvc_reap", c_int32, c_void_p, kvc_lane_t, c_void_p, c_uint64, c_void_p)
"""(engine, lane, done_out, capacity, done_count_out): Fetches completions, the oldest first, as many as there ..."""
kvc_wait = _bind("kvc_wait", c_int32, c_void_p, kvc_lane_t, kvc_ticket_t, c_uint64, c_void_p)
"""(engine, lane, ticket, timeout_ns, done_out): Waits for one operation, and fetches its completion, which is ..."""
kvc_cancel = _bind("kvc_cancel", c_int32, c_void_p, kvc_lane_t, kvc_ticket_t)
"""(engine, lane, ticket): Cancels an operation that has not begun, or that waits for blocks from a file tier. ..."""
kvc_tick = _bind("kvc_tick", c_int32, c_void_p, c_uint64, c_void_p)
"""(engine, now_ns, progress_out): Does the engine's work in tick mode: operations of all lanes, the file ..."""
kvc_stats_get = _bind("kvc_stats_get", c_int32, c_void_p, c_void_p)
"""(engine, stats_out): Reads all counters and gauges."""
kvc_capacity_get = _bind("kvc_capacity_get", c_int32, c_void_p, c_void_p)
"""(engine, capacity_out): Says what fits."""
kvc_histogram_get = _bind("kvc_histogram_get", c_int32, c_void_p, c_uint32, c_uint32, c_void_p)
"""(engine, operation, tier, histogram_out): Reads how long the operations of one kind (KVC_OPERATION_...) took ..."""
kvc_metrics_write = _bind("kvc_metrics_write", c_int32, c_void_p, c_void_p, c_uint64, c_void_p)
"""(engine, buffer, buffer_bytes, bytes_out): Writes all metrics as the text that a Prometheus scraper reads, ..."""
kvc_events_read = _bind("kvc_events_read", c_int32, c_void_p, c_void_p, c_void_p, c_uint64, c_void_p, c_void_p)
"""(engine, sequence_inout, events_out, capacity, count_out, lost_count_out): Reads events, oldest first, as ..."""
kvc_pins_get = _bind("kvc_pins_get", c_int32, c_void_p, c_void_p, c_uint64, c_void_p)
"""(engine, pins_out, capacity, count_out): Lists the views that are held, as many as there is room for: to ..."""
kvc_layout_gather = _bind(
    "kvc_layout_gather", c_int32, c_void_p, c_void_p, c_void_p, c_uint64, c_uint64, c_uint32, c_void_p, c_uint64
)
"""(geometry, paged, pages, pages_count, token_first, flags, block_out, block_bytes): Copies the pages of one ..."""
kvc_layout_gather_layer = _bind(
    "kvc_layout_gather_layer",
    c_int32,
    c_void_p,
    c_void_p,
    c_void_p,
    c_uint64,
    c_uint64,
    c_uint64,
    c_uint32,
    c_void_p,
    c_uint64,
)
"""(geometry, paged, pages, pages_count, token_first, layer, flags, target_out, target_bytes): Copies one layer ..."""
kvc_layout_scatter = _bind(
    "kvc_layout_scatter", c_int32, c_void_p, c_void_p, c_void_p, c_uint64, c_uint64, c_uint32, c_void_p, c_uint64
)
"""(geometry, paged, pages, pages_count, token_first, flags, block, block_bytes): Copies a block into the pages ..."""
kvc_layout_scatter_layer = _bind(
    "kvc_layout_scatter_layer",
    c_int32,
    c_void_p,
    c_void_p,
    c_void_p,
    c_uint64,
    c_uint64,
    c_uint64,
    c_uint32,
    c_void_p,
    c_uint64,
)
"""(geometry, paged, pages, pages_count, token_first, layer, flags, source, source_bytes): Copies one layer of ..."""
kvc_codec_name = _bind("kvc_codec_name", c_char_p, c_uint64)
"""(codec): The name of a codec, "t3" for one; "unknown" for a number that means nothing."""
kvc_codec_describe = _bind("kvc_codec_describe", c_int32, c_void_p, c_void_p, c_void_p)
"""(config, description_out, error_out): Says what a codec of this configuration needs and what it makes of a ..."""
kvc_codec_open = _bind("kvc_codec_open", c_int32, c_void_p, c_void_p, c_void_p)
"""(config, codec_out, error_out): Opens a codec. It needs no engine."""
kvc_codec_close = _bind("kvc_codec_close", c_int32, c_void_p)
"""(codec): Closes a codec."""
kvc_codec_encode = _bind(
    "kvc_codec_encode",
    c_int32,
    c_void_p,
    c_void_p,
    c_uint64,
    c_uint64,
    c_uint64,
    c_void_p,
    c_uint64,
    c_void_p,
    c_uint64,
    c_void_p,
)
"""(codec, block, block_bytes, position, codec_before, code_out, capacity_bytes, scratch, scratch_bytes, bytes_out):
Encodes a block.
"""
kvc_codec_decode = _bind(
    "kvc_codec_decode", c_int32, c_void_p, c_void_p, c_uint64, c_void_p, c_uint64, c_void_p, c_uint64
)
"""(codec, code, code_bytes, block_out, block_bytes, scratch, scratch_bytes): Decodes a block."""
kvc_codec_decode_layer = _bind(
    "kvc_codec_decode_layer", c_int32, c_void_p, c_void_p, c_uint64, c_uint64, c_void_p, c_uint64, c_void_p, c_uint64
)
"""(codec, code, code_bytes, layer, layer_out, layer_bytes, scratch, scratch_bytes): Decodes one layer alone. ..."""
kvc_codec_inspect = _bind("kvc_codec_inspect", c_int32, c_void_p, c_void_p, c_uint64, c_void_p)
"""(codec, code, code_bytes, info_out): Says what a code is, without decoding it."""
kvc_codec_train_bytes_max = _bind("kvc_codec_train_bytes_max", c_int32, c_void_p, c_void_p, c_void_p)
"""(samples, bytes_out, error_out): Says how many bytes tables that are trained on such samples have at most. ..."""
kvc_codec_train = _bind("kvc_codec_train", c_int32, c_void_p, c_void_p, c_uint64, c_void_p, c_void_p)
"""(samples, tables_out, capacity_bytes, bytes_out, error_out): Trains tables."""
kvc_codec_tables_check = _bind("kvc_codec_tables_check", c_int32, c_void_p, c_uint64, c_void_p)
"""(tables, tables_bytes, info_out): Checks tables and says what they are. Reads all of them."""
kvc_codec_tables_save = _bind("kvc_codec_tables_save", c_int32, c_void_p, c_void_p, c_uint64, c_void_p)
"""(path, tables, tables_bytes, error_out): Writes tables to a file, durably. A file that is there is replaced ..."""
kvc_codec_tables_file_bytes = _bind("kvc_codec_tables_file_bytes", c_int32, c_void_p, c_void_p, c_void_p)
"""(path, bytes_out, error_out): Says how many bytes the tables in a file have. Reads its header only."""
kvc_codec_tables_load = _bind("kvc_codec_tables_load", c_int32, c_void_p, c_void_p, c_uint64, c_void_p, c_void_p)
"""(path, tables_out, capacity_bytes, bytes_out, error_out): Reads tables from a file into memory that begins ..."""

SIZES: Final[dict[str, int]] = {
    "kvc_key_t": 32,
    "kvc_block_t": 8,
    "kvc_pin_t": 8,
    "kvc_lane_t": 8,
    "kvc_ticket_t": 8,
    "kvc_view_t": 32,
    "kvc_reservation_t": 32,
    "kvc_item_t": 64,
    "kvc_op_t": 64,
    "kvc_done_t": 32,
    "kvc_event_t": 64,
    "kvc_component_t": 80,
    "kvc_geometry_t": 56,
    "kvc_config_t": 488,
    "kvc_plan_t": 2760,
    "kvc_error_t": 336,
    "kvc_put_info_t": 96,
    "kvc_stats_t": 640,
    "kvc_capacity_t": 64,
    "kvc_histogram_t": 64,
    "kvc_pin_info_t": 64,
    "kvc_tier_t": 216,
    "kvc_paged_t": 104,
    "kvc_codec_layer_t": 16,
    "kvc_codec_config_t": 240,
    "kvc_codec_description_t": 104,
    "kvc_codec_info_t": 56,
    "kvc_codec_samples_t": 104,
    "kvc_codec_tables_info_t": 96,
}
"""What the header asserts that its structs have, in bytes."""

FUNCTIONS: Final[tuple[str, ...]] = (
    "kvc_abi_version",
    "kvc_version",
    "kvc_status_name",
    "kvc_geometry_block_bytes",
    "kvc_config_init",
    "kvc_plan_compute",
    "kvc_engine_open",
    "kvc_shutdown",
    "kvc_close",
    "kvc_key_derive",
    "kvc_key_chain_root",
    "kvc_key_chain",
    "kvc_key_chain_many",
    "kvc_match",
    "kvc_match_each",
    "kvc_get",
    "kvc_get_many",
    "kvc_acquire",
    "kvc_view_ready",
    "kvc_acquire_many",
    "kvc_release",
    "kvc_release_many",
    "kvc_reserve",
    "kvc_commit",
    "kvc_abort",
    "kvc_put",
    "kvc_put_many",
    "kvc_remove",
    "kvc_touch",
    "kvc_retain",
    "kvc_namespace_clear",
    "kvc_namespace_quality_set",
    "kvc_importance_begin",
    "kvc_importance_set",
    "kvc_importance_swap",
    "kvc_tier_get",
    "kvc_prefetch",
    "kvc_prefetch_cancel",
    "kvc_flush",
    "kvc_lane_open",
    "kvc_lane_close",
    "kvc_lane_event_fd",
    "kvc_submit",
    "kvc_reap",
    "kvc_wait",
    "kvc_cancel",
    "kvc_tick",
    "kvc_stats_get",
    "kvc_capacity_get",
    "kvc_histogram_get",
    "kvc_metrics_write",
    "kvc_events_read",
    "kvc_pins_get",
    "kvc_layout_gather",
    "kvc_layout_gather_layer",
    "kvc_layout_scatter",
    "kvc_layout_scatter_layer",
    "kvc_codec_name",
    "kvc_codec_describe",
    "kvc_codec_open",
    "kvc_codec_close",
    "kvc_codec_encode",
    "kvc_codec_decode",
    "kvc_codec_decode_layer",
    "kvc_codec_inspect",
    "kvc_codec_train_bytes_max",
    "kvc_codec_train",
    "kvc_codec_tables_check",
    "kvc_codec_tables_save",
    "kvc_codec_tables_file_bytes",
    "kvc_codec_tables_load",
)
"""Every function of the header."""
