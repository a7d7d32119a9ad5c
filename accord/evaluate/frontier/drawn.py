"""Answers that a policy draws to prompts, token by token, and how far each is from what the model would have said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.data.dialogue import TokenGroup
from accord.data.ranges import Ranges
from accord.evaluate.frontier.kept import Json
from accord.evaluate.kl_to_reference import Loaded, of_answers
from accord.models.logprobs import LanguageModel
from accord.stages.config import SampleConfig
from accord.stages.frontier_options import FrontierFiguresOptions
from accord.stages.options import ModelOptions
from accord.stages.resolve import load
from accord.stages.sample import model_of, windows_of
from accord.stages.sample_kept import One
from accord.stages.sample_made import Sampler
from accord.stages.sample_progress import advancing
from accord.stages.setup import machine, say, tokenizer_of
from accord.training.progress import Progress
from accord.training.rollout import sampled_group

TRIED = ("dtype", "device", "trust_remote_code", "layout")  # of the model's options those that hold for its policies


class Drawn(NamedTuple):
    """Of G prompts K answers each. id: of the prompt. tokens: of an answer, its end token counted. ended: by itself.

    k1, k3: nats of an answer, its tokens' summed; 0 of the model's own answers.
    """

    id: list[str]
    text: list[list[str]]
    tokens: list[list[int]]
    ended: list[list[bool]]
    k1: list[list[float]]
    k3: list[list[float]]

    def to_json(self) -> Json:
        return self._asdict()


def drawn_by_model(model: ModelOptions, prompts: Path, count: int, options: FrontierFiguresOptions) -> Drawn:
    """`count` answers of the model itself. Errors: as `accord sample`."""
    _, tokens, answers = _sampled(model, prompts, count, options)
    none = [[0.0] * count for _ in tokens]
    return _drawn(tokens, answers, none, none)


def drawn_by_policy(folder: Path, model: ModelOptions, prompts: Path, options: FrontierFiguresOptions) -> Drawn:
    """The answers of a run's policy. model: from which their distance is taken. Diverged: as taking that."""
    held = {key: getattr(model, key) for key in TRIED}
    own = ModelOptions.model_validate({"model": str(folder), **held})
    network, tokens, answers = _sampled(own, prompts, options.samples, options)
    groups = [sampled_group(asked, [one.ids for one in said]) for asked, said in zip(tokens, answers, strict=True)]
    place = machine(own, threads=options.threads, max_tokens=None)
    policy = Loaded(folder.name, network, place.max_tokens, 1.0).token_logprobs(groups)
    del network
    reference = Loaded.of(model, groups, threads=options.threads, temperature=1.0).token_logprobs(groups)
    k1, k3 = of_answers(policy, reference, Ranges.of_groups(groups))
    each = (len(groups), options.samples)
    return _drawn(tokens, answers, k1.reshape(each).tolist(), k3.reshape(each).tolist())


def _drawn(
    tokens: Sequence[TokenGroup], answers: Sequence[Sequence[One]], k1: list[list[float]], k3: list[list[float]]
) -> Drawn:
    return Drawn(
        [one.group.id for one in tokens],
        [[one.text for one in said] for said in answers],
        [[one.tokens for one in said] for said in answers],
        [[one.ended for one in said] for said in answers],
        k1,
        k3,
    )


def _sampled(
    model: ModelOptions, prompts: Path, count: int, options: FrontierFiguresOptions
) -> tuple[LanguageModel, list[TokenGroup], list[list[One]]]:
    """As `accord sample` draws, at temperature 1, from all that the model could say."""
    config = _config(model, prompts, count, options)
    place = machine(config.model, threads=options.threads, max_tokens=None)
    tokenizer = tokenizer_of(config.model, {})
    windows = windows_of(config, {}, tokenizer)
    survey = windows.survey()
    network, sampler = None, None
    tokens, answers = list[TokenGroup](), list[list[One]]()
    with Progress(f"answers: {Path(model.model).name}", survey.groups * count, unit="sample") as progress:
        advance = advancing(progress, count)
        for window in windows.tokens(survey):
            if network is None or sampler is None:
                network = model_of(config, {}, tokenizer, window.tokens, place)
                sampler = Sampler(config, network, tokenizer, None)
            answers += sampler.samples(window.tokens, window.groups, advance)
            tokens += window.tokens
        progress.log()
    lengths = windows.report.lengths
    if lengths is not None and lengths.dropped:
        say(f"note: {lengths.dropped:,} prompts are too long for {model.model}, and have no answer")
    assert network is not None  # a source without a window is an error
    return network, tokens, answers


def _config(model: ModelOptions, prompts: Path, count: int, options: FrontierFiguresOptions) -> SampleConfig:
    """That of `accord sample`, whose file is never written."""
    asked: dict[str, Any] = {**model.model_dump(), "data": str(prompts), "n": count, "output": "answers.jsonl"}
    asked |= {"seed": options.seed, "max_new_tokens": options.max_new_tokens, "threads": options.threads}
    return load(SampleConfig, arguments={key: value for key, value in asked.items() if value is not None}, where="--")
