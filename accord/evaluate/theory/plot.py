"""`accord theory --plot FILE.png`: pi_ref, pi* and where methods end, side by side; and the frontier with all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from accord.errors import StorageError
from accord.evaluate.theory.errors_plot import draw_errors
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.report import Theory, nats
from accord.evaluate.theory.world import BETA, World
from accord.maths.optimum import frontier, optimum
from accord.training.curves import BLUE, GREY, ORANGE

SHOWN = ("sigmoid", "cdpo", "hinge", "ipo", "sppo_hard", "simpo", "kto", "apo_down")
# Methods named in the frontier, and where their name stands beside the point, in points of type.
LABELLED = {
    "sigmoid": (8, -10), "ipo": (8, -6), "sppo_hard": (8, -6), "simpo": (8, -4), "sigmoid_norm": (-78, 4),
    "robust": (-36, 3), "apo_down": (8, -4), "sft": (8, -6), "discopop": (8, -4), "npo": (8, -6), "kto": (-22, -5),
    "grpo as published": (8, -8), "best of 16": (8, -8), "best of 64": (8, -8),
}  # fmt: skip
# Okabe and Ito's, a colour and a shape for each kind.
KINDS = {
    "pair losses": (BLUE, "o"),
    "losses of labels": ("#E69F00", "s"),
    "losses, modified": ("#56B4E9", "D"),
    "f-divergences": ("#009E73", "^"),
    "reinforcement learning": (ORANGE, "v"),
    "best of n": ("#CC79A7", "P"),
}
BETAS = torch.logspace(2, -2, 300, dtype=torch.float64)


def draw(found: Theory, path: str) -> None:
    """Writes the picture as what its name ends in. StorageError: it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shrinking = [row for row in found.found if row.errors]
    heights = [6.5, 6.5, 4.5] if shrinking else [6.5, 6.5]
    figure = Figure(figsize=(14, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    above, below, *last = parts
    if shrinking:
        draw_errors(last[0], shrinking)
    _draw_policies(above, found)
    panels = below.subplots(1, len(found.worlds), squeeze=False)[0]
    for panel, world in zip(panels, found.worlds, strict=True):
        _draw_frontier(panel, world, [row for row in found.found if row.world == world.name])
    handles, names = panels[0].get_legend_handles_labels()
    below.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot be written ({error})", where=path, fix="check --plot: .png, .pdf or .svg"
        ) from error


def _draw_policies(figure: Any, found: Theory) -> None:
    """Small multiples: of the first world's first prompt, the chance of every completion, the best to the left."""
    world = found.worlds[0]
    rows = {row.method: row for row in found.found if row.world == world.name and row.policy is not None}
    panels = figure.subplots(2, 4, sharex=True, sharey="row")
    figure.suptitle(
        f"Completions of one prompt, the best to the left: pi_ref, pi* at beta {BETA:g}, and where losses end"
    )
    order = world.reward[0].argsort(descending=True)
    best = optimum(world.reference, world.reward, beta=BETA)[0][order].exp()
    place = torch.arange(len(order)).tolist()
    for index, name in enumerate(SHOWN):
        panel = panels[index // 4][index % 4]
        panel.bar(place, world.reference[0][order].exp(), width=0.9, color="#d0d0d0", label="pi_ref")
        if (row := rows.get(name)) is not None and row.policy is not None:
            panel.bar(place, row.policy[0][order].exp(), width=0.5, color=BLUE, label="where it ends")
            panel.set_title(f"{name}: {nats(row.kl_from_optimum)} nats from pi*", fontsize=10)
        panel.step([p - 0.5 for p in [*place, len(place)]], [*best, best[-1]], where="post", color=ORANGE, label="pi*")
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xticks(place, [world.completions[y] for y in order.tolist()], rotation=90, fontsize=7)
        if index % 4 == 0:
            panel.set_ylabel("chance")
    panels[0][3].legend(frameon=False, fontsize=9)


def _draw_frontier(panel: Any, world: World, rows: Sequence[Found]) -> None:
    """The most reward for each KL, and every method."""
    curve = frontier(world.reference, world.reward, BETAS)
    panel.plot(
        curve.kl.mean(-1), curve.reward.mean(-1), color="0.2", linewidth=1.5, label="the frontier, pi* of any beta"
    )
    for kind, (colour, shape) in KINDS.items():
        points = [(row.kl, row.reward) for row in rows if row.kind == kind and row.kl is not None]
        if points:
            panel.plot(
                *zip(*points, strict=True), shape, color=colour, markersize=6, alpha=0.8, label=kind, linestyle=""
            )
    for row in rows:
        if (beside := LABELLED.get(row.method)) and row.kl is not None and row.reward is not None:
            at = (row.kl, row.reward)
            panel.annotate(row.method, at, beside, textcoords="offset points", fontsize=8, color="0.25")
    panel.axhline(0, color=GREY, linewidth=0.8)
    panel.set_xlabel("KL(pi || pi_ref), nats")
    panel.set_ylabel("expected reward")
    panel.set_title(f"{world.name} world, {len(world.completions)} completions", fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
