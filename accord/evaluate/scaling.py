"""`accord scaling`: a power law of loss against parameters, tokens or compute, fitted to the user's own runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accord.errors import InputError
from accord.evaluate.inputs import check_outputs
from accord.evaluate.scaled_runs import ScaledRun, gather
from accord.evaluate.scaling_report import FEW, LETTERS, Scaling
from accord.maths.power_law import Fit, Floats, Law, TooFew, by_residuals, by_runs, check, fit
from accord.stages.evaluation_configs import ScalingConfig
from accord.stages.scaling_options import LawOptions, sizes_of
from accord.stages.tables import put, show, tell, written
from accord.training.progress import Progress

MANY = 30  # runs, from which on resamples of them keep the sizes that a law hangs on
BUDGETS = (1.0, 10.0, 100.0)  # times the largest run's compute
NAMED = 3  # sources, in an error
SAME = 1.02  # sizes within 2 % of each other do not make a curve
Axes = tuple[str, ...]


def run(config: ScalingConfig, given: Mapping[str, object]) -> Scaling:
    """Reads the runs, fits, prints, and on request writes and draws. InputError: the runs determine no law."""
    options = config.law
    sources = _sources(config, given)
    tables = [one for one in sources if isinstance(one, str) and not os.path.isdir(one)]
    check_outputs(tables, (options.json, options.markdown, options.plot))
    gathered = gather(sources, embeddings=config.data.count == "all")
    runs, notes = gathered.runs, list(gathered.notes)
    names = [one if isinstance(one, str) else "<memory>" for one in sources]
    where = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    axes = _axes(runs, options, where, notes)
    sizes = _sizes(runs, axes, where)
    at = _at(options, axes)
    try:
        best = fit(sizes, [one.loss for one in runs], delta=options.delta)
    except TooFew as error:
        fix = "add runs of other sizes, or choose another --against"
        raise InputError(f"{error} (a law of {' and '.join(axes)})", where=where, fix=fix) from error
    laws, errors = _resampled(best, sizes, runs, options)
    notes += _remarks(best, runs, axes)
    found = Scaling(runs, axes, best, laws, errors, options.level, at, _budgets(options, runs), notes)
    _write(found, options)
    return found


def _sources(config: ScalingConfig, given: Mapping[str, object]) -> list[object]:
    """Names of folders and tables; or one list of rows from Python."""
    if "runs" not in given:
        return list(config.data.runs)
    found: Any = given["runs"]
    items = list(found)
    if items and all(isinstance(one, str | os.PathLike) for one in items):
        return [os.fspath(one) for one in items]
    return [items]


def _axes(runs: Sequence[ScaledRun], options: LawOptions, where: str, notes: list[str]) -> Axes:
    """What the law is of: what was asked for, else what varies."""
    if options.against != "auto":
        return ("parameters", "tokens") if options.against == "both" else (options.against,)
    varies = [axis for axis in ("parameters", "tokens") if _varies([getattr(one, axis) for one in runs])]
    if len(varies) < 2:
        if varies or _varies([one.compute for one in runs]):
            return (varies[0],) if varies else ("compute",)
        named = f"{len(runs)} runs that do" if len(runs) > 1 else "one run alone does"
        what = f"{named} not vary in parameters, tokens or compute"
        raise InputError(what, where=where, fix="a law needs runs of several sizes")
    try:
        check(_sizes(runs, ("parameters", "tokens"), where))
    except TooFew as error:
        notes.append(f"a law of compute, as for one of parameters and tokens there are {error}")
        return ("compute",)
    return ("parameters", "tokens")


def _varies(values: Sequence[float]) -> bool:
    found = np.array(values)
    return bool(np.isfinite(found).all() and found.max() > SAME * found.min())


def _sizes(runs: Sequence[ScaledRun], axes: Axes, where: str) -> Floats:
    """(R, K)"""
    for one in runs:
        if missing := [axis for axis in axes if not np.isfinite(getattr(one, axis))]:
            what = f"{one.name} does not say its {missing[0]}"
            raise InputError(what, where=where, fix=f"add a column {missing[0]}, or choose another --against")
    return np.array([[getattr(one, axis) for axis in axes] for one in runs])


def _at(options: LawOptions, axes: Axes) -> list[tuple[float, ...]]:
    found = [sizes_of(one) for one in options.at]
    for size in found:
        if len(size) != len(axes):
            shown = "parameters:tokens, as 1e9:2e10" if len(axes) == 2 else f"{axes[0]} alone, as 1e9"
            raise InputError(f"a law of {' and '.join(axes)} is asked", where="at", fix=shown)
    if options.compute and len(axes) == 1:
        what = f"asks how to spend a budget, and the law is one of {axes[0]} alone"
        raise InputError(what, where="compute", fix="runs that vary in parameters and in tokens, or leave it out")
    return found


def _budgets(options: LawOptions, runs: Sequence[ScaledRun]) -> list[float]:
    return list(options.compute) or [times * max(one.compute for one in runs) for times in BUDGETS]


def _resampled(best: Fit, sizes: Floats, runs: Sequence[ScaledRun], options: LawOptions) -> tuple[list[Law], str]:
    """The laws of the resamples, and what these were."""
    over_runs = options.errors == "runs" or (options.errors == "auto" and len(runs) >= MANY)
    with Progress("resampling", options.rounds, unit="resample") as progress:

        def advance(done: int) -> None:
            progress.advance(done, None, None, 1, 0)

        if over_runs:
            loss = [one.loss for one in runs]
            laws = by_runs(best, sizes, loss, options.rounds, options.seed, delta=options.delta, advance=advance)
            return laws, f"{options.rounds:,} resamples of the runs"
        how = {"level": options.level, "delta": options.delta}
        laws = by_residuals(best, sizes, options.rounds, options.seed, advance=advance, **how)
    return laws, f"{options.rounds:,} sets of losses drawn about the law, as widely as the runs lie, by Student's t"


def _remarks(best: Fit, runs: Sequence[ScaledRun], axes: Axes) -> list[str]:
    """What makes the law less than it seems."""
    notes = []
    if len(runs) < FEW:
        notes.append(
            f"{len(runs)} runs make a first guess of a law; intervals far beyond them hold if it is the right one"
        )
    if best.edge[0]:
        notes.append("E ended at its bound: these runs do not show where the loss would level out")
    for axis, edge in zip(axes, best.edge[1 + len(axes) :], strict=True):
        if edge:
            notes.append(
                f"{LETTERS[axis][2]} ended at its bound: these runs do not show how the loss falls with {axis}"
            )
    other = [axis for axis in ("parameters", "tokens") if axis not in axes and axes != ("compute",)]
    for axis in other:
        values = [getattr(one, axis) for one in runs]
        if _varies(values):
            notes.append(
                f"the runs' {axis} vary from {min(values):.3g} to {max(values):.3g}, which this law leaves out"
            )
    return notes


def _write(found: Scaling, options: LawOptions) -> None:
    if options.markdown is not None:
        put(options.markdown, found.markdown() + "\n")
    if options.plot is not None:
        from accord.evaluate import scaling_plot

        scaling_plot.draw(found, options.plot)
    if written(found.to_json(), options.json):
        return
    for title, cells in found.tables():
        show(cells, title=title)
    tell(found.lines())
