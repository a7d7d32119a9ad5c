"""Which groups make up which step: pure functions of the seed and the step's number."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accord.data.batches import Batch, places
from accord.data.dialogue import TokenGroup
from accord.data.order import order
from accord.errors import InputError
from accord.stages.options import DataOptions, TrainOptions
from accord.training.objectives import Objective
from accord.training.step import Part, Step

Cut = Callable[[Sequence[TokenGroup], Sequence[int]], Iterable[Batch]]  # groups, places -> micro-batches


class Course(NamedTuple):
    """The steps of a run: a pure function of their number, counted from 0."""

    per_epoch: int
    at: Callable[[int], Step]
    largest: Callable[[], Step]  # its parts' largest micro-batches: no step of the run asks for more memory


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

    def largest() -> list[Part]:
        return [Part(largest_of(groups, turn, cut), objective)]

    return Course(turn.per_epoch, at, largest)


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

    def parts(of_own: Iterable[Batch], of_mix: Iterable[Batch]) -> list[Part]:
        return [Part(list(of_own), own[2], 1 - fraction), Part(list(of_mix), mix[1], fraction, "mix/")]

    def at(step: int) -> list[Part]:
        return parts(cut(own[0], turn.at(step)), cut(mix[0], other.at(step)))

    def largest() -> list[Part]:
        return parts(largest_of(own[0], turn, cut), largest_of(mix[0], other, cut))

    return Course(turn.per_epoch, at, largest)


def largest_of(groups: Sequence[TokenGroup], turn: Turn, cut: Cut) -> list[Batch]:
    """The fullest micro-batch that `turn.count` groups make, as far as a few tries show, and that of the longest."""
    everyone = np.unique(turn.places).tolist()
    longest = max(everyone, key=lambda i: groups[i].length)
    (alone,) = cut(groups, [longest])
    by_size = sorted(everyone, key=lambda i: -places(groups[i], alone.layout))

    def first(chosen: Sequence[int]) -> Batch:
        return next(iter(cut(groups, chosen)))

    def all_fit(start: int) -> bool:
        return len(first(step := by_size[start : start + turn.count]).members) == len(step)

    # The largest groups fill a micro-batch, or a whole step does whose groups are as large as it can have.
    start = bisect_left(range(len(by_size)), True, key=all_fit)
    tries = [first(_filling(by_size[at:], turn.count, first)) for at in sorted({0, start // 2, start})]
    around = [longest, *(i for i in by_size[: turn.count] if i != longest)][: turn.count]
    found = [max(tries, key=lambda one: one.places), *(one for one in cut(groups, around) if longest in one.indices)]
    return list({one.indices: one for one in found}.values())


def _filling(by_size: Sequence[int], count: int, first: Callable[[Sequence[int]], Batch]) -> list[int]:
    """The largest group, and again and again the largest of the later ones that still goes into its micro-batch."""

    def is_too_much(place: int) -> bool:
        return len(first([*held, by_size[place]]).members) <= len(held)

    held, place = [by_size[0]], 1
    while len(held) < count and place < len(by_size):
        if is_too_much(place):
            later = range(place, len(by_size))
            place += bisect_left(later, True, key=lambda place: not is_too_much(place))
        if place < len(by_size):
            held.append(by_size[place])
        place += 1
    return held
