"""The ways a command can fail: each has an exit code and says where, what, and what to do."""

import signal
from collections.abc import Sequence


class AccordError(Exception):
    """A failure that the user can act on. Its text is ``where: what: fix`` (empty parts are left out)."""

    code = 1
    others: Sequence[object] = ()  # lines that are shown before it, such as further bad rows

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(": ".join(part for part in (where, what, fix) if part))


class InputError(AccordError):
    """Bad data, configuration or model directory."""

    code = 2


class Diverged(AccordError):
    """A loss or gradient that is not finite, or training that is dead."""

    code = 3


class StorageError(AccordError):
    """Disk full, a directory in use by another run, no memory."""

    code = 4


class ServiceError(AccordError):
    """A peer process, rank or remote service that failed."""

    code = 5


class IntegrityError(AccordError):
    """A file that is not what was written."""

    code = 6


class Stopped(AccordError):
    """Ended by a signal, after what was done had been saved. Its exit code is 128 + the signal's number."""

    def __init__(self, number: int, what: str, *, where: str = "", fix: str = "") -> None:
        self.signal = signal.Signals(number)
        self.code = 128 + number
        super().__init__(what, where=where, fix=fix)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP outside of training, where they are heard in another way: all that is half done is undone."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.code = 128 + number
        super().__init__()


# What torch says where it raises no torch.OutOfMemoryError: its CPU allocator, oneDNN, cuBLAS, the driver.
NO_MEMORY = ("can't allocate memory", "could not create a primitive", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch says that no memory was left. (Torch is not asked: it may not be loaded.)"""
    if isinstance(error, AccordError):
        return False
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and any(said in str(error) for said in NO_MEMORY))


def exit_code(error: BaseException) -> int:
    """What a process ends with: DESIGN.md section 7; 1 for what nobody foresaw."""
    if isinstance(error, AccordError | Terminated):
        return error.code
    if ran_out_of_memory(error):
        return StorageError.code
    return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
