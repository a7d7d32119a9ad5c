"""Models by what their answers are: every figure with its interval, and how far it is from the first model's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.data.properties import Column, Properties
from accord.evaluate.directions import Direction, better_of, place_of, title_of
from accord.maths.multiple import holm
from accord.maths.paired import Difference, paired_difference
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.maths.unpaired_means import unpaired_difference

SHARED = 0.5  # of the prompts of whoever has fewer: below it models are held against each other without pairing


class Head(NamedTuple):
    """A column of the table. share: values are yes or no, and its figure is how often yes."""

    name: str
    title: str
    better: Direction | None
    share: bool


class Against(NamedTuple):
    """How far a model is from the one it is held against. adjusted: p by Holm's rule over the columns of its row."""

    difference: Difference
    paired: bool
    adjusted: float
    verdict: str  # better, worse, different (no direction is known), or empty where chance may explain it

    def to_json(self) -> dict[str, Any]:
        found = self.difference
        return {
            "value": known(found.difference),
            "standard_error": known(found.standard_error),
            "interval": [known(end) for end in found.interval],
            "prompts": found.n,
            "test": found.test,
            "paired": self.paired,
            "p": known(found.p),
            "p_holm": known(self.adjusted),
            "verdict": self.verdict or None,
        }


class Cell(NamedTuple):
    """One figure. n: values, of so many prompts. against: None of the model itself, or where either has no values."""

    estimate: Estimate
    n: int
    prompts: int
    against: Against | None = None

    def to_json(self) -> dict[str, Any]:
        mean, error, interval = self.estimate
        found: dict[str, Any] = {
            "mean": known(mean),
            "standard_error": known(error),
            "interval": [known(end) for end in interval],
            "n": self.n,
            "prompts": self.prompts,
        }
        return found | ({} if self.against is None else {"against": self.against.to_json()})


class Table(NamedTuple):
    """Rows are models; a cell is None where nothing is known of its model."""

    heads: tuple[Head, ...]
    models: tuple[str, ...]
    base: str
    level: float
    rows: Mapping[str, tuple[Cell | None, ...]]

    def to_json(self) -> dict[str, Any]:
        return {
            "against": self.base,
            "columns": [head._asdict() for head in self.heads],
            "models": [
                {
                    "model": model,
                    **{
                        head.name: None if cell is None else cell.to_json()
                        for head, cell in zip(self.heads, self.rows[model], strict=True)
                    },
                }
                for model in self.models
            ],
        }


def table_of(found: Properties, *, base: str, directions: Mapping[str, Direction], level: float) -> Table:
    """base: the model that the others are held against."""
    columns = found.columns
    names = sorted(columns, key=place_of)  # a stable sort: unknown ones as they came
    titles = [title_of(name) for name in names]
    heads = tuple(
        Head(name, _apart(title, name, titles), better_of(name, directions), columns[name].share)
        for name, title in zip(names, titles, strict=True)
    )
    numbers = found.models.number
    models = tuple(found.scored)
    values = {model: [_values(columns[name], numbers[model]) for name in names] for model in models}
    rows = {}
    for model in models:
        cells = [_cell(one, head, level) for one, head in zip(values[model], heads, strict=True)]
        if model != base:
            cells = _with_differences(cells, values[model], values[base], heads, level)
        rows[model] = tuple(cells)
    return Table(heads, models, base, level, rows)


def _apart(title: str, name: str, titles: Sequence[str]) -> str:
    """The title of one column alone: toxic and toxicity are two."""
    return title if titles.count(title) == 1 else f"{title} [{name}]"


class _Values(NamedTuple):
    """(N,) values and prompts of one model's answers."""

    value: NDArray[np.float64]
    prompt: NDArray[np.int64]

    def by_prompt(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(G,) prompts, (G,) the mean of each."""
        prompts, place = np.unique(self.prompt, return_inverse=True)
        return prompts, np.bincount(place, self.value) / np.bincount(place)


def _values(column: Column, model: int) -> _Values:
    own = np.array(column.model) == model
    return _Values(np.array(column.value, dtype=np.float64)[own], np.array(column.prompt, dtype=np.int64)[own])


def _cell(found: _Values, head: Head, level: float) -> Cell | None:
    if not len(found.value):
        return None
    make = proportion_interval if head.share else mean_interval
    return Cell(make(found.value, found.prompt, level=level), len(found.value), len(np.unique(found.prompt)))


def _with_differences(
    cells: Sequence[Cell | None],
    own: Sequence[_Values],
    base: Sequence[_Values],
    heads: Sequence[Head],
    level: float,
) -> list[Cell | None]:
    """Each test by itself, then all of the row by Holm's rule."""
    made = [
        _difference(one, other, level) if len(one.value) and len(other.value) else None
        for one, other in zip(own, base, strict=True)
    ]
    adjusted = holm([math.nan if one is None else one[0].p for one in made])
    found: list[Cell | None] = []
    for cell, one, p, head in zip(cells, made, adjusted.tolist(), heads, strict=True):
        if cell is None or one is None:
            found.append(cell)
        else:
            verdict = _verdict(one[0].difference, head.better) if p < 1 - level else ""
            found.append(cell._replace(against=Against(*one, p, verdict)))
    return found


def _difference(own: _Values, base: _Values, level: float) -> tuple[Difference, bool]:
    """(the difference, whether it is prompt by prompt): paired on the prompts that both answered, if they are many."""
    (prompts, mean), (others, base_mean) = own.by_prompt(), base.by_prompt()
    shared, place, other_place = np.intersect1d(prompts, others, assume_unique=True, return_indices=True)
    if len(shared) >= 2 and len(shared) >= SHARED * min(len(prompts), len(others)):
        return paired_difference(mean[place], base_mean[other_place], level=level), True
    return unpaired_difference(mean, base_mean, level=level), False


def _verdict(difference: float, better: Direction | None) -> str:
    if better is None:
        return "different"
    return "better" if (difference < 0) == (better == "lower") else "worse"


def known(value: float) -> float | None:
    """None stands for what the data cannot say."""
    return value if math.isfinite(value) else None
