"""Two models' answers to the same prompts, matched prompt by prompt: sampled, read from files, or human-written."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from accord.data.choose import best
from accord.data.dialogue import TokenGroup
from accord.data.model_outputs import Output, outputs, taken
from accord.data.read import read_groups
from accord.data.report import DataReport, Refusals
from accord.data.sources import ENDINGS, rows
from accord.errors import InputError
from accord.evaluate.judges.transcript import asked
from accord.evaluate.verdicts import Answer, Matched
from accord.records import Group, Message, Text

REFERENCE = "reference"  # in the place of a model: the completions of the prompts' own file
SEVERAL = "prompts with several answers: the one that is judged best is taken, else the first"


class Asked(NamedTuple):
    """A prompt that both are to answer. reference: what a person wrote behind it, if that is known."""

    id: str
    prompt: Text
    category: str | None = None
    reference: Text | None = None


@dataclass
class Answers:
    """What one model answered, by the id of the prompt. strange: answers of a file to prompts that nobody asked.

    tokens: prompts and answers as they were sampled, where they were; an answer as text may have other tokens.
    """

    name: str
    of: dict[str, Answer] = field(default_factory=dict)
    strange: int = 0
    tokens: dict[str, TokenGroup] = field(default_factory=dict)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """What was written for each model -> the end of its path, as long as it takes to tell it from the others.

    Only directories have shorter names: those of files are in them, and a name on a hub is one already.
    """
    ends = {name: Path(os.path.abspath(name)).parts if os.path.isdir(name) else (name,) for name in names}
    return {name: _shortest(parts, [ends[other] for other in ends if other != name]) for name, parts in ends.items()}


def _shortest(parts: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    for size in range(1, len(parts)):
        found = parts[-size:]
        if found != (REFERENCE,) and all(other[-size:] != found for other in others):
            return "/".join(found)
    return os.path.join(*parts)


def is_file(name: str) -> bool:
    """Whether it names a file of answers, and not a model: by its ending, or as no directory."""
    return os.path.isfile(name) or name.lower().endswith(ENDINGS)


def prompts_of(name: str, *, split: str, on_bad_row: str, report: DataReport) -> list[Asked]:
    """The prompts of a file in any format, each with its best completion as what a person wrote.

    BadRows, InputError: as reading groups.
    """
    refusals = Refusals(on_bad_row, report)
    groups = read_groups(name, split=split, report=report, refusals=refusals)
    return [Asked(one.id, one.prompt, one.category, _best(one)) for one in groups]


def of_file(name: str, *, split: str, on_bad_row: str, report: DataReport) -> list[Output]:
    """The answers that a file has: AlpacaEval's outputs of a model, or groups with completions."""
    refusals = Refusals(on_bad_row, report)
    are_outputs, raws = taken(rows(name, split=split, report=report))
    if are_outputs:
        return list(outputs(raws, refusals))
    found = []
    for group in read_groups(name, split=split, report=report, refusals=refusals):
        if len(group.completions) > 1:
            report.note(SEVERAL, where=str(group.source))
        if group.completions:
            found.append(_output(group))
    if not found:
        raise InputError("no row has a completion", where=name, fix="give answers, or the directory of a model")
    return found


def asked_in(found: Sequence[Output]) -> list[Asked]:
    """The prompts of a file of answers, where no other file names them. A prompt that comes again gets a new id."""
    taken_ids: Counter[str] = Counter()
    prompts = []
    for number, one in enumerate(found, start=1):
        id = one.id or str(number)
        taken_ids[id] += 1
        unique = id if taken_ids[id] == 1 else f"{id}#{taken_ids[id]}"
        prompts.append(Asked(unique, one.prompt, one.category))
    return prompts


def named_answers(name: str, found: Sequence[Output], prompts: Sequence[Asked]) -> Answers:
    """The answers of a file by the prompts they belong to: the second to a text is for its second coming.

    Named after their model, if the file names one. InputError: none belongs to a prompt.
    """
    waiting: dict[str, list[Output]] = defaultdict(list)
    for one in found:
        waiting[key_of(one.prompt)].append(one)
    models = {one.model for one in found}
    model = (models.pop() if len(models) == 1 else None) or Path(name).name
    answers = Answers(model)
    for prompt in prompts:
        if several := waiting[key_of(prompt.prompt)]:
            one = several.pop(0)
            answers.of[prompt.id] = Answer(model, like(prompt.prompt, one.text), one.ended)
    answers.strange = len(found) - len(answers.of)
    if not answers.of:
        what = f"none of its {len(found):,} answers is to one of the {len(prompts):,} prompts"
        raise InputError(what, where=name, fix="give answers to the same prompts, word by word")
    return answers


def references(prompts: Sequence[Asked], where: str) -> Answers:
    """What people wrote. InputError: no prompt has a completion."""
    answers = Answers(REFERENCE)
    for prompt in prompts:
        if prompt.reference is not None:
            answers.of[prompt.id] = Answer(REFERENCE, prompt.reference)
    if not answers.of:
        what = "no prompt has a completion that could be a reference"
        raise InputError(what, where=where, fix="give demonstrations, or a model in --against")
    return answers


def matched(
    prompts: Sequence[Asked], first: Answers, second: Answers, level: float | None = None
) -> tuple[list[Matched], int]:
    """(the pairs of answers, the number of prompts to which one of the two has none), in the order of the prompts."""
    pairs = [
        Matched(one.id, one.prompt, first.of[one.id], second.of[one.id], one.category, level)
        for one in prompts
        if one.id in first.of and one.id in second.of
    ]
    return pairs, len(prompts) - len(pairs)


def told_apart(first: Answers, second: Answers, names: tuple[str, str]) -> tuple[Answers, Answers]:
    """Both by names that differ: what was written on the command line, where their own are the same.

    InputError: these are the same, too.
    """
    if first.name != second.name:
        return first, second
    if names[0] == names[1]:
        raise InputError(f"{names[0]!r} is compared with itself", where="against", fix="give another model")
    return renamed(first, names[0]), renamed(second, names[1])


def renamed(answers: Answers, name: str) -> Answers:
    found = {id: one._replace(model=name) for id, one in answers.of.items()}
    return Answers(name, found, answers.strange, answers.tokens)


def key_of(prompt: Text) -> str:
    """What a prompt is found by: a single text is the same as an instruction and as the only turn of a user."""
    if isinstance(prompt, str) or (len(prompt) == 1 and prompt[0].role == "user"):
        return asked(prompt)
    return json.dumps([[turn.role, turn.content] for turn in prompt])


def like(prompt: Text, text: Text) -> Text:
    """An answer as text behind a plain text, and as the assistant's turn behind turns."""
    if isinstance(prompt, str):
        return text if isinstance(text, str) else "\n\n".join(turn.content for turn in text if turn.role == "assistant")
    return (Message("assistant", text),) if isinstance(text, str) else text


def lines(answers: Mapping[str, Answers], missing: int) -> Iterator[str]:
    """What does not match. answers: by what was written for each."""
    for written, one in answers.items():
        if one.strange:
            yield f"note: {one.strange:,} answers of {written} are to no prompt that was asked, and are left aside"
    if missing:
        yield f"note: {missing:,} prompts have no answer of one of the two, and are left out"


def _best(group: Group) -> Text | None:
    return group.completions[best(group)].content if group.completions else None


def _output(group: Group) -> Output:
    one = group.completions[best(group) if group.judgements else 0]
    return Output(group.prompt, one.content, one.model, None, group.category, group.id, group.source)
