"""From options to pairs of answers: every model, at every temperature, against the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from accord.data.report import DataReport
from accord.errors import InputError
from accord.evaluate import answers as matching
from accord.evaluate.answers import REFERENCE, Answers, Asked
from accord.evaluate.answers_written import AtLevels, write_answers
from accord.evaluate.inputs import check_outputs
from accord.evaluate.sampled import sampled
from accord.evaluate.verdicts import Matched
from accord.models.named import context_of
from accord.models.scorer import is_scorer
from accord.stages.evaluation_configs import WinrateConfig
from accord.stages.judge_options import AnsweringOptions
from accord.stages.setup import say

ANSWERING = "give a language model, or a file of answers"


class Contest(NamedTuple):
    """One model, at one temperature, against the baseline. missing: prompts to which one of the two has no answer."""

    model: str
    level: float | None
    pairs: list[Matched]
    missing: int


class Answered(NamedTuple):
    """numbers: of each prompt, by its id, its place in its file. read: the files of prompts and answers.

    models: by the name that a model has in tables, what was written for it.
    """

    contests: list[Contest]
    numbers: Mapping[str, int]
    read: tuple[str, ...]
    models: Mapping[str, str]


class Files(NamedTuple):
    """What files say. prompts: what is asked. answers: by what was written for each model that is a file.

    read: the files.
    """

    prompts: list[Asked]
    answers: dict[str, Answers]
    read: tuple[str, ...]


def answered(config: WinrateConfig, models: Sequence[str]) -> Answered:
    """Answers of all models, sampled or read, matched, and on request written. AccordError: as each of these."""
    against = config.compared.against
    if not models or against is None:
        key = "model" if not models else "against"
        raise InputError("not given, and answers are to be judged", where=key, fix="give --model and --against")
    _check(config, models, against)
    compared = config.compared
    prompts, read, sources = files_of(
        (*models, against), config.asking.prompts, split=compared.split, on_bad_row=compared.on_bad_row
    )
    called = matching.short_names((*models, against))
    found = [_levels(config, name, called[name], read) for name in models]
    baseline = _baseline(config, against, called[against], prompts, read)
    if config.asking.answers:
        write_answers(config.asking.answers, prompts, [*found, [(None, baseline)]])
    contests = [
        contest(prompts, (one, baseline), (name, against), level)
        for name, levels in zip(models, found, strict=True)
        for level, one in levels
    ]
    for line in matching.lines(read, max(one.missing for one in contests)):
        say(line)
    numbers = {prompt.id: number for number, prompt in enumerate(prompts)}
    named = {levels[0][1].name: name for name, levels in zip(models, found, strict=True)} | {baseline.name: against}
    return Answered(contests, numbers, sources, named)


def files_of(names: Sequence[str], prompts: str | None, *, split: str, on_bad_row: str) -> Files:
    """Reads the prompts, and the answers of those models that are files. Without a file of prompts they are those of
    the first model."""
    report = DataReport()
    files = {
        name: matching.of_file(name, split=split, on_bad_row=on_bad_row, report=report)
        for name in names
        if matching.is_file(name)
    }
    if prompts is not None:
        asked = matching.prompts_of(prompts, split=split, on_bad_row=on_bad_row, report=report)
    else:
        asked = matching.asked_in(files[names[0]])
    say(f"prompts: {len(asked):,}; {report.summary()}")
    for line in report.warnings():
        say(f"note: {line}")
    read = {name: matching.named_answers(name, found, asked) for name, found in files.items()}
    return Files(asked, read, (*files, *([prompts] if prompts is not None else [])))


def check_asked(names: Sequence[str], asking: AnsweringOptions) -> None:
    """InputError: a model is to be sampled, and there are no prompts, no such directory, or it is no language model."""
    others = [name for name in names if not matching.is_file(name)]
    if others and asking.prompts is None:
        what = f"not given, and {others[0]} is no file of answers"
        raise InputError(what, where="prompts", fix="give the file of prompts that it is to answer")
    for name in others:
        if name != REFERENCE:
            context_of(name, trust_remote_code=asking.trust_remote_code)
            if is_scorer(name):
                raise InputError("is a reward model or classifier, and answers nothing", where=name, fix=ANSWERING)


def _check(config: WinrateConfig, models: Sequence[str], against: str) -> None:
    """InputError for options that do not go with these models, before anything is read."""
    asking = config.asking
    read = [name for name in (*models, against) if matching.is_file(name)]
    check_asked((*models, against), asking)
    if asking.temperatures and (sampled_not := [name for name in models if name in read]):
        what = f"{sampled_not[0]} is a file of answers, and nothing is sampled"
        raise InputError(what, where="temperatures", fix="leave it out, or give the directory of a model")
    if len(asking.answers) > len(models) + 1:
        what = f"{len(asking.answers)} files for {len(models) + 1} models"
        raise InputError(what, where="answers", fix="one for each --model, then one for --against")
    output = config.output
    outputs = [*asking.answers, config.judging.verdicts, output.json, output.markdown, output.plot, output.report]
    check_outputs([*read, *([asking.prompts] if asking.prompts else [])], outputs)


def _levels(config: WinrateConfig, name: str, called: str, read: Mapping[str, Answers]) -> AtLevels:
    if name in read:
        return [(None, read[name])]
    asking = config.asking
    if asking.temperatures:
        return list(zip(asking.temperatures, _sampled(config, name, called, asking.temperatures), strict=True))
    return [(None, _sampled(config, name, called, [asking.temperature])[0])]


def _sampled(config: WinrateConfig, name: str, called: str, temperatures: Sequence[float]) -> list[Answers]:
    compared = config.compared
    how = {"split": compared.split, "on_bad_row": compared.on_bad_row}
    return sampled(name, config.asking, temperatures, **how, seed=config.win_rate.seed, called=called)


def _baseline(
    config: WinrateConfig, name: str, called: str, prompts: Sequence[Asked], read: Mapping[str, Answers]
) -> Answers:
    if name in read:
        return read[name]
    if name == REFERENCE:
        return matching.references(prompts, str(config.asking.prompts))
    return _sampled(config, name, called, [config.asking.temperature])[0]


def contest(
    prompts: Sequence[Asked], answers: tuple[Answers, Answers], written: tuple[str, str], level: float | None
) -> Contest:
    """The pairs of two models' answers. written: on the command line. InputError: they answered no prompt both."""
    first, second = matching.told_apart(*answers, written)
    pairs, missing = matching.matched(prompts, first, second, level)
    if not pairs:
        what = f"no prompt has answers of both {first.name} and {second.name}"
        raise InputError(what, where=written[0], fix="give answers to the same prompts")
    return Contest(first.name, level, pairs, missing)
