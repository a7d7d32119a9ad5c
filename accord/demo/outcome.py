"""What the demo found out: all of its summary.json, its table and its page."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from accord.demo.frontier import Bought
from accord.demo.judged import Judged
from accord.demo.measured import Measured


class Outcome(NamedTuple):
    """world: the name of its weights. seconds: of each part, in their order."""

    world: str
    seed: int
    judged: Judged
    bought: Bought
    measured: Measured
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """For summary.json; what is not known is null."""
        found: dict[str, Any] = _plain(self)
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
