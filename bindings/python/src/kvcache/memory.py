"""Memory across the border, without copies: where Python objects hold theirs, and objects over the library's.

Inwards everything is taken that has the buffer protocol (bytes, bytearray, memoryview, array, mmap, NumPy arrays) or,
on the host, DLPack (torch tensors and the like). Outwards a `memoryview` does for most; `Tensor` adds a shape and an
element type that buffers can't express (bf16, fp8) and hands them on by DLPack.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

_python = ctypes.pythonapi


class _Buffer(ctypes.Structure):
    """Py_buffer of CPython."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


_buffer_get = ctypes.PyDLL(None).PyObject_GetBuffer
_buffer_get.argtypes = (ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
_buffer_release = ctypes.PyDLL(None).PyBuffer_Release
_buffer_release.argtypes = (ctypes.c_void_p,)
_buffer_release.restype = None


class Lease:
    """Somebody else's memory, kept where it is for as long as this object lives: `nbytes` bytes at `address`."""

    __slots__ = ("_buffer", "_owner", "address", "nbytes")

    def __init__(self, source: Any, *, writable: bool = False) -> None:
        self._buffer: _Buffer | None = None
        self._owner: Any = None
        self.address: int
        self.nbytes: int
        buffer = _Buffer()
        try:
            _buffer_get(source, ctypes.byref(buffer), 1 if writable else 0)
        except TypeError:
            if not hasattr(source, "__dlpack__"):
                raise
            self.address, self.nbytes, self._owner = _dlpack_take(source, writable)
        else:
            self._buffer = buffer
            # NULL stands for an empty one; C wants none of that, and no byte of it is looked at.
            self.address = buffer.buf or 0
            self.nbytes = buffer.len

    def __del__(self) -> None:
        buffer = getattr(self, "_buffer", None)
        if buffer is not None:
            _buffer_release(ctypes.byref(buffer))


_bytes_new = ctypes.PyDLL(None).PyBytes_FromStringAndSize
_bytes_new.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t)
_bytes_new.restype = ctypes.py_object
_bytes_address = ctypes.PyDLL(None).PyBytes_AsString
_bytes_address.argtypes = (ctypes.py_object,)
_bytes_address.restype = ctypes.c_void_p


def copied(address: int, nbytes: int) -> bytes:
    """The bytes at an address as a new object; releases the GIL while it copies, which string_at does not."""
    target: bytes = _bytes_new(None, nbytes)
    if nbytes > 1:  # Objects of up to one byte are shared by all.
        ctypes.memmove(_bytes_address(target), address, nbytes)
        return target
    return ctypes.string_at(address, nbytes)


# DLPack, as dlpack.h of version 1 has it.


class _Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    """DLManagedTensor, which can't say that it is read-only."""

    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _ManagedVersioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("version_major", ctypes.c_uint32),
        ("version_minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_CPU: Final = 1
_HOST_DEVICES: Final = (_CPU, 3)  # kDLCPU, kDLCUDAHost
_READ_ONLY: Final = 1
_PLAIN_NAME: Final = b"dltensor"
_VERSIONED_NAME: Final = b"dltensor_versioned"

_capsule_new = ctypes.PyDLL(None).PyCapsule_New
_capsule_new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_capsule_new.restype = ctypes.py_object
_capsule_pointer = ctypes.PyDLL(None).PyCapsule_GetPointer
_capsule_pointer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
_capsule_pointer.restype = ctypes.c_void_p
_capsule_valid = ctypes.PyDLL(None).PyCapsule_IsValid
_capsule_valid.argtypes = (ctypes.c_void_p, ctypes.c_char_p)

# What consumers of capsules still use: the managed tensor's address, and what must live as long as it.
_given: dict[int, tuple[Any, ...]] = {}


def _managed_delete(address: int) -> None:
    _given.pop(address, None)


def _capsule_delete(capsule: int) -> None:
    # A consumer renames the capsule that it took; then the tensor is its own to delete.
    for name in (_PLAIN_NAME, _VERSIONED_NAME):
        if _capsule_valid(capsule, name):
            _given.pop(_capsule_pointer(capsule, name), None)


# Consumers call these until the process ends, later than modules are torn down: they must never be freed.
def _callback(function: Any) -> int:
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function)
    _python.Py_IncRef(ctypes.py_object(callback))
    return ctypes.cast(callback, ctypes.c_void_p).value or 0


_managed_delete_address: Final = _callback(_managed_delete)
_capsule_delete_address: Final = _callback(_capsule_delete)


