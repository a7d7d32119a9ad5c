"""What `accord theory` says: a table of every method in sections, as text, JSON and Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from accord.evaluate.theory.found import Found
from accord.evaluate.theory.world import World

NONE = 1e-12  # nats: rounding
Cells = list[dict[str, str]]


@dataclass(frozen=True)
class Theory:
    """What came of it. Python gets this."""

    worlds: Sequence[World]
    found: Sequence[Found]

    def __repr__(self) -> str:
        return f"<Theory: {self.summary()}>"

    @property
    def wrong(self) -> list[Found]:
        """What is not where it claims to be."""
        return [row for row in self.found if row.verdict != "as claimed"]

    def summary(self) -> str:
        right = len(self.found) - len(self.wrong)
        return f"{right} of {len(self.found)} rows as claimed"

    def sections(self) -> Iterator[tuple[str, Cells]]:
        """A title and its rows, in the order in which kinds came; rows with policies, and rows of other checks."""
        for kind in dict.fromkeys(row.kind for row in self.found):
            rows = [row for row in self.found if row.kind == kind]
            yield kind, [_ended(row) if any(one.reward is not None for one in rows) else _checked(row) for row in rows]

    def to_json(self) -> dict[str, Any]:
        rows = [{key: _plain(value) for key, value in row._asdict().items() if key != "policy"} for row in self.found]
        worlds = [{"name": one.name, "prompts": one.prompts, "completions": one.completions} for one in self.worlds]
        return {"summary": self.summary(), "worlds": worlds, "found": rows}

    def markdown(self) -> str:
        parts = ["# Theory", f"{self.summary()}."]
        for title, cells in self.sections():
            head = list(cells[0])
            lines = [head, ["---"] * len(head), *(list(row.values()) for row in cells)]
            body = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
            parts.append(f"## {title}\n\n{body}")
        return "\n\n".join(parts) + "\n"


def _ended(row: Found) -> dict[str, str]:
    return {
        "method": row.method,
        "world": row.world,
        "KL from pi*": nats(row.kl_from_optimum),
        "KL from claim": nats(row.kl_from_claim),
        "reward": "-" if row.reward is None else f"{row.reward:.3f}",
        "KL to pi_ref": nats(row.kl),
        "verdict": row.verdict,
        "where it ends": row.claim,
        "note": row.note,
    }


def _checked(row: Found) -> dict[str, str]:
    return {
        "method": row.method,
        "world": row.world,
        "claim": row.claim,
        "verdict": row.verdict,
        "measured": row.note,
    }


def nats(value: float | None) -> str:
    """0 for what is rounding, three digits of the rest."""
    if value is None:
        return "-"
    if abs(value) < NONE:
        return "0"
    return "inf" if math.isinf(value) else f"{value:.3g}"


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return "inf" if isinstance(value, float) and math.isinf(value) else value
