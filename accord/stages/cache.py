"""`accord cache`: what is kept of reference log-probabilities, and its removal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from accord.errors import InputError, StorageError
from accord.models.store import Entry, remove
from accord.stages.config import CacheConfig
from accord.stages.score_all import store_of
from accord.stages.setup import Given, say
from accord.stages.tables import show

DAY = 86_400.0  # seconds


def run(config: CacheConfig, given: Given) -> list[dict[str, Any]]:
    """Prints a row a model, the one used last first, and removes what it lists where asked to; gives the rows."""
    options = config.cache
    store = store_of(options.reference_cache)
    if store is None:
        raise InputError("none is no directory", where="reference_cache", fix="name the directory, or leave it out")
    latest = float("inf") if options.older_than is None else time.time() - options.older_than * DAY
    try:
        entries = [entry for entry in store.entries() if entry.used <= latest]
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise StorageError(what, where=str(store.root), fix="check who owns it") from error
    rows = _by_model(entries)
    title = f"{store.root}: {_megabytes(entries):,} of at most {store.limit / 1e6:,.0f} MB"
    show(rows, title=f"{title}, to be removed" if options.clear else title, where=config.table.json)
    if options.clear:
        try:
            freed = remove(entries)
            store.sweep()
        except OSError as error:
            what = f"cannot be removed ({error.strerror or error})"
            raise StorageError(what, where=str(store.root), fix="check who owns it") from error
        say(f"{len(rows)} models removed, {freed / 1e6:,.1f} MB freed")
    return rows


def _by_model(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    found = []
    for key, held in groupby(sorted(entries, key=attrgetter("key", "used")), key=attrgetter("key")):
        files = list(held)
        found.append((files[-1].used, _row(key, files)))
    return [row for _, row in sorted(found, key=lambda one: one[0], reverse=True)]


def _row(key: str, files: Sequence[Entry]) -> dict[str, Any]:
    newest = files[-1]
    return {
        "model": newest.about.get("name", ""),
        "key": key[:12],
        "dtype": newest.about.get("dtype", ""),
        "groups": sum(entry.groups for entry in files),
        "tokens": sum(entry.tokens for entry in files),
        "megabytes": _megabytes(files),
        "last_used": time.strftime("%Y-%m-%d %H:%M", time.localtime(newest.used)),
    }


def _megabytes(entries: Sequence[Entry]) -> float:
    return round(sum(entry.size for entry in entries) / 1e6, 3)