def _dlpack_take(source: Any, writable: bool) -> tuple[int, int, Any]:
    """Address and bytes of a contiguous tensor on the host; valid as long as the third value lives."""
    device = source.__dlpack_device__()[0]
    if device not in _HOST_DEVICES:
        raise BufferError(f"the tensor is on a device of kind {int(device)}; only memory of the host can be used")
    try:
        capsule = source.__dlpack__(max_version=(1, 0))
    except TypeError:
        capsule = source.__dlpack__()
    tensor: Any
    # Not renamed: it stays ours to drop, and its own destructor then gives the tensor back.
    if _capsule_valid(id(capsule), _VERSIONED_NAME):
        versioned = _ManagedVersioned.from_address(_capsule_pointer(id(capsule), _VERSIONED_NAME))
        if versioned.version_major > 1:
            raise BufferError(f"the tensor speaks version {versioned.version_major} of DLPack; this package knows 1")
        if writable and versioned.flags & _READ_ONLY:
            raise BufferError("the tensor is read-only")
        tensor = versioned.tensor
    else:
        tensor = _Managed.from_address(_capsule_pointer(id(capsule), _PLAIN_NAME)).tensor
    elements = 1
    for axis in range(tensor.ndim - 1, -1, -1):
        if tensor.strides and tensor.shape[axis] > 1 and tensor.strides[axis] != elements:
            raise BufferError("the tensor is not contiguous; make it so first")
        elements *= tensor.shape[axis]
    nbytes = elements * tensor.dtype.lanes * tensor.dtype.bits // 8
    return (tensor.data or 0) + tensor.byte_offset, nbytes, capsule


class DType(NamedTuple):
    """An element type as DLPack names it."""

    code: int
    bits: int


DTYPES: Final[dict[str, DType]] = {
    "u8": DType(1, 8),
    "i8": DType(0, 8),
    "f16": DType(2, 16),
    "bf16": DType(4, 16),
    "f32": DType(2, 32),
    "f8_e4m3": DType(10, 8),
    "f8_e5m2": DType(12, 8),
}
"""The element types that a block can be seen as."""


class Tensor:
    """Memory of the library with a shape and an element type, for `torch.from_dlpack` and the like.

    Keeps the view or reservation that it was made from for as long as a consumer uses it. Rows come last, without gaps.
    The memory of a view is read-only; consumers that have no such thing (torch) must not write to it all the same.
    """

    __slots__ = ("_memory", "_readonly", "dtype", "shape")

    def __init__(self, memory: Any, dtype: str, shape: Sequence[int], *, readonly: bool) -> None:
        kind = DTYPES.get(dtype)
        if kind is None:
            raise ValueError(f"{dtype!r} is no element type; there are {', '.join(DTYPES)}")
        elements = 1
        for extent in shape:
            elements *= extent
        if elements * kind.bits // 8 != len(memory):
            raise ValueError(f"{tuple(shape)} of {dtype} are {elements * kind.bits // 8} bytes, not {len(memory)}")
        self._memory = memory
        self._readonly = readonly
        self.dtype = dtype
        self.shape = tuple(shape)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Memory of the host."""
        return (_CPU, 0)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule for a consumer, as the array API standard says."""
        if stream is not None:
            raise BufferError("memory of the host has no streams; stream must be None")
        if dl_device is not None and tuple(dl_device) != (_CPU, 0):
            raise BufferError("the memory is the host's, and is not copied to another device")
        if copy:
            raise BufferError("copies are the consumer's to make")
        count = max(len(self.shape), 1)
        shape = (ctypes.c_int64 * count)(*self.shape)
        strides = (ctypes.c_int64 * count)()
        step = 1
        for axis in range(len(self.shape) - 1, -1, -1):
            strides[axis] = step
            step *= self.shape[axis]
        managed: Any
        if max_version is not None and max_version[0] >= 1:
            managed, name = _ManagedVersioned(), _VERSIONED_NAME
            managed.version_major = 1
            managed.flags = _READ_ONLY if self._readonly else 0
        else:
            managed, name = _Managed(), _PLAIN_NAME
        managed.deleter = _managed_delete_address
        tensor = managed.tensor
        tensor.data = ctypes.addressof(self._memory)
        tensor.device.kind = _CPU
        tensor.ndim = len(self.shape)
        kind = DTYPES[self.dtype]
        tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = kind.code, kind.bits, 1
        tensor.shape = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
        tensor.strides = ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64))
        address = ctypes.addressof(managed)
        _given[address] = (managed, shape, strides, self._memory)
        return _capsule_new(address, name, _capsule_delete_address)
