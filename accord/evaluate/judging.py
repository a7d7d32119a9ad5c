"""`accord winrate` where answers are judged: from options to verdicts of each model against the baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from accord.errors import InputError
from accord.evaluate.answered import Answered, Contest, answered
from accord.evaluate.counted import Part
from accord.evaluate.judges.bias import Bias, bias
from accord.evaluate.judges.chosen import judge_of
from accord.evaluate.judges.judge import Judge
from accord.evaluate.judges.people import People
from accord.evaluate.judges.written import write_verdicts
from accord.evaluate.verdicts import NO_CATEGORY, Verdict, Verdicts, characters, verdicts_of
from accord.stages.evaluation_configs import WinrateConfig
from accord.stages.setup import say

REASONS = 3  # of failures that are named
OVER = "temperature"  # the setting that parts are at


@dataclass(frozen=True)
class Judged:
    """Verdicts of each model on the baseline, in parts, and what the judge is like. failures: how often, by reason.

    over: the setting that the parts are at, None where there is one. not_asked: pairs of which nobody said anything, as
    for the limit of cost; in the parts they are missing, and not failed. read: the files that prompts and answers came
    from. models: by the name of each in the table, what was written for it.
    """

    judge: str
    parts: list[Part]
    over: str | None
    bias: Bias
    failures: Mapping[str, int]
    not_asked: int
    cost: tuple[str, ...]
    read: tuple[str, ...]
    models: Mapping[str, str]

    def lines(self) -> Iterator[str]:
        """For people, below the table."""
        yield f"judged by {self.judge}"
        yield from self.bias.lines()
        if self.failures:
            named = sorted(self.failures.items(), key=lambda one: -one[1])[:REASONS]
            reasons = "; ".join(f"{count:,} x {why}" for why, count in named)
            yield f"note: {sum(self.failures.values()):,} verdicts failed: {reasons}"
        if self.not_asked:
            yield f"note: {self.not_asked:,} pairs were not judged, and count as missing"

    def to_json(self) -> dict[str, Any]:
        return {
            "judge": self.judge,
            "models": dict(self.models),
            "bias": self.bias.to_json(),
            "failures": dict(self.failures),
            "not_asked": self.not_asked,
            "cost": list(self.cost),
        }


class Decided(NamedTuple):
    """One contest with what was said of each of its pairs. A pair that several people judged stands there as often."""

    contest: Contest
    said: list[Verdict]


def judged(config: WinrateConfig, models: Sequence[str], given: Mapping[str, object]) -> Judged:
    """Answers are sampled or read, matched, judged, and on request written. AccordError as each of these."""
    judge = judge_of(config.judging, config.asking, given, config.win_rate.seed)
    found = answered(config, models)
    decided, said = decide(judge, found, config.judging.verdicts)
    over = OVER if config.asking.temperatures else None
    return replace(said, parts=_parts(config, decided, found.numbers), over=over)


def decide(judge: Judge | People, found: Answered, path: str | None) -> tuple[list[Decided], Judged]:
    """What a judge says of all contests, on request written, and what is said of it; that has no parts yet."""
    contests, said = _said(judge, found.contests)
    pairs = [pair for contest in contests for pair in contest.pairs]
    cost = tuple(judge.lines())
    for line in cost:
        say(line)
    if path is not None:
        write_verdicts(path, pairs, said, found.numbers)
    _check_any(said, judge.name)
    rest = iter(said)
    decided = [Decided(one, [next(rest) for _ in one.pairs]) for one in contests]
    reasons = Counter(str(one.failure) for one in said if one.outcome is None and one.asked)
    not_asked = sum(not one.asked for one in said)
    judged = Judged(judge.name, [], None, bias(pairs, said), reasons, not_asked, cost, found.read, found.models)
    return decided, judged


def _said(judge: Judge | People, contests: Sequence[Contest]) -> tuple[list[Contest], list[Verdict]]:
    """(the contests, with a pair as often as something is said of it; all that is said, in their order)"""
    pairs = [pair for contest in contests for pair in contest.pairs]
    if not isinstance(judge, People):
        return list(contests), judge.judge(pairs)
    said = judge.opinions(pairs)
    rest = iter(said)
    several = [one._replace(pairs=[pair for pair in one.pairs for _ in next(rest)]) for one in contests]
    return several, [verdict for one in said for verdict in one]


def _check_any(said: Sequence[Verdict], name: str) -> None:
    if any(one.outcome is not None for one in said):
        return
    reasons = Counter(str(one.failure) for one in said).most_common(1)
    what = f"no verdict on {len(said):,} pairs of answers, mostly for: {reasons[0][0] if reasons else 'there are none'}"
    raise InputError(what, where=name, fix="see what it is asked and says: another template, or another judge")


def _parts(config: WinrateConfig, decided: Sequence[Decided], numbers: Mapping[str, int]) -> list[Part]:
    """A part for each temperature, for each category, or one."""
    levels = list(dict.fromkeys(one.contest.level for one in decided))
    parts = [
        Part(None, level, [verdicts_in(one, numbers) for one in decided if one.contest.level == level])
        for level in levels
    ]
    if config.compared.by == "none":
        return parts
    (whole,) = parts  # categories and temperatures are not asked for together
    names = sorted({name for one in whole.many for name in one.categories})
    if not names:
        fix = "add a column category, or leave --by out"
        raise InputError("no prompt names a category", where=str(config.asking.prompts or "by"), fix=fix)
    return [Part(name, None, [_in_category(one, name) for one in whole.many]) for name in names]


def _in_category(verdicts: Verdicts, name: str) -> Verdicts:
    number = verdicts.categories.index(name) if name in verdicts.categories else NO_CATEGORY - 1
    return verdicts.at(verdicts.category == number)


def verdicts_in(one: Decided, numbers: Mapping[str, int]) -> Verdicts:
    """By the prompts' numbers in their file, so that several models can be paired, and difficulties be found."""
    contest = one.contest
    known = [(pair, verdict) for pair, verdict in zip(contest.pairs, one.said, strict=True) if verdict.asked]
    if not known:
        what = f"no verdict on {contest.model}: {one.said[0].failure}"
        raise InputError(what, where="judge", fix="have more judged; what was judged is kept")
    found = verdicts_of([pair for pair, _ in known], [verdict for _, verdict in known])
    names = list(dict.fromkeys(pair.id for pair, _ in known))
    place = np.array([numbers[name] for name in names], dtype=np.int64)[found.cluster]
    lengths = {pair.id: characters(pair.first.text) for pair in contest.pairs}
    return replace(
        found,
        cluster=place,
        row=place,
        numbered=True,
        missing=contest.missing + len(contest.pairs) - len(known),
        answer_length=math.fsum(lengths.values()) / len(lengths),
    )
