"""Codecs: keys and values in fewer bytes, for programs that keep blocks elsewhere than in an engine's file tiers.

geometry = Geometry(layers=32, kv_heads=8, head_dim=128, tokens_per_block=16, dtype="bf16")
with Codec(CodecConfig("t4", "t3", geometry=geometry)) as codec:
    code = codec.encode(block)
    block = codec.decode(code)
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from . import raw
from .config import CodecConfig, CodecKind, Dtype, member
from .errors import ArgumentError, BusyError, HandleError, check, check_config
from .memory import Lease

_TABLES_ALIGNMENT = 64


def codec_name(codec: CodecKind | int) -> str:
    """The name of a codec, "t3" for one; "unknown" for a number that means nothing."""
    name: bytes = raw.kvc_codec_name(codec)
    return name.decode()


def describe(config: CodecConfig) -> raw.kvc_codec_description_t:
    """What a codec of this configuration needs and what it makes of a block. Obtains nothing."""
    out, error = raw.init(raw.kvc_codec_description_t), raw.init(raw.kvc_error_t)
    check_config(raw.kvc_codec_describe(ctypes.byref(config.raw), ctypes.byref(out), ctypes.byref(error)), error)
    return out


class Codec:
    """A codec for blocks of one geometry; needs no engine. Any number of threads may use it at once.

    Each thread's scratch memory is kept for its next call.
    """

    __slots__ = ("_calls", "_config", "_pointer", "_scratch", "description")

    def __init__(self, config: CodecConfig) -> None:
        self._pointer = ctypes.c_void_p()
        self._calls: list[None] = []
        self._config = config
        self._scratch = threading.local()
        self.description = describe(config)
        error = raw.init(raw.kvc_error_t)
        check_config(
            raw.kvc_codec_open(ctypes.byref(config.raw), ctypes.byref(self._pointer), ctypes.byref(error)), error
        )

    def _call(self, function: Any, *arguments: Any) -> None:
        self._calls.append(None)
        try:
            status = function(self._pointer, *arguments)
        finally:
            self._calls.pop()
        if status and self._pointer.value is None:
            raise HandleError(raw.KVC_E_HANDLE, "the codec is closed")
        check(status)

    def _room(self) -> Any:
        room = getattr(self._scratch, "room", None)
        if room is None:
            room = self._scratch.room = (ctypes.c_ubyte * self.description.scratch_bytes)()
        return room

    def encode(self, block: Any, *, position: int = 0, before: CodecKind | str | int = CodecKind.RAW) -> bytes:
        """The code of a block. position is that of its first token in its sequence; before what it went through."""
        source, room, out = Lease(block), self._room(), ctypes.c_uint64()
        code = ctypes.create_string_buffer(self.description.code_bytes_max)
        self._call(
            raw.kvc_codec_encode,
            source.address,
            source.nbytes,
            position,
            member(CodecKind, before),
            code,
            len(code),
            room,
            len(room),
            ctypes.byref(out),
        )
        return code.raw[: out.value]

    def decode(self, code: Any, target: Any = None) -> bytes | None:
        """The block of a code as bytes, or into a writable buffer or tensor. DamagedError for what is no code."""
        if target is None:
            block = bytearray(self.description.block_bytes)
            self.decode(code, block)
            return bytes(block)
        source, lease, room = Lease(code), Lease(target, writable=True), self._room()
        self._call(raw.kvc_codec_decode, source.address, source.nbytes, lease.address, lease.nbytes, room, len(room))
        return None

    def decode_layer(self, code: Any, layer: int, target: Any) -> None:
        """One layer of the block of a (whole) code, into a writable buffer or tensor of the layer's size."""
        source, lease, room = Lease(code), Lease(target, writable=True), self._room()
        self._call(
            raw.kvc_codec_decode_layer,
            source.address,
            source.nbytes,
            layer,
            lease.address,
            lease.nbytes,
            room,
            len(room),
        )

    def inspect(self, code: Any) -> raw.kvc_codec_info_t:
        """What a code says about itself, without decoding it."""
        source, out = Lease(code), raw.init(raw.kvc_codec_info_t)
        self._call(raw.kvc_codec_inspect, source.address, source.nbytes, ctypes.byref(out))
        return out

    def close(self) -> None:
        """Closes the codec; does nothing the second time."""
        if self._pointer.value is None:
            return
        if self._calls:
            raise BusyError(raw.KVC_E_BUSY, f"{len(self._calls)} calls of other threads are under way on this codec")
        handle, self._pointer.value = self._pointer.value, None
        check(raw.kvc_codec_close(handle))

    def __enter__(self) -> Codec:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._pointer.value is not None:
            raw.kvc_codec_close(self._pointer.value)


