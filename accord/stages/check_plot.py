"""`accord check --plot FILE.png`: lengths, which side is longer, and the findings, as a picture."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from accord.data.findings import FINDINGS
from accord.data.measures import Measures, Numbers, histogram
from accord.errors import StorageError
from accord.stages.checked import Checked

BARS = 40
INK = {"prompt": "#4c72b0", "completion": "#55a868", "together": "#8c8c8c"}
SEVERITY = {"error": "#c44e52", "warning": "#dd8452"}
NAMES = {"prompt": "prompt", "completion": "completion", "together": "prompt and\nlongest completion"}


def draw(checked: Checked, path: str) -> None:
    """Writes the picture; its kind is that of the ending. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lengths = checked.tokens.lengths if checked.tokens is not None else checked.census.lengths
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{checked.source}: {checked.read:,} rows, checked for accord {checked.stage}", fontsize=11)
    halves: Any = figure.subfigures(2, 1)
    upper, lower = halves
    _draw_lengths(upper.subplots(1, 3), lengths, checked)
    left, right = lower.subplots(1, 2)
    _draw_gaps(left, lengths)
    _draw_findings(right, checked)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot be written ({error})", where=path, fix="check --plot: .png, .pdf or .svg"
        ) from error


def _draw_lengths(panels: Any, lengths: Measures, checked: Checked) -> None:
    """One histogram each; the longest 1 % stand in the last bar."""
    found = lengths.lengths()
    for panel, name in zip(panels, NAMES, strict=True):
        panel.set_title(NAMES[name].replace("\n", " "), fontsize=10)
        panel.set_xlabel(f"{lengths.unit} (the last bar: and more)")
        panel.set_ylabel("completions" if name == "completion" else "groups")
        if name in found:
            _bars(panel, found[name], INK[name])
        if name == "together" and checked.tokens is not None:
            limit = checked.tokens.max_length
            panel.axvline(limit, color=SEVERITY["error"], linewidth=1)
            panel.text(limit, panel.get_ylim()[1], "max_length ", ha="right", va="top", fontsize=8)


def _bars(panel: Any, values: Numbers, colour: str) -> None:
    drawn = histogram(values, bars=BARS)
    starts = np.arange(len(drawn.counts)) * drawn.width
    panel.bar(starts, drawn.counts, width=drawn.width, align="edge", color=colour)
    median = float(np.median(values))
    panel.axvline(median, color="black", linewidth=1, linestyle="--")
    panel.text(median, panel.get_ylim()[1], f" median {median:,.0f}", va="top", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def _draw_gaps(panel: Any, lengths: Measures) -> None:
    """By how much the preferred completion is longer; beside a bar that says how often."""
    gaps, bias = lengths.gaps(), lengths.bias()
    panel.set_title("preferred less other completion", fontsize=10)
    panel.set_xlabel(lengths.unit)
    panel.spines[["top", "right"]].set_visible(False)
    if bias is None:
        panel.text(0.5, 0.5, "no pairs", ha="center", transform=panel.transAxes)
        panel.set_axis_off()
        return
    reach = max(1, int(np.quantile(np.abs(gaps), 0.99)))
    width = max(1, 2 * reach // BARS)
    each_side = reach // width + 1
    edges = width * np.arange(-each_side, each_side + 1)
    counts, _ = np.histogram(np.clip(gaps, edges[0], edges[-1] - 1), edges)
    longer = edges[:-1] >= 0
    for side, name in ((longer, "the preferred one is longer"), (~longer, "the other one is longer")):
        ink = INK["completion"] if side is longer else INK["prompt"]
        panel.bar(edges[:-1][side], counts[side], width=width, align="edge", color=ink, label=name)
    panel.legend(loc="upper left", fontsize=8, frameon=False)
    panel.set_ylabel("pairs")
    panel.axvline(0, color="black", linewidth=1)
    low, high = (100 * end for end in bias.longer_wins.interval)
    says = (
        f"the longer one wins\n{100 * bias.longer_wins.mean:.1f} % ({low:.1f} to {high:.1f} %)\nof {bias.pairs:,} pairs"
    )
    panel.text(0.98, 0.97, says, ha="right", va="top", transform=panel.transAxes, fontsize=9)


def _draw_findings(panel: Any, checked: Checked) -> None:
    """How many of each kind, errors first, on a logarithmic scale."""
    counts = Counter(finding.name for finding in checked.findings)
    severity = {name: FINDINGS[name].severity(checked.stage) for name in counts}
    shown = [name for wanted in SEVERITY for name in FINDINGS if severity.get(name) == wanted]
    panel.set_title("findings", fontsize=10)
    if not shown:
        panel.text(0.5, 0.5, "none", ha="center", transform=panel.transAxes)
        panel.set_axis_off()
        return
    drawn = panel.barh(shown, [counts[name] for name in shown], color=[SEVERITY[severity[name]] for name in shown])
    panel.bar_label(drawn, [f"{severity[name]}: {counts[name]:,}" for name in shown], padding=3, fontsize=8)
    panel.set_xscale("symlog", linthresh=1)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_xlim(0, 12 * max(counts[name] for name in shown))
    panel.invert_yaxis()
    panel.set_xlabel("rows")
    panel.spines[["top", "right"]].set_visible(False)
