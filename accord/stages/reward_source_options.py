"""Where rewards come from: reward models, classifiers, Python functions and services, each with a weight."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, model_validator

from accord.stages.options import Conflict, Options
from accord.stages.resolve import OBJECT

FORMS = "a URL, module:function, or the directory or name of a reward model or classifier"
FUNCTION = re.compile(r"(?P<file>.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)")
OF_MODELS = ("label", "normalised", "base_model")
Kind = Literal["service", "function", "model"]
Normalised = Literal["none", "mean", "spread"]


class RewardEntry(NamedTuple):
    """One source. source: as it was written, or from Python a function, a network, or a network and its tokenizer.

    label, normalised, base_model: of a model alone.
    """

    source: object
    name: str
    weight: float = 1.0
    label: str | None = None
    normalised: Normalised = "none"
    base_model: str | None = None

    @property
    def kind(self) -> Kind:
        """What it is, by its form alone."""
        if isinstance(self.source, str):
            return kind_of(self.source)
        return "function" if callable(self.source) and not hasattr(self.source, "parameters") else "model"


class RewardSourceOptions(Options):
    """Which sources, how they are added up, and how long a service is waited for."""

    panel: ClassVar[str] = "Rewards"
    reward: str | list[str | dict[str, JsonValue]] | None = Field(
        title="SOURCE",
        description="A reward model or classifier (a directory or name), a Python function as module:function or "
        "file.py:function, or the URL of a service (docs/reward_sources.md); or several of them. In YAML also a list "
        "of {source, weight, name, label, normalised, base_model}.",
    )
    reward_weights: list[float] | None = Field(
        None, title="NUMBERS", description="What each source is multiplied by before they are added up; not given: 1."
    )
    reward_label: str | None = Field(
        None, title="NAME", description="Of a classifier: the label whose log-odds are the reward."
    )
    reward_normalised: Normalised = Field(
        "none",
        description="Of a model of accord reward: less the mean of the demonstrations' scores, which it keeps; spread: "
        "also divided by their standard deviation.",
    )
    reward_timeout: float = Field(
        60.0, gt=0, le=86_400, description="Seconds that a service may take for one request, all of it."
    )
    reward_retries: int = Field(
        2, ge=0, le=1000, description="How often a request to a service that failed is tried again."
    )
    reward_backoff: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="Seconds before the first new try; each further one waits twice as long, 60 at most.",
    )
    reward_groups: int = Field(32, ge=1, description="Prompts, with all their samples, of one request to a service.")
    reward_token: str | None = Field(
        None,
        title="VARIABLE",
        description="The environment variable that holds the token of a service (sent as Authorization: Bearer).",
    )

    def entries(self, passed: object = None) -> tuple[RewardEntry, ...]:
        """The sources with their own settings. passed: what Python gave in the place of `reward`.

        Conflict: what is no source, a key or a weight that is none, two of one name.
        """
        given = self.reward if passed is None else passed
        several = isinstance(given, list) or (isinstance(given, tuple) and not _is_network(given))
        listed: Sequence[object] = given if several and isinstance(given, Sequence) else [given]
        if given is None or not listed:
            raise Conflict("reward", "no source of rewards", f"give {FORMS}")
        found = [self._entry(number, one) for number, one in enumerate(listed, start=1)]
        return tuple(self._weighted(_named_apart(found)))

    def _entry(self, number: int, given: object) -> RewardEntry:
        told: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"source": given}
        where = f"entry {number}"
        if unknown := sorted(map(str, set(told) - set(RewardEntry._fields))):
            keys = ", ".join(RewardEntry._fields)
            raise Conflict("reward", f"{where} has an unknown key {unknown[0]!r}", f"its keys are {keys}")
        source = _checked_source(told.get("source"), where)
        weight = told.get("weight", 1.0)
        if self.reward_weights is not None and "weight" in told:
            raise Conflict("reward_weights", f"{where} has a weight of its own", "give one of the two")
        _check_words(told, where)
        entry = RewardEntry(source, str(told.get("name", "")), _finite(weight, where))
        if entry.kind != "model":
            if own := [key for key in OF_MODELS if key in told]:
                raise Conflict("reward", f"{where} is a {entry.kind}, which has no {own[0]}", "leave it out")
            return entry
        label, normalised = told.get("label", self.reward_label), told.get("normalised", self.reward_normalised)
        return entry._replace(label=label, normalised=normalised, base_model=told.get("base_model"))

    def _weighted(self, entries: Sequence[RewardEntry]) -> Sequence[RewardEntry]:
        if self.reward_weights is None:
            return entries
        if len(self.reward_weights) != len(entries):
            what = f"{len(self.reward_weights)} numbers for {len(entries)} sources"
            raise Conflict("reward_weights", what, "one number a source, in the same order")
        pairs = zip(entries, self.reward_weights, strict=True)
        return [entry._replace(weight=_finite(weight, entry.name)) for entry, weight in pairs]

    @model_validator(mode="after")
    def sources_with_weights(self) -> Self:
        if self.reward not in (OBJECT, None):
            self.check(self.entries())
        return self

    def check(self, entries: Sequence[RewardEntry]) -> None:
        """Conflict where an option is of a kind of source that is not there."""
        kinds = {entry.kind for entry in entries}
        for key in ("reward_label", "reward_normalised"):
            if getattr(self, key) not in (None, "none") and "model" not in kinds:
                raise Conflict(key, "no source is a model", "leave it out, or give a reward model or classifier")
        if self.reward_token is not None and "service" not in kinds:
            raise Conflict("reward_token", "no source is a service", "leave it out, or give a URL")


def kind_of(source: str) -> Kind:
    """A source's kind by how it is written."""
    if source.lower().startswith(("http://", "https://")):
        return "service"
    return "function" if FUNCTION.fullmatch(source) else "model"


