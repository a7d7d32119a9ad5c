"""From samples as texts to rewards: every source is asked, and what they say is added up by weight."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from accord.errors import Diverged, InputError
from accord.records import Group
from accord.stages.options import Conflict, ModelOptions
from accord.stages.reward_function import Function, RewardFunction, function_of
from accord.stages.reward_model_source import Longest, Setting, Share, reward_model
from accord.stages.reward_service import RewardService
from accord.stages.reward_source_options import RewardEntry, RewardSourceOptions
from accord.stages.setup import Given, Machine
from accord.stages.trl_function import of_groups


class Source(Protocol):
    """Gives every completion a number."""

    @property
    def name(self) -> str: ...

    def score(self, groups: Sequence[Group]) -> Tensor:
        """(C,) float64 on the CPU, finite: of the completions of all groups in order. AccordError where it has none."""


class Rewarded(NamedTuple):
    """Of the C completions of all groups in order, float64 on the CPU."""

    total: Tensor  # (C,) the sum by weight
    by_source: Mapping[str, Tensor]  # name -> (C,) before it is weighted


@dataclass(frozen=True)
class Rewards:
    """The sources of a run and the weight of each."""

    sources: tuple[Source, ...]
    weights: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    def of(self, groups: Sequence[Group]) -> Rewarded:
        """sum_i w_i r_i of every completion. AccordError where a source has no reward for one: nothing stands in."""
        by_source = {source.name: source.score(groups) for source in self.sources}
        count = sum(len(group.completions) for group in groups)
        assert all(found.shape == (count,) for found in by_source.values())
        weighted = [weight * by_source[name] for name, weight in zip(self.names, self.weights, strict=True)]
        total = torch.stack(weighted).sum(0)
        if not total.isfinite().all():
            what = "the sum of the rewards is not finite, though each of them is"
            raise Diverged(what, where="reward", fix="give smaller reward_weights, or smaller rewards")
        return Rewarded(total, by_source)


def rewards_of(
    options: RewardSourceOptions,
    model: ModelOptions,
    given: Given,
    place: Machine,
    *,
    longest: Longest,
    clock: datetime | None = None,
    share: Share = lambda name, base_model: None,
) -> Rewards:
    """Every source of the options, loaded or imported; services are asked nothing yet.

    model: of the run; its layout and trust_remote_code hold for reward models, too. longest: the largest group that may
    come, on which reward models are held against stock. clock: what their chat templates are told. share: puts one that
    is an adapter on a base that is there.
    """
    try:
        entries = options.entries(given.get("reward"))
        if "reward" in given:  # what is named in the options was held against them as they were read
            options.check(entries)
    except Conflict as conflict:
        raise InputError(conflict.what, where=conflict.key, fix=conflict.fix) from None
    setting = Setting(model, place, longest, clock, share)
    sources = tuple(_source(entry, options, setting) for entry in entries)
    return Rewards(sources, tuple(entry.weight for entry in entries))


def _source(entry: RewardEntry, options: RewardSourceOptions, setting: Setting) -> Source:
    if entry.kind == "service":
        return _service(entry, options)
    if entry.kind == "function":
        if isinstance(entry.source, str):
            return RewardFunction(entry.name, of_groups(function_of(entry.source), entry.source), entry.source)
        return RewardFunction(entry.name, of_groups(cast(Function, entry.source), entry.name), entry.name)
    return reward_model(entry, setting)


def _service(entry: RewardEntry, options: RewardSourceOptions) -> RewardService:
    token = None
    if options.reward_token is not None:
        token = os.environ.get(options.reward_token)
        if not token or not (token.isascii() and token.isprintable()):
            what = f"the environment variable {options.reward_token} is not set, or holds no token"
            raise InputError(what, where="reward_token", fix="set it to the token of the service")
    return RewardService(
        entry.name,
        str(entry.source),
        timeout=options.reward_timeout,
        retries=options.reward_retries,
        backoff=options.reward_backoff,
        groups=options.reward_groups,
        token=token,
    )
