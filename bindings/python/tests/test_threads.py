"""Many threads on one engine, and what is still held when the interpreter ends."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import traceback

import pytest
from conftest import lacking

import kvcache
from kvcache import Operation

BLOCKS = 200


def block(number: int) -> bytes:
    return bytes([number]) * 4096


@pytest.mark.parametrize("workers_count", [0, 1])
def test_threads_do_as_they_like(workers_count: int) -> None:
    engine = kvcache.Engine(block_bytes="4KiB", cpu_bytes="256KiB", workers_count=workers_count)
    keys = [kvcache.key(bytes([number])) for number in range(BLOCKS)]
    failures: list[str] = []

    def one(source: random.Random, kept: list[tuple[int, memoryview]], buffer: bytearray) -> None:
        number, what = source.randrange(BLOCKS), source.randrange(7)
        key, after = keys[number], (number + 1) % BLOCKS
        if what == 0:
            engine.put(key, block(number))
        elif what == 1:
            assert engine.get_into(key, buffer) is None or buffer == block(number)
        elif what == 2:
            with engine.acquire(key) as view:
                kept.append((number, view.data))
            # Released, and still the block itself, whatever others do meanwhile.
            if len(kept) > 5:
                held, memory = kept.pop(source.randrange(5))
                assert memory == block(held)
        elif what == 3:
            with engine.acquire_many([key, keys[after]]) as views:
                assert [bytes(view) for view in views] == [block(number), block(after)][: len(views)]
        elif what == 4:
            with engine.reserve(key, 4096) as room:
                room.data[:] = block(number)
        elif what == 5:
            engine.remove([key])
        else:
            with engine.lane() as lane:
                tickets = lane.submit([Operation.acquire([key]), Operation.get([key], bytearray(4096))])
                views = lane.wait(tickets[0]).views
                if views is not None:
                    memory = views[0].data
                    views.release()
                    assert memory == block(number)

    def work(seed: int) -> None:
        source, kept, buffer = random.Random(seed), [], bytearray(4096)
        for _ in range(3000):
            try:
                one(source, kept, buffer)
            except (kvcache.AgainError, kvcache.ExistsError, kvcache.PendingError, kvcache.MissError):
                pass
            except BaseException:
                failures.append(traceback.format_exc())
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures, failures[0]
    stats = engine.stats()
    assert (stats.pins_in_use, stats.blocks_reserved, stats.lanes_open) == (0, 0, 0)
    assert not engine._calls and not engine._lanes and not engine._lent
    engine.close()


def test_the_interpreter_ends_with_everything_in_use() -> None:
    try:
        import numpy  # noqa: F401
    except ImportError:
        lacking("NumPy")
    program = """
import kvcache, numpy
engine = kvcache.Engine(block_bytes=4096, cpu_bytes=65536, workers_count=1)
engine.put(bytes(32), b"x" * 4096)
view = engine.acquire(bytes(32))
seen = [numpy.asarray(view), numpy.from_dlpack(view), view.data, view.__dlpack__()]
room = engine.reserve(b"1" * 32, 4096)
filled = numpy.from_dlpack(room)
lane = engine.lane()
lane.submit([kvcache.Operation.get([bytes(32)], bytearray(4096))])
numpy.kept = seen
print("ends")
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", ""), done
