"""One leaderboard: the rows of its table, and in words how they came about."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from accord.maths.comparisons import PairLikelihood
from accord.maths.newton import Floats
from accord.maths.plackett_luce import RankingLikelihood
from accord.maths.strengths import Fit, Resampled, Strengths
from accord.maths.ties import TIES
from accord.stages.leaderboard_options import StrengthOptions

ERRORS = {"bootstrap": "{rounds:,} resamples of {what}", "fisher": "the Hessian, every comparison for itself"}


class Effect(NamedTuple):
    """A number beside the strengths, with its standard error and interval."""

    value: float
    standard_error: float
    interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "standard_error": self.standard_error, "interval": list(self.interval)}


@dataclass(frozen=True)
class Standing:
    """The table of one category, or of everything. failed: resamples without a finite best value."""

    category: str | None
    options: StrengthOptions
    fit: Fit
    strengths: Strengths
    spread: Floats | Resampled

    @property
    def order(self) -> list[int]:
        """The models, best first; equals by name."""
        found = self.strengths
        return sorted(range(len(found.models)), key=lambda i: (found.rank[i], found.models[i]))

    def rows(self) -> list[dict[str, Any]]:
        """The table as JSON has it."""
        found, elo = self.strengths, self.strengths.elo
        first = {} if self.category is None else {"category": self.category}
        return [
            {
                **first,
                "model": found.models[i],
                "strength": float(found.strength[i]),
                "standard_error": float(found.standard_error[i]),
                "interval": found.interval[i].tolist(),
                "rank": int(found.rank[i]),
                "elo": float(elo[i]),
                "n": int(found.n[i]),
            }
            for i in self.order
        ]

    def cells(self) -> Iterator[dict[str, str]]:
        """The table as people read it."""
        found, elo = self.strengths, self.strengths.elo
        for i in self.order:
            low, high = found.rank_interval[i]
            least, most = found.interval[i]
            yield {
                "rank": str(found.rank[i]),
                "ranks": str(low) if low == high else f"{low} to {high}",
                "model": found.models[i],
                "strength": f"{found.strength[i]:+.3f}",
                "standard_error": f"{found.standard_error[i]:.3f}",
                f"{100 * self.options.level:g} % interval": f"{least:+.3f} to {most:+.3f}",
                "elo": f"{elo[i]:.0f}",
                "n": f"{found.n[i]:,}",
            }

    @property
    def title(self) -> str:
        """What stands over the table."""
        name = "" if self.category is None else f"{self.category}: "
        return f"{name}strengths of {len(self.strengths.models)} models, {self._zero()}"

    def lines(self) -> Iterator[str]:
        """How the table came about."""
        yield f"{self._counted()}; {self._ties()}"
        yield f"standard errors: {self._errors()}; ranks: how many are surely better or worse, each for itself"
        if (theta := self.theta()) is not None:
            row = TIES[self.options.ties]
            tied = float(row.chances(np.zeros(1), theta.value).tie[0])
            low, high = (math.exp(end) for end in theta.interval)
            number = f"{row.number} {math.exp(theta.value):.3f} ({low:.3f} to {high:.3f})"
            yield f"{number}: equals tie in {100 * tied:.1f} %"
        for name, effect in self.style().items():
            low, high = effect.interval
            yield f"style: {name} {effect.value:+.3f} ({low:+.3f} to {high:+.3f}) logits {_unit(name)}"
        if self.options.ridge:
            yield f"ridge {self.options.ridge:g}: all strengths are drawn to their mean"

    def theta(self) -> Effect | None:
        """The number that rules ties, as a logarithm."""
        likelihood = self.fit.likelihood
        if not isinstance(likelihood, PairLikelihood) or not likelihood.has_theta:
            return None
        return self._effect(len(likelihood.models))

    def style(self) -> dict[str, Effect]:
        """The effect of each thing asked for, in logits a unit."""
        start = len(self.fit.parameters) - len(self.options.style)
        return {name: self._effect(start + i) for i, name in enumerate(self.options.style)}

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        theta, likelihood = self.theta(), self.fit.likelihood
        intervals = self.strengths.rank_interval
        rows = [{**row, "rank_interval": intervals[i].tolist()} for row, i in zip(self.rows(), self.order, strict=True)]
        spread = self.spread
        return {
            "category": self.category,
            "models": rows,
            "comparisons": self._number(),
            "ties": self._tied(),
            "clusters": likelihood.clusters,
            "theta": theta and theta.to_json(),
            "style": {name: effect.to_json() for name, effect in self.style().items()},
            "resamples_without_a_finite_fit": spread.failed if isinstance(spread, Resampled) else None,
            "loss": self.fit.loss,
            "newton_steps": self.fit.steps,
        }

    def _effect(self, place: int) -> Effect:
        value, tail = float(self.fit.parameters[place]), (1 - self.options.level) / 2
        if isinstance(self.spread, Resampled):
            samples = self.spread.samples[:, place]
            low, high = np.quantile(samples, [tail, 1 - tail])
            return Effect(value, float(samples.std(ddof=1)), (float(low), float(high)))
        error = math.sqrt(max(0.0, self.spread[place, place]))
        clustered = self.options.errors == "clustered"  # Student's then, as of the strengths
        quantile = stdtrit(self.fit.likelihood.clusters - 1, 1 - tail) if clustered else ndtri(1 - tail)
        reach = float(quantile) * error
        return Effect(value, error, (value - reach, value + reach))

    def _zero(self) -> str:
        return "mean 0" if self.options.anchor is None else f"{self.options.anchor} = 0"

    def _number(self) -> int:
        likelihood = self.fit.likelihood
        found = likelihood.data if isinstance(likelihood, PairLikelihood | RankingLikelihood) else None
        assert found is not None
        return len(found.weight)

    def _tied(self) -> int:
        likelihood = self.fit.likelihood
        if isinstance(likelihood, PairLikelihood):
            return likelihood.data.ties
        assert isinstance(likelihood, RankingLikelihood)
        ranks = np.sort(likelihood.data.rank, axis=1)
        return int(((ranks[:, 1:] == ranks[:, :-1]) & (ranks[:, 1:] > 0)).any(1).sum())

    def _counted(self) -> str:
        what = "comparisons" if self.options.rankings == "pairs" else "rankings"
        return f"{self._number():,} {what} of {len(self.strengths.models)} models"

    def _ties(self) -> str:
        if self.options.rankings == "plackett_luce":
            return f"{self._tied():,} of them with ties, within which nothing is compared"
        return f"{self._tied():,} ties, each {TIES[self.options.ties].says}"

    def _errors(self) -> str:
        groups = f"{self.fit.likelihood.clusters:,}"
        named = {"prompt": f"{groups} prompts", "annotator": f"{groups} annotators", "none": "single judgements"}
        what = named[self.options.cluster]
        if self.options.errors == "clustered":
            return f"clustered by {what} (sandwich)" if self.options.cluster != "none" else f"sandwich over {what}"
        said = ERRORS[self.options.errors].format(rounds=self.options.rounds, what=what)
        failed = self.spread.failed if isinstance(self.spread, Resampled) else 0
        return said + (f", {failed:,} of them left out, as they had no finite best value" if failed else "")


def _unit(name: str) -> str:
    if name == "position":
        return "for being shown first"
    return "for a typical difference, (a - b) / (a + b)"
