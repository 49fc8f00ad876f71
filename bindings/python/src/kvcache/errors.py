"""What goes wrong, as exceptions: one base, `KvcError`, and a class for each status that programs tell apart.

The classes of the package turn statuses into exceptions, except where an answer is normal: `Engine.get` gives None for
a miss, `Engine.put` gives False for a block that is there.
"""

from __future__ import annotations

from typing import Final, NoReturn

from . import raw


def status_name(status: int) -> str:
    """The name of a status, "KVC_MISS" for 1; "KVC_UNKNOWN" for a number that means nothing."""
    name: bytes = raw.kvc_status_name(status)
    return name.decode()


class KvcError(Exception):
    """A call of the library did not answer KVC_OK.

    `status` is its number, `name` its name ("KVC_E_BUSY"), `message` says what to do about it.
    """

    status: int
    name: str
    message: str

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(status, message)
        self.status = status
        self.name = status_name(status)
        self.message = message or _MEANINGS.get(status, "")

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


class MissError(KvcError, KeyError):
    """KVC_MISS: the block is not resident."""


class PendingError(KvcError):
    """KVC_PENDING: another producer fills this block, or it is under way."""


class AgainError(KvcError):
    """KVC_AGAIN: no room at present; the same call may succeed later."""


class ExistsError(KvcError):
    """KVC_EXISTS: the block is resident already."""


class CancelledError(KvcError):
    """KVC_CANCELLED: the operation was cancelled."""


class TimeoutExpired(KvcError, TimeoutError):
    """KVC_TIMEOUT: the time given ran out; the operation goes on."""


class ArgumentError(KvcError, ValueError):
    """KVC_E_ARGUMENT or KVC_E_NULL: an argument is outside its range."""


class HandleError(KvcError):
    """KVC_E_HANDLE: the engine or codec is closed."""


class StaleError(KvcError):
    """KVC_E_STALE: the view, reservation, lane or ticket was given back, or its time is over."""


class UnsupportedError(KvcError):
    """KVC_E_UNSUPPORTED: this version of the library, or this engine, does not do that."""


class TooLargeError(KvcError, ValueError):
    """KVC_E_TOO_LARGE: more bytes than a block may have."""


class TooSmallError(KvcError, ValueError):
    """KVC_E_TOO_SMALL: the buffer is smaller than what has to go into it."""


class DamagedError(KvcError):
    """KVC_E_DAMAGED or KVC_E_FILE_DAMAGED: the bytes are not what the library made."""


class ConfigError(KvcError, ValueError):
    """KVC_E_CONFIG, KVC_E_CONFLICT and what opening can meet: `field` says where, the others what would be right."""

    field: str = ""
    value: int = 0
    value_min: int = 0
    value_max: int = 0
    os_error: int = 0


class OpenError(ConfigError):
    """The machine does not give what the configuration asks for: memory, a thread, a file. `os_error` is its errno."""


class FileBusyError(OpenError):
    """KVC_E_FILE_BUSY: another engine has the file open."""


class FileMismatchError(OpenError):
    """KVC_E_FILE_MISMATCH or KVC_E_FILE_FOREIGN: the file holds something else."""


class OfflineError(KvcError):
    """KVC_E_OFFLINE: the tier's device failed; the tier is not used any more."""


class EnduranceError(KvcError):
    """KVC_E_ENDURANCE: the tier's endurance budget is used up for now."""


class BusyError(KvcError):
    """KVC_E_BUSY: something is still held or under way, or a lane is used by two threads at once."""


class ShutdownError(KvcError):
    """KVC_E_SHUTDOWN: the engine was shut down."""


class PoisonedError(KvcError):
    """KVC_E_POISONED or KVC_E_INTERNAL: the library failed inside; the engine can only be closed."""


class ForkedError(KvcError):
    """KVC_E_FORKED: the engine belongs to the parent process; a forked child must open its own."""


