"""What a text looks like, whatever it says: how long it is, and its headers, lists and bold of Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from accord.records import Text

Look = Literal["length", "headers", "lists", "bold"]
LOOKS: tuple[Look, ...] = ("length", "headers", "lists", "bold")
# What is counted, as Chatbot Arena's style control does (Li, Angelopoulos, Chiang 2024, lmsys.org): blocks of code
# hold comments that look like headers, and are left out.
CODE = re.compile(r"```[^`]*```")
MARKS: dict[str, re.Pattern[str]] = {
    "headers": re.compile(r"^#{1,6}\s", re.MULTILINE),
    "lists": re.compile(r"^[ \t]*(?:\d+\.|[-*+])\s", re.MULTILINE),
    "bold": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
}


def looks(content: Text, wanted: Sequence[str]) -> list[float]:
    """How much of each a text has: characters, headers, items of lists, stretches in bold."""
    text = content if isinstance(content, str) else "\n\n".join(turn.content for turn in content)
    bare = CODE.sub("", text) if "```" in text else text
    return [float(len(text)) if name == "length" else float(len(MARKS[name].findall(bare))) for name in wanted]


def difference(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """(a - b) / (a + b) of each, in -1..1; 0 where neither has any."""
    return [(a - b) / (a + b) if a + b else 0.0 for a, b in zip(first, second, strict=True)]
