"""Who answered what, what a judge said of it, and the arrays of it that a win rate is computed from.

Both sources of verdicts end here: files that hold them (accord.evaluate.counted) and judges (accord.evaluate.judges).
AlpacaEval's files of a model's outputs are read and written by accord/data/model_outputs.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.data.verdict_details import characters as characters
from accord.records import Text

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NO_CATEGORY = -1


class Answer(NamedTuple):
    """What one model said to a prompt. text: plain, or the assistant's turns.

    ended: False where it was cut at the most tokens that were asked for; None where that is not known.
    """

    model: str
    text: Text
    ended: bool | None = None


class Matched(NamedTuple):
    """Two answers to one prompt, which a judge is to compare: of the model that is asked about, and of the baseline.

    level: at which value of a setting (a sampling temperature) the first was made; None where there is none.
    """

    id: str
    prompt: Text
    first: Answer
    second: Answer
    category: str | None = None
    level: float | None = None


class Verdict(NamedTuple):
    """outcome: how far the first is better, in 0..1, 1/2 a tie; None: the judge failed, and `failure` says how.

    orders: where a judge was asked in both orders, the outcome for the first model when it was shown first, and when
    it was shown second; None in one of them: that one failed, or was not asked for. asked: False where nobody has said
    anything of the pair, as the cost or the people's time was at its end: it is missing, and has not failed.
    """

    outcome: float | None
    failure: str | None = None
    orders: tuple[float | None, float | None] | None = None
    annotator: str | None = None
    asked: bool = True


@dataclass(frozen=True)
class Verdicts:
    """N verdicts of one model against one baseline. All arrays (N,), but orders (N, 2).

    cluster: the prompt's number, the same for all models of a report, so that they can be paired. length: characters
    of the answers, NaN where they are not known. shown_first: 1 the model's answer stood first, -1 the baseline's,
    0 not known, or both orders were asked for: then `orders` has the outcome of each, NaN where that one failed.
    row: which instruction of the set it is, from 0, by which `--difficulty` finds it. category: the number of a name
    in `categories`, NO_CATEGORY for none. level: of the setting that is compared over, NaN for none.
    failed: the judge gave no verdict. missing: one of the two gave no answer. answer_length: mean characters of all
    answers of the model, also of those without a verdict; NaN: the mean of `length` is all that is known. numbered: the
    data themselves number their instructions; else `row` counts them as they come.
    """

    model: str
    baseline: str
    outcome: Floats
    cluster: Ints
    weight: Floats
    length: Floats
    baseline_length: Floats
    shown_first: Ints
    orders: Floats
    row: Ints
    category: Ints
    level: Floats
    categories: tuple[str, ...] = ()
    failed: int = 0
    missing: int = 0
    answer_length: float = math.nan
    numbered: bool = False

    def __len__(self) -> int:
        return len(self.outcome)

    def at(self, chosen: NDArray[np.bool_] | Ints) -> Verdicts:
        """Those of them; failed and missing belong to all of them and are not taken along."""
        arrays = {one.name: getattr(self, one.name) for one in fields(self)}
        part: dict[str, Any] = {name: value[chosen] for name, value in arrays.items() if isinstance(value, np.ndarray)}
        return replace(self, **part, failed=0, missing=0, answer_length=math.nan)


def verdicts_of(
    matched: Sequence[Matched], said: Sequence[Verdict], asked: Sequence[str] = (), *, missing: int = 0
) -> Verdicts:
    """A judge's verdicts on the answers of one model and one baseline -> arrays. ValueError: not of one model.

    Rows and clusters are the prompts in the order of `asked`, the ids of all of them, so that several models of a table
    have the same numbers; without it, in the order of their coming. A failed verdict is counted and left out.
    """
    models = {(one.first.model, one.second.model) for one in matched}
    if len(models) != 1 or len(matched) != len(said):
        raise ValueError(f"{len(said)} verdicts on {len(matched)} pairs of {len(models)} pairs of models")
    prompts = {id: number for number, id in enumerate(dict.fromkeys([*asked, *(one.id for one in matched)]))}
    names = sorted({one.category for one in matched if one.category is not None})
    pairs = [(one, verdict) for one, verdict in zip(matched, said, strict=True) if verdict.outcome is not None]
    row = np.array([prompts[one.id] for one, _ in pairs], dtype=np.int64)
    category = [NO_CATEGORY if one.category is None else names.index(one.category) for one, _ in pairs]
    return Verdicts(
        *models.pop(),
        outcome=_floats(verdict.outcome for _, verdict in pairs),
        cluster=row,
        weight=np.ones(len(pairs)),
        length=_floats(characters(one.first.text) for one, _ in pairs),
        baseline_length=_floats(characters(one.second.text) for one, _ in pairs),
        shown_first=np.zeros(len(pairs), dtype=np.int64),
        orders=np.array([_orders(verdict) for _, verdict in pairs], dtype=np.float64).reshape(-1, 2),
        row=row,
        category=np.array(category, dtype=np.int64),
        level=_floats(one.level for one, _ in pairs),
        categories=tuple(names),
        failed=len(matched) - len(pairs),
        missing=missing,
        answer_length=float(np.mean([characters(one.first.text) for one in matched])),
    )


def _floats(values: Iterable[float | None]) -> Floats:
    """None becomes NaN."""
    return np.array(list(values), dtype=np.float64)


def _orders(verdict: Verdict) -> tuple[float, float]:
    if verdict.orders is None:
        return math.nan, math.nan
    first, second = (math.nan if one is None else one for one in verdict.orders)
    return first, second
