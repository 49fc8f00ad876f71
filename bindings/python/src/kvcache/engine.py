"""The engine: blocks in and out, keeping and dropping, file tiers, numbers to watch."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import warnings
import weakref
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from . import raw
from ._load import held, library
from .config import Config, Fields, Tier, config_of, member
from .errors import (
    ArgumentError,
    BusyError,
    ForkedError,
    HandleError,
    check_config,
    error_of,
    refuse,
)
from .keys import KEY_BYTES, Keys, KeysLike, key_bytes, keys_of
from .lanes import Lane
from .memory import Lease
from .views import Reservation, View, Views, reservation_of, view_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .aio import AsyncLane

WAIT_FOREVER: Final = 2**64 - 1

# The batched match is called for every request: without conversions, and without giving the GIL away, which costs
# more than a short match takes. Long lists go the other way.
_match_held = held.kvc_match
# Without conversions too, but copying: this one gives the GIL away.
_get = library["kvc_get"]
# Names of this module: after a copy of megabytes nothing is in the processor's cache, and each look-up is a miss there.
_Byte: Final = ctypes.c_ubyte
_byte_from: Final = ctypes.c_ubyte.from_buffer
_byref: Final = ctypes.byref
_u32: Final = ctypes.c_uint32
_u64: Final = ctypes.c_uint64
_HELD_KEYS_MAX: Final = 4096
_NO_FLAGS: Final = ctypes.c_uint32(0)
_TOUCH: Final = ctypes.c_uint32(raw.KVC_MATCH_TOUCH)

# Most that kvc_metrics_write needs.
_METRICS_BYTES: Final = 64 << 10
_ITEM: Final = struct.Struct("=32sQQQiI")
_MAX_U64: Final = 2**64 - 1


class PutInfo:
    """What a put says about its block, for the policy to decide by; include/kvcache.h says what each field means."""

    __slots__ = ("_parent", "raw")

    def __init__(
        self,
        *,
        parent: bytes | None = None,
        chain_index: int = 0,
        tokens_count: int = 0,
        recompute_cost_us: int = 0,
        conversation_id: int = 0,
        namespace_id: int = 0,
        priority: int = 0,
        protected: bool = False,
        expiry_ms: int = 0,
        geometry_id: int = 0,
        importance: int = 0,
    ) -> None:
        self.raw = raw.init(raw.kvc_put_info_t)
        self._parent = None if parent is None else key_bytes(parent)
        if self._parent is not None:
            self.raw.parent = ctypes.cast(ctypes.c_char_p(self._parent), ctypes.c_void_p).value
        self.raw.chain_index = chain_index
        self.raw.tokens_count = tokens_count
        self.raw.recompute_cost_us = recompute_cost_us
        self.raw.conversation_id = conversation_id
        self.raw.namespace_id = namespace_id
        self.raw.priority = priority
        self.raw.flags = raw.KVC_PUT_PROTECTED if protected else 0
        self.raw.expiry_ms = expiry_ms
        self.raw.geometry_id = geometry_id
        self.raw.importance = importance


class Event(NamedTuple):
    """One thing that happened to a block."""

    sequence: int
    time_ns: int
    key: bytes
    block: tuple[int, int]
    kind: int
    tier: Tier


class Pin(NamedTuple):
    """A view that is held, and for how long."""

    key: bytes
    block: tuple[int, int]
    pin: tuple[int, int]
    age_ns: int


def copy_flags(temperature: str | None) -> int:
    """The flags of a copy: "hot", "cold" or None, which leaves it to the size of the block."""
    if temperature is None:
        return 0
    flags = {"hot": raw.KVC_COPY_HOT, "cold": raw.KVC_COPY_COLD}.get(temperature)
    if flags is None:
        raise ArgumentError(raw.KVC_E_ARGUMENT, f"copy is {temperature!r}; it is 'hot', 'cold' or None")
    return flags


def info_pointer(info: PutInfo | None) -> Any:
    """The address of what a put says, or None."""
    return None if info is None else ctypes.byref(info.raw)


def timeout_ns(timeout: float | None) -> int:
    """Seconds as the library takes them; None waits for ever."""
    return WAIT_FOREVER if timeout is None else min(max(int(timeout * 1e9), 0), WAIT_FOREVER - 1)


class Engine:
    """A cache of immutable blocks under 32-byte keys, in memory and in up to two files below it.

        with kvcache.Engine(block_bytes="2MiB", cpu_bytes="4GiB", nvme=("cache.nvme", "100GiB")) as engine:
            engine.put(key, data)
            engine.get(key)

    Takes the fields of the configuration (`Fields`) or a `Config`. Any number of threads may use it at once; only
    `shutdown` and `close` want to be alone, and refuse with BusyError if they are not. Calls that may wait, and those
    that copy, release the GIL. An engine belongs to the process that opened it: in a forked child every call raises
    ForkedError.
    """

    __slots__ = ("__weakref__", "_calls", "_lanes", "_lent", "_pid", "_pointer", "_ticks")

    def __init__(self, config: Config | None = None, **fields: Unpack[Fields]) -> None:
        # First, so that __del__ finds it whatever happens below.
        self._pointer = ctypes.c_void_p()
        given = config_of(config, fields)
        error = raw.init(raw.kvc_error_t)
        self._pid = os.getpid()
        self._ticks = given.raw.workers_count == 0
        self._calls: list[None] = []
        # Memory over views and reservations that is in use: while there is any, the engine must not go away.
        self._lent: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        # What operations of lanes keep until they are complete; here, so that a lane that is dropped frees nothing.
        self._lanes: dict[tuple[int, int], dict[int, Any]] = {}
        check_config(
            raw.kvc_engine_open(ctypes.byref(given.raw), ctypes.byref(self._pointer), ctypes.byref(error)), error
        )
        if given.raw.memory:
            # Lent until the engine is closed.
            _brought[self._pointer.value or 0] = given

    # -- Calls ---------------------------------------------------------------------------------------------------------

    def _call(self, function: Any, *arguments: Any) -> int:
        """A call that releases the GIL. Counted, because the engine must not be closed under it."""
        calls = self._calls
        calls.append(None)
        try:
            return cast(int, function(self._pointer, *arguments))
        finally:
            calls.pop()

    def _refuse(self, status: int) -> Any:
        if self._pointer.value is None:
            raise HandleError(raw.KVC_E_HANDLE, "the engine is closed")
        refuse(status)

    def _check(self, status: int) -> None:
        if status:
            self._refuse(status)

    def _check_process(self) -> None:
        if _forked and self._pid != os.getpid():
            raise ForkedError(raw.KVC_E_FORKED)

    def _lent_add(self, array: Any) -> None:
        self._lent[id(array)] = array

    def _counted(self, function: Any, *arguments: Any) -> int:
        """A call whose last argument receives a count."""
        out = ctypes.c_uint64()
        self._check(self._call(function, *arguments, ctypes.byref(out)))
        return out.value

    @property
    def handle(self) -> int:
        """The kvc_engine_t pointer, for functions of `kvcache.raw`."""
        if self._pointer.value is None:
            raise HandleError(raw.KVC_E_HANDLE, "the engine is closed")
        return self._pointer.value

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._pointer.value is None

    # -- Opening and closing -------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Winds the engine up: refuses new work, completes what lanes have queued, flushes. Then `close`."""
        if self._calls:
            raise BusyError(raw.KVC_E_BUSY, f"{len(self._calls)} calls of other threads are under way on this engine")
        self._check(self._call(raw.kvc_shutdown))

    def close(self) -> None:
        """Closes the engine and gives its memory and files back; does nothing when that was done before.

        BusyError, and the engine stays as it was, while views, reservations, lanes, arrays over them or calls of other
        threads are in use. What no file holds is not written down: `flush` or `shutdown` first.
        """
        if self._pointer.value is None:
            return
        if self._calls:
            raise BusyError(raw.KVC_E_BUSY, f"{len(self._calls)} calls of other threads are under way on this engine")
        self._check_process()
        if len(self._lent):
            raise BusyError(
                raw.KVC_E_BUSY, f"{len(self._lent)} memoryviews, arrays or tensors over blocks are still in use"
            )
        handle, self._pointer.value = self._pointer.value, None
        status = raw.kvc_close(handle)
        if status:
            self._pointer.value = handle
            refuse(status)
        _brought.pop(handle, None)
        self._lanes.clear()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            # What the exception's frames still hold is no reason to hide the exception.
            with contextlib.suppress(BusyError):
                self.close()

    def __del__(self) -> None:
        if self._pointer.value is None or self._pid != os.getpid():
            return
        warnings.warn(f"an engine was not closed: {self!r}", ResourceWarning, stacklevel=2, source=self)
        if raw.kvc_close(self._pointer.value) == raw.KVC_OK:
            _brought.pop(self._pointer.value, None)
        elif self._lanes:
            # Operations are under way; what they read and write must stay for ever.
            _abandoned.append(self._lanes)

    def __repr__(self) -> str:
        value = self._pointer.value
        return "<kvcache.Engine, closed>" if value is None else f"<kvcache.Engine at {value:#x}>"

    # -- Reading -------------------------------------------------------------------------------------------------------

    def match(self, keys: KeysLike, *, touch: bool = False) -> int:
        """Counts the keys at the beginning of the list whose blocks are resident: the longest resident prefix.

        touch counts them as used. Looks only, and never waits.
        """
        if type(keys) is not Keys:
            keys = Keys(keys)
        out = _u64()
        if keys._count > _HELD_KEYS_MAX:
            status = self._call(raw.kvc_match, keys._pointer, keys._count, 1 if touch else 0, _byref(out))
        else:
            status = _match_held(
                self._pointer, keys._pointer, keys._number, _TOUCH if touch else _NO_FLAGS, _byref(out)
            )
        if status:
            self._refuse(status)
        return out.value

    def match_each(self, keys: KeysLike, *, touch: bool = False) -> bytes:
        """Says for each key in which tiers its block is: one byte a key, the sum of 1 << Tier, 0 for none."""
        keys = keys_of(keys)
        tiers, out = (ctypes.c_char * len(keys))(), ctypes.c_uint64()
        self._check(
            self._call(raw.kvc_match_each, keys._pointer, len(keys), 1 if touch else 0, tiers, ctypes.byref(out))
        )
        return tiers.raw

    def __contains__(self, key: bytes) -> bool:
        return self.match(key_bytes(key)) == 1

    def get(self, key: bytes) -> bytes | None:
        """A copy of a block as bytes, or None where it is not resident. Waits for a block that is below memory."""
        try:
            with self.acquire(key) as view:
                return bytes(view)
        except KeyError:
            return None

    def get_into(self, key: bytes, target: Any, *, copy: str | None = None) -> int | None:
        """Copies a block into a writable buffer or a tensor of the host; its bytes, or None where it is not resident.

        copy is "hot" or "cold", whether this core reads the bytes soon; by default the size of the block decides.
        Waits for a block that is below memory.
        """
        if type(key) is not bytes or len(key) != KEY_BYTES:
            key = key_bytes(key)
        flags = _NO_FLAGS if copy is None else _u32(copy_flags(copy))
        out = _u64()
        try:
            # The quickest way to where a writable buffer begins; keeps the buffer as a lease does.
            view = memoryview(target)
            first, nbytes = _byte_from(view), view.nbytes
        except (TypeError, ValueError):
            # No buffer, an empty one, one that is not fit: a lease takes it or says what is wrong.
            lease = Lease(target, writable=True)
            first, nbytes = _Byte.from_address(lease.address), lease.nbytes
        calls = self._calls
        calls.append(None)
        try:
            status = _get(self._pointer, key, _byref(first), _u64(nbytes), flags, _byref(out))
        finally:
            calls.pop()
        if status:
            if status == raw.KVC_MISS:
                return None
            self._refuse(status)
        return out.value

    def get_many(self, keys: KeysLike, targets: Iterable[Any], *, copy: str | None = None) -> list[int | None]:
        """Copies many blocks, each into its own buffer: for each its bytes, or None where it is not resident.

        Another refusal of one of them (a buffer that is too small) is raised, after all were tried.
        """
        leases = [Lease(target, writable=True) for target in targets]
        items = self._items(keys_of(keys), leases)
        self._counted(raw.kvc_get_many, items, len(leases), copy_flags(copy))
        found: list[int | None] = []
        for _, _, _, nbytes, status, _ in _ITEM.iter_unpack(items):
            if status not in (raw.KVC_OK, raw.KVC_MISS):
                raise error_of(status)
            found.append(nbytes if status == raw.KVC_OK else None)
        return found

    @staticmethod
    def _items(keys: Keys, leases: Sequence[Lease]) -> Any:
        if len(keys) != len(leases):
            raise ArgumentError(raw.KVC_E_ARGUMENT, f"{len(keys)} keys and {len(leases)} buffers")
        items = ctypes.create_string_buffer(_ITEM.size * len(leases))
        for place, (key, lease) in enumerate(zip(keys, leases)):
            _ITEM.pack_into(items, place * _ITEM.size, key, lease.address, lease.nbytes, 0, 0, 0)
        return items

    def acquire(self, key: bytes, *, partial: bool = False) -> View:
        """Lends a block without copying it; MissError (a KeyError) where it is not resident.

        Waits for a block that is below memory; with partial it is lent while it arrives, see `View.ready`.
        """
        out = raw.kvc_view_t()
        status = self._call(
            raw.kvc_acquire, key_bytes(key), raw.KVC_ACQUIRE_PARTIAL if partial else 0, ctypes.byref(out)
        )
        if status:
            self._refuse(status)
        return view_of(self, out)

    def acquire_many(self, keys: KeysLike) -> Views:
        """Lends the blocks of the longest resident prefix of the keys: match and acquire in one."""
        keys = keys_of(keys)
        structs = (raw.kvc_view_t * len(keys))()
        count = self._counted(raw.kvc_acquire_many, keys._pointer, len(keys), 0, structs)
        return Views(view_of(self, structs[place]) for place in range(count))

    # -- Writing -------------------------------------------------------------------------------------------------------

    def reserve(self, key: bytes, nbytes: int, info: PutInfo | None = None) -> Reservation:
        """Lends room for a block to fill in place; ExistsError and PendingError where there is nothing to do."""
        out = raw.kvc_reservation_t()
        if not 0 <= nbytes <= _MAX_U64:
            raise ArgumentError(raw.KVC_E_ARGUMENT, f"a block of {nbytes} bytes")
        self._check(self._call(raw.kvc_reserve, key_bytes(key), nbytes, info_pointer(info), ctypes.byref(out)))
        return reservation_of(self, out)

    def put(self, key: bytes, data: Any, info: PutInfo | None = None) -> bool:
        """Stores a block: True, or False where it is there already or another producer is filling it.

        AgainError when everything is held. data is a buffer or a tensor of the host.
        """
        lease = Lease(data)
        status = self._call(raw.kvc_put, key_bytes(key), lease.address, lease.nbytes, info_pointer(info))
        if status in (raw.KVC_EXISTS, raw.KVC_PENDING):
            return False
        self._check(status)
        return True

    def put_many(self, keys: KeysLike, blocks: Iterable[Any], info: PutInfo | None = None) -> list[bool]:
        """Stores a chain of blocks in order, each the parent of the next: for each whether it was stored.

        False is a block that was there already, or that another producer is filling. At one that can't be stored the
        batch ends with the exception of that; the blocks before it stay.
        """
        leases = [Lease(block) for block in blocks]
        items = self._items(keys_of(keys), leases)
        self._counted(raw.kvc_put_many, items, len(leases), info_pointer(info))
        stored: list[bool] = []
        for place, (_, _, _, _, status, _) in enumerate(_ITEM.iter_unpack(items)):
            if status not in (raw.KVC_OK, raw.KVC_EXISTS, raw.KVC_PENDING):
                raise error_of(status, f"block {place} of {len(leases)}: {error_of(status).message}")
            stored.append(status == raw.KVC_OK)
        return stored

    # -- Keeping and dropping ------------------------------------------------------------------------------------------

    def remove(self, keys: KeysLike) -> int:
        """Removes blocks from all tiers; how many were resident."""
        keys = keys_of(keys)
        return self._counted(raw.kvc_remove, keys._pointer, len(keys))

    def touch(self, keys: KeysLike) -> int:
        """Counts blocks as used now; how many are resident."""
        keys = keys_of(keys)
        return self._counted(raw.kvc_touch, keys._pointer, len(keys))

    def retain(self, keys: KeysLike, *, priority: int, expiry_ms: int = 0, protected: bool = False) -> int:
        """Changes how long blocks are kept: priority (0 to 100), protection, when both lapse; how many are resident."""
        keys, flags = keys_of(keys), raw.KVC_RETAIN_PROTECTED if protected else 0
        if not 0 <= priority <= 100 or not 0 <= expiry_ms <= _MAX_U64:
            raise ArgumentError(raw.KVC_E_ARGUMENT, f"priority is {priority} (0 to 100), expiry_ms is {expiry_ms}")
        return self._counted(raw.kvc_retain, keys._pointer, len(keys), priority, expiry_ms, flags)

    def namespace_clear(self, namespace_id: int) -> int:
        """Removes every block that was put with this namespace; how many there were."""
        return self._counted(raw.kvc_namespace_clear, namespace_id)

    def namespace_quality_set(self, namespace_id: int, error_max_permille: int | None) -> None:
        """Bounds how much the blocks of a namespace may lose in the file tiers; None takes the bound back."""
        bound = _MAX_U64 if error_max_permille is None else error_max_permille
        self._check(self._call(raw.kvc_namespace_quality_set, namespace_id, bound))

    def importance_begin(self) -> None:
        """Begins a new importance table beside the one in use."""
        self._check(self._call(raw.kvc_importance_begin))

    def importance_set(self, keys: KeysLike, importances: Sequence[int]) -> None:
        """Sets the importance of keys in the table that was begun."""
        keys = keys_of(keys)
        if len(keys) != len(importances):
            raise ArgumentError(raw.KVC_E_ARGUMENT, f"{len(keys)} keys and {len(importances)} importances")
        values = (ctypes.c_uint32 * len(keys))(*importances)
        self._check(self._call(raw.kvc_importance_set, keys._pointer, values, len(keys)))

    def importance_swap(self) -> None:
        """Puts the table that was begun in the place of the one in use."""
        self._check(self._call(raw.kvc_importance_swap))

    # -- File tiers ----------------------------------------------------------------------------------------------------

    def prefetch(self, keys: KeysLike) -> int:
        """Begins copying blocks up from the file tiers, and does not wait; how many are on their way because of it."""
        keys = keys_of(keys)
        return self._counted(raw.kvc_prefetch, keys._pointer, len(keys), 0)

    def prefetch_cancel(self, conversation_id: int) -> bool:
        """Drops the wish for a conversation's blocks; False where no such conversation is remembered."""
        status = self._call(raw.kvc_prefetch_cancel, conversation_id)
        if status == raw.KVC_MISS:
            return False
        self._check(status)
        return True

    def flush(self, timeout: float | None = None) -> int:
        """Makes everything durable that was committed or removed before; how many blocks had to be written.

        timeout is in seconds, None waits as long as the device makes progress; TimeoutExpired, and writing goes on.
        """
        return self._counted(raw.kvc_flush, timeout_ns(timeout))

    def tier(self, tier: Tier | str | int) -> raw.kvc_tier_t:
        """What a file tier is and does at present; UnsupportedError where the engine has none of this kind."""
        out = raw.init(raw.kvc_tier_t)
        self._check(self._call(raw.kvc_tier_get, member(Tier, tier), ctypes.byref(out)))
        return out

    def tick(self, now_ns: int = 0) -> int:
        """Does the engine's work in tick mode (workers_count 0), every millisecond for one; how much there was."""
        return self._counted(raw.kvc_tick, now_ns)

    # -- Lanes ---------------------------------------------------------------------------------------------------------

    def lane(self) -> Lane:
        """Opens a lane: hand over operations, fetch the results later. One thread at a time may use it."""
        return Lane(self)

    def async_lane(self) -> AsyncLane:
        """Opens a lane for asyncio, in a coroutine: operations are awaited."""
        from .aio import AsyncLane

        return AsyncLane(self)

    # -- Watching ------------------------------------------------------------------------------------------------------

    def stats(self) -> raw.kvc_stats_t:
        """All counters and gauges; include/kvcache.h says what each of them counts."""
        out = raw.init(raw.kvc_stats_t)
        self._check(self._call(raw.kvc_stats_get, ctypes.byref(out)))
        return out

    def capacity(self) -> raw.kvc_capacity_t:
        """What fits into the engine; does not change while it is open."""
        out = raw.init(raw.kvc_capacity_t)
        self._check(self._call(raw.kvc_capacity_get, ctypes.byref(out)))
        return out

    def histogram(self, operation: int, tier: Tier | str | int = Tier.CPU) -> raw.kvc_histogram_t:
        """How long the timed operations of one kind (raw.KVC_OPERATION_...) took in one tier, in nanoseconds."""
        out = raw.init(raw.kvc_histogram_t)
        self._check(self._call(raw.kvc_histogram_get, operation, member(Tier, tier), ctypes.byref(out)))
        return out

    def metrics(self) -> str:
        """All metrics as the text that a Prometheus scraper reads."""
        buffer = ctypes.create_string_buffer(_METRICS_BYTES)
        nbytes = self._counted(raw.kvc_metrics_write, buffer, _METRICS_BYTES)
        return buffer.raw[:nbytes].decode()

    def events(self, sequence: int = 0, count: int = 256) -> tuple[list[Event], int, int]:
        """Reads up to count events from a sequence number on: the events, where to go on, how many were lost before.

        Begin with 0 and pass the second value again each time; every reader has its own place.
        """
        structs = (raw.kvc_event_t * count)()
        place, read, lost = ctypes.c_uint64(sequence), ctypes.c_uint64(), ctypes.c_uint64()
        self._check(
            self._call(raw.kvc_events_read, ctypes.byref(place), structs, count, ctypes.byref(read), ctypes.byref(lost))
        )
        events = [
            Event(
                item.sequence,
                item.time_ns,
                bytes(item.key.bytes),
                (item.block.index, item.block.generation),
                item.kind,
                Tier(item.tier),
            )
            for item in structs[: read.value]
        ]
        return events, place.value, lost.value

    def pins(self, count: int = 256) -> tuple[list[Pin], int]:
        """Up to count of the views that are held, and how many there are: to find who forgot to release."""
        structs = (raw.kvc_pin_info_t * max(count, 1))()
        structs[0].struct_size = ctypes.sizeof(raw.kvc_pin_info_t)
        held_count = self._counted(raw.kvc_pins_get, structs, count)
        pins = [
            Pin(
                bytes(item.key.bytes),
                (item.block.index, item.block.generation),
                (item.pin.index, item.pin.generation),
                item.age_ns,
            )
            for item in structs[: min(held_count, count)]
        ]
        return pins, held_count


# Configurations whose memory is lent to an open engine, by the engine's handle.
_brought: dict[int, Config] = {}
# What operations of engines keep that were neither closed nor could be.
_abandoned: list[Any] = []
# Set in a forked child: only there it is worth asking for the process.
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)
assert _ITEM.size == raw.SIZES["kvc_item_t"] and raw.SIZES["kvc_key_t"] == KEY_BYTES
