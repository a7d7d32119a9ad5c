"""Which prompts make up which round of sampling, and what the time of a round is spent on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from accord.data.dialogue import TokenGroup
from accord.data.diversity import distinct
from accord.data.order import order
from accord.training.hacking import Hacking

Places = npt.NDArray[np.int64]
OPENING = 20  # tokens of each sample: of longer texts fewer pairs are new, and lengths are looked at by themselves


class Stream:
    """The prompts at `places`, epoch after epoch, as one stream that rounds of `count` are cut from."""

    def __init__(self, places: Sequence[int], count: int, *, shuffle: bool, seed: int) -> None:
        self.places, self.count = np.asarray(places), count
        self._epoch: Callable[[int], Places] = lru_cache(2)(
            lambda epoch: self.places[order(len(places), seed=seed, epoch=epoch, shuffle=shuffle)]
        )

    def at(self, iteration: int) -> list[int]:
        """The prompts of a round, counted from 0; where there are fewer than `count`, some come twice."""
        return [self._one(place) for place in range(iteration * self.count, (iteration + 1) * self.count)]

    def _one(self, place: int) -> int:
        epoch, within = divmod(place, len(self.places))
        return int(self._epoch(epoch)[within])


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    @property
    def figures(self) -> dict[str, float]:
        """For the log."""
        return {f"seconds/{name.replace(' ', '_')}": seconds for name, seconds in self.seconds.items()}


class Means:
    """Figures of rounds, each the mean of the rounds since it was last read; of none since then, as it was."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        saved = saved or {"sums": {}, "last": {}}
        self._sums: dict[str, list[float]] = {name: list(one) for name, one in saved["sums"].items()}  # sum, rounds
        self._last: dict[str, float] = dict(saved["last"])

    def add(self, figures: Mapping[str, float]) -> None:
        """Of one round."""
        for name, value in figures.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = [total + value, count + 1]

    def read(self) -> dict[str, float]:
        """All of them; the rounds so far are done with."""
        self._last |= {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return dict(self._last)

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint: what `Means(...)` takes back."""
        return {"sums": self._sums, "last": self._last}


def look(
    hacking: Hacking,
    step: int,
    *,
    groups: Sequence[TokenGroup],
    score: Tensor,
    length: Tensor,
    ended: Tensor,
    kl: Tensor,
    watched: Mapping[str, Tensor],
) -> None:
    """Whether the rewards of a round are exploited, or say nothing. groups: prompts with their samples; (C,) each."""
    by_prompt = score.reshape(len(groups), -1)
    apart = by_prompt if by_prompt.shape[1] > 1 else score[None]
    hacking.see(
        step,
        score=float(score.mean()),
        spread=float((apart.amax(1) - apart.amin(1)).max()),
        length=float(length.double().mean()),
        ended=float(ended.double().mean()),
        kl=float(kl.mean()),
        distinct=distinct([one.ids[:OPENING].tolist() for group in groups for one in group.completions], 2).value,
        second={name: float(column.mean()) for name, column in watched.items()},
    )
