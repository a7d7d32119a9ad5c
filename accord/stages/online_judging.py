"""From scores of samples to judgements of groups, and what of judged groups a loss takes.

K samples of each of G prompts, C = G K in the order of their groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.data.choose import best, orders, worst
from accord.data.dialogue import TokenGroup
from accord.data.join import permuted
from accord.data.take import FOUND, Kind
from accord.records import Group, Judged, Judgement, Said


def by_score(score: Tensor, count: int) -> list[Judgement]:
    """(C,) -> of each group of `count` samples its ranks: 1 is best, equal scores are ties."""
    rows = score.reshape(-1, count)
    not_above = torch.searchsorted(rows.sort(-1).values, rows.contiguous(), right=True)
    ranks = 1 + count - not_above
    return [Judgement(ranks=tuple(one)) for one in ranks.tolist()]


def drawn(score: Tensor, count: int, seed: int) -> list[Judgement]:
    """(C,) -> an order drawn for each group: Plackett-Luce with the scores as rewards, so that every two samples are
    ordered as Bradley-Terry has it.

    Scores with standard Gumbel noise, sorted (Yellott 1977). Nothing is tied.
    """
    noise = np.random.default_rng(seed).gumbel(size=len(score))
    return by_score(score + torch.from_numpy(noise), count)


def judged(group: TokenGroup, text: Group, judgements: Sequence[Judgement]) -> TokenGroup:
    """The samples of a prompt with what was said of them. Two are the same where they say the same."""
    own = group.group
    said = Said(own.id, tuple(judgements), own.weight, own.category, own.source, text.same)
    return replace(group, group=said)


class Learnt(NamedTuple):
    """What a loss takes of one group: the samples at `places` alone."""

    place: int  # of the group, in its round
    places: tuple[int, ...]  # of its samples
    group: TokenGroup


def learnt(
    groups: Iterable[TokenGroup], kind: Kind, *, extremes: bool, counts: Sequence[Sequence[bool]] | None = None
) -> list[Learnt]:
    """Of judged groups those in which there is something for such a loss.

    extremes: only the best and the worst sample. counts: for each group, which samples are not left out.
    """
    found = []
    for place, group in enumerate(groups):
        kept = range(len(group.completions))
        places = tuple(kept if counts is None else (k for k in kept if counts[place][k]))
        one = _at(group, places)
        if extremes and len(places) > 2:
            ends = (best(one.group), worst(one.group))
            places = tuple(places[end] for end in ends)
            one = _at(one, ends)
        if FOUND[kind][0](one.group):
            found.append(Learnt(place, places, one))
    return found


def _at(group: TokenGroup, places: Sequence[int]) -> TokenGroup:
    """The same with the samples at these places alone."""
    own = group.group
    texts = [own.same[place] for place in places]
    same = tuple(texts.index(text) for text in texts)
    judgements = tuple(permuted(judgement, places) for judgement in own.judgements)
    said = Said(own.id, judgements, own.weight, own.category, own.source, same)
    return TokenGroup(said, group.prompt, tuple(group.completions[place] for place in places))


def tied(groups: Sequence[TokenGroup]) -> float:
    """The share of all pairs of samples that are no pair to learn from: of equal rank, or of the same text."""
    shares = [_tied(group.group) for group in groups]
    return sum(shares) / len(shares)


def _tied(group: Judged) -> float:
    same, heard = group.same, [goodness for _, goodness in orders(group)]
    pairs = list(combinations(range(len(same)), 2))
    ordered = [(goodness, pair) for goodness in heard for pair in combinations(goodness, 2)]
    unequal = sum(same[i] != same[j] and goodness[i] != goodness[j] for goodness, (i, j) in ordered)
    return 1 - unequal / (len(heard) * len(pairs)) if heard else 1.0
