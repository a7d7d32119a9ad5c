"""`accord losses`: the losses of `accord dpo`, as the tables have them."""

from __future__ import annotations

from typing import Any

from accord.data.take import Kind
from accord.maths.pair import hyperparameters
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
    if not written(rows, config.table.json):
        for of in OF.values():
            show([_short(row) for row in rows if row["learns_from"] == of], title=f"losses of {of}")
        print("Each is a command: accord simpo. What they compute and where they end: --json -, or docs/losses.md.")
    return rows


def _short(row: dict[str, Any]) -> dict[str, Any]:
    name = row["name"] if row["reference"] == "yes" else f"{row['name']} *"
    return {"name (* no reference)": name, "in words": row["in_words"], "options": row["options"]}
