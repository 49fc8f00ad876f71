"""Without copies: what buffers, NumPy arrays and DLPack tensors over blocks see, and how long it is there."""

from __future__ import annotations

import array
import ctypes
import gc
from typing import Any

import pytest
from conftest import content, key_of, lacking

import kvcache
from kvcache import memory


def numpy() -> Any:
    try:
        import numpy
    except ImportError:
        lacking("NumPy")
    return numpy


def torch() -> Any:
    # Not lacking(): torch is large, and nothing here needs it.
    return pytest.importorskip("torch")


def address_of(buffer: Any) -> int:
    return memory.Lease(buffer).address


def test_what_is_seen_is_the_block_itself(engine: kvcache.Engine) -> None:
    np = numpy()
    with engine.reserve(key_of(1), 4096) as room:
        place = address_of(room.data)
        assert address_of(np.asarray(room)) == place == np.from_dlpack(room).ctypes.data
        np.asarray(room)[:] = np.frombuffer(content(1), np.uint8)
    with engine.acquire(key_of(1)) as view, engine.acquire(key_of(1)) as again:
        assert address_of(view.data) == place == address_of(again.data) == np.asarray(view).ctypes.data
        assert view.data == content(1) and view.data.readonly and view.__buffer__(0) == content(1)
        with pytest.raises(BufferError, match="immutable"):
            view.__buffer__(1)
        with pytest.raises(TypeError):
            view.data[0] = 1
        seen = np.asarray(view)
        assert not seen.flags.writeable and seen.dtype == np.uint8
        copy = np.array(view)
        assert copy.flags.writeable and copy.ctypes.data != place
        assert np.asarray(view, np.uint16).shape == (4096,)
        with pytest.raises(ValueError, match="needs a copy"):
            view.__array__(np.uint16, copy=False)
        del seen


def test_a_released_view_keeps_its_block_while_memory_over_it_is_in_use() -> None:
    np = numpy()
    with kvcache.Engine(block_bytes="4KiB", cpu_bytes="4KiB") as engine:
        engine.put(key_of(1), content(1))
        for export in (
            lambda view: view.data,
            lambda view: np.asarray(view)[100:],
            lambda view: np.from_dlpack(view)[100:],
            lambda view: memoryview(view.data)[100:],
            lambda view: view.tensor("f32"),
            lambda view: view.__dlpack__(),
            lambda view: view.__dlpack__(max_version=(1, 0)),
        ):
            view = engine.acquire(key_of(1))
            seen = export(view)
            view.release()
            del view
            gc.collect()
            assert engine.stats().pins_in_use == 1
            # Neither to be evicted nor to be unmapped.
            with pytest.raises(kvcache.AgainError):
                engine.put(key_of(2), content(2))
            with pytest.raises(kvcache.BusyError, match="still in use"):
                engine.close()
            if isinstance(seen, memoryview) and len(seen) == 4096:
                assert seen == content(1)
            del seen
            assert engine.stats().pins_in_use == 0
        assert not memory._given
        views = engine.acquire_many([key_of(1)])
        seen = views[0].data
        views.release()
        assert engine.stats().pins_in_use == 1 and seen == content(1)
        del seen, views
        assert engine.stats().pins_in_use == 0


def test_a_reservation_is_not_committed_while_it_could_be_written_to(engine: kvcache.Engine) -> None:
    np = numpy()
    room = engine.reserve(key_of(1), 4096)
    target = np.asarray(room)
    with pytest.raises(BufferError, match="let go"):
        room.commit()
    assert key_of(1) not in engine
    target[:] = 7
    del target
    with room.data as seen:
        seen[0] = 1
    room.commit()
    assert engine.get(key_of(1)) == b"\1" + b"\7" * 4095

    # Given up while it is still written to: the room is free only afterwards.
    room = engine.reserve(key_of(2), 4096)
    target = np.asarray(room)
    room.abort()
    assert engine.stats().blocks_reserved == 1
    target[:] = 1
    del target
    assert engine.stats().blocks_reserved == 0
    with pytest.raises(BufferError), engine.reserve(key_of(2), 4096) as room:
        target = room.data
    del target, room
    assert engine.stats().blocks_reserved == 0 and key_of(2) not in engine


