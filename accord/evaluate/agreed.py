"""How far raters agree on one question: shares of couples of judgements, kappas, alphas and Kendall's tau."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.data.opinions import Question
from accord.maths.chance_agreement import ALPHAS, Cells, cohen_kappa, couples, fleiss_kappa
from accord.maths.rank_agreement import TIES, kendall, signs_of
from accord.maths.resampling import Ints, Statistic, mean_statistic, resampled
from accord.maths.statistics import Estimate, Interval, proportion_interval
from accord.stages.agreement_options import AgreementOptions

MANY = 20  # different values; more are no categories, and kappas say nothing of them
HUMANS, MIXED, MACHINES = "human-human", "human-model", "model-model"
AGAINST = {
    "zero": "a tie agrees with a tie alone",
    "half": "a tie agrees half with a decision",
    "drop": "pairs that either ties are left out",
}


class Figure(NamedTuple):
    """A number with its interval. reason: why it is none, in words. share: of 1, as people read in per cent."""

    name: str
    estimate: Estimate
    of: str
    reason: str = ""
    share: bool = False

    def to_json(self) -> dict[str, Any]:
        """null stands for what the data cannot say."""
        mean, error, interval = self.estimate
        found: dict[str, Any] = {
            "value": _known(mean),
            "standard_error": _known(error),
            "interval": [_known(end) for end in interval],
        }
        return found | ({"reason": self.reason} if self.reason else {})


class Agreed(NamedTuple):
    """All figures of one question between raters of one kind or of two."""

    question: str
    kind: str
    between: str
    items: int
    prompts: int
    raters: int
    couples: int
    figures: tuple[Figure, ...]

    def to_json(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("items", "prompts", "raters", "couples")}
        figures = {key_of(figure.name): figure.to_json() for figure in self.figures}
        return {"question": self.question, "kind": self.kind, "between": self.between, **counts, **figures}


class Both(NamedTuple):
    """P couples of judgements of one item: the places of the two among the cells, and the cluster."""

    one: Ints
    other: Ints
    cluster: Ints

    def at(self, chosen: NDArray[np.bool_] | Ints) -> Both:
        return Both(self.one[chosen], self.other[chosen], self.cluster[chosen])


class Matter(NamedTuple):
    """A question as numbers. orders: the rankings, of a question that has them; elsewhere none."""

    name: str
    question: Question
    cells: Cells
    orders: list[tuple[float, ...]]
    both: Both

    @classmethod
    def of(cls, name: str, question: Question, *, most: int | None, by_item: bool) -> Matter:
        """most: judgements of an item. by_item: every item is a cluster of its own."""
        cells = question.cells(most=most)
        if by_item:
            cells = Cells(cells.unit, cells.rater, cells.value, np.arange(len(cells.cluster)))
        found = couples(cells)
        both = Both(found.one, found.other, cells.cluster[cells.unit[found.one]])
        return cls(name, question, cells, question.orders(most=most), both)


def agreed(matter: Matter, machines: set[int], options: AgreementOptions) -> Iterator[Agreed]:
    """Between people; where some raters are models also between these, and between the two kinds."""
    is_machine = np.isin(matter.cells.rater, list(machines))
    one, other = is_machine[matter.both.one], is_machine[matter.both.other]
    for between, chosen in ((HUMANS, ~one & ~other), (MIXED, one != other), (MACHINES, one & other)):
        if chosen.any():
            both = matter.both.at(chosen)
            if between == MIXED:  # the person first
                swapped = one[chosen]
                first, second = np.where(swapped, both.other, both.one), np.where(swapped, both.one, both.other)
                both = Both(first, second, both.cluster)
            yield _between(matter, between, both, options)


def _between(matter: Matter, between: str, both: Both, options: AgreementOptions) -> Agreed:
    cells, kind = matter.cells, matter.question.kind
    places = np.unique(np.concatenate([both.one, both.other]))
    part = _part(cells, places)
    figures = list(_shares(matter, both, options))
    if kind != "ranking":
        figures += list(_mixed(matter, both, options) if between == MIXED else _beyond_chance(kind, part, options))
    else:
        figures.append(_tau(matter, both, options))
    return Agreed(
        matter.name,
        kind,
        between,
        items=len(np.unique(cells.unit[places])),
        prompts=len(np.unique(both.cluster)),
        raters=len(np.unique(cells.rater[places])),
        couples=len(both.one),
        figures=tuple(figures),
    )


def _part(cells: Cells, places: Ints) -> Cells:
    """Those of the cells, units and clusters numbered anew in the same order."""
    units, unit = np.unique(cells.unit[places], return_inverse=True)
    _, cluster = np.unique(cells.cluster[units], return_inverse=True)
    return Cells(unit.astype(np.int64), cells.rater[places], cells.value[places], cluster.astype(np.int64))


def _shares(matter: Matter, both: Both, options: AgreementOptions) -> Iterator[Figure]:
    """How often two raters say the same; of orders also how many of their pairs agree, ties as is wished."""
    kind, value = matter.question.kind, matter.cells.value
    if kind != "ranking":
        same = value[both.one] == value[both.other]
        found = proportion_interval(same, both.cluster, level=options.level)
        yield Figure("same", found, f"{len(same):,} couples", share=True)
    if kind == "ranking" or (kind == "order" and options.ties != "zero"):
        one, other, cluster = _signs(matter, both)
        credit = TIES[options.ties](one, other)
        kept = credit.counts
        found = proportion_interval(credit.value[kept], cluster[kept], level=options.level)
        reason = "" if kept.any() else "no pair that both decide"
        yield Figure("agreeing pairs", found, f"{int(kept.sum()):,} pairs", reason, share=True)


def _signs(matter: Matter, both: Both) -> tuple[Ints, Ints, Ints]:
    """(Q,) of all pairs of things that couples of raters order: what the one says, the other; and the cluster."""
    if matter.question.kind == "order":
        value = matter.cells.value.astype(np.int64)
        return value[both.one], value[both.other], both.cluster
    parts = [
        (one.ravel(), other.ravel(), np.repeat(both.cluster[couple], one.shape[1]))
        for couple, one, other in _by_size(matter, both)
    ]
    one, other, cluster = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return one, other, cluster


def _by_size(matter: Matter, both: Both) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Rankings of one K at a time: which couples, and (R, K (K - 1) / 2) the signs of the one and of the other."""
    size = np.array([len(matter.orders[place]) for place in both.one], dtype=np.int64)
    for k in np.unique(size):
        couple = np.flatnonzero(size == k)
        sides = [[matter.orders[place] for place in column[couple]] for column in (both.one, both.other)]
        yield couple, signs_of(sides[0]), signs_of(sides[1])


