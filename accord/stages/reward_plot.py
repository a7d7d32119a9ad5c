"""The report on a reward model as a picture: accuracy, calibration, scores, and what they have to do with length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from accord.errors import StorageError
from accord.maths.calibration import Calibration
from accord.maths.correlation import within
from accord.maths.statistics import Estimate
from accord.stages.reward_figures import Part
from accord.stages.reward_report import RewardReport
from accord.stages.tables import visible

BARS = 40
POINTS = 3_000  # of the cloud of lengths and scores, at most
ROWS = 8  # of one panel
NAME = 24  # characters of a row's name
TRENDS = 10  # parts of equal size that the lengths are cut into
MODEL, OTHER, BESIDE, LINE = "#4c72b0", "#dd8452", "#8c8c8c", "#c44e52"
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind a number that may lie on the line of chance


def draw(report: RewardReport, path: str) -> None:
    """Writes the picture; its kind is that of the ending. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    pairs, groups = report.accuracy.pairs, report.columns.groups
    figure.suptitle(f"{pairs:,} pairs of {groups:,} groups; intervals of 95 %, by group", fontsize=11)
    (first, second, third), (fourth, fifth, sixth) = figure.subplots(2, 3)
    for panel in (first, second, third, fourth, fifth, sixth):
        panel.spines[["top", "right"]].set_visible(False)
    _draw_accuracy(first, report)
    _draw_reliability(second, report.probabilities.calibration)
    _draw_scores(third, report)
    for panel, (title, parts) in zip((fourth, fifth), _parted(report), strict=True):
        _draw_parts(panel, title, parts[:ROWS])
    _draw_lengths(sixth, report)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        fix = "a file that can be written to, ending in .png, .pdf or .svg"
        raise StorageError(f"cannot be written ({error})", where=path, fix=fix) from error


def _nothing(panel: Any, text: str) -> None:
    panel.text(0.5, 0.5, text, ha="center", transform=panel.transAxes)
    panel.set_axis_off()


def _draw_accuracy(panel: Any, report: RewardReport) -> None:
    """The model beside what needs none, and what people reach on what several of them judged."""
    accuracy, ceiling = report.accuracy, report.ceiling
    panel.set_title("pair accuracy", fontsize=10)
    if not accuracy.pairs:
        _nothing(panel, "no pairs")
        return
    rows = [("model", accuracy.model, MODEL), ("longer wins", accuracy.longer_wins, BESIDE)]
    if accuracy.longer_wins.mean < 0.5:
        rows.append(("shorter wins", accuracy.shorter_wins, BESIDE))
    if ceiling is not None and np.isfinite(ceiling.person.mean):
        rows += [("two people\nagree", ceiling.person, OTHER), ("model with\none of them", ceiling.model, MODEL)]
    names, estimates, colours = zip(*rows, strict=True)
    _draw_estimates(panel, names, estimates, colours)


def _draw_estimates(panel: Any, names: Sequence[str], estimates: Sequence[Estimate], colours: Sequence[str]) -> None:
    """Shares as points with their intervals, one below the other; one half is chance."""
    for place, (estimate, colour) in enumerate(zip(estimates, colours, strict=True)):
        low, high = estimate.interval
        if np.isfinite(low):
            panel.plot([low, high], [place, place], color=colour, linewidth=2)
        panel.plot(estimate.mean, place, "o", color=colour)
        said = f"{100 * estimate.mean:.1f} %"
        panel.text(estimate.mean, place - 0.12, said, ha="center", va="bottom", fontsize=8, bbox=WHITE)
    panel.axvline(0.5, color="black", linewidth=1, linestyle="--")
    panel.text(0.5, -0.6, " chance", fontsize=8, va="center")
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_ylim(len(names) - 0.4, -0.8)
    panel.set_xlim(-0.02, 1.02)
    panel.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")


