"""`accord agreement --plot FILE.png`: who agrees with whom, a matrix for each question."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from accord.errors import InputError, StorageError
from accord.evaluate.agreed import PairOfRaters

if TYPE_CHECKING:
    from accord.evaluate.agreement import Agreement

MOST = 20  # raters of a panel, those with the most items in common with others
PANELS = 6
ACROSS = 3
CELL = 0.45  # inches
SHOWN = 24  # characters of a name


def draw(found: Agreement, path: str) -> None:
    """Writes the picture. InputError: no two raters have enough items in common. StorageError: cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    questions = list(dict.fromkeys(pair.question for pair in found.pairs))[:PANELS]
    if not questions:
        what = f"no two annotators have {found.options.least} items in common, so there is no matrix to draw"
        raise InputError(what, where="plot", fix="leave it out, or give --least 1")
    parts = [[pair for pair in found.pairs if pair.question == question] for question in questions]
    side = CELL * max(len(_chosen(part)) for part in parts)
    across = min(ACROSS, len(parts))
    down = -(-len(parts) // across)
    figure = Figure(figsize=(across * max(4.2, side + 1.4), down * (side + 2.2)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.supxlabel(f"grey: fewer than {found.options.least} items in common", fontsize=8, color="0.4")
    panels: Any = figure.subplots(down, across, squeeze=False)
    for place, panel in enumerate(panels.flat):
        if place < len(parts):
            _draw(panel, parts[place], found)
        else:
            panel.set_visible(False)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        fix = "check --plot: .png, .pdf or .svg"
        raise StorageError(f"cannot be written ({error})", where=path, fix=fix) from error


def _chosen(pairs: list[PairOfRaters]) -> list[int]:
    items = Counter[int]()
    for pair in pairs:
        items.update({pair.one: pair.items, pair.other: pair.items})
    return sorted(rater for rater, _ in items.most_common(MOST))


def _draw(panel: Any, pairs: list[PairOfRaters], found: Agreement) -> None:
    """The value in each cell, below it of how many items."""
    raters = sorted(_chosen(pairs), key=lambda rater: (rater in found.machines, found.raters[rater]))
    place = {rater: i for i, rater in enumerate(raters)}
    share = pairs[0].same.share
    table = np.full((len(raters), len(raters)), math.nan)
    for pair in pairs:
        if pair.one not in place or pair.other not in place:
            continue
        for i, j in ((place[pair.one], place[pair.other]), (place[pair.other], place[pair.one])):
            table[i, j] = value = pair.same.estimate.mean
            if not math.isfinite(value):
                continue
            text = f"{100 * value:.0f} %\n{pair.items:,}" if share else f"{value:+.2f}\n{pair.items:,}"
            far = value > 0.7 or (not share and value < -0.7)
            panel.text(j, i, text, ha="center", va="center", fontsize=6.5, color="white" if far else "black")
    panel.set_facecolor("0.95")
    if share:
        panel.imshow(table, cmap="Blues", vmin=0, vmax=1)
    else:
        panel.imshow(table, cmap="RdBu", vmin=-1, vmax=1)
    names = [_label(found, rater) for rater in raters]
    panel.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    what = "how often two say the same" if share else "Kendall's tau-b of two"
    panel.set_title(f"{pairs[0].question}: {what},\nand of how many items", fontsize=9)


def _label(found: Agreement, rater: int) -> str:
    name = found.raters[rater].replace("$", r"\$")
    name = name if len(name) <= SHOWN else name[: SHOWN - 3] + "..."
    return f"{name} (model)" if rater in found.machines else name
