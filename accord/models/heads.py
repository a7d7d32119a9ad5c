"""Scores of completions: what a linear head gives at each completion's last token; equations 2 (classifier) and 6.

The network is stock transformers' `AutoModelForSequenceClassification` of a decoder: a body and `score`, one linear
layer without bias. The last token is found by position, never by searching for padding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.data.batches import Batch, arrange
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.errors import InputError
from accord.models.experts import Recorder, Routing, coefficient
from accord.models.layout import Reading
from accord.models.logprobs import LanguageModel, body_of, hidden_states, resting, taken

LAYER = "score"
BESIDE = "score_head.json"  # of an adapter
MEAN, STD = "reward_mean", "reward_std"
KEPT = ("id2label", "label2id", "problem_type", MEAN, STD)  # of a config, what is said of a head
SINGLE, MULTI = "single_label_classification", "multi_label_classification"  # transformers' names for problem_type


class Head(NamedTuple):
    """A score head that is asked for. labels: what its numbers stand for; not given: as its config names them.

    problem: one of SINGLE and MULTI, of a classifier. seed: of the weights of a new head; None: its weights must be
    there.
    """

    labels: tuple[str, ...] | None = None
    problem: str | None = None
    seed: int | None = None

    def describe(self, config: Any) -> None:
        """Writes what the head is into a network's config."""
        if self.labels is not None:
            config.id2label = dict(enumerate(self.labels))
            config.label2id = {name: place for place, name in enumerate(self.labels)}
        if self.problem is not None:
            config.problem_type = self.problem

    @torch.no_grad()
    def begin(self, network: PreTrainedModel) -> None:
        """New weights with standard deviation 1 / sqrt(d + 1), d inputs: a pure function of the seed.

        Stiennon et al. 2020 (learning to summarise), whose values then begin with a spread of about 1.
        """
        layer = head_of(network)
        generator = torch.Generator().manual_seed(self.seed or 0)
        weight = torch.randn(layer.weight.shape, generator=generator) / math.sqrt(layer.in_features + 1)
        layer.weight.copy_(weight)


def headless(name: str) -> InputError:
    """Says that a language model was given where a reward model or classifier is needed."""
    what = "its score head is missing from the weights: it is a language model"
    return InputError(what, where=name or "model", fix="give a reward model, or train one from it (accord reward)")


def write_beside(network: PreTrainedModel, directory: Path) -> None:
    """What an adapter's own config cannot hold of its head."""
    config = network.config.to_dict()
    told = {key: config[key] for key in KEPT if config.get(key) is not None}
    (directory / BESIDE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


class CompletionScores(NamedTuple):
    """Of each of C completions the head's L numbers; L is 1 for a reward model."""

    score: Tensor  # (C, L) float32
    length: Tensor  # (C,) the completion's tokens
    routing: Routing | None = None  # of a mixture of experts whose load is kept balanced


def has_head(network: PreTrainedModel) -> bool:
    """Whether it is a body with a head, as a reward model or classifier is."""
    return isinstance(getattr(network, LAYER, None), nn.Module)


def head_of(network: PreTrainedModel) -> nn.Linear:
    """The head that is computed with: of an adapted network the adapter's copy."""
    head: object = getattr(network, LAYER)
    if isinstance(head, ModulesToSaveWrapper):
        off = head.disable_adapters or not head.active_adapters
        head = head.original_module if off else head.modules_to_save[head.active_adapters[0]]
    assert isinstance(head, nn.Linear)
    return head


def scores(model: LanguageModel, batch: Batch) -> CompletionScores:
    """Equation 6's r(x, y) for every completion of a micro-batch: float32, with gradients, at its last token."""
    lengths = [len(completion.ids) for member in batch.members for completion in member.completions]
    length = torch.tensor(lengths, device=batch.last.device)
    if model.head == "stock":
        return CompletionScores(torch.cat([stock_scores(model, member) for member in batch.members]), length)
    recorder = Recorder(body_of(model.network)) if coefficient(model.network) else None
    score = read(model, hidden_states(model, batch, recorder), batch)
    return CompletionScores(score, length, recorder.routing(model.network, batch) if recorder else None)


def read(model: LanguageModel, hidden: Tensor, batch: Batch) -> Tensor:
    """(R, T, D) the last hidden states of a micro-batch -> (C, L) the head's numbers."""
    head = head_of(model.network)
    at_last = hidden.reshape(-1, hidden.shape[-1])[batch.last].float()
    bias = None if head.bias is None else head.bias.float()
    return nn.functional.linear(at_last, head.weight.float(), bias)


def score_groups(
    model: LanguageModel,
    groups: Sequence[TokenGroup],
    *,
    max_tokens: int,
    advance: Callable[[Batch], None] = lambda batch: None,
) -> list[Tensor]:
    """Of each group (K, L) on the CPU, in the order given; similar lengths are computed together, without gradients.

    advance: told each micro-batch once it is done.
    """
    found: dict[int, Tensor] = {}
    batches = micro_batches(groups, range(len(groups)), max_tokens=max_tokens, layout=model.layout)
    with torch.no_grad(), model.segmented(), resting(model.network):
        for batch in batches:
            parts = scores(model, batch.to(model.device)).score.cpu()
            counts = [len(member.completions) for member in batch.members]
            found.update(zip(batch.indices, (part.clone() for part in parts.split(counts)), strict=True))
            advance(batch)
    return [found[place] for place in range(len(groups))]


def stock_scores(model: LanguageModel, group: TokenGroup) -> Tensor:
    """(K, L) by the network as transformers has it: one unpadded row a completion, its own attention and pooling."""
    network, parts = model.network, []
    for completion in group.completions:
        one = arrange([TokenGroup(group.group, group.prompt, (completion,))], "rows").to(model.device)
        with _unpadded(network), model.acting():
            output = network(**taken(network, {"input_ids": one.tokens, "use_cache": False}))
        parts.append(output.logits.float())
    return torch.cat(parts)


@contextmanager
def _unpadded(network: PreTrainedModel) -> Iterator[None]:
    """Within, no token counts as padding: stock reads the last one, whatever it is."""
    config = network.config.get_text_config()
    pad = config.pad_token_id
    config.pad_token_id = None
    try:
        yield
    finally:
        config.pad_token_id = pad


def _ours(model: LanguageModel, batch: Batch) -> Tensor:
    return scores(model, batch).score


@torch.no_grad()
def _stock(model: LanguageModel, group: TokenGroup) -> Tensor:
    return stock_scores(model, group)


SCORES = Reading(_ours, _stock, "of its score", relative=True)
