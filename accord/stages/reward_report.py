"""The report on a reward model: how its scores of judged completions stand to what people said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from accord.maths.statistics import Estimate, Interval
from accord.stages.reward_figures import (
    QUANTILES,
    Accuracy,
    Ceiling,
    Lengths,
    Orders,
    Part,
    Probabilities,
    Spread,
    Ties,
    accuracy_of,
    by_category,
    by_lead,
    by_number,
    ceiling_of,
    lengths_of,
    orders_of,
    probabilities_of,
    spread_of,
    ties_of,
)
from accord.stages.reward_pairs import Columns, Gathering, Pairs, Scored
from accord.stages.tables import visible

__all__ = ["Gathering", "RewardReport", "Scored", "report", "report_on"]

SHOWN = 12  # categories that are named outside of the JSON


class Spreads(NamedTuple):
    """Scores of the better ones, of the others, and the differences of the two; of all completions."""

    chosen: Spread
    rejected: Spread
    gap: Spread
    all: Spread


@dataclass(frozen=True)
class RewardReport:
    """Intervals are of 95 %, by group. A pair is two completions of a group as one judgement has them."""

    columns: Columns
    decided: Pairs  # those that are no tie
    accuracy: Accuracy
    ties: Ties | None
    orders: Orders | None
    probabilities: Probabilities
    spreads: Spreads
    lengths: Lengths
    ceiling: Ceiling | None
    by_lead: dict[str, tuple[Part, ...]]
    by_gap: tuple[Part, ...]
    by_length: tuple[Part, ...]  # tokens of the better one less those of the other
    by_category: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """What the data cannot say is null."""
        probabilities = self.probabilities
        return {
            "groups": self.columns.groups,
            "judged_groups": self.columns.judged,
            "pairs": self.accuracy.pairs,
            "accuracy": _plain(self.accuracy.model),
            "chance": 0.5,
            "longer_wins": _plain(self.accuracy.longer_wins),
            "above_longer_wins": _plain(self.accuracy.above_longer_wins),
            "shorter_wins": _plain(self.accuracy.shorter_wins),
            "above_shorter_wins": _plain(self.accuracy.above_shorter_wins),
            "equal_scores": {"pairs": self.accuracy.equal, "accuracy_as_wrong": _plain(self.accuracy.equal_is_wrong)},
            "ties": _plain(self.ties),
            "orders": _plain(self.orders),
            "calibration": {
                **probabilities.calibration.to_json(),
                "confidence": _plain(probabilities.confidence),
                "brier": _plain(probabilities.brier),
            },
            "scores": {name: _spread(spread) for name, spread in self.spreads._asdict().items()},
            "length_correlation": _plain(self.lengths),
            "agreement": _plain(self.ceiling),
            "by_margin": {name: _plain(parts) for name, parts in self.by_lead.items()},
            "by_gap": _plain(self.by_gap),
            "by_length": _plain(self.by_length),
            "by_category": _plain(self.by_category),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        figures = dict(self._figures())
        wide = max(map(len, figures), default=0)
        found = [f"report on {self._title()}", *(f"  {name:<{wide}}  {text}" for name, text in figures.items())]
        for title, parts, left_out in self._tables():
            named = [(visible(part.name), f"{part.pairs:,}", _percent(part.model)) for part in parts]
            first, second, third = (max(map(len, column)) for column in zip(*named, strict=True))
            found.append(f"  accuracy by {title}")
            for (name, pairs, right), part in zip(named, parts, strict=True):
                beside = f"longer wins {_short(part.longer_wins)}"
                found.append(f"    {name:<{first}}  {pairs:>{second}} pairs  {right:<{third}}  {beside}")
            found += [f"    and {left_out} more"] if left_out else []
        return found

    def markdown(self) -> list[str]:
        """For a model card."""
        found = ["### Report", "", f"{self._title()}. Intervals are of 95 %, by group.", ""]
        found += ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in self._figures())]
        for title, parts, left_out in self._tables():
            found += ["", f"| {title} | pairs | accuracy | longer wins |", "| --- | --: | --- | --: |"]
            for part in parts:
                cells = (_cell(part.name), f"{part.pairs:,}", _percent(part.model), _short(part.longer_wins))
                found.append(f"| {' | '.join(cells)} |")
            found += ["", f"{left_out} more are not shown."] if left_out else []
        return found

    def _title(self) -> str:
        groups, pairs = self.columns.groups, self.accuracy.pairs
        return f"{pairs:,} pairs of {groups:,} groups"

    def _tables(self) -> Iterator[tuple[str, Sequence[Part], int]]:
        """Title, rows, and how many are left out."""
        yield from ((name, parts, 0) for name, parts in self.by_lead.items())
        if self.accuracy.pairs:
            yield "difference of the scores", self.by_gap, 0
            yield "tokens that the better one is longer", self.by_length, 0
        if self.by_category:
            yield "category", self.by_category[:SHOWN], max(0, len(self.by_category) - SHOWN)

    def _figures(self) -> Iterator[tuple[str, str]]:
        """Name and text, in the order in which they are asked for."""
        if self.accuracy.pairs:
            yield from _accuracy(self.accuracy)
        if self.orders is not None:
            yield from _orders(self.orders)
        if self.ties is not None:
            yield from _ties(self.ties)
        if self.ceiling is not None:
            yield from _ceiling(self.ceiling)
        if self.accuracy.pairs:
            yield "calibration", _calibration(self.probabilities, self.accuracy.model)
        if len(self.columns.completions.score):
            yield "scores", _scores(self.spreads, self.accuracy.pairs)
            yield from _lengths(self.lengths)


def report(scored: Iterable[Scored]) -> RewardReport:
    """Of scored groups, which are taken one by one: judged or not, of any K. InputError: a score that is no number."""
    gathering = Gathering()
    for one in scored:
        gathering.add(one)
    return report_on(gathering)


def report_on(gathering: Gathering) -> RewardReport:
    """Of what was gathered."""
    columns = gathering.columns
    pairs = columns.pairs
    decided = pairs.where(~pairs.tied)
    return RewardReport(
        columns,
        decided,
        accuracy_of(decided),
        ties_of(pairs),
        orders_of(columns),
        probabilities_of(decided),
        Spreads(
            spread_of(decided.first, decided.weight),
            spread_of(decided.first - decided.gap, decided.weight),
            spread_of(decided.gap, decided.weight),
            spread_of(columns.completions.score),
        ),
        lengths_of(columns.completions, pairs),
        ceiling_of(pairs),
        by_lead(decided),
        by_number(decided, abs(decided.gap)),
        by_number(decided, decided.longer),
        by_category(decided, columns),
    )


def _accuracy(accuracy: Accuracy) -> Iterator[tuple[str, str]]:
    yield "accuracy", _percent(accuracy.model)
    yield "chance", "50.0 %"
    yield "longer wins", f"{_percent(accuracy.longer_wins)}; the model {_points(accuracy.above_longer_wins)}"
    if accuracy.longer_wins.mean < 0.5:
        yield "shorter wins", f"{_percent(accuracy.shorter_wins)}; the model {_points(accuracy.above_shorter_wins)}"
    if accuracy.equal:
        strict = _percent(accuracy.equal_is_wrong)
        yield "equal scores", f"{accuracy.equal:,} pairs, counted one half; accuracy if they count as wrong {strict}"


def _orders(orders: Orders) -> Iterator[tuple[str, str]]:
    yield "best on top", f"{_percent(orders.top)} of {orders.judgements:,} rankings"
    yield "longest on top", f"{_percent(orders.longest)}; chance {_short(orders.chance)}"
    yield "rank correlation", f"{_signed(orders.tau)}, Kendall's tau-b, mean of the rankings"


def _ties(ties: Ties) -> Iterator[tuple[str, str]]:
    yield "ties", f"{ties.pairs:,}, {_percent(ties.share)} of all pairs; their scores differ by {ties.distance:.3f}"
    if math.isfinite(ties.told_apart.mean):
        yield (
            "ties told apart",
            f"{_percent(ties.told_apart)}; the scores of others differ by {ties.distance_of_others:.3f}",
        )


def _ceiling(ceiling: Ceiling) -> Iterator[tuple[str, str]]:
    several = f"of {ceiling.pairs:,} pairs judged by several"
    yield "two people", f"say the same, ties counted in, {_percent(ceiling.three_way)} {several}"
    if math.isfinite(ceiling.person.mean):
        most = f"no scores could reach more than {_short(ceiling.most)}"
        yield "two who decide", f"agree {_percent(ceiling.person)}"
        yield "model and one", f"agree {_percent(ceiling.model)} on the same pairs; {most}"
    if math.isfinite(ceiling.person_with_majority.mean):
        yield "one and majority", f"{_percent(ceiling.person_with_majority)}: of the others, where three or more decide"
        yield "model and majority", _percent(ceiling.model_with_majority)


def _calibration(probabilities: Probabilities, accuracy: Estimate) -> str:
    found = probabilities.calibration
    means = f"says {_short(probabilities.confidence)} on average, is right {_short(accuracy.mean)}"
    return f"expected error {found.ece:.3f} (about {found.ece_by_chance:.3f} by chance alone); {means}"


def _scores(spreads: Spreads, pairs: int) -> str:
    if not pairs:
        return f"{spreads.all.mean:.3f} (standard deviation {spreads.all.std:.3f})"
    sides = ((name, getattr(spreads, name)) for name in ("chosen", "rejected"))
    return ", ".join(f"{name} {one.mean:.3f} (standard deviation {one.std:.3f})" for name, one in sides)


def _lengths(lengths: Lengths) -> Iterator[tuple[str, str]]:
    yield (
        "length and score",
        f"correlation {_signed(lengths.within)} within groups, {_signed(lengths.over_all)} over all",
    )
    if math.isfinite(lengths.longer_scored_higher.mean):
        yield "longer is higher", f"{_percent(lengths.longer_scored_higher)} of the pairs of different length"


def _short(share: float) -> str:
    return f"{100 * share:.1f} %"


def _percent(estimate: Estimate) -> str:
    mean, _, (low, high) = estimate
    return f"{_short(mean)} ({100 * low:.1f} to {100 * high:.1f} %)" if math.isfinite(low) else _short(mean)


def _points(estimate: Estimate) -> str:
    mean, _, (low, high) = estimate
    ends = f" ({100 * low:+.1f} to {100 * high:+.1f})" if math.isfinite(low) else ""
    return f"{100 * mean:+.1f} points{ends}"


def _signed(estimate: Estimate) -> str:
    mean, _, (low, high) = estimate
    if not math.isfinite(mean):
        return "unknown"
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})" if math.isfinite(low) else f"{mean:+.2f}"


def _cell(name: str) -> str:
    """A name in a table of Markdown."""
    return visible(name).replace("|", "\\|")


def _spread(spread: Spread) -> dict[str, Any]:
    quantiles = {f"{level:g}": _plain(value) for level, value in zip(QUANTILES, spread.quantiles, strict=True)}
    return {"mean": _plain(spread.mean), "std": _plain(spread.std), "quantiles": quantiles}


def _plain(value: Any) -> Any:
    """As JSON has it: named tuples as objects, other tuples and intervals as lists, NaN as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple) and hasattr(value, "_asdict") and not isinstance(value, Interval):
        return {name: _plain(one) for name, one in value._asdict().items()}
    return [*map(_plain, value)] if isinstance(value, tuple) else value
