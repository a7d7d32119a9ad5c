"""Length-controlled win rates of the models of one table: which difficulty they go by, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from accord.errors import InputError
from accord.evaluate.difficulty_file import Difficulty
from accord.evaluate.verdicts import Floats, Ints, Verdicts
from accord.maths.difficulty import Joint, Several, TooMany, estimate
from accord.maths.length_control import (
    NONE_HELD,
    Controlled,
    Held,
    Lengths,
    Weights,
    at_a_time,
    bootstrapped,
    fit,
    from_samples,
    length_term,
    refitted,
    resampled_clusters,
    sandwiched,
)
from accord.maths.statistics import Interval, proportion_interval
from accord.stages.winrate_options import WinRateOptions

SEVERAL = 3  # models from which difficulty is estimated
MOST_REFITTED = 50_000_000  # verdicts times resamples; beyond it the sandwich, which takes no resamples
NEAR = 0.02  # logits; a step of a refit of all models below it is its last, and what is left is about its square

GIVEN = "AlpacaEval 2's regression on the difference in length, with the difficulties of {file}{held}"
ESTIMATED = (
    "AlpacaEval 2's regression on the difference in length, with difficulties of {instructions:,} instructions "
    "estimated from {models} models (so not comparable with published numbers)"
)
UNVARIED = "the win rate's own, as all verdicts are equal, and refits of equal verdicts do not vary"
ALONE = (
    "regression on the difference in length alone: of fewer than {several} models no difficulty of instructions is "
    "estimated, so the number is not comparable with AlpacaEval's; --difficulty takes known ones"
)


class LengthControl(NamedTuple):
    """found: for each model the number, or None, and then why in `reasons`. says: by which regression.

    gamma: the difficulties that were estimated, by row; NaN for instructions of which nothing is known.
    """

    found: list[Controlled | None]
    reasons: list[str | None]
    says: str | None
    gamma: Floats | None = None


Advance = Callable[[int], None]


def length_controlled(
    many: Sequence[Verdicts], options: WinRateOptions, difficulty: Difficulty | None, advance: Advance = lambda n: None
) -> LengthControl:
    """advance: told how many more refits are done. InputError: the difficulties given are not those of the data."""
    reasons = [_lacking(one) for one in many]
    usable = [one for one, reason in zip(many, reasons, strict=True) if reason is None and one.model != one.baseline]
    gamma = None
    if difficulty is not None:
        _check_rows(usable, difficulty, str(options.difficulty))
        every = [_one(one, difficulty.gamma[one.row], difficulty.held, options, advance) for one in usable]
        held = " and its rows of the baseline's own verbose and concise answers" if len(difficulty.held.weight) else ""
        says = GIVEN.format(file=options.difficulty, held=held)
    elif len(usable) >= SEVERAL and (together := _together(usable, options, advance)) is not None:
        every, gamma = together
        says = ESTIMATED.format(instructions=int(np.isfinite(gamma).sum()), models=len(usable))
    else:
        every = [_one(one, np.zeros(len(one)), NONE_HELD, options, advance) for one in usable]
        says = ALONE.format(several=SEVERAL)
    found = dict(zip(map(id, usable), every, strict=True))
    same = [_SAME if one.model == one.baseline and not why else None for one, why in zip(many, reasons, strict=True)]
    values = [found.get(id(one), alike) for one, alike in zip(many, same, strict=True)]
    values = [one and _unvaried(one, verdicts, options.level) for one, verdicts in zip(values, many, strict=True)]
    return LengthControl(values, reasons, says if usable else None, gamma)


_SAME = Controlled(0.5, 0.0, Interval(0.5, 0.5), Weights(0.0, 0.0, 0.0), "none: a model against itself")


def _unvaried(found: Controlled, verdicts: Verdicts, level: float) -> Controlled:
    """Where all outcomes are equal all refits are, which is no certainty: then the interval is the win rate's own."""
    if verdicts.model == verdicts.baseline or np.ptp(verdicts.outcome) > 0:
        return found
    own = proportion_interval(verdicts.outcome, verdicts.cluster, verdicts.weight, level).interval
    return found._replace(interval=own, method=UNVARIED)


