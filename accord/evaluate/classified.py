"""The answers of a few models by classifiers: the table of `accord safety`, of answers that are there."""

from __future__ import annotations

from collections.abc import Sequence

from accord.data.properties import Properties
from accord.evaluate.answers import Answers, Asked
from accord.evaluate.safety import base_of
from accord.evaluate.safety_models import classify
from accord.evaluate.safety_table import Table, table_of
from accord.records import Completion, Group, Origin
from accord.stages.evaluation_configs import CompareConfig, SafetyConfig
from accord.stages.resolve import load


def classified(config: CompareConfig, answers: Sequence[Answers], prompts: Sequence[Asked]) -> Table:
    """The first model is what the others are held against. InputError, Diverged: as `accord safety`."""
    found, figures = Properties(), config.figures
    for one in answers:
        for prompt in prompts:
            if (answer := one.of.get(prompt.id)) is not None:
                completion = Completion(answer.text, one.name)
                source = Origin(f"prompt {prompt.id}", 0)
                found.keep(Group(prompt.id, prompt.prompt, (completion,), category=prompt.category, source=source))
    asked = _config(config, [one.name for one in answers])
    for name in figures.classifier:
        classify(name, found, asked)
    return table_of(found, base=base_of(found, asked), directions=figures.directions, level=figures.level)


def _config(config: CompareConfig, models: Sequence[str]) -> SafetyConfig:
    """The options of `accord safety` that ask for the same."""
    figures, asking = config.figures, config.asking
    asked = {
        "data": list(models),
        **figures.model_dump(include={"classifier", "label", "threshold", "better", "level"}),
        **asking.model_dump(include={"dtype", "device", "trust_remote_code", "threads"}),
    }
    return load(SafetyConfig, arguments=asked, where="--")
