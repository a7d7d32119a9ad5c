"""How varied texts are: their distinct n-grams, how much they repeat each other, and how much each repeats itself."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from accord.maths.bleu import bleu, counted
from accord.maths.jackknife import LeftOut

# Scripts that are written without blanks: Kana, Chinese characters, Hangul; each of their signs is a word.
SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
WORD = re.compile(rf"[{SIGNS}]|[^\W{SIGNS}]+|[^\w\s]")
PAIRS = 1000  # of texts, that self-BLEU compares
Words = Sequence[Hashable]  # or numbers of tokens
SHARED = -1


def words_of(text: str) -> list[str]:
    """Words and marks of a text, small letters."""
    return WORD.findall(text.lower())


def cut_alike(one: Words, other: Words) -> tuple[Words, Words]:
    """The first words of both, as many as the shorter has: the longer a text, the fewer of its n-grams are new."""
    size = min(len(one), len(other))
    return one[:size], other[:size]


def distinct(texts: Sequence[Words], n: int) -> LeftOut:
    """distinct-n of Li et al. 2016: different n-grams of all texts together, over all their n-grams."""
    home: dict[tuple[Hashable, ...], int] = {}
    total = np.zeros(len(texts))
    for place, text in enumerate(texts):
        for gram in _grams(text, n):
            if home.setdefault(gram, place) != place:
                home[gram] = SHARED
            total[place] += 1
    own = Counter(home.values())
    alone = np.array([own[place] for place in range(len(texts))], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        without = (len(home) - alone) / (total.sum() - total)
    return LeftOut(len(home) / total.sum() if total.sum() else math.nan, without)


def self_bleu(texts: Sequence[Words], *, pairs: int = PAIRS, seed: int = 0) -> LeftOut:
    """Zhu et al. 2018, in pairs: the mean BLEU-4 of a text against another, over all ordered pairs, or `pairs` of them.

    1: all texts are the same. The pairs depend on the number of texts and the seed alone.
    """
    count = len(texts)
    if count < 2:
        return LeftOut(math.nan, np.full(count, math.nan))
    first, second = _some_pairs(count, pairs, seed)
    known = [counted(text) for text in texts]
    found = np.array([bleu(known[i], known[j]) for i, j in zip(first, second, strict=True)])
    taken = np.bincount(first, found, count) + np.bincount(second, found, count)
    times = np.bincount(first, minlength=count) + np.bincount(second, minlength=count)
    left = (len(found) - times).astype(np.float64)
    left[left == 0] = math.nan  # of two texts no pair is left without either
    return LeftOut(float(found.mean()), (found.sum() - taken) / left)


def repetition(text: Words, n: int = 4) -> float:
    """Which share of a text's n-grams stood in it before: seq-rep-n of Welleck et al. 2020; 0 of a shorter text."""
    grams = _grams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grams(text: Words, n: int) -> list[tuple[Hashable, ...]]:
    return list(zip(*(text[i:] for i in range(n)), strict=False))


def _some_pairs(count: int, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Different ordered pairs of two different texts."""
    every = count * (count - 1)
    if every <= pairs:
        chosen = np.arange(every)
    else:
        chosen = np.random.default_rng(seed).choice(every, size=pairs, replace=False, shuffle=False)
    first, rest = chosen // (count - 1), chosen % (count - 1)
    return first, rest + (rest >= first)
