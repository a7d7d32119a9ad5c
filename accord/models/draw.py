"""How a token is drawn from a distribution: tempered, cut to its most probable part or not, by inverse cumulative sums.

Shapes: N rows, V words. What is random comes in as one number of [0, 1) a row, so a draw is a pure function.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 256  # words of a block: the sums of blocks are searched first, then the words of one
HEAD = 512  # most probable words that are sorted; where they do not hold top_p, all are


class Drawing(NamedTuple):
    """How a token is chosen. In this order: temperature, the `top_k` most probable words, of these the fewest that hold
    `top_p` of what is left, of these those with at least `min_p` of the greatest probability.

    Among equals words with small numbers stay. temperature 0: the most probable word, whatever the others say.
    """

    temperature: float = 1.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether nothing is cut off."""
        return not self.top_k and self.top_p >= 1.0 and self.min_p <= 0.0


WHOLE = Drawing()  # the model's own distribution


class Drawn(NamedTuple):
    """Of each of N rows the word, and its log-probability (nats) in the distribution of which nothing is cut off."""

    ids: Tensor  # (N,) int64
    logp: Tensor  # (N,) float32


def draw(logits: Tensor, uniform: Tensor, drawing: Drawing) -> Drawn:
    """(N, V) float32 logits, (N,) float64 in [0, 1) -> a word of each row. The logits are overwritten.

    The log-probability is that at the drawing's temperature; of greedy ones that at temperature 1.
    """
    if drawing.temperature not in (0.0, 1.0):
        logits.div_(drawing.temperature)
    p = torch.softmax(logits, -1, out=logits)
    if drawing.temperature == 0.0:
        greatest, ids = p.max(-1)
        return Drawn(ids, greatest.log())
    ids = inverse(p if drawing.whole else kept(p, drawing), uniform)
    return Drawn(ids, p.gather(1, ids[:, None]).squeeze(1).log())


def inverse(p: Tensor, uniform: Tensor) -> Tensor:
    """(N, V) weights, (N,) in [0, 1) -> (N,) the word at which the cumulative sum passes `uniform` of the whole.

    In two levels, sums of blocks and words of one block: one pass over the weights, where torch.multinomial takes
    several. Sums are float64. A word of weight 0 is never drawn.
    """
    words = p.shape[1]
    body = words - words % BLOCK
    sums = p[:, :body].unflatten(1, (body // BLOCK, BLOCK)).sum(-1) if body else p[:, :0]
    if body < words:
        sums = torch.cat([sums, p[:, body:].sum(-1, keepdim=True)], 1)
    block, part = _passed(sums, uniform)
    places = block[:, None] * BLOCK + torch.arange(BLOCK, device=p.device)
    within = p.gather(1, places.clamp(max=words - 1)).masked_fill(places >= words, 0.0)
    return block * BLOCK + _passed(within, part)[0]


def _passed(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """(N, M), (N,) in [0, 1) -> (N,) the place where the cumulative sum passes it, (N,) how far into that place."""
    sums = weights.double().cumsum(1)
    whole = sums[:, -1:]
    # Rounding must not reach the whole sum, which nothing passes.
    aim = torch.minimum(uniform[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    place = (sums <= aim).sum(1, keepdim=True).clamp(max=weights.shape[1] - 1)  # of no numbers at all: the last
    weight = weights.gather(1, place).double()
    into = (aim - (sums.gather(1, place) - weight)) / weight
    return place.squeeze(1), into.squeeze(1).clamp(0.0, 1.0 - 2.0**-53)


def kept(p: Tensor, drawing: Drawing) -> Tensor:
    """(N, V) probabilities -> the same with 0 for every word that is cut off; not normalised again."""
    if drawing.top_k:
        p = _most_probable(p, torch.full((len(p),), min(drawing.top_k, p.shape[1]), device=p.device))
    if drawing.top_p < 1.0:
        p = _most_probable(p, _fewest(p, drawing.top_p))
    if drawing.min_p > 0.0:
        p = p.masked_fill(p < drawing.min_p * p.amax(-1, keepdim=True), 0.0)
    return p


def _fewest(p: Tensor, share: float) -> Tensor:
    """(N, V) -> (N,) how many of the most probable words hold `share` of the sum; one at least."""
    aim = share * p.sum(-1, keepdim=True, dtype=torch.float64)
    head = p.topk(min(HEAD, p.shape[1]), -1).values.double().cumsum(-1)
    if bool((head[:, -1:] < aim).any()) and head.shape[1] < p.shape[1]:
        head = p.sort(-1, descending=True).values.double().cumsum(-1)
    return ((head < aim).sum(-1) + 1).clamp(max=head.shape[1])


def _most_probable(p: Tensor, count: Tensor) -> Tensor:
    """(N, V), (N,) -> the same with 0 for all but the `count` most probable words; of equal ones the first stay."""
    ordered = p.topk(int(count.max()), -1).values
    least = ordered.gather(1, count[:, None] - 1)
    above, equal = p > least, p == least
    room = count[:, None] - above.sum(-1, keepdim=True)
    return p.masked_fill(~(above | (equal & (equal.cumsum(-1) <= room))), 0.0)
