"""Checkpoints written while training goes on: what they hold is copied, and one thread writes the copy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from accord.models.finite import check_finite
from accord.training import checkpoint, memory

# Bytes. Less than this is written about as fast as it is copied, and training waits for it.
SMALL = 4 << 20
SHARE = 4  # a copy may take this part of the memory that is left


class Saver:
    """Writes checkpoints, one at a time. A context manager: at its end, all that it was given is on the disk.

    What fails in its thread is raised by the next call. tell: gets a line where that cannot be, and notes.
    """

    def __init__(self, tell: Callable[[str], None] = print) -> None:
        self._tell = tell
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None
        self._has_told = False

    def save(
        self,
        directory: Path,
        step: int,
        tensors: checkpoint.Files,
        state: Mapping[str, Any],
        *,
        run: str,
        keep: int | None = 2,
        about: Mapping[str, Any] | None = None,
        counts_on: Iterable[Path] = (),
        then: Callable[[], None] | None = None,
        beside: bool = True,
    ) -> None:
        """As `checkpoint.save`, and comes back as soon as a copy of `tensors` and `state` is made, where one fits.

        First the save before this one is waited for, and its failure raised. then: called once the checkpoint counts.
        beside: False where there is nothing to do meanwhile. Diverged where a number is not finite.
        """
        self.wait()
        named = ((f"{file}/{name}", tensor) for file, of_file in tensors.items() for name, tensor in of_file.items())
        check_finite(named, where=f"step {step}")
        beside = beside and self._fits(checkpoint.size_of(tensors))
        if beside:
            tensors, state = snapshot(tensors), copy.deepcopy(dict(state))
        paths = tuple(counts_on)

        def write() -> None:
            checkpoint.save(directory, step, tensors, state, run=run, keep=keep, about=about, counts_on=paths)
            if then is not None:
                then()

        if not beside:
            return write()
        self._pool = self._pool or ThreadPoolExecutor(1, "saving")
        self._under_way = self._pool.submit(write)

    def check(self) -> None:
        """Raises what a save failed with that has ended; does not wait."""
        if self._under_way is not None and self._under_way.done():
            self.wait()

    def wait(self) -> None:
        """Waits until what was given to it is on the disk; raises what kept it from there."""
        if self._under_way is None:
            return
        try:
            self._under_way.result()
        finally:
            if self._under_way.done():  # or a signal came while it was waited for
                self._under_way = None

    def _fits(self, size: int) -> bool:
        """Whether a copy of so many bytes is worth while, and leaves training the memory that it may need."""
        if size <= SMALL:
            return False
        left = memory.available()
        if left is not None and size * SHARE <= left:
            return True
        if not self._has_told:
            free = "not known" if left is None else f"{left / 1e6:,.0f} MB"
            self._tell(
                f"note: training waits while a checkpoint is written: a copy of {size / 1e6:,.0f} MB does not fit into "
                f"a quarter of the memory that is left ({free})"
            )
            self._has_told = True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.wait()
        except Exception as failure:
            if error is None:
                raise
            self._tell(f"warning: {failure}")
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=False)
                self._pool = None


def snapshot(tensors: checkpoint.Files) -> dict[str, dict[str, Tensor]]:
    """Copies in the processor's memory, which training does not touch; of a GPU's tensors they are made all at once."""
    copies = {file: {name: _copy(tensor.detach()) for name, tensor in named.items()} for file, named in tensors.items()}
    for device in {tensor.device for named in tensors.values() for tensor in named.values() if tensor.is_cuda}:
        torch.cuda.synchronize(device)
    return copies


def _copy(tensor: Tensor) -> Tensor:
    if tensor.is_cuda:
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    return tensor.clone(memory_format=torch.contiguous_format) if tensor.device.type == "cpu" else tensor.cpu()
