"""What an engine is made from: sizes, geometries, codecs, the fields of the configuration, and the plan of it all."""

from __future__ import annotations

import ctypes
import enum
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypedDict, Union

from . import raw
from .errors import ArgumentError, check, check_config
from .memory import Lease

if TYPE_CHECKING:
    from typing_extensions import Unpack

NONE: Final = raw.KVC_NONE
"""What the C interface calls KVC_NONE; a plain 0 is translated to it where 0 would mean the default there."""

Size = Union[int, str]
"""Bytes: a number, or text like "64KiB" and "1.5GiB"."""

_UNITS: Final = {"": 0, "b": 0, "k": 10, "kib": 10, "m": 20, "mib": 20, "g": 30, "gib": 30, "t": 40, "tib": 40}


def size_bytes(size: Size) -> int:
    """Reads a size: bytes, or text of a number and B, KiB, MiB, GiB, TiB or k, M, G, T, binary all the same."""
    if isinstance(size, int):
        return size
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", size)
    if found is None or found[2].lower() not in _UNITS:
        raise ArgumentError(raw.KVC_E_ARGUMENT, f"{size!r} is no size; write 4096, 64KiB, 1.5GiB or the like")
    shift = _UNITS[found[2].lower()]
    return round(float(found[1]) * (1 << shift)) if "." in found[1] else int(found[1]) << shift


class Policy(enum.IntEnum):
    """How victims are chosen."""

    LRU = raw.KVC_POLICY_LRU
    S3FIFO = raw.KVC_POLICY_S3FIFO
    LFU = raw.KVC_POLICY_LFU
    ARC = raw.KVC_POLICY_ARC
    SIEVE = raw.KVC_POLICY_SIEVE
    GDSF = raw.KVC_POLICY_GDSF
    IMPORTANCE = raw.KVC_POLICY_IMPORTANCE
    HAZARD = raw.KVC_POLICY_HAZARD
    ADAPTIVE = raw.KVC_POLICY_ADAPTIVE


class Tier(enum.IntEnum):
    """A place where blocks live."""

    GPU = raw.KVC_TIER_GPU
    CPU = raw.KVC_TIER_CPU
    NVME = raw.KVC_TIER_NVME
    DISK = raw.KVC_TIER_DISK
    REMOTE = raw.KVC_TIER_REMOTE


class HugePages(enum.IntEnum):
    """Huge pages for the engine's memory."""

    OFF = raw.KVC_HUGE_PAGES_OFF
    ADVISE = raw.KVC_HUGE_PAGES_ADVISE
    REQUIRE = raw.KVC_HUGE_PAGES_REQUIRE


class Prefault(enum.IntEnum):
    """When pages are touched for the first time."""

    NONE = raw.KVC_PREFAULT_NONE
    LAZY = raw.KVC_PREFAULT_LAZY
    ALL = raw.KVC_PREFAULT_ALL


class Clock(enum.IntEnum):
    """Where the engine's time comes from."""

    SYSTEM = raw.KVC_CLOCK_SYSTEM
    TICKS = raw.KVC_CLOCK_TICKS


class Admission(enum.IntEnum):
    """Which blocks a file tier takes."""

    ALL = raw.KVC_ADMISSION_ALL
    SECOND_HIT = raw.KVC_ADMISSION_SECOND_HIT
    REUSE = raw.KVC_ADMISSION_REUSE


class WritePolicy(enum.IntEnum):
    """When blocks are written to the first file tier."""

    BACK = raw.KVC_WRITE_BACK
    THROUGH = raw.KVC_WRITE_THROUGH


class Damage(enum.IntEnum):
    """What opening does about a damaged file."""

    DROP = raw.KVC_DAMAGE_DROP
    REFUSE = raw.KVC_DAMAGE_REFUSE


class IoEngine(enum.IntEnum):
    """How the NVMe tier's file is read and written."""

    AUTO = raw.KVC_IO_AUTO
    URING = raw.KVC_IO_URING
    POSITIONAL = raw.KVC_IO_POSITIONAL


class Prefetch(enum.IntFlag):
    """What is copied up from a file tier ahead of its use."""

    TURNS = raw.KVC_PREFETCH_TURNS
    SEQUENCES = raw.KVC_PREFETCH_SEQUENCES
    SUCCESSORS = raw.KVC_PREFETCH_SUCCESSORS


