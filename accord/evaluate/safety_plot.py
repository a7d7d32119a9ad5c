"""`accord safety --plot FILE.png`: every column's figures with their intervals, model by model."""

from __future__ import annotations

import math
from typing import Any

from accord.errors import StorageError
from accord.evaluate.safety_table import Cell, Head, Table

COLUMNS = 3
PLAIN, BETTER, WORSE = "#4c72b0", "#55a868", "#c44e52"
INKS = {"better": BETTER, "worse": WORSE}
ROW = 0.3  # inches a model
SHOWN = 36  # characters of a name


def draw(table: Table, path: str) -> None:
    """Writes the picture, a panel for each column, as what its name ends in. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(COLUMNS, len(table.heads))
    down = -(-len(table.heads) // across)
    height = down * (1.1 + ROW * len(table.models)) + 0.6
    figure = Figure(figsize=(2.0 + 3.1 * across, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{100 * table.level:g} % intervals; green, red: surely better, worse than {_short(table.base)}", fontsize=9
    )
    panels: Any = figure.subplots(down, across, squeeze=False)
    for place, panel in enumerate(panels.flat):
        if place >= len(table.heads):
            panel.set_visible(False)
            continue
        _draw(panel, table, place, names=place % across == 0)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        fix = "check --plot: .png, .pdf or .svg"
        raise StorageError(f"cannot be written ({error})", where=path, fix=fix) from error


def _draw(panel: Any, table: Table, place: int, *, names: bool) -> None:
    head = table.heads[place]
    times = 100 if head.share else 1
    for row, model in enumerate(table.models):
        if (cell := table.rows[model][place]) is not None:
            _point(panel, cell, row, times)
    if (base := table.rows[table.base][place]) is not None:
        panel.axvline(times * base.estimate.mean, color="0.8", linewidth=1, zorder=0)
    labels = [_short(model) for model in table.models] if names else [""] * len(table.models)
    panel.set_yticks(range(len(table.models)), labels, fontsize=8)
    panel.set_ylim(len(table.models) - 0.5, -0.5)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(_title(head), fontsize=9)


def _point(panel: Any, cell: Cell, row: int, times: int) -> None:
    verdict = "" if cell.against is None else cell.against.verdict
    ink = INKS.get(verdict, PLAIN)
    mean, _, (low, high) = cell.estimate
    if math.isfinite(low):
        panel.plot([times * low, times * high], [row, row], color=ink, linewidth=2, alpha=0.6)
    panel.plot(times * mean, row, "o", color=ink, markersize=5)


def _title(head: Head) -> str:
    unit = " (%)" if head.share else ""
    way = f"\n{head.better} is better" if head.better else "\nwhich is better is not known"
    return head.title.replace("$", r"\$") + unit + way


def _short(name: str) -> str:
    name = name.replace("$", r"\$")
    return name if len(name) <= SHOWN else "..." + name[-(SHOWN - 3) :]
