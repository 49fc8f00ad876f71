"""A cache that a Python program links: immutable blocks of bytes under 32-byte keys, in memory and in files below it.

    import kvcache

    with kvcache.Engine(block_bytes="2MiB", cpu_bytes="4GiB", nvme=("cache.nvme", "100GiB")) as engine:
        key = kvcache.key(b"greeting")
        engine.put(key, b"hello")
        print(engine.get(key))
        with engine.acquire(key) as view:  # no copy
            print(view.data[:5].tobytes())

The manual of everything below this package is the header of the library, include/kvcache.h: what waits, what is
durable, what each field and number means. `kvcache.raw` has its functions as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import codecs, errors, layout, raw
from .config import (
    Admission,
    Clock,
    CodecConfig,
    CodecKind,
    Config,
    Damage,
    Dtype,
    Fields,
    Geometry,
    HugePages,
    IoEngine,
    Plan,
    Policy,
    Prefault,
    Prefetch,
    Tier,
    WritePolicy,
    size_bytes,
)
from .engine import Engine, Event, Pin, PutInfo
from .errors import (
    AgainError,
    ArgumentError,
    BusyError,
    ConfigError,
    ExistsError,
    ForkedError,
    HandleError,
    KvcError,
    MissError,
    PendingError,
    StaleError,
    TimeoutExpired,
    status_name,
)
from .keys import KEY_BYTES, Keys, chain, chain_many, chain_root, key
from .lanes import Completion, Lane, Operation, Ticket
from .layout import Paged
from .memory import Tensor
from .views import Reservation, View, Views

if TYPE_CHECKING:
    from .aio import AsyncLane

__version__: str = raw.kvc_version().decode()
"""The version of the library that was loaded."""

__all__ = [
    "KEY_BYTES",
    "Admission",
    "AgainError",
    "ArgumentError",
    "AsyncLane",
    "BusyError",
    "Clock",
    "CodecConfig",
    "CodecKind",
    "Completion",
    "Config",
    "ConfigError",
    "Damage",
    "Dtype",
    "Engine",
    "Event",
    "ExistsError",
    "Fields",
    "ForkedError",
    "Geometry",
    "HandleError",
    "HugePages",
    "IoEngine",
    "Keys",
    "KvcError",
    "Lane",
    "MissError",
    "Operation",
    "Paged",
    "PendingError",
    "Pin",
    "Plan",
    "Policy",
    "Prefault",
    "Prefetch",
    "PutInfo",
    "Reservation",
    "StaleError",
    "Tensor",
    "Ticket",
    "Tier",
    "TimeoutExpired",
    "View",
    "Views",
    "WritePolicy",
    "__version__",
    "chain",
    "chain_many",
    "chain_root",
    "codecs",
    "errors",
    "key",
    "layout",
    "raw",
    "size_bytes",
    "status_name",
]


def __getattr__(name: str) -> Any:
    # asyncio takes longer to import than everything else here together.
    if name == "AsyncLane":
        from .aio import AsyncLane

        return AsyncLane
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
