"""`accord losses`: the losses of `accord dpo` and `accord reward`, as the tables have them."""

from __future__ import annotations

from typing import Any

from accord.data.take import Kind
from accord.maths.pair import hyperparameters
from accord.maths.reward import REWARD_LOSSES
from accord.stages import loss_names
from accord.stages.config import LossesConfig
from accord.stages.losses import TABLES
from accord.stages.setup import Given
from accord.stages.tables import show, written

OF: dict[Kind, str] = {"pairs": "comparisons", "labels": "labelled completions", "rankings": "rankings"}


def run(config: LossesConfig, given: Given) -> list[dict[str, Any]]:
    """Prints them; gives the rows."""
    rows = [
        {
            "stage": "dpo",
            "name": name,
            "learns_from": OF[kind],
            "in_words": loss_names.NAMES[name],
            "options": hyperparameters(row.loss),
            "reference": "yes" if row.needs_reference else "no",
            "source": row.source,
            "implicit_reward": row.implicit_reward,
            "optimum": row.optimum,
        }
        for kind, table in TABLES.items()
        for name, row in table.items()
    ]
    rows += [_of_rewards(name) for name in REWARD_LOSSES]
    if not written(rows, config.table.json):
        for of in OF.values():
            chosen = [row for row in rows if (row["stage"], row["learns_from"]) == ("dpo", of)]
            show([_short(row) for row in chosen], title=f"losses of {of}")
        print("Each is a command: accord simpo. What they compute and where they end: --json -, or docs/losses.md.\n")
        show([_short(row) for row in rows if row["stage"] == "reward"], title="losses of reward models (accord reward)")
    return rows


def _of_rewards(name: str) -> dict[str, Any]:
    row = REWARD_LOSSES[name]
    return {
        "stage": "reward",
        "name": name,
        "learns_from": "rankings" if row.of == "rankings" else "comparisons",
        "in_words": loss_names.REWARDS[name],
        "options": hyperparameters(row.loss),
        "reference": "no",
        "source": row.source,
        "implicit_reward": "the score itself",
        "optimum": row.optimum,
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    if row["stage"] == "reward":
        return {"name": row["name"], "in words": row["in_words"], "options": row["options"]}
    name = row["name"] if row["reference"] == "yes" else f"{row['name']} *"
    return {"name (* no reference)": name, "in words": row["in_words"], "options": row["options"]}