def test_everything_contiguous_is_taken(engine: kvcache.Engine) -> None:
    np = numpy()
    data = content(1)
    sources = [
        data,
        bytearray(data),
        memoryview(data),
        array.array("Q", data),
        (ctypes.c_ubyte * 4096).from_buffer_copy(data),
        np.frombuffer(data, np.float32).reshape(8, 128),
    ]
    for number, source in enumerate(sources):
        assert engine.put(key_of(number), source)
        assert engine.get(key_of(number)) == data
    for target in (np.zeros((8, 128), np.float32), array.array("Q", bytes(4096)), bytearray(4096)):
        assert engine.get_into(key_of(1), target) == 4096 and bytes(target) == data
    with pytest.raises((BufferError, ValueError), match="contiguous"):
        engine.put(key_of(9), np.zeros((64, 64), np.uint8)[:, :32])
    with pytest.raises((BufferError, ValueError, TypeError), match=r"(?i)writ"):
        engine.get_into(key_of(1), data)
    read_only = np.zeros(4096, np.uint8)
    read_only.flags.writeable = False
    with pytest.raises((BufferError, ValueError)):
        engine.get_into(key_of(1), read_only)
    with pytest.raises(TypeError):
        engine.put(key_of(9), "text")
    # A borrowed buffer is given back.
    buffer = bytearray(data)
    engine.put(key_of(10), buffer)
    buffer.append(1)


class Foreign:
    """A tensor of somebody else: no buffer protocol, DLPack only."""

    def __init__(self, array: Any, device: int = 1) -> None:
        self.array, self.device = array, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.array.__dlpack__(**arguments)


def test_tensors_of_the_host_are_taken(engine: kvcache.Engine) -> None:
    np = numpy()
    data = np.arange(1024, dtype=np.float32)
    assert engine.put(key_of(1), Foreign(data)) and engine.get(key_of(1)) == data.tobytes()
    target = np.zeros((32, 32), np.float32)
    references = target.base
    assert engine.get_into(key_of(1), Foreign(target)) == 4096 and (target.ravel() == data).all()
    assert engine.put(key_of(2), Foreign(data[10:20])) and engine.get(key_of(2)) == data[10:20].tobytes()
    assert references is target.base
    with pytest.raises(BufferError, match="not contiguous"):
        engine.put(key_of(3), Foreign(data[::2]))
    with pytest.raises(BufferError, match="device"):
        engine.put(key_of(3), Foreign(data, device=2))
    data.flags.writeable = False
    with pytest.raises(BufferError, match="read-only"):
        engine.get_into(key_of(1), Foreign(data))


def test_tensors_out(engine: kvcache.Engine) -> None:
    np = numpy()
    engine.put(key_of(1), content(1))
    with engine.acquire(key_of(1)) as view:
        tensor = view.tensor("f16", (2, 4, 256))
        assert tensor.shape == (2, 4, 256) and tensor.__dlpack_device__() == (1, 0)
        seen = np.from_dlpack(tensor)
        assert seen.dtype == np.float16 and seen.shape == (2, 4, 256) and not seen.flags.writeable
        assert seen.tobytes() == content(1)
        del seen, tensor
        with pytest.raises(ValueError, match="4096"):
            view.tensor("f16", (2, 4, 255))
        with pytest.raises(ValueError, match="no element type"):
            view.tensor("f64")
        for wrong in ({"stream": 1}, {"dl_device": (2, 0)}, {"copy": True}):
            with pytest.raises(BufferError):
                view.__dlpack__(**wrong)
    assert not memory._given and engine.stats().pins_in_use == 0


def test_torch(engine: kvcache.Engine) -> None:
    torch_ = torch()
    geometry = kvcache.Geometry(layers=2, kv_heads=2, head_dim=16, tokens_per_block=16, dtype="bf16")
    assert geometry.block_bytes == 4096
    source = torch_.randn(geometry.shape).to(torch_.bfloat16)
    assert engine.put(key_of(1), source)
    target = torch_.zeros(geometry.shape, dtype=torch_.bfloat16)
    assert engine.get_into(key_of(1), target) == 4096 and torch_.equal(source, target)
    with engine.acquire(key_of(1)) as view:
        seen = torch_.from_dlpack(view.tensor(geometry))
        assert seen.dtype == torch_.bfloat16 and seen.shape == geometry.shape and torch_.equal(seen, source)
        flat = torch_.from_dlpack(view)
        assert flat.dtype == torch_.uint8 and flat.data_ptr() == seen.data_ptr()
    assert engine.stats().pins_in_use == 1
    del seen, flat
    assert engine.stats().pins_in_use == 0
    room = engine.reserve(key_of(2), 4096)
    torch_.from_dlpack(room.tensor(geometry)).copy_(source)
    room.commit()
    assert engine.get(key_of(2)) == engine.get(key_of(1))
    with pytest.raises(BufferError):
        engine.put(key_of(3), source.transpose(0, 1))
    assert not memory._given
