"""Lanes for asyncio: operations are awaited. By itself, because asyncio takes longer to import than the rest."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from . import raw
from .errors import AgainError, StaleError
from .keys import KeysLike
from .lanes import REAPED_AT_ONCE, TICK_SECONDS, Completion, Lane, Operation
from .views import Views

if TYPE_CHECKING:
    from .engine import Engine, PutInfo


class AsyncLane:
    """A lane whose operations are awaited, for one event loop. Made in a coroutine; an asynchronous context manager.

        async with engine.async_lane() as lane:
            views = await lane.acquire(keys)

    With workers the lane's event fd wakes the loop. In tick mode the loop does the work itself, piece by piece, while
    something is under way. A coroutine that is cancelled cancels its operation; the buffers stay until it is complete.
    """

    __slots__ = ("_fd", "_lane", "_loop", "_poll", "_room", "_ticks")

    def __init__(self, engine: Engine) -> None:
        self._ticks = engine._ticks
        self._loop = asyncio.get_running_loop()
        self._lane = Lane(engine)
        self._fd = self._lane.fileno()
        self._poll: asyncio.Handle | None = None
        self._room: asyncio.Event = asyncio.Event()
        self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            pass
        self._reap()

    def _reap(self) -> None:
        """Fetches what is complete and wakes who waits for it; comes back soon while more is under way."""
        if self._ticks:
            self._lane._engine.tick()
        done = self._lane.reap()
        for completion in done:
            future = cast("asyncio.Future[Completion]", completion.tag)
            if not future.done():
                future.set_result(completion)
            elif completion.views is not None:
                # Its coroutine was cancelled, and nobody else knows of the views.
                completion.views.release()
        if done:
            self._room.set()
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        if self._lane.pending and (self._ticks or len(done) == REAPED_AT_ONCE):
            self._poll_later(0.0 if done else TICK_SECONDS)

    def _poll_later(self, seconds: float) -> None:
        self._poll = self._loop.call_later(seconds, self._reap) if seconds else self._loop.call_soon(self._reap)

    async def submit(self, operation: Operation) -> Completion:
        """Submits an operation and waits for its completion; where the lane is full, for room first."""
        future: asyncio.Future[Completion] = self._loop.create_future()
        operation.tag = future
        while True:
            try:
                ticket = self._lane.submit([operation])[0]
                break
            except AgainError:
                # Without anything under way nothing will make room.
                if not self._lane.pending:
                    raise
            self._room.clear()
            await self._room.wait()
        if self._ticks and self._poll is None:
            self._poll_later(0.0)
        try:
            return await future
        except asyncio.CancelledError:
            try:
                self._lane.cancel(ticket)
            except StaleError:
                pass
            if future.done() and not future.cancelled():
                views = future.result().views
                if views is not None:
                    views.release()
            raise

    async def _result(self, operation: Operation) -> int:
        return (await self.submit(operation)).check()

    async def match(self, keys: KeysLike, *, touch: bool = False) -> int:
        """The longest resident prefix of the keys."""
        return await self._result(Operation.match(keys, touch=touch))

    async def get(self, key: bytes, target: Any, *, copy: str | None = None) -> int | None:
        """Copies a block into a writable buffer; its bytes, or None where it is not resident."""
        completion = await self.submit(Operation.get([key], target, copy=copy))
        return None if completion.status == raw.KVC_MISS else completion.check()

    async def put(self, key: bytes, source: Any, info: PutInfo | None = None) -> bool:
        """Stores a block; False where it is there already or another producer is filling it."""
        completion = await self.submit(Operation.put([key], source, info))
        if completion.status in (raw.KVC_EXISTS, raw.KVC_PENDING):
            return False
        completion.check()
        return True

    async def acquire(self, keys: KeysLike) -> Views:
        """Lends the blocks of the longest resident prefix of the keys; none is no error."""
        completion = await self.submit(Operation.acquire(keys))
        if completion.status == raw.KVC_MISS:
            return Views(())
        completion.check()
        return completion.views if completion.views is not None else Views(())

    async def remove(self, keys: KeysLike) -> int:
        """Removes blocks from all tiers; how many were resident."""
        return await self._result(Operation.remove(keys))

    async def touch(self, keys: KeysLike) -> int:
        """Counts blocks as used now; how many are resident."""
        return await self._result(Operation.touch(keys))

    async def prefetch(self, keys: KeysLike) -> int:
        """Begins copying blocks up; how many are on their way because of it."""
        return await self._result(Operation.prefetch(keys))

    async def flush(self) -> int:
        """Makes everything durable that was committed or removed before; how many blocks had to be written."""
        return await self._result(Operation.flush())

    async def aclose(self) -> None:
        """Waits for what is under way, and closes the lane."""
        while self._lane.pending:
            self._reap()
            await asyncio.sleep(TICK_SECONDS)
        self._loop.remove_reader(self._fd)
        if self._poll is not None:
            self._poll.cancel()
        self._lane.close()

    async def __aenter__(self) -> AsyncLane:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
