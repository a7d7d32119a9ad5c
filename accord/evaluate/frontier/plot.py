"""frontier.png: reward against the KL from the model, a line a method; beside it the gold score, with its curves."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from accord.evaluate.frontier.labels import Box, placed
from accord.maths.statistics import Estimate

if TYPE_CHECKING:
    from accord.evaluate.frontier.result import Frontier, Line, Point

# Okabe and Ito 2008: told apart by colour-blind people. Each line also has a mark of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#777777"
TITLES = {"proxy": "proxy: the reward that is optimised", "gold": "gold: what was meant"}
DOTS = 200  # of a curve


def picture(found: Frontier, kind: str) -> bytes:
    """The bytes of a png, pdf or svg file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    sides = [name for name in TITLES if name in found.start.figures]
    figure = Figure(figsize=(1.0 + 6.0 * len(sides), 5.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(sides), squeeze=False)
    for panel, side in zip(panels[0], sides, strict=True):
        _panel(panel, found, side)
    handles, names = panels[0][-1].get_legend_handles_labels()
    if any(line.fit is not None for line in found.lines):
        handles.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.1))
        names.append("fitted curve of gold")
    if any(line.knee is not None and line.knee.sure for line in found.lines):
        handles.append(Line2D([], [], color=GREY, linestyle="", marker="o", markersize=11, markerfacecolor="none"))
        names.append("knee: beyond it gold falls while the proxy rises")
    figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)), frameon=False, fontsize=9)
    figure.suptitle(f"{found.prompts:,} prompts, {100 * found.level:g} % intervals", fontsize=10)
    figure.draw_without_rendering()
    for panel, side in zip(panels[0], sides, strict=True):
        _label(panel, found, side)
    held = io.BytesIO()
    figure.savefig(held, format=kind, metadata={"Software": None} if kind == "png" else None)
    return held.getvalue()


def _panel(panel: Any, found: Frontier, side: str) -> None:
    panel.set_xscale("function", functions=(_root, np.square))
    start = found.start.figures[side]
    panel.axhline(start.mean, color=GREY, linewidth=0.8, linestyle=":")
    for number, line in enumerate(found.lines):
        _line(panel, found, line, number, side)
    panel.errorbar(
        0.0,
        start.mean,
        yerr=_sides(start),
        fmt="*",
        color=GREY,
        markersize=11,
        capsize=2,
        label="the model",
        zorder=5,
        clip_on=False,
    )
    panel.set_xlim(left=0.0)
    panel.margins(y=0.12)
    panel.set_xlabel(f"KL from the model, nats an answer ({found.kl}; of the best of n its bound)", fontsize=9)
    panel.set_title(TITLES[side], fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)
    _ticks(panel)


def _root(values: Any) -> Any:
    return np.sqrt(np.maximum(values, 0.0))


def _ticks(panel: Any) -> None:
    """Where the axis is a root, ticks at even steps of the root lie at odd numbers: plain ones are chosen."""
    most = panel.get_xlim()[1]
    power = 10.0 ** math.floor(math.log10(max(most, 1e-9)))
    shares = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 6, 8, 10)
    kept: list[float] = []
    for share in shares:
        place = share * power
        if place <= most and (not kept or math.sqrt(place) - math.sqrt(kept[-1]) > 0.055 * math.sqrt(most)):
            kept.append(place)
    panel.set_xticks(kept, [f"{place:g}" for place in kept])


def _line(panel: Any, found: Frontier, line: Line, number: int, side: str) -> None:
    points = found.of(line.method)
    if not points:
        return
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    # Of a beta without bound a method has the model itself.
    first = [(0.0, found.start.figures[side].mean), (_kl(points[0]).mean, points[0].figures[side].mean)]
    panel.plot(*zip(*first, strict=True), color=colour, linewidth=1.0, alpha=0.6)
    x, y = [_kl(one).mean for one in points], [one.figures[side].mean for one in points]
    bars = {
        "xerr": np.array([_sides(_kl(one))[:, 0] for one in points]).T,
        "yerr": np.array([_sides(one.figures[side])[:, 0] for one in points]).T,
    }
    panel.errorbar(
        x, y, **bars, fmt=f"-{mark}", color=colour, markersize=5, linewidth=1.4, elinewidth=0.9, capsize=2,
        label=line.method,
    )  # fmt: skip
    if side == "gold" and line.fit is not None:
        curve = np.linspace(math.sqrt(max(x)) / DOTS, math.sqrt(max(x)), DOTS) ** 2
        gain = found.start.figures["gold"].mean + line.fit.curve.gain(curve)
        panel.plot(curve, gain, linestyle="--", color=colour, linewidth=1.1, alpha=0.8)
    if line.knee is not None and line.knee.sure:
        place = next(one for one in [found.start, *points] if one.name == line.knee_names[0])
        panel.plot(
            _kl(place).mean, place.figures[side].mean, "o", markersize=15, markerfacecolor="none",
            markeredgecolor=colour, markeredgewidth=1.6,
        )  # fmt: skip


def _label(panel: Any, found: Frontier, side: str) -> None:
    """The beta or n of each point, and the word for each knee, where they cover neither points nor one another."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    to_pixels = panel.transData.transform
    texts, anchors, colours = list[str](), list[tuple[float, float]](), list[str]()
    for number, line in enumerate(found.lines):
        for one in found.of(line.method):
            bend = line.knee is not None and line.knee.sure and one.name == line.knee_names[0]
            texts.append(f"{one.value:g}{' knee' if bend else ''}")
            anchors.append(tuple(to_pixels((_kl(one).mean, one.figures[side].mean))))
            colours.append(COLOURS[number % len(COLOURS)])
    ways = [[to_pixels((_kl(one).mean, one.figures[side].mean)) for one in _whole(found, line)] for line in found.lines]
    area = panel.get_window_extent()
    within = Box(area.x0, area.y0, area.x1, area.y1)
    scale = panel.figure.dpi / 100.0
    for text, colour, (x, y) in zip(texts, colours, placed(texts, anchors, ways, within, scale), strict=True):
        place = panel.transData.inverted().transform((x, y))
        panel.annotate(
            text, place, color=colour, fontsize=8, ha="left", va="bottom", annotation_clip=False, path_effects=halo
        )


def _whole(found: Frontier, line: Line) -> list[Point]:
    """What a line goes through: the model, then the method's points."""
    return [found.start, *found.of(line.method)]


def _kl(one: Point) -> Estimate:
    assert one.kl is not None
    return one.kl


def _sides(one: Estimate) -> Any:
    """(2, 1) how far the interval reaches below and above the mean; nothing where that is not known."""
    low, high = one.interval
    known = math.isfinite(low) and math.isfinite(high)
    return np.array([[max(0.0, one.mean - low)], [max(0.0, high - one.mean)]]) if known else np.zeros((2, 1))
