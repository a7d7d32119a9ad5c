"""The training of runs as charts: runs whose figures mean the same lie over each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from accord.evaluate.report.chart import Chart, Line
from accord.evaluate.report.families import Family
from accord.evaluate.report.page import Charts, Folded, Part, Section
from accord.evaluate.report.ran import Ran
from accord.evaluate.report.values import number, shown
from accord.training.curves import PANELS, Panel

OWN_UNIT = ("loss", "rewards/margins")  # of the loss: see Family.loss
NOT_DRAWN = ("step", "epoch", "time")
PARTS = 20  # a smoothed point is the mean of about a tenth of all points: this fraction to each of its sides
INTRO = (
    "How the figures moved while the models were trained. A faint line is what was logged, the line over it the mean "
    "of the values around each place. Dots, joined by dashes, are of held-out data, which nothing was learned from; "
    "their bars are 95 % intervals. A dotted line is what the figure is to be compared with: chance, or no change."
)


def section(families: Sequence[Family]) -> Section | None:
    """None where nothing was logged."""
    parts = [part for family in families for part in _of_family(family)]
    return Section("curves", "Training curves", INTRO, parts) if parts else None


def _of_family(family: Family) -> Iterator[Part]:
    axis = _axis(family)
    taken = {panel.metric for panel in PANELS}
    usual = [panel for panel in PANELS if family.loss or panel.metric not in OWN_UNIT]
    charts = [chart for panel in usual if (chart := _chart(family, panel, axis, faint=True))]
    if not charts:
        return
    yield Charts(family.title, charts, family.note)
    others = [Panel(name, name) for name in _logged(family) if name not in taken]
    if folded := [chart for panel in others if (chart := _chart(family, panel, axis, faint=False))]:
        yield Folded(
            f"{family.title}: all other figures that were logged", [Charts("By their names in metrics.jsonl", folded)]
        )


def _axis(family: Family) -> str:
    """Steps, unless the runs have unlike numbers of them: then passes over the data."""
    totals = {ran.row["total"] for ran in family.runs}
    return "step" if len(totals) == 1 else "epoch"


def _logged(family: Family) -> list[str]:
    """The names of training figures, in the order in which they came."""
    names = dict.fromkeys(name for ran in family.runs for line in ran.lines for name in line)
    return [name for name in names if name not in NOT_DRAWN and not name.startswith("eval_")]


def _chart(family: Family, panel: Panel, axis: str, *, faint: bool) -> Chart | None:
    """Of one figure; None where no run has it."""
    lines = [line for ran in family.runs for line in _lines(ran, panel.metric, axis, faint=faint)]
    if not lines:
        return None
    named = axis if axis == "step" else "passes over the data"
    return Chart(panel.title, lines, named, "", _alt(panel, lines, named), panel.level, panel.from_zero)


def _lines(ran: Ran, metric: str, axis: str, *, faint: bool) -> Iterator[Line]:
    if points := _points(ran.lines, axis, metric):
        x, y = zip(*points, strict=True)
        smooth = smoothed(y)
        yield Line(ran.name, x, smooth, raw=y if faint and smooth != y else (), colour=ran.place)
    held = [line for line in ran.lines if number(line.get(f"eval_{metric}")) is not None]
    if points := _points(held, axis, f"eval_{metric}"):
        x, y = zip(*points, strict=True)
        low, high = ([value for _, value in _points(held, axis, f"eval_{metric}_{end}")] for end in ("low", "high"))
        whole = len(low) == len(high) == len(x)
        line = Line(ran.name, x, y, marks=True, joined=len(x) > 2, dashed=True, colour=ran.place)
        yield line._replace(low=low, high=high) if whole else line


def _points(lines: Sequence[dict[str, Any]], axis: str, key: str) -> list[tuple[float, float]]:
    found = ((number(line.get(axis)), number(line.get(key))) for line in lines)
    return [(x, y) for x, y in found if x is not None and y is not None]


def smoothed(values: Sequence[float]) -> tuple[float, ...]:
    """The mean of as many values before as after each, fewer at the ends; of fewer than PARTS values each as it is."""
    half, sums = len(values) // PARTS, [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    if half == 0:
        return tuple(values)
    reach = [min(half, place, len(values) - 1 - place) for place in range(len(values))]
    return tuple((sums[at + side + 1] - sums[at - side]) / (2 * side + 1) for at, side in enumerate(reach))


def _alt(panel: Panel, lines: Sequence[Line], axis: str) -> str:
    moved = [
        f"{line.name}{' on held-out data' if line.marks else ''} "
        f"{shown(panel.metric, line.y[0])} to {shown(panel.metric, line.y[-1])}"
        for line in lines
    ]
    return f"Line chart of {panel.title} against {axis}. First to last: {'; '.join(moved)}."
