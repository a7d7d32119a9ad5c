"""The picture of a classifier's report: is it as sure as it should be, and what does it take for what?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from accord.errors import StorageError
from accord.maths.calibration import Calibration
from accord.stages.classify_report import ClassReport

INK = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")
MOST = 20  # labels that are drawn


def draw(report: ClassReport, path: str) -> None:
    """Writes the picture; its kind is that of the ending. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    mean, (low, high) = report.accuracy.mean, report.accuracy.interval
    between = f" ({100 * low:.1f} to {100 * high:.1f} %)" if math.isfinite(low) else ""
    figure.suptitle(f"{report.texts:,} held-out texts: accuracy {100 * mean:.1f} %{between}", fontsize=11)
    panels: Any = figure.subplots(1, 2)
    _reliability(panels[0], report)
    if report.table is None or len(report.table) > MOST:
        _areas(panels[1], report)
    else:
        _confusion(panels[1], report, report.table)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot be written ({error})", where=path, fix="check --output_dir") from error


def _reliability(panel: Any, report: ClassReport) -> None:
    """How often what was said with a probability is true, with intervals."""
    panel.plot([0, 1], [0, 1], color="#8c8c8c", linewidth=1, linestyle="--")
    if report.several:
        curves = [(label.name, label.calibration) for label in report.labels[: len(INK)]]
    else:
        name = report.labels[1].name if len(report.labels) == 2 else "what is said"
        curves = [(name, report.calibration)]
    for ink, (name, curve) in zip(INK, curves, strict=False):
        _curve(panel, curve, ink, name)
    panel.set_title(f"calibration: expected error {report.calibration.ece:.3f}", fontsize=10)
    panel.set_xlabel("probability that was said")
    panel.set_ylabel("how often it was true")
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.legend(loc="upper left", fontsize=8, frameon=False)
    panel.spines[["top", "right"]].set_visible(False)


def _curve(panel: Any, curve: Calibration, ink: str, name: str) -> None:
    some = curve.count > 0
    said, happened = curve.probability[some], curve.frequency[some]
    reach = np.abs(curve.interval[some].T - happened).clip(min=0)
    panel.errorbar(said, happened, yerr=reach, color=ink, marker="o", markersize=4, linewidth=1, capsize=2, label=name)


def _confusion(panel: Any, report: ClassReport, table: Any) -> None:
    """Of each true label, the share that each label was said of."""
    names = [label.name for label in report.labels]
    total = table.sum(1, keepdims=True)
    share = np.divide(table, total, out=np.zeros_like(table), where=total > 0)
    panel.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        ink = "white" if value > 0.6 else "black"
        panel.text(column, row, f"{100 * value:.0f} %", ha="center", va="center", color=ink, fontsize=8)
    panel.set_xticks(range(len(names)), names, rotation=45 if len(names) > 4 else 0, fontsize=8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_xlabel("said")
    panel.set_ylabel("true")
    panel.set_title("what is taken for what", fontsize=10)


def _areas(panel: Any, report: ClassReport) -> None:
    """The area under the ROC curve of each label, with its interval."""
    labels = [label for label in report.labels if math.isfinite(label.auc.mean)][:MOST]
    panel.set_title("area under the ROC curve (0.5 is guessing)", fontsize=10)
    for place, label in enumerate(labels):
        low, high = label.auc.interval
        panel.plot([low, high], [place, place], color=INK[0], linewidth=2)
        panel.plot(label.auc.mean, place, marker="o", color=INK[0])
    panel.axvline(0.5, color="#8c8c8c", linewidth=1, linestyle="--")
    panel.set_yticks(range(len(labels)), [label.name for label in labels], fontsize=8)
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    panel.spines[["top", "right"]].set_visible(False)