def _aligned(nbytes: int) -> memoryview:
    """New memory that begins at a multiple of 64 bytes."""
    room = (ctypes.c_ubyte * (nbytes + _TABLES_ALIGNMENT))()
    first = -ctypes.addressof(room) % _TABLES_ALIGNMENT
    return memoryview(room).cast("B")[first : first + nbytes]


class Samples:
    """Keys and values of a model to train tables on: for each layer a buffer or tensor [token][head][element]."""

    __slots__ = ("_kept", "_keys", "_values", "raw")

    def __init__(
        self,
        keys: Sequence[Any],
        values: Sequence[Any],
        *,
        dtype: Dtype | str | int,
        kv_heads: int,
        head_dim: int,
        tokens: int,
        sequence_tokens: int = 0,
        codecs: Sequence[CodecKind | str | int] = (),
        rope: int = raw.KVC_ROPE_AUTO,
        rope_theta: float = 0.0,
        rope_dim: int = 0,
    ) -> None:
        if len(keys) != len(values):
            raise ArgumentError(raw.KVC_E_ARGUMENT, f"{len(keys)} layers of keys and {len(values)} of values")
        self._kept = [Lease(plane) for plane in (*keys, *values)]
        kind = member(Dtype, dtype)
        width = {Dtype.F32: 4, Dtype.F16: 2, Dtype.BF16: 2}.get(Dtype(kind), 1)
        for lease in self._kept:
            if lease.nbytes < tokens * kv_heads * head_dim * width:
                raise ArgumentError(
                    raw.KVC_E_ARGUMENT,
                    f"{tokens} tokens are {tokens * kv_heads * head_dim * width} bytes a plane, not {lease.nbytes}",
                )
        addresses = [lease.address for lease in self._kept]
        self._keys = (ctypes.c_void_p * len(keys))(*addresses[: len(keys)])
        self._values = (ctypes.c_void_p * len(values))(*addresses[len(keys) :])
        self.raw = raw.init(raw.kvc_codec_samples_t)
        self.raw.dtype, self.raw.layers_count = kind, len(keys)
        self.raw.kv_heads_count, self.raw.head_dim = kv_heads, head_dim
        self.raw.tokens_count, self.raw.sequence_tokens_count = tokens, sequence_tokens
        self.raw.keys, self.raw.values = ctypes.addressof(self._keys), ctypes.addressof(self._values)
        self.raw.codecs = sum(1 << member(CodecKind, codec) for codec in codecs)
        self.raw.rope, self.raw.rope_theta, self.raw.rope_dim = rope, rope_theta, rope_dim


def train(samples: Samples) -> memoryview:
    """Trains tables for vq and xc: seconds to many minutes. The same samples give the same tables."""
    error, out = raw.init(raw.kvc_error_t), ctypes.c_uint64()
    check_config(
        raw.kvc_codec_train_bytes_max(ctypes.byref(samples.raw), ctypes.byref(out), ctypes.byref(error)), error
    )
    room = _aligned(out.value)
    lease = Lease(room, writable=True)
    check_config(
        raw.kvc_codec_train(
            ctypes.byref(samples.raw), lease.address, lease.nbytes, ctypes.byref(out), ctypes.byref(error)
        ),
        error,
    )
    # What was asked for is much more than what tables have in the end.
    tables = _aligned(out.value)
    tables[:] = room[: out.value]
    return tables


def tables_check(tables: Any) -> raw.kvc_codec_tables_info_t:
    """Checks tables, which begin at a multiple of 64 bytes as `train` and `tables_load` give them; what they are."""
    lease, out = Lease(tables), raw.init(raw.kvc_codec_tables_info_t)
    check(raw.kvc_codec_tables_check(lease.address, lease.nbytes, ctypes.byref(out)))
    return out


def tables_save(path: str | os.PathLike[str], tables: Any) -> None:
    """Writes tables to a file, durably; a file that is there is replaced in one step."""
    lease, error = Lease(tables), raw.init(raw.kvc_error_t)
    check_config(raw.kvc_codec_tables_save(os.fsencode(path), lease.address, lease.nbytes, ctypes.byref(error)), error)


def tables_load(path: str | os.PathLike[str]) -> memoryview:
    """Reads tables from a file and checks them."""
    error, out = raw.init(raw.kvc_error_t), ctypes.c_uint64()
    check_config(raw.kvc_codec_tables_file_bytes(os.fsencode(path), ctypes.byref(out), ctypes.byref(error)), error)
    tables = _aligned(out.value)
    lease = Lease(tables, writable=True)
    check_config(
        raw.kvc_codec_tables_load(
            os.fsencode(path), lease.address, lease.nbytes, ctypes.byref(out), ctypes.byref(error)
        ),
        error,
    )
    return tables
