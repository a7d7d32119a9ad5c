"""Rounds of samples with random columns, and the losses of policy gradients anew, sample by sample from stock's logits.

Nothing here is under test. Old and reference log-probabilities lie about the policy's own, so that some ratios are
clipped; one sample in five is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tiny
import torch
from torch import Tensor

from accord.data.batches import Layout
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.ranges import Ranges
from accord.models.logprobs import LanguageModel
from accord.training.fitting import Room
from accord.training.optimizer import Weights, recipe
from accord.training.policy import Heard, PolicyObjective, Terms, weight_of
from accord.training.rollout import Rollout, Samples, Tokens
from accord.training.step import Part, Sums, backward

LENGTHS = ((5, (4, 1, 7)), (9, (3, 6, 2)), (2, (8, 5, 1)), (12, (2, 2, 9)))  # prompt, samples


def asked(lengths: Sequence[tuple[int, Sequence[int]]] = LENGTHS) -> tuple[TokenGroup, ...]:
    return tuple(tiny.group(prompt, samples, seed=seed) for seed, (prompt, samples) in enumerate(lengths))


class Seen(NamedTuple):
    """What stock says of one sample: (n,) log-probabilities, (n,) entropies, (n, D) states before each token."""

    logp: Tensor
    entropy: Tensor
    states: Tensor


def stock(network: Any, group: TokenGroup, place: int, temperature: float = 1.0) -> Seen:
    prompt, ids = (torch.from_numpy(part.astype(np.int64)) for part in (group.prompt, group.completions[place].ids))
    how = {"use_cache": False, "output_hidden_states": True}
    if network.config.is_encoder_decoder:
        begin = torch.cat([torch.tensor([network.config.decoder_start_token_id]), ids[:-1]])
        output = network(input_ids=prompt[None], decoder_input_ids=begin[None], **how)
        logits, states = output.logits[0], output.decoder_hidden_states[-1][0]
    else:
        output = network(input_ids=torch.cat([prompt, ids])[None], **how)
        before = slice(len(prompt) - 1, -1)
        logits, states = output.logits[0, before], output.hidden_states[-1][0, before]
    every = (logits.float() / temperature).log_softmax(-1)
    return Seen(every.gather(1, ids[:, None]).squeeze(1), -(every.exp() * every).sum(-1), states)


def every(network: Any, groups: Sequence[TokenGroup], temperature: float = 1.0) -> list[Seen]:
    return [stock(network, group, place, temperature) for group in groups for place in range(len(group.completions))]


def rollout_of(network: Any, groups: tuple[TokenGroup, ...], *, temperature: float = 1.0, beta: float = 0.3) -> Rollout:
    ranges, generator = Ranges.of_groups(groups), torch.Generator().manual_seed(7)
    tokens, samples = int(ranges.end[-1]), len(ranges.end)

    def noise(count: int) -> Tensor:
        return torch.randn(count, generator=generator)

    with torch.no_grad():
        seen = every(network, groups, temperature)
    logp, entropy = torch.cat([one.logp for one in seen]), torch.cat([one.entropy for one in seen])
    value = noise(tokens)
    columns = Tokens(
        logp + 0.3 * noise(tokens), logp + 0.4 * noise(tokens), entropy, noise(tokens), value, value + noise(tokens)
    )
    counts = torch.ones(samples)
    counts[3::5] = 0.0
    numbers = [noise(samples), noise(samples), noise(samples), (noise(samples) > 0).float(), counts]
    about = Samples(*(one.double() for one in numbers), torch.full((samples,), beta, dtype=torch.float64))
    return Rollout(groups, ranges, columns, about, {"judge": about.score * 2})


def split(column: Tensor, rollout: Rollout) -> list[Tensor]:
    return list(column.split(rollout.ranges.length.tolist()))


def each_sample(rollout: Rollout) -> Iterator[Tokens]:
    for columns in zip(*(split(column, rollout) for column in rollout.tokens), strict=True):
        yield Tokens(*columns)


def plain_loss(network: Any, rollout: Rollout, terms: Terms, head: torch.nn.Linear | None = None) -> Tensor:
    """() equations 15 to 17 as they are written, one sample at a time."""
    seen, total, values, tokens, samples = every(network, rollout.groups, terms.temperature), [], [], 0.0, 0.0
    for one, own, counts in zip(seen, each_sample(rollout), rollout.samples.counts.tolist(), strict=True):
        n = len(own.old)
        share = 1 / n if terms.aggregate == "sequence_mean" else 1.0
        total.append(counts * _worth(one.logp, own, terms, share))
        if head is not None:
            value = head(one.states).squeeze(-1)
            near = torch.minimum(
                torch.maximum(value, own.value - terms.cliprange_value), own.value + terms.cliprange_value
            )
            values.append(counts * 0.5 * torch.maximum((value - own.target) ** 2, (near - own.target) ** 2).sum())
        tokens, samples = tokens + counts * n, samples + counts
    loss = sum(total) / (tokens if terms.aggregate == "token_mean" else samples)
    return loss + (terms.vf_coef * sum(values) / tokens if head is not None else 0.0)


def _worth(logp: Tensor, own: Tokens, terms: Terms, share: float) -> Tensor:
    ratio = (logp - own.old).exp()
    if terms.ratio == "sequence":
        ratio, advantage = ratio.prod(), own.advantage[0]
        bounded = ratio.clamp(1 - terms.cliprange, 1 + terms.cliprange)
        policy = -torch.minimum(ratio * advantage, bounded * advantage) * share
    elif terms.cliprange is None:
        policy = -(own.advantage * logp).sum() * share
    else:
        bounded = ratio.clamp(1 - terms.cliprange, 1 + terms.cliprange)
        policy = -torch.minimum(ratio * own.advantage, bounded * own.advantage).sum() * share
    if terms.kl_loss == "k2":
        return policy + terms.beta * 0.5 * (logp.sum() - own.reference.sum()) ** 2 * share
    if terms.kl_loss == "k3":
        gap = own.reference - logp
        return policy + terms.beta * (gap.exp() - 1 - gap).sum() * share
    return policy


class Got(NamedTuple):
    """Of one step by the loop: its loss, the gradient of every parameter, its figures, what was heard."""

    loss: float
    gradients: dict[str, Tensor]
    sums: dict[str, tuple[float, float]]
    heard: tuple[float, float]
    gap: float

    def figure(self, name: str) -> float:
        total, weight = self.sums[name]
        return total / weight


def step_of(
    network: Any,
    rollout: Rollout,
    terms: Terms,
    *,
    layout: Layout = "tree",
    max_tokens: int = 4096,
    order: Sequence[int] | None = None,
    head: torch.nn.Linear | None = None,
) -> Got:
    """Forward and backward as `fit` has it; order: of the groups."""
    model, places = LanguageModel(network, layout), list(order or range(len(rollout.groups)))
    start = model.start
    batches = list(micro_batches(rollout.groups, places, max_tokens=max_tokens, layout=layout, start=start))
    whole, many = (sum(weight_of(rollout, b, kind) for b in batches) for kind in (terms.aggregate, "token_mean"))
    heard: list[Heard] = []
    objective = PolicyObjective(
        rollout,
        terms,
        trunk=head,
        value_share=whole / many if many else 0.0,
        heard=heard.append,
    )
    named = dict(network.named_parameters()) | ({"head": head.weight} if head is not None else {})
    weights = Weights.over(named, recipe("sgd"))
    weights.zero_grad()
    with model.segmented():
        computed = backward(model, [Part(batches, objective)], weights, seed=(0, 0), room=Room(), where="here")
    gradients = {name: p.grad.clone() for name, p in named.items() if p.grad is not None}
    weights.zero_grad()
    sums: Sums = computed.sums
    kl, count = sum(one.kl for one in heard), sum(one.tokens for one in heard)
    return Got(float(computed.loss), gradients, sums.read(), (kl, count), max(one.gap for one in heard))


def plain_gradients(network: Any, loss: Callable[[], Tensor], head: torch.nn.Linear | None = None) -> dict[str, Tensor]:
    named = dict(network.named_parameters()) | ({"head": head.weight} if head is not None else {})
    found = torch.autograd.grad(loss(), list(named.values()), allow_unused=True)
    return {name: grad for name, grad in zip(named, found, strict=True) if grad is not None}
