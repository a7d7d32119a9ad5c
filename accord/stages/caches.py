"""Where what runs share is kept: the reference's log-probabilities, and the tokens of large data."""

from __future__ import annotations

import os
from pathlib import Path

from accord.data.token_cache import TokenCache
from accord.errors import InputError
from accord.models.store import Store
from accord.stages.setup import say

LIMIT_GB = 10.0  # 1e9 bytes, of each of the two


def store_of(place: str) -> Store | None:
    """The reference's, at a directory; `auto` is the user's own, `none` is None. InputError for a bad limit."""
    root = root_of(place)
    return None if root is None else Store(root, _limit(), say)


def tokens_of(place: str) -> TokenCache | None:
    """That of tokens; the rest as `store_of`."""
    root = root_of(place)
    return None if root is None else TokenCache(root, _limit(), say)


def root_of(place: str) -> Path | None:
    """The directory that a place stands for; None for `none`."""
    place = os.environ.get("ACCORD_CACHE", "") or "auto" if place == "auto" else place
    if place == "none":
        return None
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    root = Path(cache, "accord") if place == "auto" else Path(place)
    return root.expanduser().absolute()


def _limit() -> int:
    """Bytes."""
    asked = os.environ.get("ACCORD_CACHE_MAX_GB") or str(LIMIT_GB)
    try:
        return int(float(asked) * 1e9)
    except (ValueError, OverflowError) as error:
        what = f"{asked!r} is not a number"
        raise InputError(what, where="ACCORD_CACHE_MAX_GB", fix="give gigabytes, as 10") from error
