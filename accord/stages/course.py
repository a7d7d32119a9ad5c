"""Which groups make up which step: pure functions of the seed and the step's number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accord.data.batches import Batch
from accord.data.dialogue import TokenGroup
from accord.data.order import order
from accord.errors import InputError
from accord.stages.options import DataOptions, TrainOptions
from accord.training.loop import Part, Step
from accord.training.objectives import Objective

Cut = Callable[[Sequence[TokenGroup], Sequence[int]], Iterable[Batch]]  # groups, places -> micro-batches


class Course(NamedTuple):
    """The steps of a run: a pure function of their number, counted from 0."""

    per_epoch: int
    at: Callable[[int], Step]


class Turn:
    """`count` groups a step of `places`, epoch after epoch; the last step of an epoch may be smaller."""

    def __init__(self, places: Sequence[int], count: int, data: DataOptions, seed: int) -> None:
        self.places, self.count = np.asarray(places), count
        self.per_epoch = -(-len(places) // count)
        self._epoch: Callable[[int], npt.NDArray[np.int64]] = lru_cache(2)(
            lambda epoch: self.places[order(len(places), seed=seed, epoch=epoch, shuffle=data.shuffle)]
        )

    def at(self, step: int) -> list[int]:
        """The groups of one step, counted from 0 over all epochs."""
        epoch, place = divmod(step, self.per_epoch)
        chosen: list[int] = self._epoch(epoch)[place * self.count : (place + 1) * self.count].tolist()
        return chosen


def course_of(
    groups: Sequence[TokenGroup],
    places: Sequence[int],
    objective: Objective,
    data: DataOptions,
    options: TrainOptions,
    cut: Cut,
) -> Course:
    """One part: `batch_size` groups a step."""
    turn = Turn(places, options.batch_size, data, options.seed)

    def at(step: int) -> list[Part]:
        return [Part(list(cut(groups, turn.at(step))), objective)]

    return Course(turn.per_epoch, at)


def mixed_course(
    own: tuple[Sequence[TokenGroup], Sequence[int], Objective],
    mix: tuple[Sequence[TokenGroup], Objective],
    fraction: float,
    data: DataOptions,
    options: TrainOptions,
    cut: Cut,
) -> Course:
    """Two parts: `fraction` of a step's `batch_size` groups come from the mix; so much of the loss is theirs, too.

    An epoch is one pass over the own groups; the mix goes round in its own order.
    """
    if options.batch_size < 2:
        raise InputError("1 has no room for a group of each", where="batch_size", fix="at least 2 with mix")
    from_mix = min(max(1, round(options.batch_size * fraction)), options.batch_size - 1)
    turn = Turn(own[1], options.batch_size - from_mix, data, options.seed)
    other = Turn(range(len(mix[0])), from_mix, data, options.seed + 1)

    def at(step: int) -> list[Part]:
        return [
            Part(list(cut(own[0], turn.at(step))), own[2], 1 - fraction),
            Part(list(cut(mix[0], other.at(step))), mix[1], fraction, "mix/"),
        ]

    return Course(turn.per_epoch, at)
