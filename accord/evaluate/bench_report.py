"""What `accord reward-bench` found: items with scores -> subsets, sections and one number, by a benchmark's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from accord.data.reward_bench import Item
from accord.errors import InputError
from accord.maths.reward_bench import (
    SPECS,
    TIES,
    Accuracy,
    Credit,
    Spec,
    TiedItem,
    TiesScore,
    accuracy,
    best_of_credit,
    pair_credit,
    ties_score,
    weighted,
)
from accord.maths.statistics import Interval
from accord.records import RecordError
from accord.stages.resolve import nearest

ALL = "all"  # the subset of rows that name none
KINDS = ("ref", "tied")  # what an id of Ties begins with, before the prompt's name

PLAIN = Spec({}, {}, (), "")


class ScoredItem(NamedTuple):
    """An item and the scores of its completions, the right ones first; lengths in tokens."""

    item: Item
    scores: Sequence[float]
    lengths: Sequence[int]

    @property
    def credit(self) -> Credit:
        return _credit(self.item, self.scores)

    @property
    def longer(self) -> Credit:
        """The same of a scorer that prefers what is longer."""
        return _credit(self.item, self.lengths)


@dataclass(frozen=True)
class Subset:
    """One subset. equal: items where a right and a wrong completion share the highest score. ties: of that subset."""

    name: str
    section: str | None
    weight: float | None
    accuracy: Accuracy
    equal: int
    longer: float
    ties: TiesScore | None = None

    def to_json(self) -> dict[str, Any]:
        placed = {"subset": self.name, "section": self.section, "weight": self.weight}
        found = {**placed, **_figures(self.accuracy), "equal_scores": self.equal, "longer_wins": self.longer}
        return found | ({"ties": self.ties._asdict()} if self.ties else {})


@dataclass(frozen=True)
class Section:
    """One section, the mean of some subsets."""

    name: str
    weight: float
    accuracy: Accuracy
    subsets: tuple[str, ...]
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        known = {"subsets": list(self.subsets), "missing": list(self.missing)}
        return {"section": self.name, "weight": self.weight, **_figures(self.accuracy), **known}


@dataclass(frozen=True)
class BenchReport:
    """The whole benchmark. averaged: how the overall number was made, for people. best_of: whether some items have more
    than two completions.
    """

    spec: str
    subsets: tuple[Subset, ...]
    sections: tuple[Section, ...]
    overall: Accuracy
    averaged: str
    best_of: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "spec": self.spec,
            "subsets": [one.to_json() for one in self.subsets],
            "sections": [one.to_json() for one in self.sections],
            "overall": {**_figures(self.overall), "averaged": self.averaged},
        }

    def subset_rows(self) -> list[dict[str, str]]:
        """For tables."""
        placed = bool(self.sections)
        return [
            {
                "subset": one.name,
                **({"section": one.section or "-"} if placed else {}),
                **_cells(one.accuracy),
                "equal_scores": f"{one.equal:,}",
                "longer_wins": _percent(one.longer),
            }
            for one in self.subsets
        ]

    def section_rows(self) -> list[dict[str, str]]:
        """For tables; the last one is the whole."""
        rows = [{"section": one.name, "weight": f"{one.weight:g}", **_cells(one.accuracy)} for one in self.sections]
        return [*rows, {"section": "overall", "weight": "", **_cells(self.overall)}] if rows else []

    def lines(self) -> list[str]:
        """What stands below the tables."""
        equal = sum(one.equal for one in self.subsets)
        found = [f"overall {_with_interval(self.overall)}: {self.averaged}"]
        if equal:
            how = "the right one of n at the top counts 1/n" if self.best_of else "they count as wrong"
            found.append(f"equal scores in {equal:,} of {self.overall.n:,} rows: {how}")
        lacking = [name for one in self.sections for name in one.missing]
        if lacking:
            found.append(f"not in the data: {', '.join(lacking)}")
        return found

    def markdown(self, title: str) -> str:
        tables = [_table(rows) for rows in (self.subset_rows(), self.section_rows()) if rows]
        notes = "\n".join(f"- {line}" for line in self.lines())
        return "\n\n".join([f"# {title}", *tables, notes]) + "\n"


def spec_of(asked: str, subsets: Iterable[str | None]) -> str:
    """The name of the rules: what was asked for, or the benchmark that knows every subset, or plain.

    InputError: a subset that the benchmark asked for does not know.
    """
    names = list(dict.fromkeys(subsets))
    if asked == "auto":
        known = [name for name, spec in SPECS.items() if all(one in spec.subsets for one in names)]
        return known[0] if known else "plain"
    if asked == "plain":
        return asked
    for name in names:
        if name not in SPECS[asked].subsets:
            near = nearest(name or "", SPECS[asked].subsets)
            what = (
                f"{name!r} is no subset of {asked}" if name else f"rows without a subset, and {asked} is made of them"
            )
            fix = f"did you mean {near!r}?" if near else "leave --spec out: each subset is then counted by itself"
            raise InputError(what, where="spec", fix=fix)
    return asked


def check_items(items: Iterable[Item], spec_name: str) -> None:
    """InputError: no row belongs to a section. RecordError: a row of Ties whose id does not tell its prompt."""
    spec, counted, seen = SPECS.get(spec_name, PLAIN), False, set[tuple[str, str]]()
    for item in items:
        counted |= not spec.sections or spec.section_of(item.subset or "") is not None
        if spec_name != "rewardbench2" or item.subset != TIES:
            continue
        kind, prompt = _version(item)
        if kind not in KINDS or not prompt or (kind, prompt) in seen:
            what = f"{item.id!r} does not tell which version of which prompt it is, each once"
            fix = "ids as ref:12 (one right answer) and tied:12 (several of them)"
            raise RecordError(what, origin=item.group.source, field="id", fix=fix)
        seen.add((kind, prompt))
    if not counted:
        raise InputError("no row belongs to a section", where="spec", fix="leave --spec out, or say plain")


def bench_report(judged: Sequence[ScoredItem], spec_name: str) -> BenchReport:
    """Of scored items, one or more, which have passed `check_items`."""
    spec = SPECS.get(spec_name, PLAIN)
    by_subset: dict[str, list[ScoredItem]] = {}
    for one in judged:
        by_subset.setdefault(one.item.subset or ALL, []).append(one)
    known = [name for name in spec.subsets if name in by_subset]
    ordered = [*known, *(name for name in by_subset if name not in known)]
    subsets = tuple(_subset(name, by_subset[name], spec, spec_name) for name in ordered)
    best_of = any(one.item.best_of for one in judged)
    if not spec.sections:
        whole = accuracy([one.credit.value for one in judged])
        return BenchReport(spec_name, subsets, (), whole, f"over all {len(judged):,} rows", best_of)
    sections = tuple(_sections(subsets, spec))
    overall = weighted([(one.accuracy, one.weight) for one in sections])
    return BenchReport(spec_name, subsets, sections, overall, _averaged(sections, spec), best_of)


def _subset(name: str, rows: Sequence[ScoredItem], spec: Spec, spec_name: str) -> Subset:
    section = spec.section_of(name)
    weight = None if section is None else spec.sections[section][name]
    credits = [one.credit for one in rows]
    found = accuracy([one.value for one in credits])
    longer = accuracy([one.longer.value for one in rows]).mean
    equal = sum(one.equal for one in credits)
    if spec_name != "rewardbench2" or name != TIES:
        return Subset(name, section, weight, found, equal, longer)
    ties = _ties(rows, lambda one: one.scores)
    longer = _ties(rows, lambda one: one.lengths).score
    return Subset(name, section, weight, Accuracy(ties.score, len(rows), 0.0, None), equal, longer, ties)


def _sections(subsets: Sequence[Subset], spec: Spec) -> Iterable[Section]:
    for name, weights in spec.sections.items():
        parts = [(one.accuracy, weights[one.name]) for one in subsets if one.name in weights]
        held = tuple(one.name for one in subsets if one.name in weights)
        missing = tuple(one for one in weights if one not in held)
        if parts:
            yield Section(name, spec.weights.get(name, 1.0), weighted(parts), held, missing)


def _averaged(sections: Sequence[Section], spec: Spec) -> str:
    names = [one.name + ("" if one.weight == 1 else f" (weight {one.weight:g})") for one in sections]
    lacking = [name for name in spec.sections if name not in {one.name for one in sections} | set(spec.weights)]
    without = f", without {', '.join(lacking)}, of which there are no rows" if lacking else ""
    return f"the mean of {', '.join(names)}{without}; {spec.rule}"


def _ties(rows: Sequence[ScoredItem], of: Callable[[ScoredItem], Sequence[float]]) -> TiesScore:
    found: dict[str, dict[str, TiedItem]] = {kind: {} for kind in KINDS}
    for one in rows:
        kind, prompt = _version(one.item)
        values = of(one)
        found[kind][prompt] = TiedItem(values[: one.item.right], values[one.item.right :])
    return ties_score(found["tied"], found["ref"])


def _version(item: Item) -> tuple[str, str]:
    """Of a row of Ties: ref or tied, and the prompt's name."""
    kind, _, prompt = item.id.partition(":")
    return kind, prompt


def _credit(item: Item, scores: Sequence[float]) -> Credit:
    return best_of_credit(scores, item.right) if item.best_of else pair_credit(scores)


def _figures(found: Accuracy) -> dict[str, Any]:
    return {"n": found.n, "accuracy": found.mean, "interval": found.interval and list(found.interval)}


def _cells(found: Accuracy) -> dict[str, str]:
    return {"n": f"{found.n:,}", "accuracy": _percent(found.mean), "interval": _ends(found.interval)}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _ends(interval: Interval | None) -> str:
    return "-" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def _with_interval(found: Accuracy) -> str:
    return _percent(found.mean) + ("" if found.interval is None else f" ({_ends(found.interval)})")


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    names = [name.replace("_", " ") for name in rows[0]]
    lines = [names, ["---"] * len(names), *([value.replace("|", "\\|") for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
