"""What `accord scaling` says: the law, its numbers with intervals, what it foretells, and how it came about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from accord.evaluate.scaled_runs import ScaledRun
from accord.maths.power_law import Fit, Floats, Law, parameters
from accord.stages.tables import markdown_table

Cells = list[dict[str, str]]
LETTERS = {"parameters": ("N", "A", "alpha"), "tokens": ("D", "B", "beta"), "compute": ("C", "A", "alpha")}
FEW = 10  # runs; a law from fewer is a first guess
NOTHING = 1e-4


class Sure(NamedTuple):
    """A number of the law, and its interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "interval": [self.low, self.high]}

    def __str__(self) -> str:
        return f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True)
class Scaling:
    """What came of it. Python gets this. axes: what the law is of, one or two of parameters, tokens, compute."""

    runs: Sequence[ScaledRun]
    axes: tuple[str, ...]
    fit: Fit
    laws: Sequence[Law]  # of the resamples
    errors: str
    level: float
    at: Sequence[tuple[float, ...]]
    budgets: Sequence[float]  # FLOPs
    notes: Sequence[str]

    def __repr__(self) -> str:
        return f"<Scaling: {self.formula}, {len(self.runs)} runs>"

    @property
    def law(self) -> Law:
        return self.fit.law

    def sure(self, read: Callable[[Law], float]) -> Sure:
        """A number that can be read off a law, with the percentile interval of the resamples."""
        tail = (1 - self.level) / 2
        low, high = np.quantile([read(law) for law in self.laws], [tail, 1 - tail])
        return Sure(float(read(self.law)), float(low), float(high))

    def sizes(self) -> Floats:
        """(R, K)"""
        return np.array([[getattr(run, axis) for axis in self.axes] for run in self.runs])

    @property
    def formula(self) -> str:
        """L = 1.69 + 406 / N^0.34 + 411 / D^0.28"""
        terms = [
            f"{number(a)} / {LETTERS[axis][0]}^{b:.3f}"
            for axis, a, b in zip(self.axes, self.law.coefficient, self.law.exponent, strict=True)
        ]
        return " + ".join([f"L = {self.law.floor:.3f}", *terms])

    def numbers(self) -> dict[str, Sure]:
        """E, and of each axis coefficient and exponent; of a law of both how the best N and D grow with C."""
        found = {"E": self.sure(lambda law: law.floor)}
        for place, axis in enumerate(self.axes):
            found[LETTERS[axis][1]] = self.sure(partial(_coefficient, place))
            found[LETTERS[axis][2]] = self.sure(partial(_exponent, place))
        if len(self.axes) == 2:
            found["N_exponent"] = self.sure(lambda law: law.exponent[1] / sum(law.exponent))
            found["D_exponent"] = self.sure(lambda law: law.exponent[0] / sum(law.exponent))
        return found

    def foretold(self) -> list[dict[str, Any]]:
        """The loss at the sizes that were asked about."""
        return [
            {
                **dict(zip(self.axes, size, strict=True)),
                "loss": self.sure(partial(_loss, size)).to_json(),
                "beyond": [float(one / most) for one, most in zip(size, self.sizes().max(0), strict=True)],
            }
            for size in self.at
        ]

    def best(self) -> list[dict[str, Any]]:
        """Of a law of both, for each budget: the parameters and tokens of the least loss."""
        if len(self.axes) == 1:
            return []
        return [
            {
                "compute": budget,
                **{name: self.sure(partial(read, budget)).to_json() for name, read in SPENT.items()},
            }
            for budget in self.budgets
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "law": self.formula,
            "against": list(self.axes),
            "numbers": {name: one.to_json() for name, one in self.numbers().items()},
            "level": self.level,
            "intervals": self.errors,
            "scatter": self.fit.scatter,
            "runs": self.rows(),
            "at": self.foretold(),
            "compute_optimal": self.best(),
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """The runs, and what the law says of each."""
        fitted = self.law.loss(self.sizes())
        return [
            {
                "name": run.name,
                "parameters": _known(run.parameters),
                "tokens": _known(run.tokens),
                "compute": _known(run.compute),
                "loss": run.loss,
                "fitted": float(one),
            }
            for run, one in zip(self.runs, fitted, strict=True)
        ]

    def tables(self) -> Iterator[tuple[str, Cells]]:
        """Titles and tables as people read them."""
        yield f"{len(self.runs)} runs, {self.formula}", list(self._runs())
        interval = f"{100 * self.level:g} % interval"
        yield (
            "the law",
            [{"": name, "value": number(one.value), interval: str(one)} for name, one in self.numbers().items()],
        )
        if self.at:
            yield "foretold", [_told(row, self.axes, interval) for row in self.foretold()]
        if budgets := self.best():
            yield "the best use of compute (6 N D FLOPs)", [_spent(row, interval) for row in budgets]

    def _runs(self) -> Iterator[dict[str, str]]:
        for row in self.rows():
            sizes = {axis: number(row[axis]) if row[axis] is not None else "" for axis in LETTERS}
            off = f"{100 * (row['loss'] / row['fitted'] - 1):+.2f} %"
            yield {"run": row["name"], **sizes, "loss": f"{row['loss']:.4f}", "law": f"{row['fitted']:.4f}", "off": off}

    def lines(self) -> Iterator[str]:
        """How the tables came about."""
        freedom = len(self.runs) - parameters(len(self.axes))
        yield (
            f"fitted as Hoffmann et al. 2022: Huber loss of log L, many starts; runs lie about the law by "
            f"{100 * self.fit.scatter:.2f} % ({freedom} degrees of freedom)"
        )
        yield f"intervals: {self.errors}; they are of the law, and a single run lies about it"
        yield from self.notes

    def markdown(self) -> str:
        parts = []
        for title, cells in self.tables():
            parts += [f"{title[0].upper()}{title[1:]}.", "", *markdown_table(cells), ""]
        return "\n".join([*parts, ". ".join(line[0].upper() + line[1:] for line in self.lines()) + "."])


def number(value: float) -> str:
    """As people read it: 1.94, 406, 1.2e+09. A floor that ended at its bound is none."""
    if abs(value) < NOTHING:
        return "0"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"


def _coefficient(place: int, law: Law) -> float:
    return law.coefficient[place]


def _exponent(place: int, law: Law) -> float:
    return law.exponent[place]


def _loss(size: tuple[float, ...], law: Law) -> float:
    return float(law.loss(size))


# What is told of a budget.
SPENT: dict[str, Callable[[float, Law], float]] = {
    "parameters": lambda budget, law: law.optimum(budget)[0],
    "tokens": lambda budget, law: law.optimum(budget)[1],
    "tokens_per_parameter": lambda budget, law: law.optimum(budget)[1] / law.optimum(budget)[0],
    "loss": lambda budget, law: float(law.loss(law.optimum(budget))),
}


def _told(row: Mapping[str, Any], axes: Sequence[str], interval: str) -> dict[str, str]:
    sizes = {axis: number(row[axis]) for axis in axes}
    loss, beyond = row["loss"], max(row["beyond"])
    far = f"{number(beyond)} x the largest run" if beyond > 1 else "within the runs"
    low, high = loss["interval"]
    return {**sizes, "loss": f"{loss['value']:.4f}", interval: f"{low:.4f} to {high:.4f}", "how far": far}


def _spent(row: Mapping[str, Any], interval: str) -> dict[str, str]:
    cells = {"compute": number(row["compute"])}
    for name in SPENT:
        low, high = row[name]["interval"]
        cells[name] = f"{number(row[name]['value'])} ({number(low)} to {number(high)})"
    return cells


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
