"""One win rate: a row of the table, from the verdicts of one model against one baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from accord.evaluate.intervals import interval_of
from accord.evaluate.verdicts import Floats, Verdicts
from accord.maths.cluster_bootstrap import cluster_sums
from accord.maths.length_control import Controlled
from accord.maths.paired import Difference, paired_difference, sign_test
from accord.maths.position import Orders, Places, Shown, both_orders, by_place, first_shown
from accord.maths.sample_size import n_to_detect
from accord.maths.statistics import Estimate, Interval, mean_interval
from accord.stages.winrate_options import WinRateOptions

BALANCED = 1 / 3  # of the verdicts in either place, or who is better decides who was shown first and wins
POINT = 0.01  # what the table's line about sample size is of
Json = dict[str, Any]


class Longer(NamedTuple):
    """In which share of the decided verdicts on answers of different length the longer one won."""

    share: float
    n: int


@dataclass(frozen=True)
class WinRate:
    """estimate: mean outcome, its error clustered by prompt, and the interval of `method`. rates: win, tie, loss.

    p: the sign test's of the prompts won and lost, of no difference from the baseline. controlled: at equal length;
    why_not: why there is none.
    """

    verdicts: Verdicts
    category: str | None
    level: float | None
    estimate: Estimate
    method: str
    rates: tuple[float, float, float]
    prompts: int
    p: float
    shown: Shown | None
    places: Places | None
    orders: Orders | None
    longer: Longer | None
    controlled: Controlled | None = None
    why_not: str | None = None

    @property
    def wins(self) -> int:
        return int((self.verdicts.outcome > 0.5).sum())

    @property
    def ties(self) -> int:
        return int((self.verdicts.outcome == 0.5).sum())

    @property
    def losses(self) -> int:
        return int((self.verdicts.outcome < 0.5).sum())

    @property
    def discrete(self) -> float:
        """Wins and half the ties, whatever chance of it the judge gave."""
        return self.rates[0] + self.rates[1] / 2

    @property
    def variance(self) -> float:
        """Of one prompt's worth of verdicts."""
        return self.estimate.standard_error**2 * self.prompts

    @property
    def answer_length(self) -> float:
        """Mean characters of the model's answers; NaN where they are not known."""
        if math.isfinite(self.verdicts.answer_length):
            return self.verdicts.answer_length
        lengths = self.verdicts.length[~np.isnan(self.verdicts.length)]
        return float(lengths.mean()) if len(lengths) else math.nan

    def prompts_needed(self, difference: float, level: float) -> int | None:
        """To tell a win rate that is so far from 1/2 from it, with power 0.8; None where the data cannot say."""
        known = math.isfinite(self.variance) and self.variance > 0
        return n_to_detect(difference, self.variance, level) if known else None


def measured(verdicts: Verdicts, options: WinRateOptions, category: str | None, level: float | None) -> WinRate:
    """All but the length-controlled win rate, which takes all models of a table."""
    outcome, weight = verdicts.outcome, verdicts.weight
    plain = mean_interval(outcome, verdicts.cluster, weight, options.level)
    interval, method = interval_of(verdicts, options)
    rates = [float(weight[where].sum() / weight.sum()) if len(weight) else math.nan for where in _sides(outcome)]
    sums = cluster_sums(outcome, verdicts.cluster, weight)
    prompt = sums.total / sums.weight
    known = bool((verdicts.shown_first != 0).any())
    balanced = _share_in_either_place(verdicts) >= BALANCED
    return WinRate(
        verdicts,
        category,
        level,
        plain._replace(interval=interval),
        method,
        (rates[0], rates[1], rates[2]),
        len(prompt),
        sign_test(int((prompt > 0.5).sum()), int((prompt < 0.5).sum())),
        shown=first_shown(outcome, verdicts.shown_first, verdicts.cluster, options.level) if balanced else None,
        places=by_place(outcome, verdicts.shown_first, verdicts.cluster, weight, options.level) if known else None,
        orders=both_orders(verdicts.orders),
        longer=_longer(verdicts),
    )


def _share_in_either_place(verdicts: Verdicts) -> float:
    """The smaller of the shares of those whose place is known; 0 without any."""
    first, second = (int((verdicts.shown_first == place).sum()) for place in (1, -1))
    return min(first, second) / max(1, first + second)


def _sides(outcome: Floats) -> tuple[Any, Any, Any]:
    return outcome > 0.5, outcome == 0.5, outcome < 0.5


