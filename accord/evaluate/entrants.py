"""The models of `accord compare`: what each answered to the same prompts, sampled or read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from accord.data.dialogue import TokenGroup
from accord.errors import InputError
from accord.evaluate import answers as matching
from accord.evaluate.answered import check_asked, files_of
from accord.evaluate.answers import REFERENCE, Answers, Asked
from accord.evaluate.answers_written import write_answers
from accord.evaluate.difficulty_file import read_difficulty
from accord.evaluate.inputs import check_outputs
from accord.evaluate.sampled import sampled
from accord.evaluate.verdicts import Answer
from accord.models.named import context_of
from accord.models.scorer import check_scores
from accord.stages.evaluation_configs import CompareConfig
from accord.stages.setup import say


class Entrants(NamedTuple):
    """answers: of each model, their names differ; the first is what the others are held against. read: files.

    models: by the name that a model has in tables, what was written for it.
    """

    prompts: list[Asked]
    answers: list[Answers]
    read: tuple[str, ...]
    models: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.answers)

    def tokens(self) -> dict[str, list[TokenGroup]]:
        """Of the models that were sampled, by their directories, prompts and answers token by token."""
        return {self.models[one.name]: list(one.tokens.values()) for one in self.answers if one.tokens}

    def shared(self, one: Answers, other: Answers) -> list[tuple[Answer, Answer]]:
        """The answers of two to the prompts that both answered."""
        return [(one.of[p.id], other.of[p.id]) for p in self.prompts if p.id in one.of and p.id in other.of]

    def of_all(self) -> Iterator[tuple[Asked, Mapping[str, Answer]]]:
        """The prompts that every model answered, with the answers by name."""
        for prompt in self.prompts:
            if all(prompt.id in one.of for one in self.answers):
                yield prompt, {one.name: one.of[prompt.id] for one in self.answers}


def check(config: CompareConfig, models: Sequence[str]) -> None:
    """InputError: what cannot be compared, before anything is sampled."""
    asking, entrants = config.asking, config.entrants
    if len(models) < 2 or not all(models):
        fix = "give two or more with commas, as base,tuned"
        raise InputError(f"{len(models)} alone, and models are compared with each other", where="model", fix=fix)
    if twice := [name for name, count in Counter(models).items() if count > 1]:
        raise InputError(f"names {twice[0]} twice", where="model", fix="name each once")
    check_asked(models, asking)
    if len(asking.answers) > len(models):
        what = f"{len(asking.answers)} files for {len(models)} models"
        raise InputError(what, where="answers", fix="one for each model, in their order")
    if entrants.reference is not None and not is_directory(entrants.reference):
        what = f"{entrants.reference} is no model whose log-probabilities can be asked for"
        raise InputError(what, where="reference", fix="give the directory of a model")
    if entrants.reference is not None:
        context_of(entrants.reference, trust_remote_code=asking.trust_remote_code)
    for name in config.figures.classifier:
        check_scores(name, trust_remote_code=asking.trust_remote_code)
    if config.figures.difficulty is not None:
        read_difficulty(config.figures.difficulty)
    output = config.output
    files = [*filter(matching.is_file, models), *filter(None, (asking.prompts, config.figures.difficulty))]
    outputs = [output.json, output.markdown, output.plot, config.judging.verdicts, *asking.answers]
    check_outputs(files, outputs)


def is_directory(name: str) -> bool:
    """Whether it names a model that can be asked, and not what one has answered."""
    return name != REFERENCE and not matching.is_file(name)


def entrants_of(config: CompareConfig, models: Sequence[str]) -> Entrants:
    """Errors: as reading, and as `accord sample`."""
    asking, entrants = config.asking, config.entrants
    prompts, read, sources = files_of(models, asking.prompts, split=entrants.split, on_bad_row=entrants.on_bad_row)
    called = matching.short_names(models)
    found = [_answers(config, name, called[name], read, prompts) for name in models]
    several = Counter(one.name for one in found)
    named = [
        matching.renamed(one, written) if several[one.name] > 1 else one
        for one, written in zip(found, models, strict=True)
    ]
    if asking.answers:
        write_answers(asking.answers, prompts, [[(None, one)] for one in named])
    for line in matching.lines(read, 0):
        say(line)
    for one in named:
        if missing := len(prompts) - len(one.of):
            say(f"note: {missing:,} of {len(prompts):,} prompts have no answer of {one.name}")
    return Entrants(prompts, named, sources, {one.name: written for one, written in zip(named, models, strict=True)})


def _answers(
    config: CompareConfig, name: str, called: str, read: Mapping[str, Answers], prompts: Sequence[Asked]
) -> Answers:
    if name in read:
        return read[name]
    asking, entrants = config.asking, config.entrants
    if name == REFERENCE:
        return matching.references(prompts, str(asking.prompts))
    levels = asking.levels()
    how = {"split": entrants.split, "on_bad_row": entrants.on_bad_row}
    (answers,) = sampled(name, asking, levels, **how, seed=config.figures.seed, called=called)
    return answers
