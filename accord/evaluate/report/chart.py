"""A line chart as SVG, drawn so that it takes the colours and the width of the page around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """One line or cloud of a chart, N points.

    raw: what `y` is the smoothed form of, drawn faintly behind it. low, high: the ends of each point's interval.
    marks: each point is drawn (held-out figures, measured models); labels: what stands beside them. colour: place in
    the palette, so that one run has one colour in every chart. dashed: for what was computed and not measured.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    raw: Sequence[float] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    marks: bool = False
    joined: bool = True
    labels: Sequence[str] = ()
    colour: int = 0
    dashed: bool = False


class Chart(NamedTuple):
    """level: a line to compare with. from_zero: an amount, whose axis starts at 0. alt: what it says, in words."""

    title: str
    lines: Sequence[Line]
    x_label: str
    y_label: str
    alt: str
    level: float | None = None
    from_zero: bool = False
    log_x: bool = False
    log_y: bool = False
    caption: str = ""
