"""What the runs of a sweep gave, side by side: the terminal, sweep.json, sweep.md and sweep.png."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from accord.errors import StorageError
from accord.stages.best_options import DIRECTIONS
from accord.stages.evaluation import WITH_INTERVAL
from accord.stages.loss_options import PreferenceOptions
from accord.stages.setup import say
from accord.stages.tables import put
from accord.training.curves import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES = (*WITH_INTERVAL, "rewards/margins", "objective/kl")  # compared; sweep.json has all
PANELS = 3
# Options that change the unit of losses and rewards: numbers are then compared by the accuracy, or the score, only.
OF_THE_LOSS = (PreferenceOptions.model_fields.keys() - {"reference", "reference_cache"}) | {"kl_coef"}
OWN_UNIT = ("loss", "rewards/margins")
UNITS = (
    "Losses and margins of different losses, or betas, are in units of their own. "
    "Accuracies of losses on labels count single completions, those of all others pairs.\n"
)


class Row(NamedTuple):
    """One run. `error` is empty where it was run to its end; then there is a summary."""

    name: str
    varied: dict[str, object]
    folder: str
    error: str
    summary: dict[str, Any] | None

    def figure(self, name: str) -> tuple[float, float, float] | None:
        """(mean, low, high) of a held-out figure of the model that is saved; ends that are not known are nan."""
        held = (self.summary or {}).get("held_out", {}).get(name)
        if held is None:
            return None
        mean, ends = held["after"]["mean"], held["after"]["interval"]
        low, high = (math.nan if end is None else end for end in ends)
        return (math.nan if mean is None else mean), low, high


def plain(value: object) -> str:
    """A value as a part of a folder's name: 1e-06, sigmoid+bco_pair, the last part of a path."""
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}"
    if isinstance(value, list):
        return "+".join(map(plain, value))
    if isinstance(value, Mapping):
        return "*".join(plain(item) for item in value.values())
    text = str(value).rstrip("/").rpartition("/")[2] if isinstance(value, str) else str(value).lower()
    return re.sub(r"[^\w.+*-]+", "-", text)


