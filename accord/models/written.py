"""What samples consist of so far: pages of tokens and of their log-probabilities, with one line a sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accord.data.encode import Ids

WIDTH = 64  # places of a line at first; pages double

Lines = npt.NDArray[np.int64]


class Sampled(NamedTuple):
    """One sample. ids: the end token included where it came, and the token that completed a stop string."""

    ids: Ids  # (T,)
    logp: npt.NDArray[np.float32]  # (T,) nats, of each token, nothing cut off, at the drawing's temperature (greedy: 1)
    ended: bool  # by an end token or a stop string; False: cut where tokens or places ran out


class Written:
    """ids, logp (N, T). length (N,) places of each line; ended (N,) whether it came to an end by itself."""

    def __init__(self, lines: int) -> None:
        self.ids = np.zeros((lines, WIDTH), dtype=np.int32)
        self.logp = np.zeros((lines, WIDTH), dtype=np.float32)
        self.length = np.zeros(lines, dtype=np.int64)
        self.ended = np.zeros(lines, dtype=bool)

    def add(self, lines: Lines, ids: npt.NDArray[np.int64], logp: npt.NDArray[np.float32]) -> None:
        """The next token of each of these lines, which are equally long."""
        at = int(self.length[lines[0]])
        if at == self.ids.shape[1]:
            self.ids, self.logp = (np.concatenate([page, np.zeros_like(page)], 1) for page in (self.ids, self.logp))
        self.ids[lines, at], self.logp[lines, at] = ids, logp
        self.length[lines] = at + 1

    def samples(self) -> list[Sampled]:
        ends = zip(self.length.tolist(), self.ended.tolist(), strict=True)
        return [Sampled(self.ids[i, :n].copy(), self.logp[i, :n].copy(), ended) for i, (n, ended) in enumerate(ends)]
