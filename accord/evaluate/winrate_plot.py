"""`accord winrate --plot FILE.png`: win rates with their intervals, or over a setting, as a sampling temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accord.errors import StorageError
from accord.stages.winrate_options import WinRateOptions

if TYPE_CHECKING:
    from accord.evaluate.measured import WinRate
    from accord.evaluate.winrate import Table

INK, EQUAL = "#4c72b0", "#dd8452"
LINES = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")
MARKS = "osD^v<>pP*"
ROW = 0.42  # inches a model
READABLE = 60  # rows whose names can still be read one by one
SHOWN = 48  # characters of a name


def draw(tables: Sequence[Table], options: WinRateOptions, over: str | None, path: str) -> None:
    """Writes the picture as what its name ends in. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if over is not None:
        figure = Figure(figsize=(7.5, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        _over(figure.add_subplot(), tables, options, over)
    else:
        sizes = [min(READABLE, len(table.rows)) for table in tables]
        figure = Figure(figsize=(8.5, sum(1.2 + ROW * size for size in sizes)), layout="constrained")
        FigureCanvasAgg(figure)
        panels: Any = figure.subplots(
            len(tables), 1, squeeze=False, sharex=True, height_ratios=[3 + size for size in sizes]
        )
        for panel, table in zip(panels[:, 0], tables, strict=True):
            _rows(panel, table.rows, options)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        fix = "check --plot: .png, .pdf or .svg"
        raise StorageError(f"cannot be written ({error})", where=path, fix=fix) from error


def _rows(panel: Any, rows: Sequence[WinRate], options: WinRateOptions) -> None:
    """A line a model, the best above; below it, the win rate at equal length."""
    controlled = any(row.controlled for row in rows)
    shift = 0.16 if controlled else 0.0
    panel.axvline(50, color="0.75", linewidth=1)
    for place, row in enumerate(rows):
        _bar(panel, place - shift, row.estimate.mean, row.estimate.interval, INK, "o")
        if row.controlled is not None:
            _bar(panel, place + shift, row.controlled.win_rate, row.controlled.interval, EQUAL, "s")
    if len(rows) <= READABLE:
        panel.set_yticks(range(len(rows)), [_short(row.verdicts.model) for row in rows], fontsize=8)
    else:
        panel.set_ylabel("models, best first")
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel(f"win rate in percent, with {100 * options.level:g} % intervals")
    panel.tick_params(labelbottom=True)
    panel.spines[["right", "top"]].set_visible(False)
    panel.set_title(_title(rows), fontsize=10)
    if controlled:
        for colour, mark, text in ((INK, "o", "win rate"), (EQUAL, "s", "at equal length")):
            panel.plot([], [], mark, color=colour, markersize=5, label=text)
        panel.legend(fontsize=8, frameon=False, loc="lower right")


def _bar(panel: Any, place: float, value: float, interval: Sequence[float], colour: str, mark: str) -> None:
    low, high = (100 * end for end in interval)
    panel.hlines(place, low, high, color=colour, linewidth=2, alpha=0.6)
    panel.plot(100 * value, place, mark, color=colour, markersize=5)


def _over(panel: Any, tables: Sequence[Table], options: WinRateOptions, over: str) -> None:
    """As Figure 2 of Rafailov et al. 2023: a line a model over the setting, with its intervals as a band."""
    models = list(dict.fromkeys(row.verdicts.model for table in tables for row in table.rows))
    panel.axhline(50, color="0.75", linewidth=1)
    for number, model in enumerate(models):
        rows = [row for table in tables for row in table.rows if row.verdicts.model == model and len(row.verdicts)]
        levels = [row.level for row in rows]
        colour = LINES[number % len(LINES)]
        low, high = ([100 * row.estimate.interval[end] for row in rows] for end in (0, 1))
        panel.fill_between(levels, low, high, color=colour, alpha=0.15, linewidth=0)
        values = [100 * row.estimate.mean for row in rows]
        panel.plot(levels, values, marker=MARKS[number % len(MARKS)], color=colour, label=_short(model))
    panel.set_xlabel(over.replace("_", " ").replace("$", r"\$"))
    panel.set_ylabel(f"win rate in percent, with {100 * options.level:g} % intervals")
    panel.spines[["right", "top"]].set_visible(False)
    panel.set_title(_title([row for table in tables for row in table.rows]), fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def _title(rows: Sequence[WinRate]) -> str:
    categories = dict.fromkeys(row.category for row in rows if row.category is not None)
    first = f"{', '.join(categories)}: " if categories else ""
    return f"{first}against {rows[0].verdicts.baseline}".replace("$", r"\$")


def _short(name: str) -> str:
    name = name if len(name) <= SHOWN else name[: SHOWN - 3] + "..."
    return name.replace("$", r"\$")
