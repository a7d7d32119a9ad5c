"""`accord leaderboard --plot FILE.png`: strengths with their intervals, and the Elo scale above them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from accord.errors import StorageError
from accord.evaluate.standing import Standing
from accord.maths.strengths import ELO_OF_ZERO, ELO_PER_LOGIT

INK = "#4c72b0"
ROW = 0.3  # inches a model
READABLE = 60  # rows whose names can still be read one by one
SHOWN = 48  # characters of a name


def draw(standings: Sequence[Standing], path: str) -> None:
    """Writes the picture, a panel for each table, as what its name ends in. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [min(READABLE, len(standing.strengths.models)) for standing in standings]
    figure = Figure(figsize=(8.5, sum(1.5 + ROW * count for count in rows)), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [5 + count for count in rows]
    panels: Any = figure.subplots(len(standings), 1, squeeze=False, sharex=True, height_ratios=heights)
    for panel, standing in zip(panels[:, 0], standings, strict=True):
        _draw(panel, standing)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        fix = "check --plot: .png, .pdf or .svg"
        raise StorageError(f"cannot be written ({error})", where=path, fix=fix) from error


def _draw(panel: Any, standing: Standing) -> None:
    found, order = standing.strengths, standing.order
    place = np.arange(len(order))
    value, interval = found.strength[order], found.interval[order]
    panel.axvline(0, color="0.8", linewidth=1)
    panel.hlines(place, interval[:, 0], interval[:, 1], color=INK, linewidth=2, alpha=0.6)
    panel.plot(value, place, "o", color=INK, markersize=5)
    if len(order) <= READABLE:
        panel.set_yticks(place, [_label(standing, i) for i in order], fontsize=8)
    else:
        panel.set_ylabel("models, best first")
    panel.set_ylim(len(order) - 0.5, -0.5)
    panel.set_xlabel(f"strength in logits, with {100 * standing.options.level:g} % intervals; in brackets the ranks")
    panel.tick_params(labelbottom=True)
    panel.spines[["right"]].set_visible(False)
    scale = panel.secondary_xaxis(
        "top", functions=(lambda b: ELO_OF_ZERO + ELO_PER_LOGIT * b, lambda e: (e - ELO_OF_ZERO) / ELO_PER_LOGIT)
    )
    scale.set_xlabel("Elo")
    panel.set_title(standing.title, fontsize=10)


def _label(standing: Standing, i: int) -> str:
    low, high = standing.strengths.rank_interval[i]
    name = standing.strengths.models[i].replace("$", r"\$")
    name = name if len(name) <= SHOWN else name[: SHOWN - 3] + "..."
    return f"{name} ({low})" if low == high else f"{name} ({low} to {high})"
