"""Beam search: the most probable completions that are found by always going on with the few best.

Shapes: B beams, V words.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.data.encode import Ids
from accord.models.decoding import Way, room_of
from accord.models.logprobs import LanguageModel, resting
from accord.models.next_token import Reader
from accord.models.sample_rows import check_logp
from accord.models.stop_strings import StopStrings
from accord.models.ways import way_of
from accord.models.written import Sampled


class Beam(NamedTuple):
    """A completion as far as it goes. total: nats, the sum of `logp`."""

    ids: tuple[int, ...]
    logp: tuple[float, ...]
    total: float


class Found(NamedTuple):
    """A completion and what it is ranked by: log P(y | x) over a power of its length."""

    sample: Sampled
    score: float


class Rules(NamedTuple):
    """What holds for a search."""

    beams: int
    most: int
    ends: frozenset[int]
    length_penalty: float
    stop: StopStrings | None

    def score(self, total: float, length: int) -> float:
        return total / float(length**self.length_penalty)

    def over(self, ids: tuple[int, ...]) -> bool:
        return ids[-1] in self.ends or (self.stop is not None and self.stop.found(np.array(ids, dtype=np.int32)))


def beam_search(
    model: LanguageModel,
    prompt: Ids,
    *,
    beams: int,
    max_new_tokens: int,
    ends: Collection[int],
    length_penalty: float = 1.0,
    stop: StopStrings | None = None,
) -> list[Found]:
    """At most `beams` completions, the best by log P(y | x) / T ** length_penalty first.

    Of the continuations of all beams by one token those that end and are among the `beams` most probable are
    completions, and the most probable of the others are the next beams. The search is over when no beam can do better
    than the completions found (transformers' `early_stopping="never"`), or where tokens run out, and then the beams are
    completions that were cut. InputError for an empty prompt, Diverged where logits are not finite.
    """
    assert beams > 0
    rules = Rules(beams, min(max_new_tokens, room_of(model.network, prompt)), frozenset(ends), length_penalty, stop)
    if rules.most < 1:
        return []
    with torch.no_grad(), resting(model.network), model.acting():
        ask, way = way_of(model, [prompt])
        with way.within(model.network):
            return _search(ask, way, prompt, rules)


def _search(ask: Reader, way: Way, prompt: Ids, rules: Rules) -> list[Found]:
    device = ask.network.device
    decoding, states = way.begin(ask, [prompt], torch.zeros(1, dtype=torch.long, device=device))
    running, found = [Beam((), (), 0.0)], list[Found]()
    while True:
        last = len(running[0].ids) + 1 == rules.most
        next_beams, parents = list[Beam](), list[int]()
        for rank, (parent, beam) in enumerate(_continued(ask, states, running, rules)):
            ended = rules.over(beam.ids)
            if (ended or last) and rank < rules.beams:
                found.append(_completion(beam, ended, rules))
            elif not ended and len(next_beams) < rules.beams:
                next_beams.append(beam)
                parents.append(parent)
        found = sorted(found, key=lambda one: -one.score)[: rules.beams]
        if last or not next_beams or _settled(found, next_beams, rules):
            return found
        running = next_beams
        decoding.keep(torch.tensor(parents, device=device))
        states = decoding.step(torch.tensor([beam.ids[-1] for beam in running], device=device))


def _continued(ask: Reader, states: Tensor, running: Sequence[Beam], rules: Rules) -> list[tuple[int, Beam]]:
    """The most probable continuations of all beams by one token, each with its beam's place: as many as leave
    `beams` that go on, whatever ends."""
    logp = ask.logits(states).log_softmax(-1)
    total = logp.double() + torch.tensor([beam.total for beam in running], device=logp.device)[:, None]
    wanted = rules.beams * (1 + max(1, len(rules.ends)))
    best = total.flatten().topk(min(wanted, total.numel()))
    check_logp(best.values.cpu().numpy())
    made = []
    for place, score in zip(best.indices.tolist(), best.values.tolist(), strict=True):
        parent, word = divmod(place, total.shape[1])
        before = running[parent]
        made.append((parent, Beam((*before.ids, word), (*before.logp, float(logp[parent, word])), score)))
    return made


def _completion(beam: Beam, ended: bool, rules: Rules) -> Found:
    sample = Sampled(np.array(beam.ids, dtype=np.int32), np.array(beam.logp, dtype=np.float32), ended)
    return Found(sample, rules.score(beam.total, len(beam.ids)))


def _settled(found: Sequence[Found], running: Sequence[Beam], rules: Rules) -> bool:
    """Whether no beam can do better any more: its sum only falls, its length only grows."""
    if len(found) < rules.beams:
        return False
    best = max(running, key=lambda beam: beam.total)
    length = rules.most if rules.length_penalty > 0 else len(best.ids) + 1
    return found[-1].score >= rules.score(best.total, length)
