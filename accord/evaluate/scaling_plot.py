"""`accord scaling --plot FILE.png`: the runs, the law with its interval, and how compute is best spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from accord.errors import StorageError
from accord.evaluate.scaling_report import Scaling
from accord.maths.power_law import Floats, Law

INK, BAND, DOTS = "#4c72b0", 0.2, 200  # points of a curve
UNITS = {"parameters": "parameters N", "tokens": "tokens D", "compute": "compute C, FLOPs"}
DRAWN = 300  # resamples that a band is made of, at most: its edges are quantiles


def draw(found: Scaling, path: str) -> None:
    """Writes the picture as what its name ends in. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    both = len(found.axes) == 2
    figure = Figure(figsize=(12, 4.8) if both else (7, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(found.formula, fontsize=11)
    if both:
        left, right = figure.subplots(1, 2)
        _draw_frontier(left, found)
        _draw_spending(right, found)
    else:
        _draw_curve(figure.subplots(), found)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        fix = "check --plot: .png, .pdf or .svg"
        raise StorageError(f"cannot be written ({error})", where=path, fix=fix) from error


def _draw_curve(panel: Any, found: Scaling) -> None:
    """Loss against the one axis: runs, law, interval, and what was foretold."""
    sizes = found.sizes()[:, 0]
    told = np.array([size[0] for size in found.at])
    place = _range(np.concatenate([sizes, told]))
    _line(panel, found, place, lambda law: law.loss(place[:, None]), "the law")
    panel.plot(sizes, [run.loss for run in found.runs], "o", color="0.15", markersize=5, label="runs")
    for row in found.foretold():
        low, high = row["loss"]["interval"]
        panel.vlines(row[found.axes[0]], low, high, color="#c44e52", linewidth=2)
        panel.plot(row[found.axes[0]], row["loss"]["value"], "D", color="#c44e52", markersize=5)
    _dress(panel, UNITS[found.axes[0]], "loss, nats per token")


def _draw_frontier(panel: Any, found: Scaling) -> None:
    """Loss against compute: each run, coloured by its parameters, and what the best use of the compute would give."""
    compute = np.array([run.compute for run in found.runs])
    place = _range(np.concatenate([compute, found.budgets]))

    def frontier(law: Law) -> Floats:
        return law.loss(np.array([law.optimum(budget) for budget in place]))

    _line(panel, found, place, frontier, "the law, compute spent best")
    from matplotlib.colors import LogNorm

    sizes = found.sizes()[:, 0]
    dots = panel.scatter(compute, [run.loss for run in found.runs], c=sizes, norm=LogNorm(), cmap="viridis", zorder=3)
    panel.figure.colorbar(dots, ax=panel, label="parameters of a run")
    _dress(panel, UNITS["compute"], "loss, nats per token")


def _draw_spending(panel: Any, found: Scaling) -> None:
    """The best parameters against compute, and where the runs lie."""
    compute = np.array([run.compute for run in found.runs])
    place = _range(np.concatenate([compute, found.budgets]))
    best = "the best parameters"
    _line(panel, found, place, lambda law: np.array([law.optimum(budget)[0] for budget in place]), best)
    panel.plot(compute, found.sizes()[:, 0], "o", color="0.15", markersize=5, label="runs")
    _dress(panel, UNITS["compute"], UNITS["parameters"])


def _range(values: Floats) -> Floats:
    low, high = np.log(values.min()), np.log(values.max())
    room = 0.05 * max(high - low, 1.0)
    return np.exp(np.linspace(low - room, high + room, DOTS))


def _line(panel: Any, found: Scaling, place: Floats, read: Callable[[Law], Floats], name: str) -> None:
    """A curve read off the law, and its band, off the resamples."""
    tail = (1 - found.level) / 2
    laws = found.laws[:: max(1, len(found.laws) // DRAWN)]
    low, high = np.quantile([read(law) for law in laws], [tail, 1 - tail], axis=0)
    panel.fill_between(place, low, high, color=INK, alpha=BAND, linewidth=0, label=f"{100 * found.level:g} % interval")
    panel.plot(place, read(found.law), color=INK, linewidth=2, label=name)


def _dress(panel: Any, x: str, y: str) -> None:
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    panel.set_xscale("log")
    panel.set_yscale("log")
    if y.startswith("loss"):  # a loss falls by less than a power of ten: plain numbers, not 3 x 10^0
        panel.yaxis.set_major_locator(_ticks())
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=9)


def _ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
