"""Misuse: a clear error each time, and no crash."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import content, key_of

import kvcache
from kvcache import Operation, _load, raw


def test_use_after_close() -> None:
    engine = kvcache.Engine(block_bytes="4KiB", cpu_bytes="64KiB")
    lane = engine.lane()
    lane.close()
    engine.close()
    engine.close()
    assert engine.closed and repr(engine) == "<kvcache.Engine, closed>"
    calls: list[Callable[[], Any]] = [
        lambda: engine.match([key_of(1)]),
        lambda: engine.match([key_of(1)] * 5000),
        lambda: engine.match_each([key_of(1)]),
        lambda: engine.get(key_of(1)),
        lambda: engine.get_into(key_of(1), bytearray(1)),
        lambda: engine.get_many([key_of(1)], [bytearray(1)]),
        lambda: engine.acquire(key_of(1)),
        lambda: engine.acquire_many([key_of(1)]),
        lambda: engine.reserve(key_of(1), 1),
        lambda: engine.put(key_of(1), b"x"),
        lambda: engine.put_many([key_of(1)], [b"x"]),
        lambda: engine.remove([key_of(1)]),
        lambda: engine.touch([key_of(1)]),
        lambda: engine.retain([key_of(1)], priority=1),
        lambda: engine.namespace_clear(1),
        lambda: engine.namespace_quality_set(1, 1),
        lambda: engine.importance_begin(),
        lambda: engine.importance_set([], []),
        lambda: engine.importance_swap(),
        lambda: engine.prefetch([key_of(1)]),
        lambda: engine.prefetch_cancel(1),
        lambda: engine.flush(),
        lambda: engine.tier("nvme"),
        lambda: engine.tick(),
        lambda: engine.lane(),
        lambda: engine.stats(),
        lambda: engine.capacity(),
        lambda: engine.histogram(0),
        lambda: engine.metrics(),
        lambda: engine.events(),
        lambda: engine.pins(),
        lambda: engine.shutdown(),
        lambda: engine.handle,
        lambda: lane.submit([Operation.match([key_of(1)])]),
        lambda: lane.reap(),
        lambda: lane.wait(kvcache.Ticket(0, 1)),
        lambda: lane.cancel(kvcache.Ticket(0, 1)),
        lambda: lane.fileno(),
        lambda: lane.close(),
    ]
    for call in calls:
        with pytest.raises(kvcache.HandleError, match="the engine is closed"):
            call()
    # The raw handle of a closed engine is found out too.
    other = kvcache.Engine(block_bytes=64, cpu_bytes=64)
    handle = other.handle
    other.close()
    assert raw.kvc_tick(handle, 0, None) == raw.KVC_E_HANDLE


def test_double_release(engine: kvcache.Engine) -> None:
    engine.put(key_of(1), content(1))
    view = engine.acquire(key_of(1))
    view.release()
    uses: list[Callable[[], Any]] = [
        view.release,
        lambda: view.data,
        lambda: bytes(view),
        view.ready,
        view.__enter__,
        view.tensor,
        lambda: view.block,
    ]
    for use in uses:
        with pytest.raises(kvcache.StaleError, match="given back"):
            use()
    # Released within its own block: nothing is left to do at the end.
    with engine.acquire(key_of(1)) as view:
        view.release()
    views = engine.acquire_many([key_of(1)])
    views.release()
    views.release()
    room = engine.reserve(key_of(2), 10)
    room.commit()
    for use in (room.commit, room.abort, lambda: room.data, lambda: room.write(b"x")):
        with pytest.raises(kvcache.StaleError):
            use()
    # And what the library itself says of one that is given back twice.
    struct = raw.kvc_view_t()
    assert raw.kvc_release(engine.handle, ctypes.byref(struct)) == raw.KVC_E_STALE
    assert engine.stats().releases == 3


def test_an_expired_view_is_stale() -> None:
    with kvcache.Engine(block_bytes=64, cpu_bytes=64, pin_expiry_ms=1, clock="ticks") as engine:
        now_ns = 0

        def expire() -> None:
            nonlocal now_ns
            while engine.stats().pins_in_use:
                now_ns += 10**9
                engine.tick(now_ns)

        engine.put(key_of(1), b"1")
        view = engine.acquire(key_of(1))
        expire()
        with pytest.raises(kvcache.StaleError):
            view.release()
        # An array over one keeps the engine open, because its memory would be gone.
        view = engine.acquire(key_of(1))
        seen = view.data
        expire()
        with pytest.raises(kvcache.BusyError):
            engine.close()
        del seen


def test_stale_tickets_and_lanes(engine: kvcache.Engine) -> None:
    lane = engine.lane()
    for ticket in (kvcache.Ticket(0, 0), kvcache.Ticket(5, 77), kvcache.Ticket(2**32 - 1, 1)):
        with pytest.raises(kvcache.StaleError):
            lane.wait(ticket)
        with pytest.raises(kvcache.StaleError):
            lane.cancel(ticket)
    lane.submit([Operation.match([key_of(1)])])
    with pytest.raises(kvcache.BusyError):
        lane.close()
    lane.reap()
    lane.close()
    for use in (lane.close, lane.reap, lane.fileno):
        with pytest.raises(kvcache.StaleError):
            use()
    with pytest.raises(kvcache.StaleError):
        lane.submit([Operation.match([key_of(1)])])
    assert lane.pending == 0


def test_wrong_sizes(engine: kvcache.Engine) -> None:
    engine.put(key_of(1), content(1))
    target = bytearray(4095)
    with pytest.raises(kvcache.errors.TooSmallError):
        engine.get_into(key_of(1), target)
    assert target == bytes(4095)
    with pytest.raises(kvcache.errors.TooSmallError):
        engine.get_many([key_of(1)], [target])
    with pytest.raises(kvcache.errors.TooLargeError):
        engine.put(key_of(2), bytes(4097))
    with pytest.raises(kvcache.errors.TooLargeError):
        engine.reserve(key_of(2), 4097)
    with pytest.raises(kvcache.ArgumentError):
        engine.put(key_of(2), b"")
    for nbytes in (0, -1, 2**64):
        with pytest.raises(kvcache.ArgumentError):
            engine.reserve(key_of(2), nbytes)
    for key in (b"", b"x" * 31, b"x" * 33, bytearray(8)):
        for call in (engine.get, engine.acquire, lambda key: engine.put(key, b"x"), lambda key: key in engine):
            with pytest.raises(kvcache.ArgumentError, match="32 bytes"):
                call(key)
    with pytest.raises(TypeError):
        engine.get("text")  # type: ignore[arg-type]
    with pytest.raises(kvcache.ArgumentError, match="1 keys and 2 buffers"):
        engine.get_many([key_of(1)], [bytearray(1), bytearray(1)])
    with pytest.raises(kvcache.ArgumentError, match="same room"):
        Operation.get([key_of(1), key_of(2)], bytearray(3))
    with pytest.raises(kvcache.ArgumentError, match="equal size"):
        Operation.put([key_of(1), key_of(2)], b"abc")
    with pytest.raises(kvcache.ArgumentError, match="hot"):
        engine.get_into(key_of(1), target, copy="warm")
    room = engine.reserve(key_of(3), 10)
    with pytest.raises(kvcache.errors.TooLargeError):
        room.commit(11)
    room.commit(10)
    with pytest.raises(kvcache.ArgumentError):
        engine.retain([key_of(1)], priority=101)
    with pytest.raises(kvcache.ArgumentError):
        engine.put(key_of(4), b"x", kvcache.PutInfo(priority=101))


def test_close_while_things_are_held(engine: kvcache.Engine) -> None:
    engine.put(key_of(1), content(1))
    for hold in (lambda: engine.acquire(key_of(1)), lambda: engine.reserve(key_of(2), 10), engine.lane):
        held = hold()
        with pytest.raises(kvcache.BusyError):
            engine.close()
        assert not engine.closed and engine.match([key_of(1)]) == 1
        getattr(held, "release", getattr(held, "abort", getattr(held, "close", None)))()


def test_after_a_shutdown(engine: kvcache.Engine) -> None:
    engine.put(key_of(1), content(1))
    engine.shutdown()
    with pytest.raises(kvcache.errors.ShutdownError):
        engine.put(key_of(2), b"x")
    assert engine.get(key_of(1)) == content(1)


def test_two_threads_on_one_lane() -> None:
    size = 32 << 20
    with kvcache.Engine(block_bytes=size, cpu_bytes=2 * size) as engine, engine.lane() as lane:
        engine.put(key_of(1), bytes(size))
        target = bytearray(size * 4)
        seen = []
        # The first thread is in the lane while it copies; the second one comes upon it sooner or later.
        while not seen:
            (ticket,) = lane.submit([Operation.get([key_of(1)] * 4, target)])
            begun = threading.Event()

            def wait(ticket: kvcache.Ticket = ticket, begun: threading.Event = begun) -> None:
                begun.set()
                assert lane.wait(ticket).check() == 4

            thread = threading.Thread(target=wait)
            thread.start()
            begun.wait()
            while thread.is_alive() and not seen:
                try:
                    lane.cancel(kvcache.Ticket(0, 0))
                except kvcache.StaleError:
                    pass
                except kvcache.BusyError as busy:
                    seen.append(busy)
            thread.join()
        assert "two threads" in str(seen[0])
        assert lane.pending == 0


def test_close_under_a_call_of_another_thread() -> None:
    size = 64 << 20
    engine = kvcache.Engine(block_bytes=size, cpu_bytes=size)
    engine.put(key_of(1), bytes(size))
    target, refused = bytearray(size), []
    while not refused:
        thread = threading.Thread(target=engine.get_into, args=(key_of(1), target))
        thread.start()
        while thread.is_alive() and not refused:
            if engine._calls:
                try:
                    engine.close()
                except kvcache.BusyError as busy:
                    refused.append(busy)
                else:
                    # The call had just ended.
                    engine = kvcache.Engine(block_bytes=size, cpu_bytes=size)
                    engine.put(key_of(1), bytes(size))
                    break
        thread.join()
    assert "other threads" in str(refused[0])
    engine.close()


def test_calls_that_copy_or_wait_release_the_gil() -> None:
    """Nothing else lets another thread run here: the interpreter is told to take the GIL from nobody."""
    size = 256 << 20
    many = kvcache.Keys(bytes(32) * 1_000_000)
    interval = sys.getswitchinterval()
    with kvcache.Engine(block_bytes=size, cpu_bytes=size) as engine, engine.lane() as lane:
        engine.put(key_of(1), bytes(size))
        engine.put(bytes(32), b"zero")
        engine.put(key_of(1), bytes(size))
        target = bytearray(size)
        operation = Operation.match([many[0]] * 3)

        def runs_beside(call: Callable[[], Any]) -> bool:
            """Whether another thread ran while the call was under way, once in a hundred times at least."""
            for _ in range(100):
                gate, ran, done = threading.Lock(), [], threading.Lock()
                gate.acquire()
                done.acquire()

                def beside(gate: Any = gate, ran: list[int] = ran, done: Any = done) -> None:
                    with gate:
                        ran.append(1)
                    done.release()

                thread = threading.Thread(target=beside)
                thread.start()
                # Lets it come as far as the gate.
                threading.Event().wait(0.001)
                gate.release()
                call()
                seen = bool(ran)
                done.acquire()
                thread.join()
                if seen:
                    return True
            return False

        sys.setswitchinterval(1000)
        try:
            assert runs_beside(lambda: engine.get_into(key_of(1), target))
            assert runs_beside(lambda: engine.match(many))
            assert runs_beside(lambda: engine.get(key_of(1)))
            assert runs_beside(lambda: lane.wait(lane.submit([operation])[0]))
            # The check can fail: a call that keeps the GIL lets nobody run.
            keeps, out, count = _load.held.kvc_match, ctypes.c_uint64(), ctypes.c_uint64(20_000)
            flags = ctypes.c_uint32(0)
            assert not runs_beside(lambda: keeps(engine._pointer, many._pointer, count, flags, ctypes.byref(out)))
        finally:
            sys.setswitchinterval(interval)


def test_a_forked_child_is_told() -> None:
    engine = kvcache.Engine(block_bytes="4KiB", cpu_bytes="64KiB")
    engine.put(key_of(1), content(1))
    view, lane = engine.acquire(key_of(1)), engine.lane()
    child = os.fork()
    if child == 0:
        wrong = 1
        try:
            calls: list[Callable[[], Any]] = [
                lambda: engine.get(key_of(1)),
                lambda: engine.match([key_of(1)]),
                lambda: engine.put(key_of(2), b"x"),
                lambda: view.data,
                lambda: engine.acquire(key_of(1)),
                lambda: engine.stats(),
                lambda: lane.reap(),
                view.release,
                engine.close,
            ]
            for call in calls:
                try:
                    call()
                except kvcache.ForkedError as forked:
                    assert "parent process" in str(forked)
                else:
                    raise AssertionError("no error in the child")
            with kvcache.Engine(block_bytes="4KiB", cpu_bytes="64KiB") as own:
                own.put(key_of(1), b"mine")
                assert own.get(key_of(1)) == b"mine"
            wrong = 0
        finally:
            os._exit(wrong)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bytes(view) == content(1)
    view.release()
    lane.close()
    engine.close()


def test_statuses_have_names() -> None:
    assert kvcache.status_name(0) == "KVC_OK" and kvcache.status_name(12345) == "KVC_UNKNOWN"
    error = kvcache.KvcError(raw.KVC_E_THREAD)
    assert (error.status, error.name, str(error)) == (-303, "KVC_E_THREAD", "KVC_E_THREAD")
    for name in dir(raw):
        if name.startswith("KVC_E_"):
            assert kvcache.errors.error_of(getattr(raw, name)).name == name
