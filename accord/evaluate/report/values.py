"""Values out of JSON that somebody may have edited: of the wanted kind, or nothing; and how people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

Json = Mapping[str, Any]
SHARES = (
    "rewards/accuracies", "mean_token_accuracy", "accuracy", "zero_one_loss", "all_right", "completions/ended",
    "policy/clipfrac_avg", "tokens_saved",
)  # fmt: skip


def number(value: object) -> float | None:
    """A finite number, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def mapping(value: object) -> Json:
    """An object of JSON, anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def rows(value: object) -> list[Json]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def words(value: object) -> list[str]:
    """The texts of a list."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def ends(value: object) -> tuple[float, float] | None:
    """The two ends of an interval."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        low, high = map(number, value)
        return None if low is None or high is None else (low, high)
    return None


def figure(value: float) -> str:
    """Four digits, and never 1e+05."""
    size = abs(value)
    if size >= 1000 or (value == int(value) and size >= 1):
        return f"{value:,.0f}"
    if size >= 1:
        return f"{value:.{3 - int(math.log10(size))}f}"
    return "0" if value == 0 else f"{value:.4f}" if size >= 0.01 else f"{value:.3g}"


def percent(value: float) -> str:
    """Of a share."""
    return f"{100 * value:.1f} %"


def shown(name: str, value: float) -> str:
    """A figure by its name in the log: shares in percent."""
    return percent(value) if name in SHARES else figure(value)


def with_interval(name: str, value: object) -> str:
    """{"mean": ..., "interval": [low, high]} in two lines; empty where nothing is known."""
    found = mapping(value)
    mean, interval = number(found.get("mean")), ends(found.get("interval"))
    if mean is None:
        return ""
    if interval is None or interval[0] == interval[1]:
        return shown(name, mean)
    low, high = (shown(name, end).removesuffix(" %") for end in interval)
    return f"{shown(name, mean)}\n{low} to {high}"


def seconds(value: float | None) -> str:
    """12.3 s, 5 min 2 s, 3 h 20 min."""
    if value is None:
        return ""
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
