"""Which prompts make up which round of sampling, and what the time of a round is spent on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from accord.data.order import order

Places = npt.NDArray[np.int64]


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
