"""What the best of n samples is worth: its expected score, and how far it is from the model that wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.maths.best_of_n import expected_best_of_n, kl_best_of_n
from accord.maths.statistics import mean_interval


class BestOf:
    """Gathers the scores of prompts with N samples each. For n = 1, 2, 4, ... N."""

    def __init__(self, samples: int) -> None:
        powers = [2**i for i in range(samples.bit_length()) if 2**i < samples]
        self.values: dict[int, list[Tensor]] = {n: [] for n in (*powers, samples)}

    def add(self, scores: Tensor) -> None:
        """(P, N)"""
        for n, values in self.values.items():
            values.append(expected_best_of_n(scores, n))

    def rows(self) -> list[dict[str, Any]]:
        """One for each n: the mean over prompts of the unbiased estimate with its 95 % interval, and the KL in nats."""
        made = []
        for n, values in self.values.items():
            found = mean_interval(torch.cat(values).numpy())
            low, high = found.interval
            made.append({"n": n, "score": found.mean, "low": low, "high": high, "kl": kl_best_of_n(n)})
        return made


def in_words(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The same for a terminal."""
    return [
        {
            "best of": str(row["n"]),
            "expected score": f"{row['score']:.4f}",
            "95 % interval": f"{row['low']:.4f} to {row['high']:.4f}",
            "KL, nats": f"{row['kl']:.3f}",
        }
        for row in rows
    ]
