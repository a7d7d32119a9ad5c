"""What was sampled of a policy and is learnt from: prompts with their samples, and what is known of every token.

C completions and N tokens of all samples in the order of `groups`; every token of a sample carries loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.data.encode import Ids
from accord.data.ranges import Ranges
from accord.models.logprobs import LanguageModel, resting

Read = Callable[[LanguageModel, Batch], tuple[Tensor, ...]]  # a forward pass -> some numbers of each predicted token


class Tokens(NamedTuple):
    """Of every token (N,), float32: log-probabilities in nats, values and returns in the unit of the rewards."""

    old: Tensor  # of the policy that sampled, by the engine that trains; by the sampler where a round is one step
    reference: Tensor
    entropy: Tensor  # of the distribution that it was drawn from; not known before a step that is all of its round
    advantage: Tensor
    value: Tensor  # of the state before it; 0 where there is no critic
    target: Tensor  # what its value should be


class Samples(NamedTuple):
    """Of every sample (C,), float64."""

    score: Tensor  # of the sources of reward
    reward: Tensor  # what is learnt from: shaped, without the KL
    kl: Tensor  # nats: log pi(y|x) - log pi_ref(y|x)
    ended: Tensor  # 1: by EOS or a stop string, 0: cut
    counts: Tensor  # 1: learnt from, 0: left out
    beta: Tensor  # the coefficient of the KL then


class Rollout(NamedTuple):
    """One round of sampling. sources: name -> (C,) what each source of reward gave."""

    groups: tuple[TokenGroup, ...]
    ranges: Ranges
    tokens: Tokens
    samples: Samples
    sources: Mapping[str, Tensor]

    def tokens_of(self, batch: Batch) -> Tokens:
        """(n,) of a micro-batch, on its device, in the order of `batch.predict`."""
        places = self.ranges.tokens(batch)
        return Tokens(*(column[places].to(batch.last.device) for column in self.tokens))

    def samples_of(self, batch: Batch) -> tuple[Samples, dict[str, Tensor]]:
        """(c,) of a micro-batch, on its device."""
        places = self.ranges.completions(batch)
        device = batch.last.device
        sources = {name: column[places].float().to(device) for name, column in self.sources.items()}
        return Samples(*(column[places].float().to(device) for column in self.samples)), sources


def sampled_group(prompt: TokenGroup, samples: Sequence[Ids]) -> TokenGroup:
    """A prompt with its samples, all of whose tokens carry loss."""
    made = tuple(TokenCompletion(ids, ((0, len(ids)),) if len(ids) else ()) for ids in samples)
    return TokenGroup(prompt.group, prompt.prompt, made)


@torch.no_grad()
def swept(model: LanguageModel, batches: Iterable[Batch], ranges: Ranges, read: Read) -> tuple[Tensor, ...]:
    """(N,) each, float32 on the CPU: what `read` gives of every token, whatever micro-batch it comes in."""
    columns: tuple[Tensor, ...] | None = None
    count = int(ranges.end[-1]) if len(ranges.end) else 0
    with model.segmented(), resting(model.network):
        for batch in batches:
            found, places = read(model, batch.to(model.device)), ranges.tokens(batch)
            columns = columns or tuple(torch.zeros(count) for _ in found)
            for column, values in zip(columns, found, strict=True):
                column[places] = values.float().cpu()
    assert columns is not None, "no micro-batch"
    return columns


def padded(column: Tensor, ranges: Ranges) -> Tensor:
    """(N,) -> (C, T): one row a completion, 0 behind its end."""
    length = ranges.length
    rows = column.new_zeros(len(length), int(length.max()) if len(length) else 0)
    rows[mask_of(ranges)] = column
    return rows


def mask_of(ranges: Ranges) -> Tensor:
    """(C, T) bool: a token stands there."""
    length = ranges.length
    return torch.arange(int(length.max()) if len(length) else 0)[None, :] < length[:, None]


def summed(column: Tensor, ranges: Ranges) -> Tensor:
    """(N,) -> (C,) float64: the sum over each completion's tokens."""
    return torch.zeros(len(ranges.end), dtype=torch.float64).index_add_(0, ranges.owner, column.double())
