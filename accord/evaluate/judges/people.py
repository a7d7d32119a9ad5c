"""People as a judge: pairs of answers are written to a file without names, and read back with what was said of them.

FOLDER/to_judge.jsonl has a row for each pair (accord.data.questions). Which answer stands first, and in which order the
pairs come, are drawn by what they say: nothing tells whose an answer is, and whoever stops early has judged a part that
is drawn. What people said of them lies in FOLDER/judged, in one file or several.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accord.data.choose import standing
from accord.data.model_outputs import plain
from accord.data.questions import TO_DO, Opinion, Questions, lines_of, read_opinions
from accord.data.sources import files_of, rows
from accord.errors import InputError
from accord.evaluate.verdicts import Matched, Verdict
from accord.maths.agreement import Votes, three_way
from accord.records import Completion, Group
from accord.stages.tables import put

TO_JUDGE, JUDGED = "to_judge.jsonl", "judged"
ALIKE = "the same text twice"
NOT_YET = "nobody has judged it yet"
DIGITS = 16  # of a SHA-256, of which one pair is called


class ToBeJudged(Exception):
    """The command ends here, and gives its table once people have judged. It says what they are to do."""


@dataclass
class People:
    """said, alike, asked: once the opinions are read, those on each pair that was asked about, by its id, the number of
    pairs of one text twice, and the number of all."""

    folder: Path
    name: str = "people"
    said: dict[str, list[Opinion]] = field(default_factory=dict)
    alike: int = 0
    asked: int = 0

    def opinions(self, matched: Sequence[Matched]) -> list[list[Verdict]]:
        """Of each pair a verdict for everyone who judged it; of one that nobody has judged, one that is not asked.

        Two answers of one text are a tie, and not asked about. ToBeJudged: nothing is judged yet. InputError: the pairs
        are not those of the file that people got, or what they said cannot be read.
        """
        ids = [None if one.first.text == one.second.text else id_of(one) for one in matched]
        questions = {id: group_of(id, one) for id, one in zip(ids, matched, strict=True) if id is not None}
        self.asked, self.alike = len(matched), ids.count(None)
        if questions:
            self.said = self._read([questions[id] for id in sorted(questions)])
        return [self._verdicts(questions.get(str(id)), one) for id, one in zip(ids, matched, strict=True)]

    def lines(self) -> Iterator[str]:
        """Who judged how many, and how far they agree."""
        heard = [opinion for several in self.said.values() for opinion in several]
        names = Counter(one.judgement.annotator or "unnamed" for one in heard)
        who = ", ".join(f"{name} {count:,}" for name, count in names.most_common())
        judged = sum(map(bool, self.said.values()))
        yield f"people: {len(heard):,} judgements on {judged:,} of {len(self.said):,} pairs of answers ({who})"
        if self.alike:
            yield f"note: {self.alike:,} x {ALIKE}: a tie, of which nobody was asked"
        several = [votes for one in self.said.values() if sum(votes := _votes(one)) > 1]
        if several:
            columns = np.array(several, dtype=np.float64).T
            alike = three_way(Votes(*columns), np.arange(len(several)))
            low, high = alike.interval
            share = f"{alike.mean:.1%} (95 % interval {low:.1%} to {high:.1%})"
            yield f"two people say the same of a pair in {share}; {len(several):,} pairs were judged by several"

    def _read(self, groups: Sequence[Group]) -> dict[str, list[Opinion]]:
        asked, judged = self.folder / TO_JUDGE, self.folder / JUDGED
        _check_or_write(asked, groups)
        files = files_of(str(judged)) if judged.is_dir() and any(judged.iterdir()) else []
        found: dict[str, list[Opinion]] = {one.id: [] for one in groups}
        for file in files:
            for id, opinions in read_opinions(Path(file), Questions(groups, asked, whole=False)).items():
                found[id] += opinions
        found = {id: _last_of_each(opinions) for id, opinions in found.items()}
        if not any(found.values()):
            raise ToBeJudged(
                f"{len(groups):,} pairs of answers wait to be judged in {asked}: {TO_DO}, equal ranks for a tie, save "
                f"it as a file in the folder {judged}, and run the same command again"
            )
        return found

    def _verdicts(self, question: Group | None, one: Matched) -> list[Verdict]:
        if question is None:
            return [Verdict(0.5, annotator=ALIKE)]
        turned = question.completions[0].content != one.first.text
        unnamed, found = 0, []
        for opinion in self.said[question.id]:
            unnamed += opinion.judgement.annotator is None
            name = opinion.judgement.annotator or f"unnamed {unnamed}"
            outcome = _outcome(opinion, turned)
            is_first = (opinion.first == 0) != turned
            found.append(Verdict(outcome, None, (outcome, None) if is_first else (None, outcome), name))
        return found or [Verdict(None, NOT_YET, asked=False)]


def people_of(folder: str) -> People:
    """InputError: it, or what it would lie in, is a file, as is seen before answers are made."""
    wanted = Path(folder) / JUDGED
    near = next(place for place in (wanted, *wanted.absolute().parents) if place.exists())
    if not near.is_dir():
        raise InputError(
            "is a file, where a folder is to be", where=str(near), fix="move it, or give another --judge_dir"
        )
    return People(Path(folder))


def id_of(one: Matched) -> str:
    """By what is in it, whoever wrote which: the same two answers to a prompt are one question."""
    return hashlib.sha256(_texts(one).encode()).hexdigest()[:DIGITS]


def group_of(id: str, one: Matched) -> Group:
    """The pair as people see it."""
    first, second = sorted((one.first.text, one.second.text), key=_written)
    if hashlib.sha256(f"order {_texts(one)}".encode()).digest()[0] % 2:
        first, second = second, first
    return Group(id, one.prompt, (Completion(first), Completion(second)), category=one.category)


def _texts(one: Matched) -> str:
    return json.dumps([_written(one.prompt), *sorted(map(_written, (one.first.text, one.second.text)))])


def _written(text: Any) -> str:
    return json.dumps(plain(text), sort_keys=True)


def _check_or_write(path: Path, groups: Sequence[Group]) -> None:
    """Writes the file that people get, once. InputError: there is one, and it asks about other answers."""
    if not path.exists():
        put(path, lines_of(groups), with_folder=True)
        return
    there = {row.get("id") for _, row in rows(str(path)) if isinstance(row, Mapping)}
    if others := sum(one.id not in there for one in groups):
        what = f"{others:,} of {len(groups):,} pairs of answers are not in it: answers or prompts have changed since"
        fix = "give the models, prompts and options of then (--answers keeps answers), or another --judge_dir"
        raise InputError(what, where=str(path), fix=fix)


def _last_of_each(opinions: Sequence[Opinion]) -> list[Opinion]:
    """A later judgement of one person replaces the earlier one; those without a name are by different people."""
    names = [one.judgement.annotator for one in opinions]
    return [one for place, one in enumerate(opinions) if names[place] is None or names[place] not in names[place + 1 :]]


def _outcome(opinion: Opinion, turned: bool) -> float:
    goodness = standing(opinion.judgement)
    assert goodness is not None and len(goodness) == 2  # accord.data.questions takes no other
    one, other = (goodness[1], goodness[0]) if turned else (goodness[0], goodness[1])
    return 1.0 if one > other else 0.0 if one < other else 0.5


def _votes(opinions: Sequence[Opinion]) -> tuple[int, int, int]:
    """How many call the first better, the second, neither."""
    said = Counter(_outcome(one, turned=False) for one in opinions)
    return said[1.0], said[0.0], said[0.5]