def listing(folder: Path, runs: Sequence[tuple[str, str]]) -> None:
    """The runs of a sweep, before any is made: name and state."""
    table = Table(title=f"{len(runs)} runs in {folder}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    for row in runs:
        table.add_row(*row)
    Console().print(table)


def write(rows: Sequence[Row], folder: Path, title: str) -> None:
    """All four. StorageError where the folder cannot be written to."""
    shown = [name for name in FIGURES if any(row.figure(name) for row in rows)]
    _show(rows, shown, title)
    put(
        folder / "sweep.json",
        json.dumps([_record(row) for row in rows], indent=2, ensure_ascii=False) + "\n",
        with_folder=True,
    )
    put(folder / "sweep.md", _markdown(rows, shown, title))
    try:
        if shown:
            draw(rows, shown[:PANELS], title, folder / "sweep.png")
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StorageError(what, where=str(folder), fix="free some space") from error
    say(f"sweep.json, sweep.md and sweep.png are in {folder}")


def _record(row: Row) -> dict[str, Any]:
    summary = row.summary or {}
    held = {name: figure["after"] for name, figure in summary.get("held_out", {}).items()}
    about = {key: summary.get(key) for key in ("steps", "seconds", "best", "ended")}
    return {"name": row.name, "varied": row.varied, "folder": row.folder, "error": row.error, **about, "held_out": held}


def _show(rows: Sequence[Row], shown: Sequence[str], title: str) -> None:
    """On the terminal, narrower: intervals of the main figures only."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    names = [_folded(row.name, 0) for row in rows]  # on a narrow terminal a name breaks at commas, a figure at blanks
    widest = max((len(part) for name in names for part in name.split("\n")), default=0)
    table.add_column("run", overflow="fold", min_width=min(widest, 36))
    for name in shown:
        table.add_column(name.removeprefix("rewards/"))
    for row, called in zip(rows, names, strict=True):
        figures = [_estimate(row.figure(name), 3, interval=name in WITH_INTERVAL) for name in shown]
        table.add_row(called, *(figures if not row.error else ["failed", *figures[1:]]))
    Console().print(table)
    for row in rows:
        if row.error:
            say(f"{row.name}: {row.error}")


def _markdown(rows: Sequence[Row], shown: Sequence[str], title: str) -> str:
    heads = [*rows[0].varied, "steps", "seconds", *shown, "error"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        summary = row.summary or {}
        steps, seconds = str(summary.get("steps", "")), f"{summary['seconds']:.0f}" if summary else ""
        lines.append(
            [
                *map(plain, row.varied.values()),
                steps,
                seconds,
                *(_estimate(row.figure(name), 4) for name in shown),
                row.error,
            ]
        )
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    what = "Held-out figures of the saved models, each with its 95 % interval."
    return f"# {title}\n\n{what}\n{UNITS if _have_units_of_their_own(rows) else ''}\n{table}\n"


def _estimate(figure: tuple[float, float, float] | None, digits: int, *, interval: bool = True) -> str:
    if figure is None:
        return ""
    mean, low, high = (f"{value:.{digits}f}" for value in figure)
    return f"{mean} ({low} to {high})" if interval and math.isfinite(figure[1]) else mean


def _have_units_of_their_own(rows: Sequence[Row]) -> bool:
    """Whether the runs differ in what their losses and rewards are."""
    return bool(rows[0].varied.keys() & OF_THE_LOSS)


def draw(rows: Sequence[Row], figures: Sequence[str], title: str, file: Path) -> None:
    """A panel a figure, a line a run: the mean as a dot, its interval, and the best one as a diamond."""
    from matplotlib.figure import Figure  # here, as in curves.py: it takes half a second

    names = [_folded(row.name) for row in rows]
    height = 1.3 + sum(0.16 + 0.16 * (name.count("\n") + 1) for name in names)
    width = 1.2 + 0.075 * max(len(line) for name in names for line in name.split("\n")) + 3.2 * len(figures)
    picture = Figure(figsize=(width, height), dpi=110, layout="constrained")
    picture.suptitle(title)
    axes = picture.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    for panel, figure in zip(axes, figures, strict=True):
        _panel(panel, rows, figure)
    axes[0].set_yticks(range(len(rows)), names, fontsize="small")
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    aside = file.with_name(".sweep.tmp.png")
    picture.savefig(aside)
    os.replace(aside, file)


def _panel(axes: Axes, rows: Sequence[Row], figure: str) -> None:
    from matplotlib.ticker import MaxNLocator

    found = [row.figure(figure) for row in rows]
    best = None if figure in OWN_UNIT and _have_units_of_their_own(rows) else _best(figure, found)
    for place, value in enumerate(found):
        if value is None:
            word = "failed" if rows[place].error else "none"
            axes.text(0.5, place, word, color=GREY, ha="center", va="center", transform=axes.get_yaxis_transform())
            continue
        mean, low, high = value
        colour, marker = (ORANGE, "D") if place == best else (BLUE, "o")
        axes.hlines(place, low, high, color=colour, linewidth=1.6)
        axes.plot([mean], [place], marker, color=colour, markersize=6)
    axes.set_title(f"held-out {figure}", fontsize="medium")
    axes.tick_params(labelsize="small")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="x", color=GREY, alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _best(figure: str, found: Sequence[tuple[float, float, float] | None]) -> int | None:
    """The place of the best mean; None where two are, or where more is neither better nor worse."""
    means = {place: value[0] for place, value in enumerate(found) if value and math.isfinite(value[0])}
    if figure not in DIRECTIONS or len(means) < 2:
        return None
    top = (max if DIRECTIONS[figure] else min)(means.values())
    places = [place for place, mean in means.items() if mean == top]
    return places[0] if len(places) == 1 else None


def _folded(name: str, width: int = 36) -> str:
    """A name over several lines, broken at its commas."""
    lines = [""]
    for part in name.split(","):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += ("," if lines[-1] else "") + part
    return "\n".join(lines)
