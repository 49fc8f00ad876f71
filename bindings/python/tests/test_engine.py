"""What an engine does, seen from Python."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import HERE, content, key_of

import kvcache
from kvcache import raw


def test_put_get_acquire(engine: kvcache.Engine) -> None:
    key = key_of(1)
    assert engine.get(key) is None and key not in engine and engine.match([key]) == 0
    assert engine.put(key, content(1)) is True
    assert engine.put(key, content(2)) is False
    assert engine.get(key) == content(1) and key in engine
    target = bytearray(4096)
    assert engine.get_into(key, target, copy="hot") == 4096 and target == content(1)
    assert engine.get_into(key_of(2), target) is None and target == content(1)
    with engine.acquire(key) as view:
        assert bytes(view) == content(1) == view.data and len(view) == view.nbytes == 4096
        assert view.ready() == (4096, True) and view.block[1] > 0
        assert engine.pins()[1] == 1 and engine.pins()[0][0].key == key
    assert engine.pins() == ([], 0)
    with pytest.raises(KeyError) as miss:
        engine.acquire(key_of(2))
    assert isinstance(miss.value, kvcache.MissError) and miss.value.name == "KVC_MISS"
    assert str(miss.value) == "KVC_MISS: the block is not resident"


def test_batches(engine: kvcache.Engine) -> None:
    keys = kvcache.Keys(key_of(number) for number in range(8))
    assert engine.put_many(keys[:6], [content(number) for number in range(6)]) == [True] * 6
    assert engine.put_many(keys[4:6], [b"x", b"y"]) == [False, False]
    assert engine.match(keys) == 6 and engine.match(keys, touch=True) == 6 and engine.match([]) == 0
    assert engine.match_each(keys) == bytes([1 << kvcache.Tier.CPU] * 6 + [0, 0])
    buffers = [bytearray(4096) for _ in keys]
    assert engine.get_many(keys, buffers) == [4096] * 6 + [None, None]
    assert buffers[:6] == [content(number) for number in range(6)]
    with engine.acquire_many(keys) as views:
        assert [bytes(view) for view in views] == [content(number) for number in range(6)]
        assert views[1].block != views[0].block and len(views[1:3]) == 2
        assert engine.stats().pins_in_use == 6
        views[3].release()
    assert engine.stats().pins_in_use == 0
    assert engine.touch(keys) == 6
    assert engine.retain(keys, priority=50, expiry_ms=1000, protected=True) == 6
    assert engine.remove(keys[:2]) == 2 and engine.match_each(keys)[:2] == b"\0\0"
    many = kvcache.Keys([key_of(2)] * 10_000)
    assert engine.match(many) == 10_000


def test_a_batch_of_puts_ends_where_one_cannot_be_stored(engine: kvcache.Engine) -> None:
    with pytest.raises(kvcache.errors.TooLargeError, match="block 1 of 3"):
        engine.put_many([key_of(1), key_of(2), key_of(3)], [b"a", bytes(4097), b"c"])
    assert engine.match_each([key_of(1), key_of(2), key_of(3)]) == b"\2\0\0"


def test_reserve_commit_abort(engine: kvcache.Engine) -> None:
    key = key_of(1)
    with engine.reserve(key, 100, kvcache.PutInfo(tokens_count=16, priority=5)) as room:
        room.data[:4] = b"abcd"
        room.write(b"efgh", 4)
        assert key not in engine
        with pytest.raises(kvcache.PendingError):
            engine.reserve(key, 100)
        assert engine.put(key, b"x") is False
        with pytest.raises(ValueError, match="do not fit"):
            room.write(b"xx", 99)
    assert engine.get(key)[:8] == b"abcdefgh"  # type: ignore[index]
    with pytest.raises(kvcache.ExistsError):
        engine.reserve(key, 100)
    with pytest.raises(RuntimeError, match="mine"), engine.reserve(key_of(2), 100):
        raise RuntimeError("mine")
    assert key_of(2) not in engine and engine.stats().aborts == 1
    room = engine.reserve(key_of(3), 100)
    room.data[:] = bytes(range(100))
    room.commit(10)
    assert engine.get(key_of(3)) == bytes(range(10))
    del room
    assert engine.stats().aborts == 1
    # A reservation that is dropped is given up.
    engine.reserve(key_of(4), 100)
    assert engine.stats().aborts == 2 and engine.stats().blocks_reserved == 0


def test_a_full_engine_says_again() -> None:
    with kvcache.Engine(block_bytes="4KiB", cpu_bytes="8KiB") as engine:
        engine.put(key_of(1), b"1")
        engine.put(key_of(2), b"2")
        with engine.acquire(key_of(1)), engine.acquire(key_of(2)), pytest.raises(kvcache.AgainError):
            engine.put(key_of(3), b"3")
        assert engine.put(key_of(3), b"3")


def test_namespaces_and_importance() -> None:
    with kvcache.Engine(block_bytes=64, cpu_bytes=128, policy="importance", importance_count=16) as engine:
        engine.put(key_of(1), b"1", kvcache.PutInfo(namespace_id=7))
        engine.put(key_of(2), b"2", kvcache.PutInfo(namespace_id=8))
        engine.importance_begin()
        engine.importance_set([key_of(1), key_of(2), key_of(3)], [5, 1, 9])
        engine.importance_swap()
        engine.put(key_of(3), b"3")
        assert key_of(1) in engine and key_of(2) not in engine and key_of(3) in engine
        assert engine.namespace_clear(7) == 1 and key_of(1) not in engine
        with pytest.raises(kvcache.StaleError):
            engine.importance_swap()
        with pytest.raises(kvcache.ArgumentError):
            engine.importance_set([key_of(1)], [1, 2])
        with pytest.raises(kvcache.errors.UnsupportedError):
            engine.namespace_quality_set(1, 10)


def test_file_tiers(tmp_path: Path) -> None:
    def opened() -> kvcache.Engine:
        return kvcache.Engine(
            block_bytes="4KiB",
            cpu_bytes="64KiB",
            nvme=(tmp_path / "nvme", "4MiB"),
            disk=(str(tmp_path / "disk"), "4MiB"),
            prefetch=kvcache.Prefetch.TURNS | kvcache.Prefetch.SEQUENCES,
        )

    keys = kvcache.Keys(key_of(number) for number in range(64))
    with opened() as engine:
        for number, key in enumerate(keys):
            assert engine.put(key, content(number), kvcache.PutInfo(conversation_id=3, chain_index=number))
        assert engine.flush() >= 16 and engine.flush(timeout=1.0) == 0
        engine.namespace_quality_set(1, 10)
        engine.namespace_quality_set(1, None)
        assert engine.prefetch_cancel(99) is False
        with pytest.raises(kvcache.errors.FileBusyError) as busy:
            opened()
        assert busy.value.field == "nvme_path"
    with opened() as engine:
        assert engine.match(keys) == 64 and engine.stats().blocks_recovered == 64
        tier = engine.tier("nvme")
        assert tier.blocks_count == 64 and tier.io_name in (b"io_uring", b"pread") and tier.state == 1
        assert engine.prefetch(keys[:4]) == 4
        for number, key in enumerate(keys):
            assert engine.get(key) == content(number)
        assert engine.remove(keys) == 64
        engine.put(keys[0], content(0))
        with engine.acquire(keys[0], partial=True) as view:
            assert view.ready() == (4096, True)
    with kvcache.Engine(block_bytes="4KiB", cpu_bytes="64KiB") as engine:
        with pytest.raises(kvcache.errors.UnsupportedError):
            engine.flush()
        with pytest.raises(kvcache.errors.UnsupportedError):
            engine.tier("nvme")
    with pytest.raises(kvcache.errors.FileMismatchError):
        kvcache.Engine(block_bytes="8KiB", cpu_bytes="64KiB", nvme=(tmp_path / "nvme", "4MiB"))


def test_a_block_arrives_part_by_part(tmp_path: Path) -> None:
    nbytes = 4 << 20
    config = kvcache.Config(block_bytes=nbytes, cpu_bytes=nbytes, nvme=(tmp_path / "nvme", "64MiB"))
    data = os.urandom(nbytes)
    with kvcache.Engine(config) as engine:
        engine.put(key_of(1), data)
        engine.flush()
    with kvcache.Engine(config) as engine, engine.acquire(key_of(1), partial=True) as view:
        done, ready = False, -1
        while not done:
            before = ready
            ready, done = view.ready()
            assert ready >= before and view.data[: max(ready, 0)] == data[: max(ready, 0)]
        assert ready == nbytes


def test_watching(engine: kvcache.Engine) -> None:
    engine.put(key_of(1), b"1")
    engine.remove([key_of(1)])
    events, place, lost = engine.events()
    assert [event.kind for event in events] == [raw.KVC_EVENT_STORED, raw.KVC_EVENT_REMOVED] and lost == 0
    assert events[0].key == key_of(1) and events[0].tier is kvcache.Tier.CPU
    assert engine.events(place) == ([], place, 0)
    assert "kvcache" in engine.metrics()
    assert engine.histogram(raw.KVC_OPERATION_PUT).struct_size == raw.SIZES["kvc_histogram_t"]
    capacity = engine.capacity()
    assert capacity.block_bytes == 4096 and capacity.cpu_bytes == 1 << 20
    assert engine.stats().puts_existing == 0 and engine.tick() >= 0
    assert kvcache.__version__.count(".") == 2


def test_configuration() -> None:
    assert kvcache.size_bytes("64KiB") == kvcache.size_bytes("64k") == 64 << 10 == kvcache.size_bytes(65536)
    assert kvcache.size_bytes("1.5GiB") == 3 << 29 and kvcache.size_bytes(" 2 tib ") == 2 << 40
    assert kvcache.size_bytes("12B") == kvcache.size_bytes("12") == 12
    for wrong in ("", "GiB", "1 GB", "-1", "1e3"):
        with pytest.raises(kvcache.ArgumentError, match="is no size"):
            kvcache.size_bytes(wrong)
    plan = kvcache.Plan(block_bytes="2MiB", cpu_bytes="16GiB", nvme=("x", "100GiB"))
    assert plan.slots_count == 8192 and plan.bytes > 16 << 30 and 99 << 30 < plan.raw.file_bytes[2] <= 100 << 30
    assert sum(part.bytes for part in plan.components) == plan.bytes and plan.metadata_bytes_per_block < 512
    assert plan.blocks_count > plan.slots_count and plan.metadata_bytes < plan.bytes
    assert kvcache.Config.defaults().pins_count == 4096
    with pytest.raises(kvcache.ConfigError) as refused:
        kvcache.Plan(block_bytes="2MiB", cpu_bytes=1)
    assert refused.value.field == "cpu_bytes" and refused.value.value == 1 and refused.value.value_min == 2 << 20
    assert "permitted" in str(refused.value) and str(refused.value).count("KVC_E_CONFIG") == 1
    with pytest.raises(TypeError, match="no field"):
        kvcache.Config(block_size=1)  # type: ignore[call-arg]
    with pytest.raises(kvcache.ArgumentError, match="there are lru"):
        kvcache.Config(policy="best")
    for number in (-1, 1 << 64):
        with pytest.raises(kvcache.ArgumentError, match="2\\^64"):
            kvcache.Config(block_bytes=number)
    with pytest.raises(TypeError, match="not both"):
        kvcache.Engine(kvcache.Config(), block_bytes=1)
    config = kvcache.Config(block_bytes=64, cpu_bytes=64, lanes_count=0, policy=kvcache.Policy.LRU, write_wait_ms=0)
    assert config.raw.lanes_count == raw.KVC_NONE == config.raw.write_wait_ms
    with kvcache.Engine(config) as engine, pytest.raises(kvcache.AgainError):
        engine.lane()


def test_memory_that_the_caller_brings() -> None:
    import mmap

    fields: kvcache.Fields = {"block_bytes": 4096, "cpu_bytes": "1MiB"}
    memory = mmap.mmap(-1, kvcache.Plan(**fields).bytes)
    with kvcache.Engine(memory=memory, **fields) as engine:
        assert engine.put(key_of(1), b"here") and engine.get(key_of(1)) == b"here"
        with pytest.raises(BufferError):
            memory.close()
    del engine
    gc.collect()
    memory.close()


def test_an_engine_that_is_dropped_is_closed_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "nvme"
    engine = kvcache.Engine(block_bytes="4KiB", cpu_bytes="64KiB", nvme=(path, "4MiB"))
    with pytest.warns(ResourceWarning, match="not closed"):
        del engine
    kvcache.Engine(block_bytes="4KiB", cpu_bytes="64KiB", nvme=(path, "4MiB")).close()


@pytest.mark.parametrize("name", ["quickstart", "tiers", "prefix_share", "offload"])
def test_samples(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", HERE / "samples" / f"{name}.py"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.endswith(f"{name}: ok\n"), done


def test_workers_run_beside(tmp_path: Path) -> None:
    with kvcache.Engine(
        block_bytes="4KiB", cpu_bytes="64KiB", workers_count=1, nvme=(tmp_path / "nvme", "4MiB"), write_policy="through"
    ) as engine:
        engine.put(key_of(1), content(1))
        # Nobody ticks: the worker writes it down.
        while engine.tier("nvme").writes == 0:
            time.sleep(0.001)
