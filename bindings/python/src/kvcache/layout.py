"""Between an inference engine's pages and a block: gather pages into a reservation, scatter a view into pages."""

from __future__ import annotations

import ctypes
import enum
from array import array
from collections.abc import Sequence
from typing import Any

from . import raw
from .config import Geometry, member
from .errors import ArgumentError, check
from .memory import Lease


class Order(enum.IntEnum):
    """How tokens and heads lie within a plane of a page."""

    NHD = raw.KVC_ORDER_NHD
    HND = raw.KVC_ORDER_HND


class Planes(enum.IntEnum):
    """How keys and values lie to each other."""

    SEPARATE = raw.KVC_PLANES_SEPARATE
    OUTER = raw.KVC_PLANES_OUTER
    INNER = raw.KVC_PLANES_INNER


class Paged:
    """The pages of an inference engine, on the host: for each layer a buffer or tensor (and one of values if separate).

    include/kvcache.h has a table of how to describe those of common engines. A stride of 0 stands for the one without
    gaps. Keeps the buffers; checks that every page that can be named lies within them.
    """

    __slots__ = ("_kept", "_keys", "_values", "geometry", "raw")

    def __init__(
        self,
        geometry: Geometry,
        keys: Sequence[Any],
        values: Sequence[Any] = (),
        *,
        pages_count: int,
        tokens_per_page: int,
        order: Order | str | int = Order.NHD,
        planes: Planes | str | int = Planes.SEPARATE,
        page_stride_bytes: int = 0,
        plane_stride_bytes: int = 0,
        token_stride_bytes: int = 0,
        head_stride_bytes: int = 0,
    ) -> None:
        self.geometry = geometry
        self._kept = [Lease(buffer, writable=True) for buffer in (*keys, *values)]
        addresses = [lease.address for lease in self._kept]
        self._keys = (ctypes.c_void_p * len(keys))(*addresses[: len(keys)])
        self._values = (ctypes.c_void_p * len(values))(*addresses[len(keys) :])
        self.raw = raw.init(raw.kvc_paged_t)
        self.raw.pages_count = pages_count
        self.raw.tokens_per_page = tokens_per_page
        self.raw.order = member(Order, order)
        self.raw.planes = member(Planes, planes)
        self.raw.page_stride_bytes = page_stride_bytes
        self.raw.plane_stride_bytes = plane_stride_bytes
        self.raw.token_stride_bytes = token_stride_bytes
        self.raw.head_stride_bytes = head_stride_bytes
        self.raw.keys, self.raw.keys_count = ctypes.addressof(self._keys), len(keys)
        if len(values):
            self.raw.values, self.raw.values_count = ctypes.addressof(self._values), len(values)
        self._check_extent()

    def _check_extent(self) -> None:
        """The library can't know how long the buffers are: the last byte that it could touch must be within them."""
        paged, (layers, planes, tokens_per_block, heads, _) = self.raw, self.geometry.shape
        vector = self.geometry.block_bytes // (layers * planes * tokens_per_block * heads)
        tokens, pages = paged.tokens_per_page, paged.pages_count
        nhd = paged.order == Order.NHD
        token = paged.token_stride_bytes or (vector * heads if nhd else vector)
        head = paged.head_stride_bytes or (vector if nhd else vector * tokens)
        plane_bytes = max(token * tokens, head * heads)
        inner, outer = paged.planes == Planes.INNER, paged.planes == Planes.OUTER
        page = paged.page_stride_bytes or plane_bytes * (planes if inner else 1)
        last = page * (pages - 1) + token * (tokens - 1) + head * (heads - 1) + vector
        if inner or outer:
            last += (paged.plane_stride_bytes or (plane_bytes if inner else page * pages)) * (planes - 1)
        for lease in self._kept:
            if pages and lease.nbytes < last:
                raise ArgumentError(
                    raw.KVC_E_ARGUMENT, f"{pages} pages end at byte {last}, and a buffer has {lease.nbytes}"
                )


def _pages(pages: Any) -> tuple[Any, int]:
    numbers = array("I", pages)
    return (ctypes.c_uint32 * len(numbers)).from_buffer(numbers), len(numbers)


def gather(paged: Paged, pages: Sequence[int], target: Any, *, token_first: int = 0, copy: str | None = None) -> None:
    """Copies the pages of one block into its contiguous form: a reservation's `data`, or any writable buffer."""
    from .engine import copy_flags

    (table, count), lease = _pages(pages), Lease(target, writable=True)
    check(
        raw.kvc_layout_gather(
            ctypes.byref(paged.geometry.raw),
            ctypes.byref(paged.raw),
            table,
            count,
            token_first,
            copy_flags(copy),
            lease.address,
            lease.nbytes,
        )
    )


def gather_layer(
    paged: Paged, pages: Sequence[int], layer: int, target: Any, *, token_first: int = 0, copy: str | None = None
) -> None:
    """Copies one layer of the pages of one block; target begins with this layer."""
    from .engine import copy_flags

    (table, count), lease = _pages(pages), Lease(target, writable=True)
    check(
        raw.kvc_layout_gather_layer(
            ctypes.byref(paged.geometry.raw),
            ctypes.byref(paged.raw),
            table,
            count,
            token_first,
            layer,
            copy_flags(copy),
            lease.address,
            lease.nbytes,
        )
    )


def scatter(paged: Paged, pages: Sequence[int], source: Any, *, token_first: int = 0, copy: str | None = None) -> None:
    """Copies a block, a view's `data` for one, into pages: the way back of `gather`."""
    from .engine import copy_flags

    (table, count), lease = _pages(pages), Lease(source)
    check(
        raw.kvc_layout_scatter(
            ctypes.byref(paged.geometry.raw),
            ctypes.byref(paged.raw),
            table,
            count,
            token_first,
            copy_flags(copy),
            lease.address,
            lease.nbytes,
        )
    )


def scatter_layer(
    paged: Paged, pages: Sequence[int], layer: int, source: Any, *, token_first: int = 0, copy: str | None = None
) -> None:
    """Copies one layer of a block into pages; source begins with this layer."""
    from .engine import copy_flags

    (table, count), lease = _pages(pages), Lease(source)
    check(
        raw.kvc_layout_scatter_layer(
            ctypes.byref(paged.geometry.raw),
            ctypes.byref(paged.raw),
            table,
            count,
            token_first,
            layer,
            copy_flags(copy),
            lease.address,
            lease.nbytes,
        )
    )
