"""`accord cache`: what is kept of reference log-probabilities and of tokens, and its removal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from accord.data import token_cache
from accord.errors import InputError, StorageError
from accord.models import store
from accord.stages.caches import store_of, tokens_of
from accord.stages.config import CacheConfig
from accord.stages.setup import Given, say
from accord.stages.tables import show, written

DAY = 86_400.0  # seconds


def run(config: CacheConfig, given: Given) -> list[dict[str, Any]]:
    """Prints a row for each model and each data set, the one used last first, and removes what it lists where asked to.

    Gives the rows.
    """
    options = config.cache
    values, tokens = store_of(options.reference_cache), tokens_of(options.reference_cache)
    if values is None or tokens is None:
        raise InputError("none is no directory", where="reference_cache", fix="name the directory, or leave it out")
    latest = float("inf") if options.older_than is None else time.time() - options.older_than * DAY
    try:
        kept = [entry for entry in values.entries() if entry.used <= latest]
        data = [entry for entry in tokens.entries() if entry.used <= latest]
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise StorageError(what, where=str(values.root), fix="check who owns it") from error
    rows = [*_by_model(kept), *map(_data_row, reversed(data))]
    title = f"{values.root}: {_megabytes([*kept, *data]):,} MB, of each kind at most {values.limit / 1e6:,.0f}"
    if not written(rows, config.table.json):
        show([_shown(row) for row in rows], title=f"{title}, to be removed" if options.clear else title)
    if options.clear:
        try:
            freed = store.remove(kept) + token_cache.remove(data)
            values.sweep()
            tokens.sweep()
        except OSError as error:
            what = f"cannot be removed ({error.strerror or error})"
            raise StorageError(what, where=str(values.root), fix="check who owns it") from error
        what = f"{len(rows) - len(data)} models and {len(data)} data sets removed"
        say(f"{what}, {freed / 1e6:,.1f} MB freed")
    return rows


def _by_model(entries: Sequence[store.Entry]) -> list[dict[str, Any]]:
    found = []
    for key, held in groupby(sorted(entries, key=attrgetter("key", "used")), key=attrgetter("key")):
        files = list(held)
        found.append((files[-1].used, _model_row(key, files)))
    return [row for _, row in sorted(found, key=lambda one: one[0], reverse=True)]


def _model_row(key: str, files: Sequence[store.Entry]) -> dict[str, Any]:
    """Reference log-probabilities of one model."""
    newest = files[-1]
    return {
        "kept": "reference",
        "of": newest.about.get("name", ""),
        "key": key[:12],
        "dtype": newest.about.get("dtype", ""),
        "groups": sum(entry.groups for entry in files),
        "tokens": sum(entry.tokens for entry in files),
        "megabytes": _megabytes(files),
        "last_used": _when(newest.used),
    }


def _data_row(entry: token_cache.Entry) -> dict[str, Any]:
    """Tokens of one data set."""
    about = entry.about
    counts = {"groups": about.get("groups", 0), "tokens": about.get("tokens", 0)}
    named = {"kept": "tokens", "of": about.get("data", ""), "key": entry.key[:12], "dtype": ""}
    return {**named, **counts, "megabytes": _megabytes([entry]), "last_used": _when(entry.used)}


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as a narrow terminal can hold it."""
    return {
        "kept": row["kept"],
        "of": f"{row['of']} {row['dtype']}".strip(),
        "key": row["key"][:8],
        "groups": row["groups"],
        "tokens": row["tokens"],
        "MB": row["megabytes"],
        "last_used": row["last_used"].split(" ")[0],
    }


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _megabytes(entries: Sequence[store.Entry | token_cache.Entry]) -> float:
    return round(sum(entry.size for entry in entries) / 1e6, 3)
