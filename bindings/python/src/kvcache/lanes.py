"""Lanes: operations that are handed over now and whose results are fetched later, by polling or waiting."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import raw
from ._load import held
from .errors import ArgumentError, check
from .keys import Keys, KeysLike, keys_of
from .memory import Lease
from .views import Views, view_of

if TYPE_CHECKING:
    from .engine import Engine, PutInfo

# Submitting and cancelling never wait and do no work.
_submit = held.kvc_submit
_cancel = held.kvc_cancel

REAPED_AT_ONCE: Final = 64
# How long is left between two looks in tick mode while operations wait for a device.
TICK_SECONDS: Final = 0.0005
# How long a wait keeps the handlers of signals waiting.
SIGNAL_SECONDS: Final = 0.1


class Ticket(NamedTuple):
    """A submitted operation."""

    place: int
    generation: int


class Operation:
    """An operation to submit, made by one of its functions. tag is anything; it comes back in the completion.

    Keeps its keys and buffers until the operation is complete.
    """

    __slots__ = ("_data", "_info", "_keys", "_views", "flags", "opcode", "tag")

    def __init__(
        self,
        opcode: int,
        keys: Keys,
        *,
        flags: int = 0,
        data: Lease | None = None,
        info: PutInfo | None = None,
        tag: Any = None,
    ) -> None:
        self.opcode = opcode
        self.flags = flags
        self.tag = tag
        self._keys = keys
        self._data = data
        self._info = info
        self._views: Any = None

    @classmethod
    def match(cls, keys: KeysLike, *, touch: bool = False, tag: Any = None) -> Operation:
        """`Engine.match`. The result is the count."""
        return cls(raw.KVC_OP_MATCH, keys_of(keys), flags=raw.KVC_MATCH_TOUCH if touch else 0, tag=tag)

    @classmethod
    def get(cls, keys: KeysLike, target: Any, *, copy: str | None = None, tag: Any = None) -> Operation:
        """Copies each of keys into target, which has as much room for each. Ends at the first that fails.

        The result is the block's bytes for one key, else how many were copied.
        """
        from .engine import copy_flags

        keys, lease = keys_of(keys), Lease(target, writable=True)
        if not len(keys) or lease.nbytes % len(keys):
            raise ArgumentError(
                raw.KVC_E_ARGUMENT, f"{lease.nbytes} bytes are not the same room for {len(keys)} blocks"
            )
        return cls(raw.KVC_OP_GET, keys, flags=copy_flags(copy), data=lease, tag=tag)

    @classmethod
    def put(cls, keys: KeysLike, source: Any, info: PutInfo | None = None, *, tag: Any = None) -> Operation:
        """Stores keys as a chain of blocks of equal size that lie one behind the other in source.

        The result is how many were stored; blocks that exist are passed over among several.
        """
        keys, lease = keys_of(keys), Lease(source)
        if not len(keys) or lease.nbytes % len(keys):
            raise ArgumentError(raw.KVC_E_ARGUMENT, f"{lease.nbytes} bytes are not {len(keys)} blocks of equal size")
        return cls(raw.KVC_OP_PUT, keys, data=lease, info=info, tag=tag)

    @classmethod
    def remove(cls, keys: KeysLike, *, tag: Any = None) -> Operation:
        """`Engine.remove`. The result is the count."""
        return cls(raw.KVC_OP_REMOVE, keys_of(keys), tag=tag)

    @classmethod
    def touch(cls, keys: KeysLike, *, tag: Any = None) -> Operation:
        """`Engine.touch`. The result is the count."""
        return cls(raw.KVC_OP_TOUCH, keys_of(keys), tag=tag)

    @classmethod
    def acquire(cls, keys: KeysLike, *, tag: Any = None) -> Operation:
        """`Engine.acquire_many`. The completion has the views."""
        operation = cls(raw.KVC_OP_ACQUIRE, keys_of(keys), tag=tag)
        operation._views = (raw.kvc_view_t * len(operation._keys))()
        return operation

    @classmethod
    def prefetch(cls, keys: KeysLike, *, tag: Any = None) -> Operation:
        """`Engine.prefetch`. The result is how many are on their way because of it."""
        return cls(raw.KVC_OP_PREFETCH, keys_of(keys), tag=tag)

    @classmethod
    def flush(cls, *, tag: Any = None) -> Operation:
        """`Engine.flush`. The result is how many blocks had to be written."""
        return cls(raw.KVC_OP_FLUSH, Keys(), tag=tag)

    def _fill(self, struct: raw.kvc_op_t, user_data: int) -> None:
        struct.opcode, struct.flags, struct.user_data = self.opcode, self.flags, user_data
        if len(self._keys):
            struct.keys, struct.keys_count = self._keys._pointer.value, len(self._keys)
        if self._views is not None:
            struct.data, struct.bytes = ctypes.addressof(self._views), ctypes.sizeof(self._views)
        elif self._data is not None:
            # The library wants the bytes of each block.
            struct.data, struct.bytes = self._data.address, self._data.nbytes // len(self._keys)
        if self._info is not None:
            struct.info = ctypes.addressof(self._info.raw)


class Completion(NamedTuple):
    """What became of an operation."""

    tag: Any
    """What the operation was given."""
    ticket: Ticket
    """What its submission gave."""
    status: int
    """What the waiting call would have answered (raw.KVC_OK, ...)."""
    opcode: int
    """The operation's opcode (raw.KVC_OP_...)."""
    result: int
    """A count or a number of bytes, as the operation says."""
    views: Views | None
    """The views of an acquire."""

    def check(self) -> int:
        """The result; raises the status unless it is KVC_OK."""
        check(self.status)
        return self.result