def _lacking(verdicts: Verdicts) -> str | None:
    if not len(verdicts):
        return "no verdicts"
    if verdicts.model != verdicts.baseline and len(np.unique(verdicts.cluster)) < 2:
        return "one prompt says nothing of the effect of length"
    unknown = int((np.isnan(verdicts.length) | np.isnan(verdicts.baseline_length)).sum())
    if unknown == len(verdicts):
        return "the data have no texts"
    return f"the lengths of {unknown:,} of {len(verdicts):,} pairs are not known" if unknown else None


def _check_rows(usable: Sequence[Verdicts], difficulty: Difficulty, file: str) -> None:
    """Which number belongs to which instruction must be certain: a shift by one row would give a number, too."""
    count = len(difficulty.gamma)
    for one in usable:
        rows = int(one.row.max()) + 1
        if rows > count or not (one.numbered or (np.diff(one.row) >= 0).all()):
            what = f"{count:,} numbers, and {one.model} has verdicts on {rows:,} instructions"
            if rows <= count:
                what = f"{one.model}'s instructions come in another order than those of the models before it"
            raise InputError(what, where=file, fix="a number for each, in their order, or a column idx in the data")
    rows = max((int(one.row.max()) + 1 for one in usable), default=count)
    if rows < count and not all(one.numbered for one in usable):
        what = f"{count:,} numbers, and {rows:,} instructions in the data, which do not say which ones they are"
        raise InputError(what, where=file, fix="a number for each, in their order, or a column idx in the data")


def _lengths(verdicts: Verdicts, difficulty: Floats, held: Held, cluster: Ints) -> Lengths:
    term = length_term(verdicts.length, verdicts.baseline_length)
    return Lengths(verdicts.outcome, term, difficulty, verdicts.weight / verdicts.weight.mean(), cluster, held)


def _one(verdicts: Verdicts, gamma: Floats, held: Held, options: WinRateOptions, advance: Advance) -> Controlled:
    cluster = np.unique(verdicts.cluster, return_inverse=True)[1].astype(np.int64)
    data = _lengths(verdicts, gamma, held, cluster)
    best = fit(data)
    if len(verdicts) * options.rounds > MOST_REFITTED:
        advance(options.rounds)
        return sandwiched(data, best, options.level)
    return bootstrapped(data, best, options.rounds, options.seed, level=options.level, advance=advance)


def _together(
    usable: Sequence[Verdicts], options: WinRateOptions, advance: Advance
) -> tuple[list[Controlled], Floats] | None:
    """All models with the difficulties that they share, (rows,). None: there are too many."""
    rows, place = np.unique(np.concatenate([one.row for one in usable]), return_inverse=True)
    places = np.split(place.astype(np.int64), np.cumsum([len(one) for one in usable])[:-1])
    every = [_lengths(one, np.zeros(len(one)), NONE_HELD, at) for one, at in zip(usable, places, strict=True)]
    several = Several(
        model=np.repeat(np.arange(len(usable)), [len(one) for one in usable]),
        instruction=np.concatenate(places),
        lengths=np.concatenate([one.lengths for one in every]),
        outcome=np.concatenate([one.outcome for one in every]),
        weight=np.concatenate([one.weight for one in every]),
    )
    try:
        joint = estimate(several)
    except TooMany:
        return None
    gamma = np.full(int(rows.max()) + 1, math.nan)
    gamma[rows] = joint.gamma
    return _with_shared(every, several, joint, options, advance), gamma


def _with_shared(
    every: Sequence[Lengths], several: Several, joint: Joint, options: WinRateOptions, advance: Advance
) -> list[Controlled]:
    known = [replace(one, difficulty=joint.gamma[one.cluster]) for one in every]
    best = [fit(one) for one in known]
    if len(several.model) * options.rounds > MOST_REFITTED:
        advance(len(every) * options.rounds)
        found = [sandwiched(one, weights, options.level) for one, weights in zip(known, best, strict=True)]
        return [one._replace(method="sandwich, the estimated difficulties taken as known") for one in found]
    samples = []
    draws = resampled_clusters(several.instructions, options.rounds, options.seed, at_a_time(len(several.model)))
    for times in draws:
        gammas = np.stack([estimate(several, one, joint, within=NEAR).gamma for one in times])
        both = zip(every, best, strict=True)
        samples.append([refitted(one, times, start, gammas[:, one.cluster]) for one, start in both])
        advance(len(every) * len(times))
    method = f"bootstrap with refits of all models, {options.rounds:,} resamples"
    return [
        from_samples(one, weights, column, options.level, method)
        for one, weights, column in zip(known, best, np.concatenate(samples, axis=1), strict=True)
    ]
