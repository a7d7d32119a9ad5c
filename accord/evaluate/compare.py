"""`accord compare`: all that is known of a few models' answers to the same prompts, side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, cast

from accord.errors import InputError
from accord.evaluate import compare_show
from accord.evaluate.answers import short_names
from accord.evaluate.classified import classified
from accord.evaluate.collapse import EarlyWarnings, early_warnings
from accord.evaluate.endings import Endings, endings_of
from accord.evaluate.entrants import Entrants, check, entrants_of, is_directory
from accord.evaluate.inputs import digests_of
from accord.evaluate.judges.chosen import judge_of
from accord.evaluate.judges.judge import Judge
from accord.evaluate.judges.people import People, ToBeJudged
from accord.evaluate.judges.transcript import asked, said
from accord.evaluate.kl_to_reference import Divergences, kl_to_reference
from accord.evaluate.round_robin import RoundRobin, round_robin
from accord.evaluate.safety_table import Table
from accord.stages.evaluation_configs import CompareConfig
from accord.stages.setup import say
from accord.stages.tables import put, show, tell, written
from accord.stages.winrate_options import WinRateOptions

Json = dict[str, Any]
NO_JUDGE = "no --judge is given, so nothing says which answers are better"
NO_CLASSIFIER = "no --classifier is given"
NO_REFERENCE = "no --reference is given, and the first model is no directory of a model"
NOT_DRAWN = "answers are not drawn from all that the models could say: --temperature is 0, or --top_p below 1"


class Sample(NamedTuple):
    """A prompt, and what each model answered."""

    id: str
    prompt: str
    answers: Mapping[str, str]


@dataclass(frozen=True)
class ModelComparison:
    """What came of it. Python gets this. models: the first is what the others are held against.

    left_out: section -> why it is not there. files: name -> SHA-256.
    """

    models: tuple[str, ...]
    prompts: int
    level: float
    judged: RoundRobin | None
    endings: list[Endings]
    safety: Table | None
    kl: Divergences | None
    warnings: list[EarlyWarnings]
    samples: list[Sample]
    left_out: Mapping[str, str]
    options: Json
    files: Mapping[str, str]

    def __repr__(self) -> str:
        """Short, as an interactive session shows it."""
        return f"<ModelComparison: {', '.join(self.models)} on {self.prompts:,} prompts>"

    def markdown(self) -> str:
        """All sections, and the samples one below the other."""
        return compare_show.markdown(self)

    def to_json(self) -> Json:
        """All of it; null stands for what is left out or cannot be known."""
        return {
            "models": list(self.models),
            "prompts": self.prompts,
            "options": self.options,
            "files": dict(self.files),
            "win_rates": self.judged and self.judged.to_json(),
            "answers": [one.to_json() for one in self.endings],
            "safety": self.safety and self.safety.to_json(),
            "kl": self.kl and self.kl.to_json(),
            "early_warnings": [one.to_json() for one in self.warnings],
            "samples": [{**one._asdict(), "answers": dict(one.answers)} for one in self.samples],
            "left_out": dict(self.left_out),
        }


def run(config: CompareConfig, given: Mapping[str, object]) -> ModelComparison | None:
    """Samples or reads, judges, measures, prints, and on request writes and draws. AccordError: as each of these.

    None: people are to judge first.
    """
    models = _models(config, given)
    check(config, models)
    figures = config.figures
    judge = None
    if config.judging.judge is not None:
        judge = judge_of(config.judging, config.asking, given, figures.seed)
    entrants = entrants_of(config, models)
    try:
        verdicts = _judged(config, judge, entrants) if judge else None
    except ToBeJudged as waits:
        say(str(waits))
        return None
    options = {key: value for group in config.model_dump(exclude={"output"}).values() for key, value in group.items()}
    kl, no_kl = _kl(config, models, entrants)
    reasons = {
        "win rates": "" if judge else NO_JUDGE,
        "safety": "" if figures.classifier else NO_CLASSIFIER,
        "kl": no_kl,
    }
    found = ModelComparison(
        models=entrants.names,
        prompts=len(entrants.prompts),
        level=figures.level,
        judged=verdicts,
        endings=[endings_of(one.name, list(one.of.values()), figures.level) for one in entrants.answers],
        safety=classified(config, entrants.answers, entrants.prompts) if figures.classifier else None,
        kl=kl,
        warnings=_warnings(config, entrants),
        samples=_samples(entrants, figures.samples),
        left_out={section: why for section, why in reasons.items() if why},
        options={**options, "model": list(models)},
        files=digests_of(entrants.read),
    )
    _write(found, config)
    return found


def _models(config: CompareConfig, given: Mapping[str, object]) -> list[str]:
    """By name; Python may give a list. InputError: a model as an object, whose answers nobody could find again."""
    models = cast(Sequence[object], given.get("model", config.entrants.model))
    for key, values in (("model", models), ("reference", [given.get("reference", "")])):
        if not isinstance(values, list | tuple) or not all(isinstance(one, str | os.PathLike) for one in values):
            raise InputError("takes names only", where=key, fix="give directories or files; a model must be saved")
    return [os.fspath(cast(str, one)) for one in models]


def _judged(config: CompareConfig, judge: Judge | People, entrants: Entrants) -> RoundRobin:
    figures = config.figures
    own = {"level", "rounds", "seed", "length_control", "difficulty"}
    options = WinRateOptions.model_validate(figures.model_dump(include=own))
    return round_robin(judge, entrants.answers, entrants.prompts, options, config.judging.verdicts)


def _kl(config: CompareConfig, models: Sequence[str], entrants: Entrants) -> tuple[Divergences | None, str]:
    """The table, or why there is none."""
    reference = config.entrants.reference or models[0]
    if not config.drawn_from_all:
        return None, NOT_DRAWN
    if not is_directory(reference):
        return None, NO_REFERENCE
    called = short_names([*models, reference]) | {written: name for name, written in entrants.models.items()}
    sampled = {name: groups for name, groups in entrants.tokens().items() if name != reference}
    if not sampled:
        return None, f"no model but {called[reference]}, the reference, was sampled here"
    return kl_to_reference(reference, sampled, config.asking, config.figures.level).named(called), ""


def _warnings(config: CompareConfig, entrants: Entrants) -> list[EarlyWarnings]:
    """Of every model that shares prompts with the first, against it."""
    first, *others = entrants.answers
    found = []
    for one in others:
        if pairs := entrants.shared(one, first):
            own, base = zip(*pairs, strict=True)
            found.append(early_warnings(own, base, level=config.figures.level, seed=config.figures.seed))
    return found


def _samples(entrants: Entrants, count: int) -> list[Sample]:
    return [
        Sample(prompt.id, asked(prompt.prompt), {name: said(one.text) for name, one in answers.items()})
        for prompt, answers in islice(entrants.of_all(), count)
    ]


def _write(found: ModelComparison, config: CompareConfig) -> None:
    output = config.output
    if output.plot is not None:
        from accord.evaluate import compare_plot

        compare_plot.draw(found, output.plot)
    if output.markdown is not None:
        put(output.markdown, found.markdown() + "\n")
    if written(found.to_json(), output.json):
        return
    for section in compare_show.sections(found):
        for title, rows in section.tables:
            show(rows, title=title)
        tell(section.lines)
        print()
