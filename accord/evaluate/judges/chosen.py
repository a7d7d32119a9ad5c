"""From options to a judge."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, cast

from accord.errors import InputError
from accord.evaluate.judges.asking import Asking, Patience
from accord.evaluate.judges.cache import ReplyCache
from accord.evaluate.judges.function import Function, FunctionJudge
from accord.evaluate.judges.judge import Judge
from accord.evaluate.judges.llm import LlmJudge
from accord.evaluate.judges.people import People, people_of
from accord.evaluate.judges.purse import Purse
from accord.evaluate.judges.scores import ScoreJudge
from accord.evaluate.judges.server import ChatServer
from accord.evaluate.judges.template import template
from accord.models.scorer import check_label
from accord.stages.caches import root_of
from accord.stages.judge_options import AnsweringOptions, JudgeOptions
from accord.stages.options import ModelOptions
from accord.stages.reward_function import function_of
from accord.stages.setup import machine, say

CACHE = "judgements.jsonl"


def judge_of(
    options: JudgeOptions, answers: AnsweringOptions, given: Mapping[str, object], seed: int
) -> Judge | People:
    """The judge of the options, or the function that Python gave. Models are not loaded, servers not asked yet.

    InputError: no such function, template or environment variable. StorageError: the cache cannot be used.
    """
    if "judge" in given:
        function = given["judge"]
        if not callable(function):
            raise InputError("is no function", where="judge", fix="give one of a list of pairs, or a name")
        return FunctionJudge(str(getattr(function, "__name__", type(function).__name__)), cast(Function, function))
    assert options.judge is not None
    if options.is_people:
        return people_of(str(options.judge_dir))
    if options.served:
        return _of_server(options, options.served, seed)
    if options.is_function:
        return FunctionJudge(options.judge, cast(Function, function_of(options.judge)))
    return _of_scores(options.judge, options.judge_label, answers)


def _of_server(options: JudgeOptions, model: str, seed: int) -> LlmJudge:
    chosen = template(options.template)
    if chosen.kind == "rating" and options.orders != "both":
        what = f"{options.orders}, and {chosen.name} shows one answer at a time"
        raise InputError(what, where="orders", fix="leave it out")
    parameters: dict[str, Any] = {
        "model": model,
        "temperature": options.judge_temperature,
        "max_tokens": options.judge_tokens or chosen.header.max_tokens,
        **options.judge_parameters,
    }
    asking = Asking(
        ChatServer(str(options.base_url), options.judge_timeout, _key(options.judge_key)),
        {key: value for key, value in parameters.items() if value is not None},
        ReplyCache(_cache(options.judge_cache)),
        Purse(options.max_cost),
        Patience(options.judge_retries, options.judge_backoff),
        options.workers,
        say,
    )
    return LlmJudge(chosen, asking, options.orders, seed)


def _of_scores(name: str, label: str | None, answers: AnsweringOptions) -> ScoreJudge:
    try:
        check_label(name, label, trust_remote_code=answers.trust_remote_code)
    except InputError as error:
        if error.where != "label":
            raise
        raise InputError(error.what, where="judge_label", fix=error.fix) from error
    asked: dict[str, Any] = {"model": name, "dtype": answers.dtype or "float32", "device": answers.device}
    options = ModelOptions(**asked, trust_remote_code=answers.trust_remote_code)
    place = machine(options, threads=answers.threads, max_tokens=None)
    return ScoreJudge(PurePath(name).name or name, options, place, label)


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key or not (key.isascii() and key.isprintable()):
        what = f"the environment variable {variable} is not set, or holds no key"
        raise InputError(what, where="judge_key", fix="set it to the key of the server")
    return key


def _cache(place: str) -> Path | None:
    if place not in ("auto", "none"):
        return Path(place).expanduser()
    root = root_of(place)
    return None if root is None else root / CACHE
