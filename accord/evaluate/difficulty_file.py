"""`--difficulty FILE.json`: how hard each instruction is, and perhaps rows that hold the weights of the regression."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from accord.data.fields import kind
from accord.data.sources import opened
from accord.errors import InputError
from accord.maths.length_control import NONE_HELD, Floats, Held

NUMBERS = "instruction_difficulty"
HELD = "gamed_rows"
COLUMNS = ("index", "tanh_std_delta_len", "preference", "weight")


class Difficulty(NamedTuple):
    """gamma: (G,) by row. held: NONE_HELD where the file has none."""

    gamma: Floats
    held: Held


def read_difficulty(file: str) -> Difficulty:
    """A list of numbers, or an object with them as `instruction_difficulty` and AlpacaEval's `gamed_rows`: `index`,
    `tanh_std_delta_len`, `preference` (0..1) as lists, `weight` as a number or a list. InputError names what is wrong.
    """
    try:
        with opened(file) as found:
            content = json.load(found)
    except FileNotFoundError as error:
        raise InputError("no such file", where=file, fix="check the path") from error
    except (OSError, EOFError, gzip.BadGzipFile, ValueError, RecursionError) as error:
        fix = f"a JSON list of numbers, or an object with {NUMBERS}"
        raise InputError(f"cannot be read as JSON ({error})", where=file, fix=fix) from error
    if isinstance(content, Mapping):
        gamma = _numbers(content.get(NUMBERS), file, NUMBERS)
        return Difficulty(gamma, _held(content.get(HELD), gamma, file))
    return Difficulty(_numbers(content, file, "the list"), NONE_HELD)


def _numbers(values: object, file: str, name: str) -> Floats:
    if not isinstance(values, list) or not values:
        raise InputError(f"{name}: expected a list of numbers, got {kind(values)}", where=file, fix="one by row")
    for place, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{name}[{place}]: expected a number, got {value!r}", where=file, fix="one by row")
    return np.array(values, dtype=np.float64)


def _held(rows: Any, gamma: Floats, file: str) -> Held:
    if rows is None:
        return NONE_HELD
    if not isinstance(rows, Mapping):
        raise InputError(f"{HELD}: expected an object, got {kind(rows)}", where=file, fix=f"lists {', '.join(COLUMNS)}")
    index, lengths, outcome = (_numbers(rows.get(name), file, f"{HELD}.{name}") for name in COLUMNS[:3])
    weight = rows.get("weight", 1.0)
    given = weight if isinstance(weight, list) else [weight] * len(index)
    each = _numbers(given, file, f"{HELD}.weight")
    if len({len(index), len(lengths), len(outcome), len(each)}) > 1:
        raise InputError(f"{HELD}: lists of different lengths", where=file, fix="one entry a row in each")
    if not np.isin(index, np.arange(len(gamma))).all():
        raise InputError(f"{HELD}.index: not all are rows 0 to {len(gamma) - 1}", where=file, fix=f"rows of {NUMBERS}")
    if (outcome < 0).any() or (outcome > 1).any() or (each < 0).any():
        what = f"{HELD}: a preference outside of 0..1, or a weight below 0"
        raise InputError(what, where=file, fix="preference is the chance that the row's own model wins")
    return Held(lengths, gamma[index.astype(np.int64)], outcome, each)
