"""How good the models are, by the exact worth of their answers, each figure with its 95 % interval over questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.demo.axes import Weights, worth
from accord.demo.world import is_grammatical, sentences
from accord.evaluate.compare import ModelComparison
from accord.maths.best_of_n import kl_best_of_n
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.records import Completion, Group, Message

Proxy = Callable[[list[Group]], list[float]]


class Answered(NamedTuple):
    """A question, what each model answered, and its exact worth; in the order of the models."""

    question: str
    answers: tuple[str, ...]
    worths: tuple[float, ...]


class Figures(NamedTuple):
    """Of one model's answers. gain: of worth over the first model, question by question. proxy: the reward model's
    score. kl: nats an answer; None of the first model itself; of the best of n only what it is at most is known."""

    model: str
    worth: Estimate
    gain: Estimate | None
    proxy: Estimate
    kl: Estimate | float | None
    grammatical: Estimate
    words: Estimate


class Measured(NamedTuple):
    """compared: accord compare's JSON, with the models by their names here and without its samples."""

    models: tuple[Figures, ...]
    answered: tuple[Answered, ...]
    compared: dict[str, Any]


def measured(found: ModelComparison, names: Mapping[str, str], weights: Weights, proxy: Proxy) -> Measured:
    """names: of each model, as it was written, in their order: what it is called here."""
    answered = tuple(
        Answered(one.prompt, texts := tuple(one.answers.values()), tuple(worth(text, weights) for text in texts))
        for one in found.samples
    )
    proxies = _scores(answered, proxy)
    called = dict(zip(found.models, names.values(), strict=True))
    kl = {row.model: row.k1 for row in found.kl.rows} if found.kl is not None else {}
    models = tuple(
        _figures(called[model], place, answered, proxies, kl.get(model)) for place, model in enumerate(found.models)
    )
    return Measured(models, answered, _renamed(found.to_json(), called))


def _figures(
    name: str, place: int, answered: Sequence[Answered], proxies: NDArray[np.float64], kl: Estimate | None
) -> Figures:
    worths = np.array([one.worths for one in answered])
    texts = [one.answers[place] for one in answered]
    grammar = [[is_grammatical(sentence) for sentence in sentences(text)] or [False] for text in texts]
    question = np.repeat(np.arange(len(texts)), [len(said) for said in grammar])
    most = kl_best_of_n(int(name.removeprefix("best of "))) if name.startswith("best of ") else None
    return Figures(
        name,
        mean_interval(worths[:, place]),
        mean_interval(worths[:, place] - worths[:, 0]) if place else None,
        mean_interval(proxies[~np.isnan(proxies[:, place]), place]),
        kl or most,
        proportion_interval(np.concatenate(grammar), question),
        mean_interval([len(text.split()) for text in texts]),
    )


def _scores(answered: Sequence[Answered], proxy: Proxy) -> NDArray[np.float64]:
    """(P, models); NaN of an answer that says nothing, which no reward model takes."""
    says = np.array([[bool(text.strip()) for text in one.answers] for one in answered])
    groups = [
        Group(str(place), (Message("user", one.question),), tuple(_reply(text) for text in one.answers if text.strip()))
        for place, one in enumerate(answered)
    ]
    found = np.full(says.shape, np.nan)
    found[says] = proxy([group for group in groups if group.completions])
    return found


def _reply(text: str) -> Completion:
    return Completion((Message("assistant", text),))


def _renamed(value: Any, called: Mapping[str, str]) -> Any:
    """The same JSON with models by other names, wherever they stand."""
    if isinstance(value, dict):
        return {called.get(key, key): _renamed(one, called) for key, one in value.items() if key != "samples"}
    if isinstance(value, list | tuple):
        return [_renamed(one, called) for one in value]
    return called.get(value, value) if isinstance(value, str) else value
