"""How long prompts and completions are, in one unit, and how much longer those are that win."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accord.data.bias import LengthBias, length_bias
from accord.data.choose import pairs
from accord.records import Judged, Text

QUANTILES = (0.0, 0.5, 0.95, 0.99, 1.0)
ROUND = (1, 2, 5)  # widths of a histogram's bars are these times a power of ten
Numbers = npt.NDArray[np.int64]


def characters(content: Text) -> int:
    return len(content) if isinstance(content, str) else sum(len(turn.content) for turn in content)


class Histogram(NamedTuple):
    """counts[i] lengths lie in [i * width, (i + 1) * width); the last bar has all longer ones, too."""

    width: int
    counts: tuple[int, ...]
    beyond: int  # of the last bar, how many lie beyond it


class Measures:
    """Takes the lengths of groups one by one; keeps a number a text and three a pair. unit: for people."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._prompts, self._completions, self._wholes = array("q"), array("q"), array("q")
        self._gaps, self._weights, self._clusters = array("q"), array("d"), array("q")

    def add(self, group: Judged, prompt: int, completions: Sequence[int], cluster: int) -> None:
        """cluster: 64 bits that stand for the prompt."""
        self._prompts.append(prompt)
        self._completions.extend(completions)
        self._wholes.append(prompt + max(completions, default=0))
        for pair in pairs(group):
            self._gaps.append(completions[pair.chosen] - completions[pair.rejected])
            self._weights.append(pair.weight)
            self._clusters.append(cluster >> 1)

    def lengths(self) -> dict[str, Numbers]:
        """prompt (G,), completion (C,), and (G,) prompt and longest completion together."""
        named = {"prompt": self._prompts, "completion": self._completions, "together": self._wholes}
        return {name: np.array(values, dtype=np.int64) for name, values in named.items() if len(values)}

    def gaps(self) -> Numbers:
        """(P,) the length of the preferred completion less that of the other."""
        return np.array(self._gaps, dtype=np.int64)

    def quantiles(self) -> dict[str, list[int]]:
        """For each of `lengths`, those of QUANTILES that really occur (no interpolation)."""
        return {
            name: [int(value) for value in np.quantile(values, QUANTILES, method="inverted_cdf")]
            for name, values in self.lengths().items()
        }

    def to_json(self) -> dict[str, dict[str, int]]:
        names = ["least", *(f"{100 * part:.0f}%" for part in QUANTILES[1:-1]), "most"]
        return {name: dict(zip(names, values, strict=True)) for name, values in self.quantiles().items()}

    def bias(self) -> LengthBias | None:
        """None without a pair."""
        return length_bias(np.array(self._gaps), np.array(self._clusters), np.array(self._weights))


def histogram(values: Numbers, *, bars: int) -> Histogram:
    """At most `bars` bars of a round width, up to the 99 % quantile: one far length does not flatten the rest."""
    reach = max(1, int(np.quantile(values, 0.99, method="inverted_cdf")) + 1)
    width = next(w for power in range(19) for w in (10**power * r for r in ROUND) if w * bars >= reach)
    count = -(-reach // width)
    counts = np.bincount(np.minimum(values // width, count - 1), minlength=count)
    return Histogram(width, tuple(counts.tolist()), int((values >= count * width).sum()))