class Lane:
    """One producer's private queues. One thread at a time may use it: a second one gets BusyError.

    A context manager: at its end it waits for what is under way, and closes.
    """

    __slots__ = ("_engine", "_identity", "_kept", "_lane", "_listening", "_sequence")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lane = raw.kvc_lane_t()
        self._sequence = 0
        self._listening = False
        engine._check(engine._call(raw.kvc_lane_open, ctypes.byref(self._lane)))
        # The engine has it too: what operations use outlives a lane that is dropped before they are complete.
        self._identity = (self._lane.index, self._lane.generation)
        self._kept: dict[int, Operation] = engine._lanes.setdefault(self._identity, {})

    @property
    def pending(self) -> int:
        """Operations that were submitted and not fetched yet."""
        return len(self._kept)

    def fileno(self) -> int:
        """The event fd: readable when there is something to reap, and now and then without. Never close it.

        Read its 8 bytes, then reap.
        """
        out = ctypes.c_int32()
        self._engine._check(self._engine._call(raw.kvc_lane_event_fd, self._lane, ctypes.byref(out)))
        if not self._listening:
            # Completions from before the first call were not signalled: nobody had asked. Look at them once.
            self._listening = True
            if self._kept:
                os.write(out.value, (1).to_bytes(8, sys.byteorder))
        return out.value

    def submit(self, operations: Sequence[Operation]) -> list[Ticket]:
        """Submits operations in order, as many as there is room for; a ticket for each that was taken.

        Where not even the first one was, raises why: AgainError when the lane is full.
        """
        count = len(operations)
        structs, tickets, taken = (raw.kvc_op_t * count)(), (raw.kvc_ticket_t * count)(), ctypes.c_uint64()
        first = self._sequence
        for place, operation in enumerate(operations):
            operation._fill(structs[place], first + place)
            # Before it begins: a worker may be done with it before this call is.
            self._kept[first + place] = operation
        self._sequence += count
        status = _submit(
            self._engine._pointer, self._lane, structs, ctypes.c_uint64(count), tickets, ctypes.byref(taken)
        )
        for place in range(taken.value if status == raw.KVC_OK else 0, count):
            self._kept.pop(first + place, None)
        self._engine._check(status)
        return [Ticket(ticket.index, ticket.generation) for ticket in tickets[: taken.value]]

    def _completion(self, done: raw.kvc_done_t) -> Completion:
        operation = self._kept.pop(done.user_data)
        views = None
        if operation._views is not None and done.status == raw.KVC_OK:
            copies = (raw.kvc_view_t.from_buffer_copy(operation._views[i]) for i in range(done.result))
            views = Views(view_of(self._engine, copy) for copy in copies)
        ticket = Ticket(done.ticket.index, done.ticket.generation)
        return Completion(operation.tag, ticket, done.status, done.opcode, done.result, views)

    def reap(self, count: int = REAPED_AT_ONCE) -> list[Completion]:
        """Fetches up to count completions, the oldest first, and does not wait. In tick mode does the work first."""
        structs, done = (raw.kvc_done_t * count)(), ctypes.c_uint64()
        self._engine._check(self._engine._call(raw.kvc_reap, self._lane, structs, count, ctypes.byref(done)))
        return [self._completion(structs[place]) for place in range(done.value)]

    def wait(self, ticket: Ticket, timeout: float | None = None) -> Completion:
        """Waits for one operation and fetches its completion; releases the GIL, and can be interrupted by signals.

        timeout is in seconds, None for ever. TimeoutExpired: the operation goes on. StaleError: it was fetched before.
        """
        done, left = raw.kvc_done_t(), timeout
        while left is None or left > SIGNAL_SECONDS:
            # Python runs the handlers of signals between calls, not within one.
            status = self._wait(ticket, SIGNAL_SECONDS, done)
            if status != raw.KVC_TIMEOUT:
                break
            left = None if left is None else left - SIGNAL_SECONDS
        else:
            status = self._wait(ticket, left, done)
        self._engine._check(status)
        return self._completion(done)

    def _wait(self, ticket: Ticket, timeout: float, done: raw.kvc_done_t) -> int:
        from .engine import timeout_ns

        struct = raw.kvc_ticket_t(*ticket)
        return self._engine._call(raw.kvc_wait, self._lane, struct, timeout_ns(timeout), ctypes.byref(done))

    def cancel(self, ticket: Ticket) -> bool:
        """Cancels an operation: True if it completes with KVC_CANCELLED, False if it is too late for that."""
        status = _cancel(self._engine._pointer, self._lane, raw.kvc_ticket_t(*ticket))
        if status == raw.KVC_PENDING:
            return False
        self._engine._check(status)
        return True

    def close(self) -> None:
        """Closes the lane; BusyError while operations are under way or not fetched yet, StaleError the second time."""
        self._engine._check(self._engine._call(raw.kvc_lane_close, self._lane))
        self._engine._lanes.pop(self._identity, None)

    def _drain(self) -> None:
        """Fetches everything that is under way and drops it."""
        while self._kept:
            for completion in self.reap():
                if completion.views is not None:
                    completion.views.release()
            if self._kept:
                self._engine.tick()
                # Nothing to do but to let a device or a worker get on.
                time.sleep(TICK_SECONDS)

    def __enter__(self) -> Lane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._identity not in self._engine._lanes:
            return
        self._drain()
        self.close()
