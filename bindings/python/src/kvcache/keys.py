"""Keys: the 32 bytes that name a block, derived from whatever names it elsewhere.

A key is a `bytes` object of length 32. `Keys` holds many of them in one piece, as the batched calls want them.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Final, Union, overload

from . import raw
from .errors import ArgumentError, check
from .memory import Lease

KEY_BYTES: Final = 32
"""Bytes of a key."""


def key_bytes(key: Any) -> bytes:
    """The key as bytes, refused unless it has 32 of them."""
    data = key if type(key) is bytes else bytes(memoryview(key))
    if len(data) != KEY_BYTES:
        raise ArgumentError(raw.KVC_E_ARGUMENT, f"a key has {KEY_BYTES} bytes, not {len(data)}; derive one with key()")
    return data


class Keys:
    """Keys in one piece: an immutable sequence of `bytes` objects of length 32.

    Made from an iterable of keys, or from a buffer of 32 bytes a key. Make it once and use it for several calls: the
    calls take any iterable too, and then make one for themselves each time.
    """

    __slots__ = ("_count", "_data", "_number", "_pointer")

    def __init__(self, keys: KeysLike = ()) -> None:
        data: bytes
        if isinstance(keys, Keys):
            data = keys._data
        elif isinstance(keys, (bytes, bytearray, memoryview)) or hasattr(keys, "__array_interface__"):
            data = bytes(memoryview(keys))  # type: ignore[arg-type]
            if len(data) % KEY_BYTES:
                raise ArgumentError(
                    raw.KVC_E_ARGUMENT, f"{len(data)} bytes are no number of keys of {KEY_BYTES} bytes each"
                )
        else:
            data = b"".join(map(key_bytes, keys))
        self._data: bytes = data
        self._count: int = len(data) // KEY_BYTES
        # Ready for calls: what ctypes would make of them each time otherwise. The bytes live as long as this object.
        self._pointer = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
        self._number = ctypes.c_uint64(self._count)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> Keys: ...
    def __getitem__(self, place: int | slice) -> bytes | Keys:
        if isinstance(place, slice):
            first, last, step = place.indices(self._count)
            if step == 1:
                return Keys(self._data[first * KEY_BYTES : max(first, last) * KEY_BYTES])
            return Keys(self[i] for i in range(first, last, step))
        if place < 0:
            place += self._count
        if not 0 <= place < self._count:
            raise IndexError(f"key {place} of {self._count}")
        return self._data[place * KEY_BYTES : (place + 1) * KEY_BYTES]

    def __iter__(self) -> Iterator[bytes]:
        for place in range(0, len(self._data), KEY_BYTES):
            yield self._data[place : place + KEY_BYTES]

    def __eq__(self, other: object) -> bool:
        return self._data == other._data if isinstance(other, Keys) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._data)

    def __bytes__(self) -> bytes:
        return self._data

    def __repr__(self) -> str:
        return f"<{self._count} keys>"


# Python 3.9 has no | between types at run time.
KeysLike = Union[Keys, Iterable[bytes], bytes, bytearray, memoryview]
"""What calls take as keys: `Keys`, an iterable of keys, or a buffer of 32 bytes a key."""


def keys_of(keys: KeysLike) -> Keys:
    """The keys in one piece."""
    return keys if type(keys) is Keys else Keys(keys)


def _tokens(tokens: Any) -> tuple[Any, int]:
    """Where the tokens are (kept alive by what is returned) and how many."""
    try:
        view = memoryview(tokens)
    except TypeError:
        view = memoryview(array("I", tokens))
    if view.itemsize != 4 or view.format not in ("I", "i", "L", "l", "@I", "@i", "<I", "<i", "=I", "=i"):
        # Elements of another width or kind: their values count, not their bytes.
        view = memoryview(array("I", view.tolist()))
    return Lease(view), view.nbytes // 4


def key(data: Any, *, namespace: int = 0, salt: Any = b"") -> bytes:
    """Derives the key of any string of bytes within a namespace and under a salt (kvc_key_derive)."""
    source, salted, out = Lease(data), Lease(salt), (ctypes.c_char * KEY_BYTES)()
    check(raw.kvc_key_derive(namespace, salted.address, salted.nbytes, source.address, source.nbytes, out))
    return out.raw


def chain_root(*, namespace: int = 0, salt: Any = b"") -> bytes:
    """Derives the parent of the first block of every chain in this namespace and under this salt.

    Put into the salt whatever makes blocks of the same tokens differ: the model, its revision, an adapter, geometry.
    """
    salted, out = Lease(salt), (ctypes.c_char * KEY_BYTES)()
    check(raw.kvc_key_chain_root(namespace, salted.address, salted.nbytes, out))
    return out.raw


def chain(parent: bytes, tokens: Any) -> bytes:
    """Derives the key of the block that holds these tokens (a buffer of uint32, or ints) and follows parent."""
    (source, count), out = _tokens(tokens), (ctypes.c_char * KEY_BYTES)()
    check(raw.kvc_key_chain(key_bytes(parent), source.address, count, out))
    return out.raw


def chain_many(parent: bytes, tokens: Any, tokens_per_block: int) -> Keys:
    """Derives the keys of all full blocks of a prompt, the first one chained to parent.

    Tokens after the last full block have no key yet. To go on later, pass the last key as the parent, and the tokens
    from there on.
    """
    source, count = _tokens(tokens)
    capacity = count // tokens_per_block if tokens_per_block > 0 else 0
    out, made = (ctypes.c_char * (KEY_BYTES * capacity))(), ctypes.c_uint64()
    check(
        raw.kvc_key_chain_many(
            key_bytes(parent), source.address, count, max(tokens_per_block, 0), out, capacity, ctypes.byref(made)
        )
    )
    return Keys(out.raw[: KEY_BYTES * made.value])
