"""Which interval a win rate has: one table, and the choice where none is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from accord.errors import InputError
from accord.evaluate.verdicts import Verdicts
from accord.maths.cluster_bootstrap import Sums, bca_interval, cluster_sums, percentile_interval, resampled_means
from accord.maths.statistics import Interval, proportion_interval, wilson
from accord.stages.winrate_options import WinRateOptions

NO_METHOD = "none"


class Named(NamedTuple):
    """An interval and the method that gave it."""

    interval: Interval
    method: str


def interval_of(verdicts: Verdicts, options: WinRateOptions) -> Named:
    """InputError: Wilson's interval is asked for, and the verdicts depend on each other."""
    if not len(verdicts):
        return Named(Interval(math.nan, math.nan), NO_METHOD)
    if verdicts.model == verdicts.baseline:
        return Named(Interval(0.5, 0.5), NO_METHOD)  # whatever is drawn
    sums = cluster_sums(verdicts.outcome, verdicts.cluster, verdicts.weight)
    name = options.interval if options.interval != "auto" else _chosen(verdicts, sums)
    return Named(INTERVALS[name].function(verdicts, sums, options), name)


def _single(verdicts: Verdicts, sums: Sums) -> bool:
    """Whether every prompt has one verdict, and all of them count the same."""
    return len(sums.weight) == len(verdicts) and bool((verdicts.weight == verdicts.weight[0]).all())


def _chosen(verdicts: Verdicts, sums: Sums) -> str:
    if not _single(verdicts, sums):
        return "cluster"
    if np.isin(verdicts.outcome, (0.0, 1.0)).all():
        return "wilson"
    # Resamples of equal values are all the same, which is no certainty.
    return "bootstrap" if np.ptp(verdicts.outcome) > 0 else "cluster"


def _wilson(verdicts: Verdicts, sums: Sums, options: WinRateOptions) -> Interval:
    if not _single(verdicts, sums):
        what = f"{len(verdicts):,} verdicts on {len(sums.weight):,} prompts depend on each other"
        raise InputError(f"{verdicts.model}: {what}", where="interval", fix="--interval cluster, or bootstrap")
    return wilson(min(float(verdicts.outcome.sum()), len(verdicts)), len(verdicts), options.level)


def _cluster(verdicts: Verdicts, sums: Sums, options: WinRateOptions) -> Interval:
    return proportion_interval(verdicts.outcome, verdicts.cluster, verdicts.weight, options.level).interval


def _bootstrap(verdicts: Verdicts, sums: Sums, options: WinRateOptions) -> Interval:
    means = resampled_means(sums, options.rounds, options.seed)
    return percentile_interval(means, len(sums.weight), options.level)


def _bca(verdicts: Verdicts, sums: Sums, options: WinRateOptions) -> Interval:
    return bca_interval(resampled_means(sums, options.rounds, options.seed), sums, options.level)


class Method(NamedTuple):
    """A row of INTERVALS."""

    function: Callable[[Verdicts, Sums, WinRateOptions], Interval]
    says: str  # with {rounds}


INTERVALS = {
    "wilson": Method(_wilson, "Wilson's"),
    "cluster": Method(_cluster, "Wilson's, of as many verdicts as those on so many prompts are worth"),
    "bootstrap": Method(_bootstrap, "percentiles of {rounds:,} resamples of the prompts"),
    "bca": Method(_bca, "percentiles of {rounds:,} resamples of the prompts, corrected for bias and skewness (BCa)"),
}
