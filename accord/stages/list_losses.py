"""`accord losses`: the losses of `accord dpo`, as the tables have them."""

from __future__ import annotations

from typing import Any

from accord.maths.pair import hyperparameters
from accord.stages import loss_names
from accord.stages.config import LossesConfig
from accord.stages.losses import TABLES
from accord.stages.setup import Given
from accord.stages.tables import show

OF = {"pairs": "comparisons", "labels": "labelled completions", "rankings": "rankings"}


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
    shown = rows if config.table.json == "-" else [_short(row) for row in rows]
    show(shown, title="The losses of accord dpo; each is a command, too: accord simpo", where=config.table.json)
    return rows


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("name", "learns_from", "in_words", "options", "reference")}
