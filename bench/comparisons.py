"""The real comparisons that all is measured on. Imports nothing large: a child's peak counts from its parent's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from cases import K


def rows(source: Path) -> Iterator[dict[str, Any]]:
    """The comparisons without flags: both sides one answer to a well-formed conversation."""
    with gzip.open(source, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if not row["flags"]:
                yield {name: row[name] for name in ("prompt", "chosen", "rejected")}


def rankings(source: Path, letters: int = 1_000) -> Iterator[dict[str, Any]]:
    """Groups of K different completions, each cut to its first letters, in a strict order: ties go by place.

    With ties there would be fewer pairs, and the same tokens.
    """
    with gzip.open(source, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            completions = [text[:letters] for text in row["completions"]]
            if len(set(completions)) == K and all(text.strip() for text in completions):
                order = sorted(range(K), key=lambda i: (row["ranks"][i], i))
                ranks = [order.index(i) + 1 for i in range(K)]
                yield {"prompt": row["prompt"], "completions": completions, "ranks": ranks}


def pairs_of(row: dict[str, Any]) -> Iterator[dict[str, str]]:
    """All C(K,2) pairs of a ranking, as rows of comparisons."""
    for i, j in combinations(range(K), 2):
        better, worse = (i, j) if row["ranks"][i] < row["ranks"][j] else (j, i)
        texts = row["completions"]
        yield {"prompt": row["prompt"], "chosen": texts[better], "rejected": texts[worse]}