def _is_network(given: tuple[object, ...]) -> bool:
    """Whether these two are a network and its tokenizer."""
    return len(given) == 2 and hasattr(given[0], "parameters") and hasattr(given[1], "eos_token_id")


def _checked_source(source: object, where: str) -> object:
    """Conflict for what is no source by its form; URLs are taken apart, nothing is asked for."""
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str):
        if callable(source) or (isinstance(source, tuple) and _is_network(source)):
            return source
        raise Conflict("reward", f"{where} has no source", f"give {FORMS}")
    if not source or ("://" in source and kind_of(source) != "service"):
        raise Conflict("reward", f"{where}: {source!r} is no source", f"give {FORMS}")
    if kind_of(source) == "service":
        _check_url(source, where)
    return source


def _check_url(url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Conflict("reward", f"{where}: {url!r} is no URL ({error})", "as http://127.0.0.1:8000/score") from None
    if not host or not url.isascii() or any(character.isspace() for character in url):
        raise Conflict("reward", f"{where}: {url!r} is no URL", "as http://127.0.0.1:8000/score")
    if parts.username is not None or parts.password is not None:
        what = f"{where}: a password in a URL would be kept in the run folder"
        raise Conflict("reward", what, "name an environment variable that holds a token: reward_token")


def _check_words(told: Mapping[str, object], where: str) -> None:
    for key in ("name", "label", "base_model"):
        if key in told and (not isinstance(told[key], str) or not told[key]):
            raise Conflict("reward", f"the {key} of {where} is no text", "give one, or leave it out")
    if told.get("normalised", "none") not in ("none", "mean", "spread"):
        raise Conflict("reward", f"normalised of {where} is none of them", "none, mean or spread")


def _finite(weight: object, where: str) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight == 0:
        raise Conflict(
            "reward", f"the weight of {where} is no number but 0", "give one, as 0.5, or leave the source out"
        )
    return float(weight)


def _named_apart(entries: Sequence[RewardEntry]) -> Sequence[RewardEntry]:
    """Names as they were given; the rest after what the sources are called, with a number where two are alike."""
    taken = [entry.name for entry in entries if entry.name]
    if twice := [name for name in taken if taken.count(name) > 1]:
        raise Conflict("reward", f"two sources have the name {twice[0]!r}", "give each its own")
    named = []
    for entry in entries:
        name = entry.name or _name(entry)
        count = 1
        while not entry.name and name in taken:
            count += 1
            name = f"{_name(entry)}-{count}"
        taken.append(name)
        named.append(entry._replace(name=name))
    return named


def _name(entry: RewardEntry) -> str:
    """What a source is called where nobody named it: its function, directory or host."""
    source = entry.source[0] if isinstance(entry.source, tuple) else entry.source
    if not isinstance(source, str):
        return str(getattr(source, "__name__", None) or type(source).__name__)
    if entry.kind == "service":
        return urlsplit(source).netloc
    return source.rpartition(":")[2] if entry.kind == "function" else PurePath(source).name or source