def _tau(matter: Matter, both: Both, options: AgreementOptions) -> Figure:
    """The mean over couples of rankings of which neither ties everything."""
    tau = np.full(len(both.one), np.nan)
    for couple, one, other in _by_size(matter, both):
        tau[couple] = kendall(one, other)
    known = np.flatnonzero(~np.isnan(tau))
    name = "Kendall's tau-b"
    if not len(known):
        return Figure(name, _unknown(), "0 couples", "in every couple of rankings one ties everything")
    _, cluster = np.unique(both.cluster[known], return_inverse=True)
    found = _resampled(mean_statistic(tau[known], cluster), options)
    return Figure(name, found, f"{len(known):,} couples")


def _beyond_chance(kind: str, part: Cells, options: AgreementOptions) -> Iterator[Figure]:
    """Cohen's kappa of two raters, Fleiss' of any, and alphas: of names the nominal one alone."""
    count = len(np.unique(part.value))
    items = f"{len(part.cluster):,} items"
    equal = f"all {len(part.value):,} judgements are equal, so that chance alone would agree always"
    no_categories = f"{count:,} different values are no categories"
    kappas: dict[str, Callable[[], Statistic]] = {"Fleiss' kappa": lambda: fleiss_kappa(part)}
    raters = np.unique(part.rater)
    if len(raters) == 2 and raters.min() >= 0:
        kappas = {"Cohen's kappa": lambda: _cohen(part, raters), **kappas}
    for name, make in kappas.items():
        if count > MANY:
            yield Figure(name, _unknown(), items, no_categories)
        else:
            yield _coefficient(name, make(), items, equal, options)
    ordered = kind != "name" and count > 2
    for scale in ALPHAS if ordered else ("nominal",):
        yield _coefficient(f"{scale} alpha", ALPHAS[scale](part), items, equal, options)


