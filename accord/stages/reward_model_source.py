"""A reward model or classifier as a source of rewards: the numbers of `accord score`, for samples that are texts.

Texts go through the reward model's own tokenizer and chat template, as in `accord score`, EOS included; the prompt is
computed once for all its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.data.dialogue import Dialogue, TokenCompletion, TokenGroup
from accord.data.report import DataReport
from accord.errors import Diverged, InputError
from accord.models.heads import score_groups
from accord.models.logprobs import LanguageModel
from accord.models.named import context_of
from accord.models.scorer import as_reward, normalisation_of
from accord.records import Group
from accord.stages.options import ModelOptions
from accord.stages.reward_source_options import RewardEntry
from accord.stages.scorers import scorer_of
from accord.stages.setup import Given, Machine, context, tokenizer_of


class Longest(NamedTuple):
    """What the largest group of a run may be: the longest prompt, so many samples of it, of so many new tokens."""

    prompt: Group
    samples: int
    tokens: int


# (its name, the base that it is given) -> a reward model on a base that is there already; None: it is to be loaded.
Share = Callable[[str, str | None], PreTrainedModel | None]


class Setting(NamedTuple):
    """What a run has for its reward models. options: its own, whose layout and trust hold for them, too. clock: what
    templates are told. share: where one may stand that is an adapter."""

    options: ModelOptions
    place: Machine
    longest: Longest
    clock: datetime | None = None
    share: Share = lambda name, base_model: None


class Reading(NamedTuple):
    """What of a head's numbers is the reward: (z - mean) / spread, z the score or the label's log-odds."""

    label: str | None = None
    mean: float = 0.0
    spread: float = 1.0

    def of(self, found: Tensor, network: PreTrainedModel) -> Tensor:
        """(C, L) float32 -> (C,) float64."""
        return (as_reward(found, network.config, self.label).double() - self.mean) / self.spread


@dataclass(frozen=True)
class RewardModel:
    """A scorer with the dialogue of its own tokenizer. Its network may be another's, seen in the role of a reward model
    (accord.models.roles)."""

    name: str
    model: LanguageModel
    dialogue: Dialogue
    reading: Reading
    max_tokens: int  # of a micro-batch

    def score(self, groups: Sequence[Group]) -> Tensor:
        """(C,) float64 on the CPU. InputError: longer than its context. Diverged: a score is not finite."""
        self.dialogue.report = DataReport()  # what it noticed of earlier samples is of no use
        tokens = self.dialogue.many(groups)
        longest = context_of(self.name, self.model.network)
        for group in tokens:
            check_context(group, longest, self.name)
        found = score_groups(self.model, tokens, max_tokens=self.max_tokens)
        for group, numbers in zip(tokens, found, strict=True):
            self._check_finite(group, numbers)
        return self.reading.of(torch.cat(found), self.model.network)

    def _check_finite(self, group: TokenGroup, numbers: Tensor) -> None:
        """numbers (K, L)."""
        if not numbers.isfinite().all():
            what = f"the score of {self.name} is not finite ({numbers.flatten().tolist()})"
            where = f"{group.group.source} (id {group.group.id})"
            raise Diverged(what, where=where, fix="compute in --dtype float32, or take another reward model")


def reward_model(entry: RewardEntry, setting: Setting) -> RewardModel:
    """A reward model by its directory or name, or as it was loaded, held against stock on the longest group.

    InputError: it is a language model, has no such label, keeps nothing to normalise by, or is too short for the
    longest group.
    """
    given, name = _given(entry)
    own: dict[str, object] = {
        "model": name,
        "base_model": entry.base_model,
        "chat_template": None,
        "chat_template_kwargs": {},
    }
    options = setting.options.model_copy(update=own)
    tokenizer = tokenizer_of(options, given)
    dialogue = Dialogue(tokenizer, clock=setting.clock)
    trial = trial_of(dialogue, setting.longest)
    check_context(trial, context(options, given), entry.name)
    if isinstance(entry.source, str) and (there := setting.share(entry.source, entry.base_model)) is not None:
        given = {"model": there}
    model = scorer_of(options, given, tokenizer, [trial], setting.place)
    return RewardModel(entry.name, model, dialogue, reading_of(model.network, entry), setting.place.max_tokens)


def _given(entry: RewardEntry) -> tuple[Given, str]:
    """What Python passed as a stage has it, and the model's name."""
    if isinstance(entry.source, str):
        return {}, entry.source
    if isinstance(entry.source, tuple):
        network, tokenizer = entry.source
        return {"model": network, "tokenizer": tokenizer}, str(getattr(network, "name_or_path", ""))
    return {"model": entry.source}, str(getattr(entry.source, "name_or_path", ""))


def reading_of(network: PreTrainedModel, entry: RewardEntry) -> Reading:
    """InputError: no such label, or nothing to normalise by."""
    config: Any = network.config
    try:
        as_reward(torch.zeros(1, int(config.num_labels)), config, entry.label)
    except InputError as error:
        raise InputError(f"{entry.name}: {error.what}", where="reward_label", fix=error.fix) from None
    if entry.normalised == "none":
        return Reading(entry.label)
    kept = normalisation_of(network)
    if kept is None:
        what = f"{entry.name} keeps no mean of its scores of demonstrations; only models of accord reward do"
        raise InputError(what, where="reward_normalised", fix="leave it out, or train one with accord reward")
    if entry.normalised == "mean":
        return Reading(entry.label, kept.mean)
    if not kept.std > 0:
        what = f"{entry.name} keeps a standard deviation of {kept.std:g}, which nothing can be divided by"
        raise InputError(what, where="reward_normalised", fix="mean, or none")
    return Reading(entry.label, kept.mean, kept.std)


def trial_of(dialogue: Dialogue, longest: Longest) -> TokenGroup:
    """The longest group that may come, with drawn tokens in the place of samples, the same each time."""
    tokenizer: PreTrainedTokenizerBase = dialogue.tokenizer
    prompt = dialogue.prompt_ids(longest.prompt.prompt, longest.prompt.tools)
    words = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
    drawn = np.random.default_rng(0).choice(words, (longest.samples, longest.tokens)).astype(np.int32)
    ended = [np.append(ids, np.int32(tokenizer.eos_token_id)) for ids in drawn]
    completions = tuple(TokenCompletion(ids, ((0, len(ids)),)) for ids in ended)
    return TokenGroup(longest.prompt.said, prompt, completions)


def check_context(group: TokenGroup, longest: int | None, name: str) -> None:
    """InputError where a text of the group is longer than the `longest` that a reward model takes, in tokens."""
    if longest is not None and group.length > longest:
        samples = group.length - len(group.prompt)
        what = f"{len(group.prompt)} tokens and {samples} of a sample, and the reward model {name} takes {longest}"
        fix = "fewer new tokens, no such long prompts, or another reward model"
        raise InputError(what, where=str(group.group.source), fix=fix)
