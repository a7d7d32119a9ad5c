"""The tables of docs/losses.md, made from the tables of losses. `python tests/losses_page.py` writes them anew."""

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from accord.maths.f_divergence import DIVERGENCES
from accord.maths.pair import hyperparameters
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.reward import REWARD_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "losses.md"
COLUMNS = ["loss_type", "loss", "numbers and their defaults", "reference", "implicit reward", "ends in", "source"]


def formula(function: Callable[..., Any]) -> str:
    """The first paragraph of a docstring, without shapes before it and the full stop after."""
    first = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    return re.sub(r"^\([PCQ],\) ", "", first).rstrip(".")


def defaults(function: Callable[..., Any]) -> str:
    return ", ".join(f"`{name}` {value:g}" for name, value in hyperparameters(function).items()) or "none"


def line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def loss_table(rows: dict[str, Any]) -> str:
    body = [
        line(
            [
                f"`{name}`" + (" (coupled)" if row.coupled else ""),
                f"`{formula(row.loss)}`",
                defaults(row.loss),
                "yes" if row.needs_reference else "no",
                f"`{row.implicit_reward}`",
                row.optimum,
                row.source,
            ]
        )
        for name, row in rows.items()
    ]
    return "\n".join([line(COLUMNS), "|" + "---|" * len(COLUMNS), *body])


def reward_table() -> str:
    columns = ["loss", "formula", "numbers and their defaults", "margins", "soft labels", "ends in", "source"]
    body = [
        line(
            [
                f"`{name}`",
                f"`{formula(row.loss)}`",
                defaults(row.loss),
                "yes" if row.margins else "no",
                "yes" if row.soft else "no",
                row.optimum,
                row.source,
            ]
        )
        for name, row in REWARD_LOSSES.items()
    ]
    return "\n".join([line(columns), "|" + "---|" * len(columns), *body])


def divergence_table() -> str:
    columns = ["f_divergence_type", "score", "numbers and their defaults", "pi / pi_ref where it ends"]
    body = [
        line([f"`{name}`", f"`{formula(row.score)}`", defaults(row.score), f"`{row.optimum}`"])
        for name, row in DIVERGENCES.items()
    ]
    able = ", ".join(f"`{name}`" for name, row in PAIR_LOSSES.items() if row.divergence)
    return "\n".join([line(columns), "|" + "---|" * len(columns), *body, "", f"Losses that take one: {able}."])


def tables() -> dict[str, str]:
    """Name of a table -> its Markdown."""
    return {
        "pairs": loss_table(PAIR_LOSSES),
        "single": loss_table(UNPAIRED_LOSSES),
        "rankings": loss_table(RANKING_LOSSES),
        "divergences": divergence_table(),
        "rewards": reward_table(),
    }


def renewed(page: str) -> str:
    """The page with each stretch between `<!-- table: NAME -->` and `<!-- end -->` made anew."""
    for name, table in tables().items():
        start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        before, _, rest = page.partition(start)
        assert rest, f"docs/losses.md has no place for the table {name}"
        page = before + start + "\n" + table + "\n\n" + end + rest.partition(end)[2]
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