def _draw_reliability(panel: Any, found: Calibration) -> None:
    """How often the higher-scored one is better, against what sigma of the difference says; size: how many pairs."""
    panel.set_title(f"calibration: expected error {found.ece:.3f} (by chance {found.ece_by_chance:.3f})", fontsize=10)
    held = found.count > 0
    if not held.any():
        panel.set_title("calibration", fontsize=10)
        _nothing(panel, "no pairs")
        return
    said, happened = found.probability[held], found.frequency[held]
    panel.plot([0.5, 1], [0.5, 1], color="black", linewidth=1, linestyle="--")
    panel.vlines(said, *found.interval[held].T, color=MODEL, linewidth=1.5)
    size = 12 + 120 * found.count[held] / found.count.max()
    panel.scatter(said, happened, s=size, color=MODEL, zorder=3)
    panel.set_xlim(0.48, 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.set_xlabel("sigma(difference of the scores)", fontsize=9)
    panel.set_ylabel("right", fontsize=9)


def _draw_scores(panel: Any, report: RewardReport) -> None:
    """Histograms on one scale; the outermost half per cent stands in the last bars."""
    decided, scores = report.decided, report.columns.completions.score
    panel.set_title("scores", fontsize=10)
    if not len(scores):
        _nothing(panel, "no completions")
        return
    low, high = np.quantile(scores, (0.005, 0.995))
    edges = np.linspace(low, high if high > low else low + 1, BARS + 1)
    sides = (("chosen", decided.first, MODEL), ("rejected", decided.first - decided.gap, OTHER))
    if report.accuracy.pairs:
        for name, values, colour in sides:
            _histogram(panel, values, decided.weight, edges, name, colour)
        panel.legend(fontsize=8, frameon=False)
    else:
        _histogram(panel, scores, np.ones(len(scores)), edges, "completions", MODEL)
    panel.set_ylabel("share", fontsize=9)
    panel.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")


def _histogram(panel: Any, values: Any, weight: Any, edges: Any, name: str, colour: str) -> None:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges, weights=weight / weight.sum())
    panel.stairs(counts, edges, fill=True, color=colour, alpha=0.45, label=name)
    panel.axvline(float(values @ weight / weight.sum()), color=colour, linewidth=1.5)


def _parted(report: RewardReport) -> Sequence[tuple[str, Sequence[Part]]]:
    """Two ways to part the pairs: what the data say of how much better the one is, categories, length, the scores."""
    named = [("category", report.by_category)] if report.by_category else []
    always = [("tokens that the better one is longer", report.by_length), ("difference of the scores", report.by_gap)]
    return [*list(report.by_lead.items())[:1], *named, *always][:2]


def _draw_parts(panel: Any, title: str, parts: Sequence[Part]) -> None:
    """Accuracy of each part; a cross: "longer wins"."""
    panel.set_title(f"accuracy by {title}", fontsize=10)
    if not parts:
        _nothing(panel, "none")
        return
    names = [f"{visible(part.name)[:NAME]}\n{part.pairs:,} pairs" for part in parts]
    _draw_estimates(panel, names, [part.model for part in parts], [MODEL] * len(parts))
    crosses = [part.longer_wins for part in parts]
    panel.plot(crosses, range(len(parts)), "x", color=BESIDE, label="longer wins")
    panel.legend(loc="lower left", fontsize=8, frameon=False)


def _draw_lengths(panel: Any, report: RewardReport) -> None:
    """Scores against tokens, both less the mean of their group."""
    completions, r = report.columns.completions, report.lengths.within
    panel.set_title("length and score within groups", fontsize=10)
    if not np.isfinite(r.mean):
        _nothing(panel, "lengths or scores do not vary")
        return
    several = np.bincount(completions.group)[completions.group] > 1
    group = completions.group[several]
    length, score = (within(column[several], group) for column in (completions.length, completions.score))
    every = max(1, len(group) // POINTS)
    panel.plot(length[::every], score[::every], ".", color=MODEL, markersize=3, alpha=0.35, markeredgewidth=0)
    parts = np.array_split(np.argsort(length, kind="stable"), TRENDS)
    means = [(length[part].mean(), score[part].mean()) for part in parts if len(part)]
    panel.plot(*np.array(means).T, "o-", color=LINE, markersize=4, linewidth=1.5, label="mean of a tenth")
    panel.set_xlim(*np.quantile(length, (0.005, 0.995)))
    panel.set_xlabel("tokens less the group's mean", fontsize=9)
    panel.set_ylabel("score less the group's mean", fontsize=9)
    ends = f" ({r.interval.low:+.2f} to {r.interval.high:+.2f})" if np.isfinite(r.interval.low) else ""
    panel.text(0.98, 0.03, f"r = {r.mean:+.2f}{ends}", ha="right", va="bottom", transform=panel.transAxes, fontsize=8)
    panel.legend(loc="upper left", fontsize=8, frameon=False)
