"""The real comparisons that all is measured on. Imports nothing large: a child's peak counts from its parent's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def rows(source: Path) -> Iterator[dict[str, Any]]:
    """The comparisons without flags: both sides one answer to a well-formed conversation."""
    with gzip.open(source, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if not row["flags"]:
                yield {name: row[name] for name in ("prompt", "chosen", "rejected")}
