"""Random numbers of samples: each sample of a prompt has a stream of its own, whatever else is sampled beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from accord.data.encode import Ids

AHEAD = 64  # numbers that a stream is asked for at a time


class Streams:
    """(N,) streams of numbers in [0, 1), one a row: a pure function of (seed, the prompt's ids, the sample's number).

    Philox, whose numbers follow from a key (seed and prompt) and a counter (the sample's number, the place).
    """

    def __init__(self, seed: int, prompts: Sequence[Ids], numbers: Sequence[int]) -> None:
        keys = {id(prompt): _key(seed, prompt) for prompt in prompts}
        self._generators = [
            np.random.Generator(np.random.Philox(key=keys[id(prompt)], counter=[0, 0, number, 0]))
            for prompt, number in zip(prompts, numbers, strict=True)
        ]
        self._ahead = np.empty((len(self._generators), 0))
        self._at = 0

    def next(self) -> npt.NDArray[np.float64]:
        """(N,) the next number of each stream."""
        if self._at == self._ahead.shape[1]:
            self._ahead = np.stack([generator.random(AHEAD) for generator in self._generators])
            self._at = 0
        self._at += 1
        return self._ahead[:, self._at - 1]

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """Only these streams go on, in this order."""
        self._generators = [self._generators[row] for row in rows]
        self._ahead = self._ahead[rows]


def _key(seed: int, prompt: Ids) -> int:
    """128 bits of seed and ids."""
    said = f"{seed}:".encode() + np.ascontiguousarray(prompt, dtype="<i4").tobytes()
    return int.from_bytes(hashlib.blake2b(said, digest_size=16).digest(), "little")
