"""curves.png: the main metrics of a run as small pictures over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
# Okabe and Ito 2008: told apart by colour-blind people. Held-out lines also carry dots.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"


class Panel(NamedTuple):
    """One picture: a training metric, and the held-out metric of the same name with `eval_` before it."""

    metric: str
    title: str
    level: float | None = None  # a line to compare with: where training starts, what chance gives
    from_zero: bool = False  # an amount: its axis starts at 0


PANELS = (
    Panel("loss", "loss (nats)"),
    Panel("bits_per_token", "bits per token"),
    Panel("rewards/accuracies", "accuracy: chosen above rejected", level=0.5),
    Panel("rewards/margins", "reward margin: chosen - rejected", level=0.0),
    Panel("gradient_weight", "gradient weight", level=0.5),
    Panel("objective/scores", "score of the samples"),
    Panel("objective/kl", "KL to the reference (nats a sample)", level=0.0),
    Panel("objective/entropy", "entropy of a sample (nats)", from_zero=True),
    Panel("completions/mean_length", "tokens of a sample", from_zero=True),
    Panel("completions/ended", "share of samples that end", from_zero=True),
    Panel("policy/clipfrac_avg", "share of ratios clipped", from_zero=True),
    Panel("val/explained_variance", "returns explained by the critic", level=0.0),
    Panel("grad_norm", "gradient norm", from_zero=True),
    Panel("learning_rate", "learning rate", from_zero=True),
    Panel("tokens_per_second", "tokens per second", from_zero=True),
)


def draw(lines: Sequence[Mapping[str, Any]], title: str, file: Path, panels: Sequence[Panel] = PANELS) -> bool:
    """Writes the panels that have data as a PNG file; False, and no file, where none has."""
    shown = [panel for panel in panels if _points(lines, panel.metric) or _points(lines, f"eval_{panel.metric}")]
    if not shown:
        return False
    # Here, not above: matplotlib takes half a second. Its Figure alone needs no window.
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows + 0.5), dpi=110, layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, shown, strict=False):
        _draw_panel(axes, panel, lines)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    figure.savefig(file)
    return True


def _draw_panel(axes: Axes, panel: Panel, lines: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    train, held_out = _points(lines, panel.metric), _points(lines, f"eval_{panel.metric}")
    if panel.level is not None:
        axes.axhline(panel.level, color=GREY, linewidth=0.8, linestyle=":")
    if train:
        # A single point has no line; a dot shows it.
        axes.plot(*zip(*train, strict=True), color=BLUE, marker="." if len(train) == 1 else "", label="training")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color=ORANGE, marker="o", markersize=4, label="held out")
        _draw_interval(axes, panel, lines)
        axes.legend(frameon=False, fontsize="small")
    axes.margins(y=0.08)
    axes.set_title(panel.title, fontsize="medium")
    axes.set_xlabel("step", fontsize="small")
    axes.tick_params(labelsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if panel.from_zero:
        axes.set_ylim(bottom=0.0)


def _draw_interval(axes: Axes, panel: Panel, lines: Sequence[Mapping[str, Any]]) -> None:
    low, high = (_points(lines, f"eval_{panel.metric}_{end}") for end in ("low", "high"))
    if low and len(low) == len(high):
        steps, floor = zip(*low, strict=True)
        axes.vlines(steps, floor, [value for _, value in high], color=ORANGE, linewidth=1.2)


def _points(lines: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """(step, value) of the lines that have a finite value under this key (others are null)."""
    return [(line["step"], line[key]) for line in lines if line.get(key) is not None]
