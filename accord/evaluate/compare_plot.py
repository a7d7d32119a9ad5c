"""`accord compare --plot FILE.png`: who beats whom, how long answers are, and how far models went."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from accord.errors import StorageError
from accord.evaluate.round_robin import RoundRobin
from accord.maths.statistics import Estimate

if TYPE_CHECKING:
    from accord.evaluate.compare import ModelComparison

INK = "#4c72b0"
ROW = 0.42  # inches a model
SHOWN = 28  # characters of a name
DARK = 0.3  # distance from 1/2 beyond which the matrix is written on in white
Draw = Callable[[Any], None]


def draw(found: ModelComparison, path: str) -> None:
    """Writes the picture as what its name ends in. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(_panels(found))
    height = max(2.6, 1.6 + ROW * len(found.models))
    if found.judged is not None:
        height = max(height, 1.6 + 0.75 * len(found.models))
    figure = Figure(figsize=(1.5 + 4.0 * len(panels), height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{found.prompts:,} prompts; {100 * found.level:g} % intervals", fontsize=9)
    places: Any = figure.subplots(1, len(panels), squeeze=False)
    for place, panel in zip(places[0], panels, strict=True):
        panel(place)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        fix = "check --plot: .png, .pdf or .svg"
        raise StorageError(f"cannot be written ({error})", where=path, fix=fix) from error


def _panels(found: ModelComparison) -> list[Draw]:
    """Of what is known."""
    models, panels = found.models, list[Draw]()
    if (judged := found.judged) is not None:
        panels.append(lambda panel: _matrix(panel, judged))
    lengths = {one.model: one.characters for one in found.endings}
    panels.append(lambda panel: _rows(panel, models, lengths, "characters of an answer"))
    if (kl := found.kl) is not None and kl.rows:
        far = {one.model: one.k1 for one in kl.rows}
        panels.append(lambda panel: _rows(panel, models, far, f"KL to {_short(kl.reference)}, nats an answer (k1)"))
    return panels


def _matrix(panel: Any, judged: RoundRobin) -> None:
    """The win rate of the row's model against the column's."""
    names = judged.models
    rates = np.full((len(names), len(names)), math.nan)
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            if (estimate := judged.win_rate(one, other)) is not None:
                rates[i, j] = estimate.mean
                low, high = estimate.interval
                ink = "white" if abs(estimate.mean - 0.5) > DARK else "0.15"
                text = f"{100 * estimate.mean:.1f}\n{100 * low:.0f} to {100 * high:.0f}"
                panel.text(j, i, text, ha="center", va="center", fontsize=8, color=ink)
    panel.imshow(rates, vmin=0, vmax=1, cmap="RdBu", aspect="auto")
    panel.set_xticks(range(len(names)), [_short(name) for name in names], fontsize=8, rotation=20, ha="right")
    panel.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=8)
    panel.set_title("wins of the row against the column, percent", fontsize=9)


def _rows(panel: Any, models: Sequence[str], figures: dict[str, Estimate], label: str) -> None:
    """A line a model, in their order; empty where nothing is known."""
    for place, model in enumerate(models):
        if (estimate := figures.get(model)) is not None:
            low, high = estimate.interval
            if math.isfinite(low):
                panel.hlines(place, low, high, color=INK, linewidth=2, alpha=0.6)
            panel.plot(estimate.mean, place, "o", color=INK, markersize=5)
    panel.set_yticks(range(len(models)), [_short(model) for model in models], fontsize=8)
    panel.set_ylim(len(models) - 0.5, -0.5)
    panel.set_xlim(left=min(0.0, panel.get_xlim()[0]))
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(label, fontsize=9)


def _short(name: str) -> str:
    name = name.replace("$", r"\$")
    return name if len(name) <= SHOWN else "..." + name[-(SHOWN - 3) :]
