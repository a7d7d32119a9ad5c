"""What a whole data set leans to: longer completions that win, an annotator who gave most of the judgements."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from accord.data.findings import Finding
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.records import Origin

FEW = 20  # pairs or judgements; fewer show nothing of a whole data set
MOST = 0.5  # of the judgements by one annotator


class LengthBias(NamedTuple):
    """Over all pairs, weighted as in training; 95 % intervals by prompt. longer_wins: equal lengths count one half."""

    pairs: int
    longer_wins: Estimate
    difference: Estimate  # the length of the preferred completion less that of the other

    @property
    def found(self) -> bool:
        """Whether the interval leaves out one half."""
        low, high = self.longer_wins.interval
        return self.pairs >= FEW and not low <= 0.5 <= high

    def say(self, unit: str) -> str:
        """One line: `the longer completion wins 62.0 % of 500 pairs (57.6 to 66.2 %); ...`."""
        (share, _, (low, high)), (mean, _, (least, most)) = self.longer_wins, self.difference
        line = f"the longer completion wins {100 * share:.1f} % of {self.pairs:,} pairs"
        line += f" ({100 * low:.1f} to {100 * high:.1f} %)"
        line += f"; the preferred one is {abs(mean):.1f} {unit} {'longer' if mean >= 0 else 'shorter'} on average"
        return line + (f" ({least:+.1f} to {most:+.1f})" if math.isfinite(least) else "")

    def to_json(self) -> dict[str, object]:
        """What an interval cannot say is null."""
        named = {"longer_wins": self.longer_wins, "difference": self.difference}
        return {
            "pairs": self.pairs,
            **{
                name: {"mean": one.mean, "interval": [end if math.isfinite(end) else None for end in one.interval]}
                for name, one in named.items()
            },
        }


def length_bias(difference: ArrayLike, prompt: ArrayLike, weight: ArrayLike) -> LengthBias | None:
    """(P,) preferred less other, (P,) which prompt, (P,) weights. None without a pair."""
    gap = np.asarray(difference, dtype=np.float64)
    if not len(gap):
        return None
    longer = (np.sign(gap) + 1) / 2
    return LengthBias(len(gap), proportion_interval(longer, prompt, weight), mean_interval(gap, prompt, weight))


def bias_findings(bias: LengthBias | None, source: str, unit: str) -> list[Finding]:
    """The one finding, where there is a bias."""
    return [Finding("length_bias", Origin(source, 0), bias.say(unit))] if bias is not None and bias.found else []


def imbalance_findings(judgements: Counter[str], source: str) -> list[Finding]:
    """The one finding, where one of several annotators gave most of the judgements."""
    total = judgements.total()
    if len(judgements) < 2 or total < FEW:
        return []
    name, most = judgements.most_common(1)[0]
    what = f"{name} gave {most:,} of {total:,} judgements ({100 * most / total:.0f} %) of {len(judgements)} annotators"
    return [Finding("annotator_imbalance", Origin(source, 0), what)] if most > MOST * total else []
