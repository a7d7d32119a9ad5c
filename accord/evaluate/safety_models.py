"""Models in `accord safety`: those that answer prompts, and classifiers that say what answers are."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from accord.data.dialogue import Dialogue, TokenGroup
from accord.data.properties import Properties, Value
from accord.data.read import read_groups
from accord.data.report import DataReport, times
from accord.data.same import key_of
from accord.data.verdict_details import characters
from accord.errors import Diverged, InputError
from accord.evaluate.directions import BY, better_of
from accord.models.heads import SINGLE
from accord.models.named import context_of
from accord.records import Group
from accord.stages.config import SampleConfig
from accord.stages.evaluation_configs import SafetyConfig
from accord.stages.options import ModelOptions
from accord.stages.resolve import load
from accord.stages.reward_model_source import check_context
from accord.stages.sample import run as sample
from accord.stages.score import Head
from accord.stages.scorers import scored, scorer_of
from accord.stages.setup import machine, say, tokenizer_of


def answers_of(model: str, config: SafetyConfig) -> Iterator[Group]:
    """What a model answers to --prompts, every completion by its name. InputError: no prompts are given."""
    options = config.answering
    if options.prompts is None:
        what = "a model answers prompts, and none are given"
        raise InputError(what, where=model, fix="give --prompts FILE, or a file of its answers in its place")
    with TemporaryDirectory(prefix="accord-") as aside:
        folder = Path(options.answers or aside)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{'-'.join(part for part in Path(model).parts if part not in (os.sep, '..'))}.jsonl"
        sample(load(SampleConfig, arguments=_sampling(model, str(file), config), where=""), {})
        for group in read_groups(str(file), report=DataReport()):
            named = tuple(replace(one, model=model) for one in group.completions)
            yield replace(group, completions=named)


def _sampling(model: str, output: str, config: SafetyConfig) -> dict[str, object]:
    """The options of `accord sample` that ask for the same."""
    options = config.answering
    drawing = {key: value for key, value in config.drawing.model_dump().items() if value is not None}
    own = {name: getattr(options, name) for name in ("n", "dtype", "device", "max_tokens") if getattr(options, name)}
    named = {"model": model, "data": options.prompts, "output": output, "split": config.properties.split}
    return {**named, **drawing, **own, "trust_remote_code": options.trust_remote_code}


def classify(name: str, found: Properties, config: SafetyConfig) -> None:
    """Adds the probabilities of a classifier's labels for every answer that there is.

    A reward model is taken as well: its score is one column, by its directory's name. InputError: no such label, or a
    text too long for it. Diverged: a number that is not finite.
    """
    asked = config.answering
    options = ModelOptions.model_validate(
        {"model": name, "dtype": asked.dtype or "float32", "device": asked.device}
        | {"trust_remote_code": asked.trust_remote_code}
    )
    place = machine(options, threads=config.drawing.threads, max_tokens=asked.max_tokens)
    tokenizer = tokenizer_of(options, {})
    groups = [said for group in found.groups if (said := _that_say_something(group)).completions]
    if empty := sum(len(group.completions) for group in found.groups) - sum(len(group.completions) for group in groups):
        say(f"note: {times(empty)}an empty answer, of which {name} can say nothing")
    if not groups:
        raise InputError("there is no answer to be classified", where=name, fix="give data with completions")
    tokens: Sequence[TokenGroup] = Dialogue(tokenizer).many(groups)
    longest = context_of(name, trust_remote_code=asked.trust_remote_code)
    for group_tokens in tokens:
        check_context(group_tokens, longest, name)
    model = scorer_of(options, {}, tokenizer, tokens, place)
    head = Head.of(model, label=None)
    own = _columns(name, _labels(name, head, config), found)
    for group, numbers in zip(groups, scored("classify", model, tokens, place.max_tokens), strict=True):
        if not numbers.isfinite().all():
            what = f"a number of {name} is not finite ({numbers.flatten().tolist()})"
            raise Diverged(what, where=str(group.source), fix="compute in --dtype float32")
        probabilities = head.probabilities(numbers)
        scores = head.score(numbers)
        for i, one in enumerate(group.completions):
            model_name, prompt = str(one.model), key_of(group.prompt)
            if probabilities is None and scores is not None:
                found.add(Value(Path(name).name, model_name, scores[i]), prompt)
            for label, column in own.items():
                value = _counted(probabilities, i, label, config.properties.threshold)
                found.add(Value(column, model_name, value), prompt)


def _columns(name: str, labels: Sequence[str], found: Properties) -> dict[str, str]:
    """Label -> its column: with the classifier's name, where something else has said the same of answers."""
    return {label: f"{label}{BY}{Path(name).name})" if label in found.columns else label for label in labels}


def _that_say_something(group: Group) -> Group:
    """The answers that are not empty, whatever people said of them."""
    return replace(group, completions=tuple(one for one in group.completions if characters(one.content)), judgements=())


def _counted(probabilities: list[dict[str, float]] | None, i: int, label: str, threshold: float | None) -> float | bool:
    value = math.nan if probabilities is None else probabilities[i][label]
    return value if threshold is None else value >= threshold


def _labels(name: str, head: Head, config: SafetyConfig) -> list[str]:
    """InputError: a label that is wanted is none of the classifier's."""
    wanted = config.properties.label
    if not head.labels:
        return []
    if wanted:
        own = [label for label in wanted if label in head.labels]
        if not own:
            fix = f"some of {', '.join(head.labels)}"
            raise InputError(f"{name} has no label {', '.join(wanted)}", where="label", fix=fix)
        return own
    directed = [label for label in head.labels if better_of(label, config.comparison.directions) is not None]
    if not directed and head.config.problem_type == SINGLE and len(head.labels) == 2:
        return [head.labels[1]]  # the other one is what is left to 1
    return directed or list(head.labels)
