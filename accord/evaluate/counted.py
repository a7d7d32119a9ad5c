"""Verdicts that files hold -> arrays: of each model against the baseline, all together, by category or by setting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.data.tally import Tally
from accord.errors import InputError
from accord.evaluate.verdicts import NO_CATEGORY, Floats, Ints, Verdicts
from accord.maths.comparisons import Comparisons
from accord.stages.winrate_options import ComparedOptions

NAMED = 12  # models that an error names
ALPACA_EVAL = {"preference"}  # the one format of data whose lengths go by AlpacaEval's rule
Mask = NDArray[np.bool_]


class Part(NamedTuple):
    """A category, or one value of a setting, or everything: the verdicts of each model in it."""

    category: str | None
    level: float | None
    many: list[Verdicts]


class Wanted(NamedTuple):
    """What is asked of the data. models: none are all. first: of several verdicts on one prompt only the first."""

    models: Sequence[str]
    options: ComparedOptions
    first: bool
    name: str  # of the data


@dataclass(frozen=True)
class _Table:
    """N comparisons with the baseline, as the other model sees them. All (N,); outcome NaN: not judged."""

    model: Ints
    outcome: Floats
    cluster: Ints
    weight: Floats
    length: Floats
    baseline_length: Floats
    shown_first: Ints
    level: Floats
    row: Ints
    category: Ints

    def at(self, chosen: Mask | Ints) -> _Table:
        return _Table(**{one.name: getattr(self, one.name)[chosen] for one in fields(self)})


class _Known(NamedTuple):
    """What holds of all parts."""

    models: tuple[str, ...]
    baseline: str
    categories: tuple[str, ...]
    alpaca_eval: bool
    numbered: bool


def counted(tally: Tally, kept: Mask, wanted: Wanted) -> list[Part]:
    """kept: (N,) of the tally's comparisons. InputError: no such model, no baseline that is clear, or no category."""
    data = tally.comparisons(kept, "prompt")
    baseline = _baseline(data, tally, wanted)
    alpaca_eval = tally.formats == ALPACA_EVAL
    table, numbered = _turned(data, tally.category(kept), data.models.index(baseline))
    if not alpaca_eval:  # there it is a row of the leaderboard
        table = table.at(table.model != data.models.index(baseline))
    if wanted.first:
        table = _first(table)
    known = _Known(data.models, baseline, tuple(tally.categories), alpaca_eval, numbered)
    models = _models(table, known, wanted)
    return [
        Part(category, level, [_verdicts(table.at(part), known, model) for model in models])
        for category, level, part in _parts(table, known, wanted)
    ]


def _baseline(data: Comparisons, tally: Tally, wanted: Wanted) -> str:
    names, against = data.models, wanted.options.against
    for name in (*wanted.models, *([against] if against is not None else [])):
        if name not in names:
            key = "against" if name == against else "model"
            raise InputError(f"no model {name!r} in {wanted.name}", where=key, fix=f"one of {_shown(sorted(names))}")
    if against is not None:
        return against
    generators = np.unique(data.first)
    if tally.formats == ALPACA_EVAL and len(generators) == 1:
        return names[int(generators[0])]
    asked = [names.index(name) for name in wanted.models]
    about = np.isin(data.first, asked) | np.isin(data.second, asked) if asked else np.ones(len(data.first), dtype=bool)
    first, second = data.first[about], data.second[about]
    always = [i for i in range(len(names)) if i not in asked and bool(((first == i) | (second == i)).all())]
    if not always:
        what = f"{len(names)} models, and none was compared with all others, so which is the baseline is not clear"
        raise InputError(what, where=wanted.name, fix=f"--against, one of {_shown(sorted(names))}")
    return names[int(second[0])] if len(always) > 1 else names[always[0]]


