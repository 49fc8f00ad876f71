"""What the engine lends: views of blocks to read in place, reservations to fill in place.

Both hand out their memory as `memoryview`, NumPy array or DLPack tensor, without a copy. What was handed out keeps the
block where it is: a view that is released while an array over it is in use gives its pin back when the last such array
is gone, and a reservation refuses to be committed as long as somebody could still write to it.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast, overload

from . import raw
from ._load import held
from .config import Geometry
from .errors import StaleError, check, refuse
from .memory import DTYPES, Lease, Tensor, copied

if TYPE_CHECKING:
    from .engine import Engine

# Quick, never waiting, and called from destructors: with the GIL held, and without conversions.
_release = held.kvc_release
_release_many = held.kvc_release_many
_abort = held.kvc_abort
_view_ready = held.kvc_view_ready

# Between whether memory is in use and what is done because it is not, nobody may begin to use it. Reentrant: collecting
# garbage may run a destructor that releases another view.
_lock = threading.RLock()


def _lock_anew() -> None:
    # In a forked child another thread of the parent may have it for ever.
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_lock_anew)


class _Hold:
    """A pin or a reservation, given back when nobody refers to it any more: neither its owner nor memory over it."""

    __slots__ = ("engine", "give_back", "raw")

    def __init__(self, engine: Engine, struct: Any, give_back: Any) -> None:
        self.engine = engine
        self.raw = struct
        self.give_back = give_back

    def end(self) -> int:
        """Gives it back now; the status."""
        give_back, self.give_back = self.give_back, None
        return give_back(self.engine._pointer, ctypes.byref(self.raw)) if give_back is not None else raw.KVC_OK

    def __del__(self) -> None:
        # In a forked child, after a close and after an expiry the library refuses this, and that is right.
        if self.give_back is not None:
            self.end()


class _Lent:
    """What views and reservations have in common: memory of the engine, and ways to look at it."""

    __slots__ = ("__weakref__", "_hold", "_memory", "_nbytes")
    _readonly = True
    _what = "view"

    def __init__(self, hold: _Hold) -> None:
        self._hold: _Hold | None = hold
        self._memory: weakref.ref[Any] | None = None
        self._nbytes: int = hold.raw.bytes

    def _held(self) -> _Hold:
        hold = self._hold
        if hold is None:
            raise StaleError(raw.KVC_E_STALE, f"the {self._what} was given back")
        return hold

    def _array(self) -> Any:
        """The ctypes array over the memory: the one that is in use already, or a new one. It keeps the hold."""
        with _lock:
            hold = self._held()
            array = self._memory() if self._memory is not None else None
            if array is None:
                hold.engine._check_process()
                array = cast(Any, ctypes.c_ubyte * self._nbytes).from_address(hold.raw.data)
                array._hold = hold
                self._memory = weakref.ref(array)
                hold.engine._lent_add(array)
            return array

    def _take(self) -> tuple[_Hold, bool]:
        """Takes the hold away from its owner: the hold, and whether memory over it is still in use."""
        with _lock:
            hold = self._held()
            self._hold = None
            return hold, self._in_use()

    def _in_use(self) -> bool:
        return self._memory is not None and self._memory() is not None

    @property
    def nbytes(self) -> int:
        """Bytes of the block."""
        return self._nbytes

    def __len__(self) -> int:
        return self._nbytes

    @property
    def data(self) -> memoryview:
        """The block's bytes where they are: no copy."""
        view = memoryview(self._array()).cast("B")
        return view.toreadonly() if self._readonly else view

    def __buffer__(self, flags: int, /) -> memoryview:
        """The buffer protocol, from Python 3.12 on; before that, `data`."""
        if flags & 1 and self._readonly:
            raise BufferError("a block is immutable; a view of it can't be written to")
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """For numpy.asarray: the bytes as uint8, without a copy."""
        import numpy

        array = numpy.frombuffer(self.data, numpy.uint8)
        if dtype is not None and numpy.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError("another dtype than uint8 needs a copy; use numpy.asarray(...).view(dtype)")
            return array.astype(dtype)
        return array.copy() if copy else array

    def tensor(self, dtype: str | Geometry = "u8", shape: Sequence[int] | None = None) -> Tensor:
        """The block as something that torch.from_dlpack and its like take: an element type ("bf16") and a shape.

        Or a geometry, which says both. Without a shape it has one dimension.
        """
        if isinstance(dtype, Geometry):
            return Tensor(self._array(), dtype.dtype_name, dtype.shape, readonly=self._readonly)
        if shape is None:
            kind = DTYPES.get(dtype)
            shape = (self._nbytes * 8 // kind.bits,) if kind is not None else ()
        return Tensor(self._array(), dtype, shape, readonly=self._readonly)

    def __dlpack__(self, **arguments: Any) -> Any:
        """The bytes as a DLPack capsule of uint8; see `tensor` for other types."""
        return self.tensor().__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Memory of the host."""
        return (1, 0)


class View(_Lent):
    """A block that the engine lends: readable, unchanged and where it is until `release`.

    A context manager: `with engine.acquire(key) as view: model.load(view.data)`.
    """

    __slots__ = ()

    @property
    def block(self) -> tuple[int, int]:
        """Index and generation of the block."""
        block = self._held().raw.block
        return (block.index, block.generation)

    def ready(self) -> tuple[int, bool]:
        """How many bytes are there, from the first on, and whether that is all that will come (acquire with partial).

        Asking moves the block on. MissError: the rest could not be read; release the view, its bytes are worthless.
        """
        hold, out = self._held(), ctypes.c_uint64()
        status = _view_ready(hold.engine._pointer, ctypes.byref(hold.raw), ctypes.byref(out))
        if status not in (raw.KVC_OK, raw.KVC_PENDING):
            refuse(status)
        return out.value, status == raw.KVC_OK

    def release(self) -> None:
        """Gives the view back. Arrays over it that are still in use stay good, and keep the block, until they go.

        StaleError when that was done before, or the view expired (pin_expiry_ms).
        """
        hold, in_use = self._take()
        if not in_use:
            check(hold.end())

    def __bytes__(self) -> bytes:
        """A copy."""
        array = self._array()
        return copied(ctypes.addressof(array), self._nbytes)

    def __enter__(self) -> View:
        self._held()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hold is not None:
            self.release()

    def __repr__(self) -> str:
        return f"<view of {self._nbytes} bytes{', released' if self._hold is None else ''}>"


class Views(Sequence[View]):
    """The views of a batch, to be given back together. A context manager, as each of them is."""

    __slots__ = ("_views",)

    def __init__(self, views: Iterable[View]) -> None:
        self._views = list(views)

    def __len__(self) -> int:
        return len(self._views)

    @overload
    def __getitem__(self, place: int) -> View: ...
    @overload
    def __getitem__(self, place: slice) -> list[View]: ...
    def __getitem__(self, place: int | slice) -> View | list[View]:
        return self._views[place]

    def __iter__(self) -> Iterator[View]:
        return iter(self._views)

    def release(self) -> None:
        """Gives all of them back that were not yet; in one call those without arrays over them."""
        structs, pointer = [], None
        for view in self._views:
            if view._hold is None:
                continue
            hold, in_use = view._take()
            if not in_use:
                hold.give_back = None
                structs.append(hold.raw)
                pointer = hold.engine._pointer
        if structs:
            array = (raw.kvc_view_t * len(structs))(*structs)
            check(_release_many(pointer, array, ctypes.c_uint64(len(structs)), None))

    def __enter__(self) -> Views:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Reservation(_Lent):
    """Room for a block that the engine lends to its producer until `commit` or `abort`.

    As a context manager it is committed at the end, and given up where there was an exception:
    `with engine.reserve(key, nbytes) as room: read_into(room.data)`.
    """

    __slots__ = ()
    _readonly = False
    _what = "reservation"

    def write(self, source: Any, offset: int = 0) -> None:
        """Copies a buffer or a tensor of the host in, from the byte offset on."""
        lease = Lease(source)
        if not 0 <= offset <= self._nbytes - lease.nbytes:
            raise ValueError(f"{lease.nbytes} bytes at {offset} do not fit into {self._nbytes}")
        array = self._array()
        ctypes.memmove(ctypes.addressof(array) + offset, lease.address, lease.nbytes)

    def commit(self, nbytes: int = 0) -> None:
        """Makes the block readable: the first nbytes bytes, or all.

        BufferError while a memoryview, array or tensor over the memory is in use, because its owner could still write:
        let go of it first (`del array`, or `with room.data as memory:`).
        """
        with _lock:
            if self._in_use():
                raise BufferError(
                    "the reservation's memory is still in use by a memoryview, array or tensor; "
                    "let go of it before commit"
                )
            hold, _ = self._take()
        status = hold.engine._call(raw.kvc_commit, ctypes.byref(hold.raw), nbytes)
        if status and status != raw.KVC_E_STALE:
            self._hold = hold
        else:
            hold.give_back = None
        check(status)

    def abort(self) -> None:
        """Gives the reservation up. Arrays over it that are still in use keep the room until they go."""
        hold, in_use = self._take()
        if not in_use:
            check(hold.end())

    def __enter__(self) -> Reservation:
        self._held()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hold is None:
            return
        if kind is None:
            self.commit()
        else:
            self.abort()

    def __repr__(self) -> str:
        return f"<reservation of {self._nbytes} bytes{', given back' if self._hold is None else ''}>"


def view_of(engine: Engine, struct: raw.kvc_view_t) -> View:
    """The view of a struct that the library filled in."""
    return View(_Hold(engine, struct, _release))


def reservation_of(engine: Engine, struct: raw.kvc_reservation_t) -> Reservation:
    """The reservation of a struct that the library filled in."""
    return Reservation(_Hold(engine, struct, _abort))
