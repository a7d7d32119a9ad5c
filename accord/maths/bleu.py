"""BLEU, as far as self-BLEU needs it: how much of one text stands in another. Standard library only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

N = 4  # Papineni et al. 2002
Gram = tuple[Hashable, ...]


class Counted(NamedTuple):
    """The n-grams of a text, n = 1..N, and its length in words."""

    grams: tuple[Counter[Gram], ...]
    length: int


def counted(words: Sequence[Hashable], most: int = N) -> Counted:
    grams = tuple(Counter(zip(*(words[i:] for i in range(n)), strict=False)) for n in range(1, most + 1))
    return Counted(grams, len(words))


def bleu(text: Counted, reference: Counted) -> float:
    """Papineni et al. 2002 of one text against one reference, in 0..1: BP exp(mean of log p_n).

    Smoothed as by Lin and Och 2004: above words, one is added to the n-grams that match and to all. Only n for which
    the text has n-grams count, so that a text of two words is judged by n = 1 and 2. 0 where no word matches.
    """
    logs = []
    for n, (own, others) in enumerate(zip(text.grams, reference.grams, strict=True), 1):
        total = text.length - n + 1
        if total < 1:
            break
        matches = sum(min(count, others[gram]) for gram, count in own.items() if gram in others)
        added = int(n > 1)
        if matches + added == 0:
            return 0.0
        logs.append(math.log((matches + added) / (total + added)))
    if not logs:
        return 0.0
    brevity = min(0.0, 1 - reference.length / text.length)
    return math.exp(brevity + math.fsum(logs) / len(logs))