class Dtype(enum.IntEnum):
    """The type of one element."""

    F32 = raw.KVC_DTYPE_F32
    F16 = raw.KVC_DTYPE_F16
    BF16 = raw.KVC_DTYPE_BF16
    F8_E4M3 = raw.KVC_DTYPE_F8_E4M3
    F8_E5M2 = raw.KVC_DTYPE_F8_E5M2
    I8 = raw.KVC_DTYPE_I8
    U8 = raw.KVC_DTYPE_U8


class CodecKind(enum.IntEnum):
    """A codec."""

    RAW = raw.KVC_CODEC_RAW
    LZ = raw.KVC_CODEC_LZ
    F8 = raw.KVC_CODEC_F8
    I8 = raw.KVC_CODEC_I8
    N4 = raw.KVC_CODEC_N4
    T4 = raw.KVC_CODEC_T4
    T3 = raw.KVC_CODEC_T3
    T2 = raw.KVC_CODEC_T2
    VQ = raw.KVC_CODEC_VQ
    XC = raw.KVC_CODEC_XC


def member(kind: type[enum.IntEnum], value: int | str) -> int:
    """The number of an enumeration's member, given as such, as a number or by name in either case."""
    if not isinstance(value, str):
        return int(value)
    try:
        return int(kind[value.upper().replace("-", "_")])
    except KeyError:
        names = ", ".join(item.name.lower() for item in kind)
        raise ArgumentError(raw.KVC_E_ARGUMENT, f"{value!r} is no {kind.__name__}; there are {names}") from None