_MEANINGS: Final[dict[int, str]] = {
    raw.KVC_MISS: "the block is not resident",
    raw.KVC_PENDING: "another producer is filling this block, or the operation is still under way",
    raw.KVC_AGAIN: "no room at present, everything is held or a table is full; the same call may succeed later",
    raw.KVC_EXISTS: "the block is resident already; nothing was stored",
    raw.KVC_CANCELLED: "the operation was cancelled",
    raw.KVC_TIMEOUT: "the time given ran out; the operation goes on",
    raw.KVC_E_ARGUMENT: "an argument is outside its documented range",
    raw.KVC_E_NULL: "a pointer that must not be NULL is NULL",
    raw.KVC_E_HANDLE: "it is closed",
    raw.KVC_E_STALE: "it was given back or fetched before, or its time is over",
    raw.KVC_E_UNSUPPORTED: "this version of the library, or an engine of this configuration, does not do that",
    raw.KVC_E_TOO_LARGE: "more bytes than a block may have; see block_bytes of the configuration",
    raw.KVC_E_TOO_SMALL: "the buffer is smaller than what has to go into it; nothing was written",
    raw.KVC_E_DAMAGED: "the bytes are not what the library made",
    raw.KVC_E_NO_DEVICE: "the engine has no tier of this kind",
    raw.KVC_E_OFFLINE: "the device fails or stalls; the tier is not used any more until the engine is opened again",
    raw.KVC_E_ENDURANCE: "the endurance budget does not allow all of it now; what fitted is durable",
    raw.KVC_E_BUSY: "views, reservations, lanes or operations are not given back yet, or a lane is used by two threads",
    raw.KVC_E_SHUTDOWN: "the engine was shut down",
    raw.KVC_E_POISONED: "the library had an internal failure earlier; the engine can only be closed",
    raw.KVC_E_FORKED: "the engine was opened by a parent process; a forked child must open its own",
    raw.KVC_E_INTERNAL: "an internal failure was caught; the engine can only be closed",
}

_CLASSES: Final[dict[int, type[KvcError]]] = {
    raw.KVC_MISS: MissError,
    raw.KVC_PENDING: PendingError,
    raw.KVC_AGAIN: AgainError,
    raw.KVC_EXISTS: ExistsError,
    raw.KVC_CANCELLED: CancelledError,
    raw.KVC_TIMEOUT: TimeoutExpired,
    raw.KVC_E_ARGUMENT: ArgumentError,
    raw.KVC_E_NULL: ArgumentError,
    raw.KVC_E_HANDLE: HandleError,
    raw.KVC_E_STALE: StaleError,
    raw.KVC_E_UNSUPPORTED: UnsupportedError,
    raw.KVC_E_TOO_LARGE: TooLargeError,
    raw.KVC_E_TOO_SMALL: TooSmallError,
    raw.KVC_E_DAMAGED: DamagedError,
    raw.KVC_E_CONFIG: ConfigError,
    raw.KVC_E_CONFLICT: ConfigError,
    raw.KVC_E_NO_MEMORY: OpenError,
    raw.KVC_E_HUGE_PAGES: OpenError,
    raw.KVC_E_LOCK: OpenError,
    raw.KVC_E_THREAD: OpenError,
    raw.KVC_E_NO_DEVICE: UnsupportedError,
    raw.KVC_E_EVENT_FD: OpenError,
    raw.KVC_E_FILE: OpenError,
    raw.KVC_E_NO_SPACE: OpenError,
    raw.KVC_E_FILE_BUSY: FileBusyError,
    raw.KVC_E_FILE_MISMATCH: FileMismatchError,
    raw.KVC_E_FILE_FOREIGN: FileMismatchError,
    raw.KVC_E_FILE_DAMAGED: DamagedError,
    raw.KVC_E_NO_URING: OpenError,
    raw.KVC_E_OFFLINE: OfflineError,
    raw.KVC_E_ENDURANCE: EnduranceError,
    raw.KVC_E_BUSY: BusyError,
    raw.KVC_E_SHUTDOWN: ShutdownError,
    raw.KVC_E_POISONED: PoisonedError,
    raw.KVC_E_FORKED: ForkedError,
    raw.KVC_E_INTERNAL: PoisonedError,
}


def error_of(status: int, message: str = "") -> KvcError:
    """The exception of a status that is not KVC_OK."""
    return _CLASSES.get(status, KvcError)(status, message)


def refuse(status: int, message: str = "") -> NoReturn:
    """Raises the exception of a status that is not KVC_OK."""
    raise error_of(status, message)


def check(status: int) -> None:
    """Raises the status as an exception unless it is KVC_OK."""
    if status:
        refuse(status)


def check_config(status: int, error: raw.kvc_error_t) -> None:
    """As `check`, with what a kvc_error_t says about a refused configuration."""
    if not status:
        return
    if error.status != status:
        refuse(status)
    message = error.message.decode(errors="replace")
    exception = error_of(status, message.removeprefix(f"{status_name(status)}: "))
    if isinstance(exception, ConfigError):
        exception.field = error.field.decode()
        exception.value = error.value
        exception.value_min = error.value_min
        exception.value_max = error.value_max
        exception.os_error = error.os_error
    raise exception
