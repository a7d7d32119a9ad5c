"""Decoding that keeps nothing: every step reads the whole row again, as log-probabilities are computed in rows.

Exact for every network, and slow: a completion of n tokens costs n passes over it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.data.encode import Ids
from accord.models.decoding import padded, pass_tokens
from accord.models.next_token import Reader


class Whole:
    """tokens: (N, T) padded on the right, which no network reads before its row's end. lengths: (N,) tokens of each."""

    def __init__(self, reader: Reader, tokens: Tensor, lengths: Tensor) -> None:
        self.reader, self.tokens, self.lengths = reader, tokens, lengths

    def step(self, tokens: Tensor) -> Tensor:
        if int(self.lengths.max()) == self.tokens.shape[1]:
            self.tokens = torch.nn.functional.pad(self.tokens, (0, 1))
        self.tokens[torch.arange(len(tokens), device=tokens.device), self.lengths] = tokens
        self.lengths = self.lengths + 1
        return self.states()

    def keep(self, rows: Tensor) -> None:
        self.tokens, self.lengths = self.tokens[rows], self.lengths[rows]

    def states(self) -> Tensor:
        """(N, D) of every row's last token, some rows a pass."""
        width = self.tokens.shape[1]
        rows = max(1, pass_tokens(self.reader) // width)
        parts = zip(self.tokens.split(rows), self.lengths.split(rows), strict=True)
        return torch.cat([self._last(tokens, lengths) for tokens, lengths in parts])

    def _last(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(tokens.shape[1], device=tokens.device)[None, :] < lengths[:, None]
        states = self.reader.states(self.reader.ask(input_ids=tokens, attention_mask=mask.long(), use_cache=False))
        return states[torch.arange(len(tokens), device=tokens.device), lengths - 1]


def begin_whole(reader: Reader, prompts: Sequence[Ids], of: Tensor) -> tuple[Whole, Tensor]:
    tokens, mask = padded(prompts, reader.network.device, left=False)
    rows = Whole(reader, tokens, mask.sum(1))
    states = rows.states()[of]
    rows.keep(of)
    return rows, states
