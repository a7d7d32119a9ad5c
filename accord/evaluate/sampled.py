"""What a model answers to the prompts of a file, at one temperature or several, as `accord sample` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from accord.evaluate.answers import Answers, like
from accord.evaluate.verdicts import Answer
from accord.stages.config import SampleConfig
from accord.stages.judge_options import AskingOptions
from accord.stages.resolve import load
from accord.stages.sample import model_of, windows_of
from accord.stages.sample_made import Sampler
from accord.stages.sample_progress import advancing
from accord.stages.setup import machine, say, tokenizer_of
from accord.training.progress import Progress


def sampled(
    model: str, options: AskingOptions, temperatures: Sequence[float], *, split: str, on_bad_row: str, seed: int
) -> list[Answers]:
    """One answer to each prompt, at each temperature; also those that say nothing.

    Errors: as `accord sample`. Prompts for which the model has no room have no answer.
    """
    config = _config(model, options, split, on_bad_row, seed)
    place = machine(config.model, threads=options.threads, max_tokens=None)
    tokenizer = tokenizer_of(config.model, {})
    windows = windows_of(config, {}, tokenizer)
    survey = windows.survey()
    first = next(windows.tokens(survey))
    network = model_of(config, {}, tokenizer, first.tokens, place)
    found = []
    for temperature in temperatures:
        warmed = config.model_copy(update={"drawing": config.drawing.model_copy(update={"temperature": temperature})})
        sampler, answers = Sampler(warmed, network, tokenizer, None), Answers(model)
        with Progress(f"sample {model}", survey.groups, unit="sample") as progress:
            advance = advancing(progress, 1)
            for window in windows.tokens(survey):
                samples = sampler.samples(window.tokens, window.groups, advance)
                for group, (one,) in zip(window.groups, samples, strict=True):
                    answers.of[group.id] = Answer(model, like(group.prompt, one.text), one.ended)
            progress.log()
        found.append(answers)
    say(f"prompts: {windows.report.summary()}")
    for line in chain(windows.report.warnings(), *(_lines(one, options) for one in found)):
        say(f"note: {line}")
    return found


def _config(model: str, options: AskingOptions, split: str, on_bad_row: str, seed: int) -> SampleConfig:
    """That of `accord sample`, whose file is never written."""
    asked = {
        "model": model,
        "data": options.prompts,
        "split": split,
        "on_bad_row": on_bad_row,
        "seed": seed,
        "output": "answers.jsonl",
        "max_new_tokens": options.max_new_tokens,
        "top_p": options.top_p,
        "dtype": options.dtype,
        "device": options.device,
        "trust_remote_code": options.trust_remote_code,
    }
    return load(SampleConfig, arguments=asked, where="--")


def _lines(answers: Answers, options: AskingOptions) -> list[str]:
    cut = sum(one.ended is False for one in answers.of.values())
    if not cut:
        return []
    share = cut / len(answers.of)
    return [f"{cut:,} answers of {answers.name} ({share:.0%}) were cut at --max_new_tokens {options.max_new_tokens}"]
