"""Where everything in a chart stands: numbers only, which the template writes as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from accord.evaluate.report.axis import Scale, scale, ticks, written
from accord.evaluate.report.chart import Chart, Line

WIDTH, HEIGHT = 340, 210
TOP, BOTTOM, RIGHT = 8, 36, 12
NAME = 16  # room for the name of the upward axis
LETTER = 6.1  # width of one at 11 px, on average
MOST = 300  # points of a line; more cannot be seen at this width
COLOURS = 8
Point: TypeAlias = tuple[float, float]


class Label(NamedTuple):
    """A text beside a point. anchor: as SVG's text-anchor."""

    x: float
    y: float
    text: str
    anchor: str


class Drawn(NamedTuple):
    """One line in places of the picture. paths: "x,y x,y ..."."""

    path: str
    raw: str
    intervals: Sequence[tuple[float, float, float]]  # x, y of the low end, y of the high end
    marks: Sequence[Point]
    colour: int
    again: int  # how many times the palette was gone through before: each has dashes of its own
    dashed: bool
    shape: int


class Places(NamedTuple):
    """The whole chart."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    level: float | None
    lines: Sequence[Drawn]
    labels: Sequence[Label]


def places(chart: Chart) -> Places:
    """Points that are not finite (on a logarithmic axis: or not above 0) are left out."""
    top, bottom = TOP + (NAME if chart.y_label else 0), HEIGHT - BOTTOM
    heights = [y for line in chart.lines for y in _heights(chart, line)]
    level = [] if chart.level is None else [chart.level]
    y_axis = scale([*heights, *level], bottom, top, from_zero=chart.from_zero, log=chart.log_y)
    y_ticks = ticks(y_axis)
    names = written(y_ticks)
    left = 10 + LETTER * max(map(len, names), default=1)
    across = [x for line in chart.lines for x, _ in _points(chart, line.x, line.y)]
    x_axis = scale(across, left, WIDTH - RIGHT, log=chart.log_x)
    x_ticks = ticks(x_axis, whole=all(x == int(x) for x in across))
    lines = [_drawn(chart, line, x_axis, y_axis) for line in chart.lines]
    return Places(
        WIDTH,
        HEIGHT,
        round(left, 1),
        WIDTH - RIGHT,
        top,
        bottom,
        _beside(x_axis, x_ticks),
        _beside(y_axis, y_ticks),
        round(y_axis.place(chart.level), 1) if chart.level is not None else None,
        lines,
        list(_labels(chart, x_axis, y_axis)),
    )


def _beside(axis: Scale, values: list[float]) -> list[tuple[float, str]]:
    return [(round(axis.place(value), 1), name) for value, name in zip(values, written(values), strict=True)]


def _heights(chart: Chart, line: Line) -> Iterator[float]:
    for column in (line.y, line.raw, line.low, line.high):
        if column:
            yield from (y for _, y in _points(chart, line.x, column))


def _points(chart: Chart, x: Sequence[float], y: Sequence[float]) -> list[Point]:
    return [(a, b) for a, b in zip(x, y, strict=True) if _shown(a, chart.log_x) and _shown(b, chart.log_y)]


def _shown(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not log)


def _drawn(chart: Chart, line: Line, x_axis: Scale, y_axis: Scale) -> Drawn:
    def put(points: Sequence[Point]) -> list[Point]:
        return [(round(x_axis.place(x), 1), round(y_axis.place(y), 1)) for x, y in points]

    points = put(_points(chart, line.x, line.y))
    raw = put(_points(chart, line.x, line.raw)) if line.raw else []
    ends = zip(line.x, line.low, line.high, strict=True) if line.low and line.high else ()
    intervals = [
        (x_axis.place(x), y_axis.place(low), y_axis.place(high))
        for x, low, high in ends
        if _shown(x, chart.log_x) and _shown(low, chart.log_y) and _shown(high, chart.log_y)
    ]
    return Drawn(
        _path(points) if line.joined and len(points) > 1 else "",
        _path(raw) if len(raw) > 1 else "",
        [(round(x, 1), round(low, 1), round(high, 1)) for x, low, high in intervals],
        points if line.marks or len(points) == 1 or not line.joined else [],
        line.colour % COLOURS,
        line.colour // COLOURS,
        line.dashed,
        line.colour % 4,
    )


def _path(points: Sequence[Point]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in thinned(points))


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """At most about so many of a line's points: of each stretch the lowest and the highest, in their order."""
    if len(points) <= most:
        return list(points)
    size = -(-2 * len(points) // most)
    kept = []
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        low = min(stretch, key=lambda place: points[place][1])
        high = max(stretch, key=lambda place: points[place][1])
        kept += [points[place] for place in sorted({low, high})]
    return [points[0], *kept, points[-1]]


def _labels(chart: Chart, x_axis: Scale, y_axis: Scale) -> Iterator[Label]:
    """Beside the points that have one, where it meets no other label if there is such a place."""
    taken: list[tuple[float, float, float, float]] = []
    for line in chart.lines:
        for x, y, text in zip(line.x, line.y, line.labels, strict=False):
            if not (text and _shown(x, chart.log_x) and _shown(y, chart.log_y)):
                continue
            options = list(_beside_point(x_axis.place(x), y_axis.place(y), text))
            label, box = next((one for one in options if not any(_meet(one[1], other) for other in taken)), options[0])
            taken.append(box)
            yield label


def _beside_point(x: float, y: float, text: str) -> Iterator[tuple[Label, tuple[float, float, float, float]]]:
    """Places for a label, the best first, each with its box; none that leaves the picture, but the last."""
    width = LETTER * len(text)
    for down in (4, -7, 15, -18, 26):
        for anchor, start in (("start", x + 7), ("end", x - 7 - width)):
            if (start >= 2 and start + width <= WIDTH - 2) or (anchor, down) == ("end", 26):
                at = start if anchor == "start" else start + width
                yield (
                    Label(round(at, 1), round(y + down, 1), text, anchor),
                    (start, y + down - 10, start + width, y + down + 2),
                )


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
