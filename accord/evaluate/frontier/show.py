"""A frontier as people read it: the points, where each method bends, the curves, and how all of that came about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from accord.evaluate.frontier.methods import BEST_OF_N
from accord.evaluate.frontier.plan import Plan
from accord.evaluate.frontier.result import Frontier, Line, Point
from accord.maths.overoptimisation import FORMS
from accord.maths.statistics import Estimate
from accord.stages.tables import show, written

Cells = list[dict[str, str]]


def listing(plan: Plan, folder: str) -> None:
    """The points before any is made: name and state."""
    rows = [{"point": one.name, "state": _state(one.config is None, one.is_trained)} for one in plan.points]
    show(rows, title=f"{len(rows)} points in {folder}")


def _state(sampled: bool, trained: bool) -> str:
    return "of the model's own answers" if sampled else "trained" if trained else "to train"


def printed(found: Frontier, json: str | None) -> None:
    """On the terminal; where JSON goes to standard output, that alone."""
    if written(found.to_json(), json):
        return
    for title, rows in tables(found):
        show(rows, title=title)
    for line in found.notes:
        print(line)


def tables(found: Frontier) -> Iterator[tuple[str, Cells]]:
    """Titles and tables."""
    yield f"reward against KL from {found.model}, {found.prompts:,} prompts", [_row(one, found) for one in _all(found)]
    if any(line.knee is not None for line in found.lines):
        yield "where gold is highest, and after it", [_knee(line) for line in found.lines if line.knee is not None]
    if any(line.fit is not None for line in found.lines):
        yield "gold's gain over the model, d = sqrt(KL)", [_fit(line) for line in found.lines if line.fit is not None]


def _all(found: Frontier) -> list[Point]:
    return [found.start, *found.points]


def _row(one: Point, found: Frontier) -> dict[str, str]:
    if one.kl is None:
        return {"method": one.method, **_value(one), "KL": "failed"}
    bound = one.setting == "n" and one.kl.mean > 0
    own = {"KL": f"at most {one.kl.mean:.3f}" if bound else estimate(one.kl)}
    other = "k1" if found.kl == "k3" else "k3"
    figures = {"proxy": 3, "gold": 3, "tokens": 1}
    return {
        "method": one.method or one.name,
        **_value(one),
        **own,
        other: estimate(one.figures[other]) if other in one.figures else "",
        **{name: estimate(one.figures[name], digits) for name, digits in figures.items() if name in one.figures},
    }


def _value(one: Point) -> dict[str, str]:
    return {"beta or n": f"{one.setting} {one.value:g}" if one.setting else ""}


def estimate(one: Estimate, digits: int = 3) -> str:
    """0.412 (0.380 to 0.444); alone where nothing varies."""
    mean, (low, high) = f"{one.mean:.{digits}f}", one.interval
    known = math.isfinite(low) and low != high
    return f"{mean} ({low:.{digits}f} to {high:.{digits}f})" if known else mean


def _knee(line: Line) -> dict[str, str]:
    knee, (place, later) = line.knee, line.knee_names
    assert knee is not None
    if knee.proxy is None or knee.gold is None:
        told = {"later": "", "proxy": "", "gold": "", "over-optimised": "not seen"}
    else:
        sides = {"proxy": _signed(knee.proxy), "gold": _signed(knee.gold)}
        told = {"later": later, **sides, "over-optimised": "yes" if knee.sure else "may be chance"}
    return {"method": line.method, "gold is highest at": place, **told}


def _signed(one: Estimate) -> str:
    low, high = one.interval
    return f"{one.mean:+.3f} ({low:+.3f} to {high:+.3f})"


def _fit(line: Line) -> dict[str, str]:
    fit = line.fit
    assert fit is not None
    peak = fit.curve.peak
    return {
        "method": line.method,
        "curve": FORMS[line.form].written,
        "a": f"{fit.curve.a:.3f} +- {fit.a_error:.3f}",
        "b": f"{fit.curve.b:.3f} +- {fit.b_error:.3f}",
        "points lie about it by": f"{fit.scatter:.3f}",
        "highest at a KL of": "" if peak is None else f"{peak:.3g}",
    }


def notes_of(found: Frontier, plan: Plan) -> Iterator[str]:
    """How it came about, and what makes it less than it seems."""
    answers = found.options["samples"]
    every = f"{100 * found.level:g} % intervals and errors: {found.options['rounds']:,} resamples of the prompts"
    yield f"{answers} answers of each policy to a prompt, at temperature 1; {every}"
    if any(method.command == BEST_OF_N for method in plan.methods):
        yield (
            f"best of n: the mean over all choices of n of {plan.pool} answers of the model; its KL is "
            "ln n - (n - 1) / n, which bounds it from above"
        )
    if any(method.command != BEST_OF_N for method in plan.methods):
        yield (
            f"KL: {found.kl} of every token, summed over an answer, in nats; each policy is one run, and how runs of "
            "other seeds would differ is not in its intervals"
        )
    if plan.makes_comparisons:
        yield f"comparisons: {_compared(found)}"
    yield from _of_gold(found)
    for one in found.points:
        if one.error:
            yield f"{one.name} failed: {one.error}"


def _compared(found: Frontier) -> str:
    options = found.options
    if options["comparisons"] is not None:
        return str(options["comparisons"])
    how = "drawn from their scores as Bradley-Terry's" if options["draw_ranks"] else "of their scores"
    return f"{options['comparison_samples']} answers of the model to each prompt that is learnt from, in an order {how}"


def _of_gold(found: Frontier) -> Iterator[str]:
    if found.gold is None:
        yield "without --gold nothing tells whether a higher reward is better"
        return
    yield (
        "over-optimised: gold falls while the proxy rises, both surely: intervals are by Student's t over prompts, "
        "paired, for every two points of a method together (Bonferroni)"
    )
    fitted = [line for line in found.lines if line.fit is not None]
    if fitted:
        yield "curves: Gao et al. 2023, least squares of gold less the model's gold; +- one standard error"
    for line in found.lines:
        if line.why_no_fit:
            yield f"{line.method}: no curve: {line.why_no_fit}"
        elif line.fit is not None and (beyond := _beyond(line, found.of(line.method))):
            yield f"{line.method}: {beyond}"


def _beyond(line: Line, points: Sequence[Point]) -> str:
    """That the curve's top is not where it was measured."""
    assert line.fit is not None
    peak, most = line.fit.curve.peak, max((one.kl.mean for one in points if one.kl is not None), default=0.0)
    return f"its curve is highest beyond what was measured (a KL of {most:.3g})" if peak and peak > most else ""
