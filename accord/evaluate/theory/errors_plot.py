"""How the error of methods shrinks as their data grow: a panel of `accord theory --full --plot FILE.png`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from accord.evaluate.theory.found import Found
from accord.training.curves import BLUE, ORANGE

STYLES = ((BLUE, "o"), (ORANGE, "s"), ("#009E73", "^"), ("#CC79A7", "D"))


def draw_errors(figure: Any, rows: Sequence[Found]) -> None:
    """Points are means over data sets; lines are what theory says of a height, or 1/n at a height fitted."""
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for panel, row, (colour, shape) in zip(panels, rows, STYLES * len(rows), strict=False):
        sizes = [n for n, _, _ in row.errors]
        height = math.exp(sum(math.log(n * mean) for n, mean, _ in row.errors) / len(row.errors))
        told = [height / n if limit is None else limit for n, _, limit in row.errors]
        known = row.errors[0][2] is not None
        panel.loglog(sizes, told, color="0.4", linewidth=1.2, label="theory, c / n" if known else "1 / n")
        panel.loglog(sizes, [mean for _, mean, _ in row.errors], shape, color=colour, markersize=7, label="measured")
        panel.set_title(row.method, fontsize=10)
        panel.set_xlabel("samples")
        panel.set_xticks(sizes, [f"{n:,}" for n in sizes])
        panel.minorticks_off()
        panel.legend(frameon=False, fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("KL(pi* || pi), nats")
