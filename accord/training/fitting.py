"""Micro-batches that fit into memory: where it runs out they are halved, and a step is computed again.

However a step is cut, its loss and gradient are the same but for rounding (and for what dropout draws).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from accord.data.batches import Batch, halves
from accord.errors import StorageError, ran_out_of_memory

SHARE = 0.75  # of the places that memory did not suffice for: what it is trusted with from then on

Found = TypeVar("Found")


def attempt(compute: Callable[[], Found]) -> Found | None:
    """What it computes; None where memory ran out, and what it held is free again."""
    try:
        return compute()
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
    # Only here, where the error is gone, are the frames gone that it came through, and their tensors.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass
class Room:
    """The largest micro-batch that a run makes, in places; None while memory never ran out. A checkpoint keeps it.

    tell: gets a line where the limit is lowered.
    """

    tell: Callable[[str], None] = _to_stderr
    limit: int | None = None

    def cut(self, batches: Sequence[Batch]) -> list[Batch]:
        """The same groups in the same order; what is larger than the limit is halved until it is not."""
        if self.limit is None:
            return list(batches)
        done: list[Batch] = []
        waiting = list(reversed(batches))
        while waiting:
            batch = waiting.pop()
            if batch.places <= self.limit or len(batch.members) == 1:
                done.append(batch)
            else:
                waiting.extend(reversed(halves(batch)))
        return done

    def ran_out(self, batches: Sequence[Batch], where: str) -> None:
        """Memory ran out in one of these: lowers the limit below the largest. StorageError where none can be cut."""
        several = [batch for batch in batches if len(batch.members) > 1]
        if not several:
            raise _alone(max(batches, key=lambda batch: batch.places), where)
        size = max(batch.places for batch in several)
        self.limit = int(size * SHARE)
        self.tell(
            f"note: {where}: no memory for a micro-batch of {size:,} tokens: it is cut and computed again, and later "
            f"ones are cut before (--max_tokens {self.limit} avoids this)"
        )


def _alone(batch: Batch, where: str) -> StorageError:
    (member,) = batch.members
    record, count = member.group, len(member.completions)
    several = f" of {count} completions" if count > 1 else ""
    length = member.length if len(member.prompt) else sum(len(one.ids) for one in member.completions)  # a packed block
    return StorageError(
        f"{where}: no memory for this group alone, {batch.places:,} tokens{several}",
        where=f"{record.source} (id {record.id})",
        fix=f"--max_length below {length}, --gradient_checkpointing, --lora_r 16 where all weights are trained, or a "
        "smaller model",
    )