def _turned(data: Comparisons, category: Ints, baseline: int) -> tuple[_Table, bool]:
    """(the comparisons with the baseline as the other model sees them, whether the data number their instructions)"""
    chosen = (data.first == baseline) | (data.second == baseline)
    turned = data.first[chosen] == baseline
    first_length, second_length, shown, level, instruction = data.style[chosen].T  # Details
    shown_first = np.where(turned, -shown, shown).astype(np.int64)
    model = np.where(turned, data.second[chosen], data.first[chosen])
    prompts = np.unique(data.cluster[chosen], return_inverse=True)[1].astype(np.int64)
    numbered = bool(len(instruction)) and not np.isnan(instruction).any()
    table = _Table(
        model=model,
        outcome=np.where(turned, 1 - data.outcome[chosen], data.outcome[chosen]),
        cluster=prompts,
        weight=data.weight[chosen],
        length=np.where(turned, second_length, first_length),
        baseline_length=np.where(turned, first_length, second_length),
        shown_first=np.where(model == baseline, 0, shown_first),
        level=level,
        row=instruction.astype(np.int64) if numbered else prompts,
        category=category[chosen],
    )
    return table, numbered


def _first(table: _Table) -> _Table:
    """Of the verdicts on a model, prompt and setting the first one; and all that failed."""
    judged = np.flatnonzero(~np.isnan(table.outcome))
    level = np.unique(table.level, return_inverse=True)[1][judged]
    keys = np.stack([table.model[judged], table.cluster[judged], level])
    first = np.unique(keys, axis=1, return_index=True)[1]
    return table.at(np.sort(np.r_[judged[first], np.flatnonzero(np.isnan(table.outcome))]))


def _models(table: _Table, known: _Known, wanted: Wanted) -> list[int]:
    """By number, in the order that was asked for, or in which they came."""
    there = table.model[np.sort(np.unique(table.model, return_index=True)[1])].tolist()
    for name in wanted.models:
        if known.models.index(name) not in there:
            fix = f"one of {_shown([known.models[i] for i in there])}, or another --against"
            raise InputError(f"{name!r} was never compared with {known.baseline!r}", where="model", fix=fix)
    return [known.models.index(name) for name in wanted.models] if wanted.models else there


def _parts(table: _Table, known: _Known, wanted: Wanted) -> Iterator[tuple[str | None, float | None, Mask]]:
    if wanted.options.over is not None:
        for level in np.unique(table.level):
            yield None, float(level), table.level == level
    elif wanted.options.by == "none":
        yield None, None, np.ones(len(table.model), dtype=bool)
    elif not known.categories:
        fix = "add a column category, or leave --by out"
        raise InputError("no category is named in the data", where=wanted.name, fix=fix)
    else:
        for name in sorted(known.categories):
            yield name, None, table.category == known.categories.index(name)


def _verdicts(table: _Table, known: _Known, model: int) -> Verdicts:
    own = table.at(table.model == model)
    judged = own.at(~np.isnan(own.outcome))
    prompts = np.unique(table.cluster)
    return Verdicts(
        known.models[model],
        known.baseline,
        **{name: getattr(judged, name) for name in ("outcome", "cluster", "weight", "length", "baseline_length")},
        **{name: getattr(judged, name) for name in ("shown_first", "row", "level")},
        orders=np.full((len(judged.outcome), 2), math.nan),
        category=np.where(judged.category < 0, NO_CATEGORY, judged.category),
        categories=known.categories,
        failed=len(own.outcome) - len(judged.outcome),
        missing=len(prompts) - len(np.unique(own.cluster)),
        answer_length=_answer_length(own, len(prompts), known.alpaca_eval),
        numbered=known.numbered,
    )


def _answer_length(own: _Table, prompts: int, alpaca_eval: bool) -> float:
    """The mean over prompts; by AlpacaEval's rule a whole number, rounded down, and no answer has length 0."""
    known = ~np.isnan(own.length)
    if not known.any():
        return math.nan
    place = np.unique(own.cluster[known], return_inverse=True)[1]
    lengths = np.bincount(place, own.length[known]) / np.bincount(place)
    return float(math.floor(lengths.sum() / prompts)) if alpaca_eval else float(lengths.mean())


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f", ... ({len(names)} models)" if len(names) > NAMED else "")
