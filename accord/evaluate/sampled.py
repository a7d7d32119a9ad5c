"""What a model answers to the prompts of a file, at one temperature or several, as `accord sample` draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from accord.evaluate.answers import Answers, like
from accord.evaluate.verdicts import Answer
from accord.stages.config import SampleConfig
from accord.stages.judge_options import AnsweringOptions
from accord.stages.resolve import load
from accord.stages.sample import model_of, windows_of
from accord.stages.sample_made import Sampler
from accord.stages.sample_progress import advancing
from accord.stages.setup import machine, say, tokenizer_of
from accord.stages.windows import Windows
from accord.training.progress import Progress
from accord.training.rollout import sampled_group


def sampled(
    model: str,
    options: AnsweringOptions,
    temperatures: Sequence[float],
    *,
    split: str,
    on_bad_row: str,
    seed: int,
    called: str | None = None,
) -> list[Answers]:
    """One answer to each prompt, at each temperature; also those that say nothing. called: not given, as the model.

    Errors: as `accord sample`. Prompts for which the model has no room have no answer.
    """
    config, called = _config(model, options, split, on_bad_row, seed), called or model
    place = machine(config.model, threads=options.threads, max_tokens=None)
    tokenizer = tokenizer_of(config.model, {})
    windows = windows_of(config, {}, tokenizer)
    survey = windows.survey()
    first = next(windows.tokens(survey))
    network = model_of(config, {}, tokenizer, first.tokens, place)
    found = []
    for temperature in temperatures:
        warmed = config.model_copy(update={"drawing": config.drawing.model_copy(update={"temperature": temperature})})
        sampler, answers = Sampler(warmed, network, tokenizer, None), Answers(called)
        with Progress(called, survey.groups, unit="sample") as progress:
            advance = advancing(progress, 1)
            for window in windows.tokens(survey):
                samples = sampler.samples(window.tokens, window.groups, advance)
                for group, asked, (one,) in zip(window.groups, window.tokens, samples, strict=True):
                    answers.of[group.id] = Answer(called, like(group.prompt, one.text), one.ended)
                    answers.tokens[group.id] = sampled_group(asked, [one.ids])
            progress.log()
        found.append(answers)
    for line in _lines(called, windows, dict(zip(temperatures, found, strict=True)), options):
        say(f"note: {line}")
    return found


def _config(model: str, options: AnsweringOptions, split: str, on_bad_row: str, seed: int) -> SampleConfig:
    """That of `accord sample`, whose file is never written."""
    asked = {
        "model": model,
        "data": options.prompts,
        "split": split,
        "on_bad_row": on_bad_row,
        "max_length": options.max_length,
        "seed": seed,
        "output": "answers.jsonl",
        "max_new_tokens": options.max_new_tokens,
        "top_p": options.top_p,
        "dtype": options.dtype,
        "device": options.device,
        "trust_remote_code": options.trust_remote_code,
    }
    return load(SampleConfig, arguments=asked, where="--")


def _lines(model: str, windows: Windows, answers: Mapping[float, Answers], options: AnsweringOptions) -> Iterator[str]:
    """Prompts without an answer, and answers that were cut."""
    lengths = windows.report.lengths
    if lengths is not None and lengths.dropped:
        yield f"{lengths.dropped:,} prompts are too long for {model}, and have no answer"
    for temperature, one in answers.items():
        if cut := sum(answer.ended is False for answer in one.of.values()):
            share, at = cut / len(one.of), f" at temperature {temperature:g}" if len(answers) > 1 else ""
            yield f"{cut:,} answers of {model}{at} ({share:.0%}) were cut at --max_new_tokens {options.max_new_tokens}"
