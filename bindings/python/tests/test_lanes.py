"""Lanes: submitting, reaping, waiting, cancelling, and asyncio."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import select
import signal
import time
from pathlib import Path

import pytest
from conftest import content, key_of

import kvcache
from kvcache import Operation, raw


def test_operations_and_their_results(engine: kvcache.Engine) -> None:
    keys = kvcache.Keys([key_of(1), key_of(2)])
    target = bytearray(8192)
    with engine.lane() as lane:
        tickets = lane.submit(
            [
                Operation.put(keys, content(1) + content(2), kvcache.PutInfo(tokens_count=16), tag="put"),
                Operation.match(keys, touch=True, tag="match"),
                Operation.get(keys, target, copy="hot", tag="get"),
                Operation.touch(keys, tag="touch"),
                Operation.acquire([*keys, key_of(3)], tag="acquire"),
                Operation.prefetch(keys, tag="prefetch"),
                Operation.remove(keys, tag="remove"),
                Operation.acquire([key_of(4)], tag="nothing"),
            ]
        )
        assert len(tickets) == 8 and lane.pending == 8
        done = {completion.tag: completion for completion in lane.reap()}
        assert lane.pending == 0
        results = {tag: completion.result for tag, completion in done.items()}
        assert list(results.items()) == [
            ("put", 2),
            ("match", 2),
            ("get", 2),
            ("touch", 2),
            ("acquire", 2),
            ("prefetch", 0),
            ("remove", 2),
            ("nothing", 0),
        ]
        assert target == content(1) + content(2)
        views = done["acquire"].views
        assert views is not None and [bytes(view) for view in views] == [content(1), content(2)]
        views.release()
        assert done["nothing"].status == raw.KVC_MISS and done["nothing"].views is None
        assert done["put"].ticket == tickets[0] and done["put"].opcode == raw.KVC_OP_PUT
        with pytest.raises(kvcache.MissError):
            done["nothing"].check()


def test_waiting_and_cancelling(engine: kvcache.Engine, tmp_path: Path) -> None:
    engine.put(key_of(1), content(1))
    with engine.lane() as lane:
        first, second, third = lane.submit([Operation.match([key_of(1)], tag=number) for number in range(3)])
        assert lane.cancel(third) is True
        assert lane.wait(second, 0).result == 1
        with pytest.raises(kvcache.StaleError):
            lane.wait(second)
        with pytest.raises(kvcache.StaleError):
            lane.cancel(second)
        done = {completion.tag: completion.status for completion in lane.reap()}
        assert done == {0: raw.KVC_OK, 2: raw.KVC_CANCELLED}
        with pytest.raises(kvcache.StaleError):
            lane.wait(first)
    # A read from a device is not there at once.
    config = kvcache.Config(block_bytes="1MiB", cpu_bytes="1MiB", nvme=(tmp_path / "nvme", "16MiB"))
    with kvcache.Engine(config) as below:
        below.put(key_of(1), bytes(1 << 20))
        below.flush()
    with kvcache.Engine(config) as below, below.lane() as lane:
        target = bytearray(1 << 20)
        (ticket,) = lane.submit([Operation.get([key_of(1)], target)])
        with pytest.raises(kvcache.TimeoutExpired):
            lane.wait(ticket, 0)
        assert lane.wait(ticket, 60).check() == 1 << 20
        assert isinstance(kvcache.TimeoutExpired(raw.KVC_TIMEOUT), TimeoutError)


def test_a_wait_can_be_interrupted(monkeypatch: pytest.MonkeyPatch, engine: kvcache.Engine) -> None:
    class Interrupt(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Interrupt

    with engine.lane() as lane:
        (ticket,) = lane.submit([Operation.match([key_of(1)])])
        # An operation that never ends: the library is asked again and again, and always says that it goes on.
        monkeypatch.setattr(raw, "kvc_wait", lambda *arguments: time.sleep(0.001) or raw.KVC_TIMEOUT)
        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupt):
                lane.wait(ticket)
        finally:
            signal.signal(signal.SIGALRM, before)
        with pytest.raises(kvcache.TimeoutExpired):
            lane.wait(ticket, 0.35)
        monkeypatch.undo()
        assert lane.wait(ticket, 0.35).result == 0


def test_a_full_lane(engine: kvcache.Engine) -> None:
    with kvcache.Engine(block_bytes=64, cpu_bytes=64, lane_depth=2) as small, small.lane() as lane:
        assert len(lane.submit([Operation.match([key_of(1)])] * 3)) == 2
        with pytest.raises(kvcache.AgainError):
            lane.submit([Operation.match([key_of(1)])])
        assert len(lane.reap(1)) == 1 and lane.pending == 1


def test_the_event_fd_tells() -> None:
    with kvcache.Engine(block_bytes="4KiB", cpu_bytes="64KiB", workers_count=1) as engine, engine.lane() as lane:
        # Asked for only after the operation was complete, and then before each.
        lane.submit([Operation.put([key_of(1)], content(1))])
        while not engine.stats().operations_completed:
            time.sleep(0.001)
        assert select.select([lane], [], [], 60)[0] == [lane]
        os.read(lane.fileno(), 8)
        assert lane.reap()[0].check() == 1
        for _ in range(100):
            lane.submit([Operation.match([key_of(1)])])
            found: list[kvcache.Completion] = []
            while not found:
                assert select.select([lane], [], [], 60)[0] == [lane]
                os.read(lane.fileno(), 8)
                found = lane.reap()
            assert found[0].check() == 1


def test_buffers_are_kept_until_the_completion(engine: kvcache.Engine) -> None:
    target = bytearray(4096)
    engine.put(key_of(1), content(1))
    lane = engine.lane()
    lane.submit([Operation.get([key_of(1)], target)])
    with pytest.raises(BufferError):
        target.clear()
    # Also when the lane itself is dropped; then the engine knows that something is under way.
    del lane
    gc.collect()
    with pytest.raises(BufferError):
        target.clear()
    with pytest.raises(kvcache.BusyError):
        engine.close()
    identity = next(iter(engine._lanes))
    done, count = (raw.kvc_done_t * 4)(), ctypes.c_uint64()
    lane_struct = raw.kvc_lane_t(*identity)
    assert raw.kvc_reap(engine.handle, lane_struct, done, 4, ctypes.byref(count)) == 0 and count.value == 1
    assert target == content(1)
    assert raw.kvc_lane_close(engine.handle, lane_struct) == 0


@pytest.mark.parametrize("workers_count", [0, 1])
def test_asyncio(tmp_path: Path, workers_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: kvcache.Fields = {
        "block_bytes": "64KiB",
        "cpu_bytes": "512KiB",
        "nvme": (tmp_path / "nvme", "8MiB"),
        "workers_count": workers_count,
        "lane_depth": 16,
    }
    keys = kvcache.Keys(key_of(number) for number in range(40))

    async def fill(engine: kvcache.Engine) -> None:
        async with engine.async_lane() as lane:
            for number, key in enumerate(keys):
                while True:
                    try:
                        assert await lane.put(key, content(number, 64 << 10)) is True
                        break
                    except kvcache.AgainError:
                        await asyncio.sleep(0.001)
            assert await lane.put(keys[39], b"x") is False
            await lane.flush()

    async def read(engine: kvcache.Engine) -> None:
        async with engine.async_lane() as lane:
            assert await lane.match(keys, touch=True) == 40
            buffers = [bytearray(64 << 10) for _ in keys]

            async def one(number: int) -> None:
                while True:
                    try:
                        assert await lane.get(keys[number], buffers[number]) == 64 << 10
                        break
                    except kvcache.AgainError:
                        await asyncio.sleep(0.001)
                assert buffers[number] == content(number, 64 << 10)

            # More than the lane has room for.
            await asyncio.gather(*map(one, range(40)))
            assert await lane.get(key_of(99), bytearray(1 << 16)) is None
            with await lane.acquire(keys[:2]) as views:
                assert [view.data[0] for view in views] == [content(0)[0], content(1)[0]]
            assert len(await lane.acquire([key_of(99)])) == 0
            assert await lane.touch(keys) == 40 and await lane.prefetch(keys[:2]) <= 2
            # A coroutine that is cancelled leaves neither its views nor its operation behind.
            task = asyncio.ensure_future(lane.acquire(keys[10:14]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # Nor where it was too late to cancel the operation.
            with monkeypatch.context() as late:
                late.setattr(kvcache.Lane, "cancel", lambda lane, ticket: False)
                acquires = engine.stats().acquires
                task = asyncio.ensure_future(lane.acquire(keys[10:12]))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                while engine.stats().acquires == acquires or lane._lane.pending:
                    await asyncio.sleep(0.001)
            assert await lane.remove(keys[:3]) == 3
        assert engine.stats().pins_in_use == 0 and engine.stats().lanes_open == 0

    with kvcache.Engine(**fields) as engine:
        asyncio.run(fill(engine))
    with kvcache.Engine(**fields) as engine:
        asyncio.run(read(engine))
