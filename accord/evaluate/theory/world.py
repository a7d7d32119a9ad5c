"""A world small enough to count: prompts, all their completions, a reference policy and a reward that are known.

G prompts, S completions of at most T tokens out of V; the token 0 ends a completion, and one that never ends is cut
after T tokens. B beginnings are what a token may follow. A policy is a table of logits (G, B, V), a row for each
beginning of a completion; what can be done with a language model can be done with it, one token at a time.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from accord.maths.optimum import expected_reward

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from accord.models.logprobs import LanguageModel

END = 0
BETA = 0.5  # of every method, unless its claim needs another one
COOL = 0.5  # pairs are drawn from pi_ref^COOL: not from the reference itself, so that claims of any mu are held to it


class Trained(NamedTuple):
    """The network behind a world's reference."""

    model: LanguageModel
    tokenizer: PreTrainedTokenizerBase


class World(NamedTuple):
    """One or more prompts and all completions of each. Log-probabilities in nats, float64."""

    name: str  # "table": random logits; "trained": a tiny trained language model
    prompts: tuple[str, ...]  # G
    completions: tuple[str, ...]  # S, in words
    reference: Tensor  # (G, S) log pi_ref(y|x)
    reward: Tensor  # (G, S), of mean 0 under the reference
    length: Tensor  # (G, S) tokens, the end among them
    tokens: Tensor  # (S, T)
    mask: Tensor  # (S, T) True where there is a token
    place: Tensor  # (S, T) the beginning, in 0..B-1, that each token follows; 0 in the padding
    taken: Tensor  # (B, V, S) True where a completion goes through this beginning with this token
    trained: Trained | None = None

    @property
    def mu(self) -> Tensor:
        """(G, S) log mu(y|x): what pairs, rankings and labelled completions are drawn from."""
        return (COOL * self.reference).log_softmax(-1)


def table_world(seed: int = 2) -> World:
    """Two prompts, two words besides the end, at most 3 tokens: 15 completions, normal logits and rewards.

    Rewards are so close that losses which suppose wrong labels (robust) still have an end.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens, mask = all_completions(words=3, longest=3)
    place, taken = beginnings(tokens, mask, words=3)
    prompts = ("x1", "x2")
    shape = (len(prompts), *taken.shape[:2])
    logits = 0.7 * torch.randn(shape, generator=generator, dtype=torch.float64)
    reward = 0.7 * torch.randn(len(prompts), len(tokens), generator=generator, dtype=torch.float64)
    world = World(
        name="table",
        prompts=prompts,
        completions=tuple(
            " ".join("⊣ab"[token] for token in row[kept]) for row, kept in zip(tokens, mask, strict=True)
        ),
        reference=torch.zeros_like(reward),
        reward=reward,
        length=mask.sum(-1).expand(len(prompts), -1),
        tokens=tokens,
        mask=mask,
        place=place,
        taken=taken,
    )
    return with_reference(world, logp(world, logits))


def with_reference(world: World, reference: Tensor) -> World:
    """The world of that reference, with the reward's mean under it taken off; a prompt's constant changes no pi*."""
    mean = expected_reward(reference, world.reward).unsqueeze(-1)
    return world._replace(reference=reference, reward=world.reward - mean)


def all_completions(*, words: int, longest: int) -> tuple[Tensor, Tensor]:
    """(S, T) tokens and (S, T) mask of every completion of V = words tokens: S = sum_{t < T} (V - 1)^t + (V - 1)^T."""
    rows: list[tuple[int, ...]] = []
    for length in range(longest):
        last = range(words) if length == longest - 1 else [END]
        rows += [(*start, end) for start in itertools.product(range(1, words), repeat=length) for end in last]
    tokens = torch.tensor([[*row, *[END] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[t < len(row) for t in range(longest)] for row in rows])
    return tokens, mask


def beginnings(tokens: Tensor, mask: Tensor, *, words: int) -> tuple[Tensor, Tensor]:
    """(S, T), (S, T) -> `place` (S, T) and `taken` (B, V, S) of a World."""
    rows = [tuple(row[kept].tolist()) for row, kept in zip(tokens, mask, strict=True)]
    known = sorted({row[:t] for row in rows for t in range(len(row))}, key=lambda start: (len(start), start))
    number = {start: index for index, start in enumerate(known)}
    place = torch.zeros_like(tokens)
    taken = torch.zeros(len(known), words, len(rows), dtype=torch.bool)
    for s, row in enumerate(rows):
        for t, token in enumerate(row):
            place[s, t] = number[row[:t]]
            taken[number[row[:t]], token, s] = True
    return place, taken


def token_logp(world: World, logits: Tensor) -> Tensor:
    """(G, B, V) -> (G, S, T) log pi of each token of each completion, 0 in the padding."""
    return torch.where(world.mask, logits.log_softmax(-1)[:, world.place, world.tokens], 0.0)


def logp(world: World, logits: Tensor) -> Tensor:
    """(G, B, V) -> (G, S) log pi(y|x), Eq. 3."""
    return token_logp(world, logits).sum(-1)


def logits_of(world: World, policy: Tensor) -> Tensor:
    """(G, S) log pi(y|x) -> (G, B, V) the table of the same policy, as log-probabilities of the next token.

    The chance of a token after a beginning is that of all completions which take it, of those that begin so.
    """
    through = torch.where(world.taken, policy[:, None, None, :], -torch.inf).logsumexp(-1)
    return through - through.logsumexp(-1, keepdim=True)


def reached(world: World, policy: Tensor) -> Tensor:
    """(G, S) log pi(y|x) -> (G, B) log of how likely a completion is to get to each beginning."""
    return torch.where(world.taken.any(1), policy[:, None, :], -torch.inf).logsumexp(-1)
