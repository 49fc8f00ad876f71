"""Memory stays flat: 100,000 rounds of every way in and out, and as many openings as twenty seconds allow."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

from conftest import content, key_of, lacking

import kvcache
from kvcache import Operation, memory

ROUNDS = 100_000
# A leak of the smallest object that Python has (16 bytes) in each round would be 1.6 MB.
BYTES_MAX = 1 << 20


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stays_flat(one_round: Callable[[], None], rounds: int) -> None:
    for _ in range(rounds // 10):
        one_round()
    before = resident_bytes()
    for _ in range(rounds):
        one_round()
    grown = resident_bytes() - before
    print(f"{rounds} rounds: {grown} bytes more")
    assert grown < BYTES_MAX, f"{grown} bytes more after {rounds} rounds"


def test_blocks_in_and_out(engine: kvcache.Engine) -> None:
    key, target = key_of(1), bytearray(4096)
    engine.put(key, content(1))

    def one_round() -> None:
        assert engine.get(key) is not None
        assert engine.get_into(key, target) == 4096
        with engine.acquire(key) as view:
            assert view.data[0] == target[0]
        engine.acquire(key)

    stays_flat(one_round, ROUNDS)
    assert engine.stats().pins_in_use == 0 and not engine._lent and not engine._calls


def test_writing_batches_and_exports(engine: kvcache.Engine) -> None:
    keys = kvcache.Keys([key_of(1), key_of(2)])
    data, targets = content(1), [bytearray(4096), bytearray(4096)]

    def one_round() -> None:
        engine.put_many(keys, [data, data], kvcache.PutInfo(parent=keys[0]))
        engine.get_many(keys, targets)
        assert engine.match(list(keys)) == 2
        with engine.acquire_many(keys) as views:
            seen = memory.Lease(views[0].data)
            views[1].__dlpack__()
        del seen
        engine.remove(keys)
        with engine.reserve(keys[0], 8) as room:
            room.data[:] = b"12345678"
        engine.remove(keys)
        try:
            engine.acquire(keys[0])
        except KeyError:
            pass

    stays_flat(one_round, ROUNDS // 5)
    assert engine.stats().pins_in_use == 0 and not memory._given


def test_lanes(engine: kvcache.Engine) -> None:
    keys, target = kvcache.Keys([key_of(1)]), bytearray(4096)
    engine.put(keys[0], content(1))

    def one_round() -> None:
        with engine.lane() as lane:
            tickets = lane.submit([Operation.get(keys, target), Operation.acquire(keys)])
            lane.wait(tickets[0])
            for completion in lane.reap():
                if completion.views is not None:
                    completion.views.release()

    stays_flat(one_round, ROUNDS // 5)

    async def rounds() -> None:
        async with engine.async_lane() as lane:
            for _ in range(1000):
                assert await lane.get(keys[0], target) == 4096

    asyncio.run(rounds())
    before = resident_bytes()
    for _ in range(10):
        asyncio.run(rounds())
    assert resident_bytes() - before < BYTES_MAX
    assert not engine._lanes


def test_open_and_close(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        lacking("/proc")
    config = kvcache.Config(block_bytes=64, cpu_bytes=4096, pins_count=16, stripes_count=1, lanes_count=1, lane_depth=1)

    def one_round() -> None:
        with kvcache.Engine(config) as engine:
            engine.put(bytes(32), b"x")
            engine.get(bytes(32))

    seconds = float(os.environ.get("KVC_LEAK_SECONDS", "20"))
    begun = time.monotonic()
    for _ in range(1000):
        one_round()
    rounds = max(1000, min(ROUNDS, int(1000 * (seconds - 1) / (time.monotonic() - begun) / 1.1)))
    stays_flat(one_round, rounds)
    maps = len(Path("/proc/self/maps").read_text().splitlines())
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        one_round()
    assert len(Path("/proc/self/maps").read_text().splitlines()) <= maps + 8
    assert len(os.listdir("/proc/self/fd")) == files