def _longer(verdicts: Verdicts) -> Longer | None:
    sides = np.sign(verdicts.outcome - 0.5) * np.sign(verdicts.length - verdicts.baseline_length)
    decided = sides[~np.isnan(sides) & (sides != 0)]
    return Longer(float((decided > 0).mean()), len(decided)) if len(decided) else None


class Pair(NamedTuple):
    """Two models of one table on the prompts that both were judged on."""

    first: str
    second: str
    found: Difference


def compared(first: WinRate, second: WinRate, options: WinRateOptions) -> Pair | None:
    """None: they share fewer than two prompts. Several verdicts on one prompt are one: their mean."""
    one, other = (_by_prompt(row.verdicts) for row in (first, second))
    shared = np.intersect1d(one[0], other[0])
    if len(shared) < 2:
        return None
    means = [mean[np.searchsorted(prompts, shared)] for prompts, mean in (one, other)]
    found = paired_difference(means[0], means[1], level=options.level, seed=options.seed)
    return Pair(first.verdicts.model, second.verdicts.model, found)


def _by_prompt(verdicts: Verdicts) -> tuple[Any, Floats]:
    prompts, place = np.unique(verdicts.cluster, return_inverse=True)
    total = np.bincount(place, verdicts.weight * verdicts.outcome)
    return prompts, total / np.bincount(place, verdicts.weight)


def row_of(row: WinRate, options: WinRateOptions, over: str | None, data_sha256: str | None) -> Json:
    """As JSON has it. Rates in 0..1, counts as such, null for what is not known."""
    first: Json = {"category": row.category} if row.category is not None else {}
    first |= {"over": over, "level": row.level} if over is not None else {}
    return {
        **first,
        "model": row.verdicts.model,
        "baseline": row.verdicts.baseline,
        "n": len(row.verdicts),
        "win_rate": known(row.estimate.mean),
        "standard_error": known(row.estimate.standard_error),
        "interval": ends(row.estimate.interval),
        "ties": row.ties,
        "failed": row.verdicts.failed,
        "length_controlled_win_rate": row.controlled and known(row.controlled.win_rate),
        "avg_length": known(row.answer_length),
        **_more_of(row, options),
        "seed": options.seed,
        "rounds": options.rounds,
        "data_sha256": data_sha256,
    }


def _more_of(row: WinRate, options: WinRateOptions) -> Json:
    """What stands behind the numbers that every table of win rates has."""
    control = row.controlled
    return {
        "missing": row.verdicts.missing,
        "prompts": row.prompts,
        "wins": row.wins,
        "losses": row.losses,
        **{f"{name}_rate": known(rate) for name, rate in zip(("won", "tied", "lost"), row.rates, strict=True)},
        "discrete_win_rate": known(row.discrete),
        "interval_method": row.method,
        "confidence": options.level,
        "p_value": row.p,
        "length_controlled_standard_error": control and known(control.standard_error),
        "length_controlled_interval": control and ends(control.interval),
        "length_controlled_method": control and control.method,
        "length_controlled_why_not": row.why_not,
        "length_controlled_weights": control and control.weights._asdict(),
        "longer_wins": row.longer and row.longer.share,
        "position": position_of(row),
        "prompts_to_tell_1_point": row.prompts_needed(POINT, options.level),
    }


def position_of(row: WinRate) -> Json | None:
    """What is known of the effect of who was shown first."""
    parts: Json = {}
    if row.shown is not None:
        shown = row.shown
        parts |= {"first_wins": shown.wins, "second_wins": shown.losses, "first_share": known(shown.share)}
        parts |= {"first_share_interval": ends(shown.interval), "p_value": shown.p}
    if row.places is not None:
        places = row.places
        parts |= {"win_rate_shown_first": places.first, "win_rate_shown_second": places.second}
        parts |= {"difference": places.difference, "difference_interval": ends(places.interval)}
    if row.orders is not None:
        parts |= {"both_orders": row.orders._asdict()}
    return parts or None


def pair_of(pair: Pair) -> Json:
    """As the report has it."""
    found = pair.found
    return {
        "model": pair.first,
        "other": pair.second,
        "n": found.n,
        "difference": found.difference,
        "standard_error": known(found.standard_error),
        "interval": ends(found.interval),
        "p_value": found.p,
        "test": found.test,
    }


def known(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def ends(interval: Interval | Sequence[float]) -> list[float | None]:
    return [known(end) for end in interval]