def _cohen(part: Cells, raters: Ints) -> Statistic:
    """Two raters, each with one value of every unit."""
    sides = [part.rater == rater for rater in raters]
    order = [np.flatnonzero(side)[np.argsort(part.unit[side])] for side in sides]
    return cohen_kappa(part.value[order[0]], part.value[order[1]], part.cluster[part.unit[order[0]]])


def _mixed(matter: Matter, both: Both, options: AgreementOptions) -> Iterator[Figure]:
    """Cohen's kappa of two roles, a person and a model, over all their couples."""
    value = matter.cells.value
    one, other = value[both.one], value[both.other]
    count = len(np.unique(np.concatenate([one, other])))
    couples_ = f"{len(one):,} couples"
    if count > MANY:
        yield Figure("Cohen's kappa", _unknown(), couples_, f"{count:,} different values are no categories")
        return
    _, cluster = np.unique(both.cluster, return_inverse=True)
    equal = f"all {2 * len(one):,} judgements are equal, so that chance alone would agree always"
    yield _coefficient("Cohen's kappa", cohen_kappa(one, other, cluster), couples_, equal, options)


def _coefficient(name: str, statistic: Statistic, of: str, reason: str, options: AgreementOptions) -> Figure:
    found = _resampled(statistic, options)
    return Figure(name, found, of, reason if math.isnan(found.mean) else "")


def _resampled(statistic: Statistic, options: AgreementOptions) -> Estimate:
    return resampled(statistic, rounds=options.rounds, seed=options.seed, level=options.level)


class PairOfRaters(NamedTuple):
    """Two named raters who judged the same items. same: the share of these of which they say the same; of rankings
    Kendall's tau-b, the mean."""

    question: str
    one: int
    other: int
    items: int
    same: Figure
    kappa: Figure | None

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        found = {"question": self.question, "annotators": [names[self.one], names[self.other]], "items": self.items}
        figures = [figure for figure in (self.same, self.kappa) if figure is not None]
        return found | {key_of(figure.name): figure.to_json() for figure in figures}


def pairs_of_raters(matter: Matter, options: AgreementOptions) -> Iterator[PairOfRaters]:
    """Every two named raters with at least `least` items in common."""
    rater, both = matter.cells.rater, matter.both
    low = np.minimum(rater[both.one], rater[both.other])
    high = np.maximum(rater[both.one], rater[both.other])
    width = int(rater.max(initial=0)) + 1
    key = np.where(low >= 0, low * width + high, -1)
    swapped = rater[both.one] > rater[both.other]
    first, second = np.where(swapped, both.other, both.one), np.where(swapped, both.one, both.other)
    for pair, count in zip(*np.unique(key[key >= 0], return_counts=True), strict=True):
        if count >= options.least:
            chosen = Both(first, second, both.cluster).at(key == pair)
            yield _pair(matter, chosen, (int(pair) // width, int(pair) % width), options)


def _pair(matter: Matter, both: Both, raters: tuple[int, int], options: AgreementOptions) -> PairOfRaters:
    items = len(both.one)
    if matter.question.kind == "ranking":
        return PairOfRaters(matter.name, *raters, items, _tau(matter, both, options), None)
    (same, *_) = _shares(matter, both, options)
    (kappa,) = _mixed(matter, both, options)
    return PairOfRaters(matter.name, *raters, items, same, kappa)


def key_of(name: str) -> str:
    """A figure's name as a key of JSON: fleiss_kappa, nominal_alpha."""
    return name.replace("'s", "").replace("'", "").replace("-", "_").replace(" ", "_").lower()


def _unknown() -> Estimate:
    return Estimate(math.nan, math.nan, Interval(math.nan, math.nan))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