class Geometry:
    """The dimensions of a key/value block: [layer][key, value][token][head][element], without gaps."""

    __slots__ = ("raw",)

    def __init__(
        self,
        *,
        layers: int,
        kv_heads: int,
        head_dim: int,
        tokens_per_block: int,
        dtype: Dtype | str | int,
        planes: int = 2,
    ) -> None:
        self.raw = raw.init(raw.kvc_geometry_t)
        self.raw.layers_count = layers
        self.raw.planes_count = planes
        self.raw.kv_heads_count = kv_heads
        self.raw.head_dim = head_dim
        self.raw.tokens_per_block = tokens_per_block
        self.raw.dtype = member(Dtype, dtype)

    @property
    def block_bytes(self) -> int:
        """Bytes of a block of this geometry; ConfigError where a dimension is outside its range."""
        out = ctypes.c_uint64()
        check(raw.kvc_geometry_block_bytes(ctypes.byref(self.raw), ctypes.byref(out)))
        return out.value

    @property
    def layer_bytes(self) -> int:
        """Bytes of one layer of a block."""
        return self.block_bytes // self.raw.layers_count

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Layers, planes, tokens, heads, elements."""
        of = self.raw
        return (of.layers_count, of.planes_count or 2, of.tokens_per_block, of.kv_heads_count, of.head_dim)

    @property
    def dtype_name(self) -> str:
        """The element type as `View.tensor` takes it."""
        return Dtype(self.raw.dtype).name.lower()


class CodecConfig:
    """How blocks are encoded: a codec for keys and one for values, exceptions for layers, and what they need.

    For a file tier of an engine (nvme_codec, disk_codec) geometry and tables stay away: they are the engine's.
    layers are (first, last, codec of keys, codec of values), a later one going before an earlier one.
    """

    __slots__ = ("_kept", "geometry", "raw")

    def __init__(
        self,
        key: CodecKind | str | int = "raw",
        value: CodecKind | str | int | None = None,
        *,
        geometry: Geometry | None = None,
        exact_tokens: int = 0,
        exact_layers_first: int = 0,
        exact_layers_last: int = 0,
        trellis_states: int = 0,
        key_mean: bool = False,
        xc_millibits: int = 0,
        error_max_permille: int = 0,
        layers: Sequence[tuple[int, int, CodecKind | str | int, CodecKind | str | int]] = (),
        tables: Any = None,
    ) -> None:
        self.geometry = geometry
        self.raw = raw.init(raw.kvc_codec_config_t)
        self.raw.codec_key = member(CodecKind, key)
        self.raw.codec_value = member(CodecKind, key if value is None else value)
        self.raw.exact_tokens = exact_tokens
        self.raw.exact_layers_first = exact_layers_first
        self.raw.exact_layers_last = exact_layers_last
        self.raw.trellis_states = trellis_states
        self.raw.key_mean = 1 if key_mean else 0
        self.raw.xc_millibits = xc_millibits
        self.raw.error_max_permille = error_max_permille
        if len(layers) > raw.KVC_CODEC_LAYERS_COUNT_MAX:
            raise ArgumentError(
                raw.KVC_E_ARGUMENT, f"{len(layers)} exceptions for layers; at most {raw.KVC_CODEC_LAYERS_COUNT_MAX}"
            )
        self.raw.layers_count = len(layers)
        for place, (first, last, codec_key, codec_value) in enumerate(layers):
            exception = self.raw.layers[place]
            exception.layer_first, exception.layer_last = first, last
            exception.codec_key = member(CodecKind, codec_key)
            exception.codec_value = member(CodecKind, codec_value)
        self._kept: Lease | None = None
        if geometry is not None:
            self.raw.geometry = ctypes.addressof(geometry.raw)
        if tables is not None:
            self._kept = Lease(tables)
            self.raw.codec_tables, self.raw.codec_tables_bytes = self._kept.address, self._kept.nbytes


class Fields(TypedDict, total=False):
    """The fields of the configuration; include/kvcache.h says for each what it does, its range and its default.

    What is left away has its default. 0 means none of it, also where C says KVC_NONE for that.
    """

    block_bytes: Size
    cpu_bytes: Size
    policy: Policy | str | int
    pins_count: int
    stripes_count: int
    lanes_count: int
    lane_depth: int
    events_count: int
    workers_count: int
    huge_pages: HugePages | str | int
    memory_lock: bool
    prefault: Prefault | str | int
    pin_expiry_ms: int
    reservation_expiry_ms: int
    hash_seed: int
    latency_sample_count: int
    clock: Clock | str | int
    memory: Any
    geometries: Sequence[Geometry]
    nvme: tuple[str | os.PathLike[str], Size]
    nvme_segment_bytes: Size
    nvme_blocks_count: int
    nvme_depth: int
    nvme_admission: Admission | str | int
    nvme_endurance_bytes_per_day: Size
    nvme_promotion_hits: int
    nvme_stall_ms: int
    disk: tuple[str | os.PathLike[str], Size]
    disk_segment_bytes: Size
    disk_blocks_count: int
    disk_depth: int
    disk_admission: Admission | str | int
    disk_endurance_bytes_per_day: Size
    disk_promotion_hits: int
    disk_stall_ms: int
    write_policy: WritePolicy | str | int
    damage: Damage | str | int
    io_engine: IoEngine | str | int
    file_overwrite: bool
    slots_free_low_permille: int
    slots_free_high_permille: int
    write_wait_ms: int
    nvme_codec: CodecConfig
    disk_codec: CodecConfig
    codec_tables: Any
    importance_count: int
    dedup: bool
    prefetch: Prefetch | int
    prefetch_conversations_count: int
    prefetch_successors_count: int
    prefetch_confidence_permille: int
    prefetch_bytes: Size
    prefetch_bytes_per_second: Size
    admission_loss_permille: int
    tuning: bool


_ENUMERATIONS: Final[dict[str, type[enum.IntEnum]]] = {
    "policy": Policy,
    "huge_pages": HugePages,
    "prefault": Prefault,
    "clock": Clock,
    "nvme_admission": Admission,
    "disk_admission": Admission,
    "write_policy": WritePolicy,
    "damage": Damage,
    "io_engine": IoEngine,
}
# Fields in which C takes 0 for the default and KVC_NONE for none.
_NONE_FIELDS: Final = frozenset(
    {
        "lanes_count",
        "events_count",
        "latency_sample_count",
        "slots_free_low_permille",
        "slots_free_high_permille",
        "write_wait_ms",
    }
)


class Config:
    """A configuration in the form in which C takes it, with everything that it points to.

    `Engine` and `Plan` make one of their keyword arguments; make it yourself to use it twice or to look at `raw`.
    """

    __slots__ = ("_kept", "raw")

    def __init__(self, **fields: Unpack[Fields]) -> None:
        self.raw = raw.init(raw.kvc_config_t)
        self._kept: list[Any] = []
        known = Fields.__annotations__
        for name, value in fields.items():
            if name not in known:
                raise TypeError(f"{name!r} is no field of the configuration; there are {', '.join(known)}")
            if value is not None:
                self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        if name in ("nvme", "disk"):
            path, size = value
            text = os.fsencode(path)
            if b"\0" in text:
                raise ArgumentError(raw.KVC_E_ARGUMENT, f"the path of {name} has a NUL byte in it")
            pointer = ctypes.c_char_p(text)
            self._kept.append(text)
            setattr(self.raw, f"{name}_path", ctypes.cast(pointer, ctypes.c_void_p).value)
            setattr(self.raw, f"{name}_bytes", self._number(name, size_bytes(size)))
        elif name in ("memory", "codec_tables"):
            lease = Lease(value, writable=name == "memory")
            self._kept.append(lease)
            setattr(self.raw, name, lease.address)
            setattr(self.raw, f"{name}_bytes", lease.nbytes)
        elif name == "geometries":
            structs = (raw.kvc_geometry_t * len(value))(*(geometry.raw for geometry in value))
            self._kept.append(structs)
            self.raw.geometries, self.raw.geometries_count = ctypes.addressof(structs), len(value)
        elif name in ("nvme_codec", "disk_codec"):
            self._kept.append(value)
            setattr(self.raw, name, ctypes.addressof(value.raw))
        elif name in _ENUMERATIONS:
            setattr(self.raw, name, self._number(name, member(_ENUMERATIONS[name], value)))
        else:
            number = self._number(name, size_bytes(value))
            setattr(self.raw, name, NONE if number == 0 and name in _NONE_FIELDS else number)

    @staticmethod
    def _number(name: str, value: int) -> int:
        # ctypes would take what is left of it modulo 2^64.
        if not 0 <= value < 1 << 64:
            raise ArgumentError(raw.KVC_E_ARGUMENT, f"{name} is {value}, and must be from 0 to 2^64 - 1")
        return value

    @staticmethod
    def defaults() -> raw.kvc_config_t:
        """Every default written out (kvc_config_init)."""
        config = raw.init(raw.kvc_config_t)
        check(raw.kvc_config_init(ctypes.byref(config)))
        return config


class Plan:
    """The exact bytes of everything that an engine of a configuration would ever hold. Obtains nothing.

    `raw` is the kvc_plan_t; its numbers are here too, `components` as a list.
    """

    __slots__ = ("raw",)

    def __init__(self, config: Config | None = None, **fields: Unpack[Fields]) -> None:
        self.raw = raw.init(raw.kvc_plan_t)
        error = raw.init(raw.kvc_error_t)
        given = config_of(config, fields)
        check_config(raw.kvc_plan_compute(ctypes.byref(given.raw), ctypes.byref(self.raw), ctypes.byref(error)), error)

    @property
    def bytes(self) -> int:
        """Bytes of everything in memory: what opening obtains."""
        return self.raw.bytes

    @property
    def metadata_bytes(self) -> int:
        """Bytes of bookkeeping: everything but the slots and the buffers of the file tiers."""
        return self.raw.metadata_bytes

    @property
    def metadata_bytes_per_block(self) -> int:
        """Bytes of bookkeeping per block, rounded up."""
        return self.raw.metadata_bytes_per_block

    @property
    def blocks_count(self) -> int:
        """Most blocks resident at once, in all tiers together."""
        return self.raw.blocks_count

    @property
    def slots_count(self) -> int:
        """Slots of the memory tier."""
        return self.raw.slots_count

    @property
    def components(self) -> list[raw.kvc_component_t]:
        """Every component, in the order in which they lie in memory."""
        return list(self.raw.components[: self.raw.components_count])


def config_of(config: Config | None, fields: Mapping[str, Any]) -> Config:
    """The configuration of a call that takes either one or its fields."""
    if config is None:
        return Config(**fields)
    if fields:
        raise TypeError("give either a Config or its fields, not both")
    return config
