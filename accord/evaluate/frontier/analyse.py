"""From the numbers of all policies to points, knees and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from accord.errors import InputError
from accord.evaluate.frontier.columns import Answered, Columns, Floats, Resampled, of_best_of_n, of_policy, resampled
from accord.evaluate.frontier.methods import BEST_OF_N, Method
from accord.evaluate.frontier.plan import Plan, Planned
from accord.evaluate.frontier.result import Line, Point
from accord.maths.best_of_n import kl_best_of_n
from accord.maths.overoptimisation import TooFew, fit, knee
from accord.maths.statistics import Estimate, Interval
from accord.stages.evaluation_configs import FrontierConfig

START = "model"  # the name of the model itself among the points
NO_GOLD = "no --gold is given"


class Measured(NamedTuple):
    """A policy that answered: its point, its numbers by prompt, and the resamples of its means."""

    point: Point
    columns: Columns
    draws: Mapping[str, Floats]

    @property
    def kl(self) -> float:
        assert self.point.kl is not None
        return self.point.kl.mean


class Policies(NamedTuple):
    """What was answered: by the model itself, and by each trained policy by its name; by name, too, why one failed."""

    start: Answered
    trained: Mapping[str, Answered]
    failed: Mapping[str, str]


def analysed(plan: Plan, policies: Policies, config: FrontierConfig) -> tuple[Measured, list[Point], list[Line]]:
    """The model itself, all points in the order of the plan, and a line for each method."""
    answering = [one for one in plan.points if one.name not in policies.failed]
    columns = [of_policy(policies.start), *(_columns(one, policies) for one in answering)]
    _check_same_prompts(columns, [START, *(one.name for one in answering)])
    figures = config.figures
    drawn = resampled(columns, rounds=figures.rounds, seed=figures.seed, level=figures.level)
    start = Measured(
        Point(START, "", "", 0.0, config.model.model, _exactly(0.0), drawn[0].estimates), columns[0], drawn[0].draws
    )
    rows = zip(answering, columns[1:], drawn[1:], strict=True)
    measured = {one.name: Measured(_point(one, found, figures.kl), own, found.draws) for one, own, found in rows}
    points = [measured[one.name].point if one.name in measured else _failed(one, policies) for one in plan.points]
    of = {method.name: [measured[one.name] for one in answering if one.method is method] for method in plan.methods}
    lines = [_line(method, start, of[method.name], figures.kl, figures.level) for method in plan.methods]
    return start, points, lines


def _columns(one: Planned, policies: Policies) -> Columns:
    if one.method.command == BEST_OF_N:
        return of_best_of_n(policies.start, int(one.value))
    return of_policy(policies.trained[one.name])


def _check_same_prompts(columns: Sequence[Columns], names: Sequence[str]) -> None:
    for own, name in zip(columns, names, strict=True):
        if own.id != columns[0].id:
            what = f"it answered {len(own.id):,} prompts, and the model {len(columns[0].id):,}"
            raise InputError(what, where=name, fix="shorter prompts, so that none is too long for one of them")


def _point(one: Planned, found: Resampled, kl: str) -> Point:
    by_n = one.method.command == BEST_OF_N
    folder = "" if one.config is None else one.config.run.output_dir
    distance = _exactly(kl_best_of_n(int(one.value))) if by_n else found.estimates[kl]
    return Point(one.name, one.method.name, one.method.setting, one.value, folder, distance, found.estimates)


def _exactly(value: float) -> Estimate:
    return Estimate(value, 0.0, Interval(value, value))


def _failed(one: Planned, policies: Policies) -> Point:
    folder = "" if one.config is None else one.config.run.output_dir
    why = policies.failed[one.name]
    return Point(one.name, one.method.name, one.method.setting, one.value, folder, None, {}, why)


def _line(method: Method, start: Measured, points: Sequence[Measured], kl: str, level: float) -> Line:
    """Points that lie at 0 are the model itself, and counted once."""
    form = "best_of_n" if method.command == BEST_OF_N else "trained"
    away = [one for one in points if one.kl > 0]
    if "gold" not in start.columns.of:
        return Line(method.name, form, None, ("", ""), None, NO_GOLD)
    found, names = None, ("", "")
    if away:
        whole = [start, *away]
        proxy, gold = (np.stack([one.columns.of[name] for one in whole], axis=1) for name in ("proxy", "gold"))
        found = knee([one.kl for one in whole], proxy, gold, level)
        names = (whole[found.place].point.name, "" if found.later is None else whole[found.later].point.name)
    try:
        gain = [float(one.columns.of["gold"].mean() - start.columns.of["gold"].mean()) for one in away]
        draws_kl, draws_gain = _draws(start, away, kl)
        own = fit([one.kl for one in away], gain, draws_kl, draws_gain, form)
        return Line(method.name, form, found, names, own, "")
    except TooFew as error:
        return Line(method.name, form, found, names, None, str(error))


def _draws(start: Measured, points: Sequence[Measured], kl: str) -> tuple[Floats, Floats]:
    """(R, P) distances and gains over the model in each resample; the bound of the best of n is the same in all."""
    rounds = len(start.draws["gold"])
    far = [one.draws.get(kl, np.full(rounds, one.kl)) for one in points]
    gain = [one.draws["gold"] - start.draws["gold"] for one in points]
    return np.array(far).T.reshape(rounds, -1), np.array(gain).T.reshape(rounds, -1)
