"""Who comes when, and who is held out: pure functions of a seed, the same on every machine."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

from accord.errors import InputError
from accord.records import Group

ASKS = 16  # bytes that tell prompts apart


def order(n: int, *, seed: int, epoch: int, shuffle: bool = True) -> npt.NDArray[np.int64]:
    """(n,) permutation of 0..n-1: a pure function of (n, seed, epoch). Without `shuffle`: 0..n-1 in each epoch.

    Sorts raw Philox words: numpy keeps those the same in all versions, which it does not promise for `permutation`.
    """
    if not shuffle:
        return np.arange(n)
    words = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(n)
    return np.argsort(words, kind="stable")


def held_out(asks: npt.NDArray[np.uint8], fraction: float) -> npt.NDArray[np.bool_]:
    """(G, ASKS) of groups' prompts -> (G,) which groups are held out: those of about `fraction` of the prompts.

    Each prompt is placed by its own hash, so it never stands on both sides and other rows do not move it. One
    exception: where that would leave a side empty, the prompt nearest to the limit changes sides. InputError: a
    fraction outside [0, 1), or fewer than two different prompts.
    """
    if not 0 <= fraction < 1:
        raise InputError(
            f"{fraction} is no fraction", where="validation", fix="a number from 0 up to, not including, 1"
        )
    place = places(asks)
    if not fraction:
        return np.zeros(len(place), dtype=bool)
    if place.size == 0 or place.min() == place.max():
        what = f"{min(len(place), 1)} different prompts cannot be split"
        raise InputError(what, where="validation", fix="add data, or hold nothing out (--validation 0)")
    held = place < fraction
    if not held.any():
        held = place == place.min()
    elif held.all():
        held = place < place.max()
    return np.asarray(held)


def places(asks: npt.NDArray[np.uint8], at: int = 0) -> npt.NDArray[np.float64]:
    """(G, ASKS) -> (G,) evenly spread in [0, 1), the same for the same prompt. at: which eight bytes say so."""
    words = np.ascontiguousarray(asks[:, at : at + 8]).view(">u8")[:, 0]
    return (words >> np.uint64(11)).astype(np.float64) / 2**53


def asks(group: Group) -> bytes:
    """ASKS bytes: equal if and only if two groups ask the same. A document, which has no prompt, stands for itself; a
    user's only turn asks what it asks as plain text."""
    content: object = group.prompt or [completion.content for completion in group.completions]
    if not isinstance(group.prompt, str) and [turn.role for turn in group.prompt] == ["user"]:
        (turn,) = group.prompt
        content = content if turn.extra else turn.content
    text = json.dumps(content, default=lambda message: message.plain(), sort_keys=True)
    return hashlib.sha256(f"0:{text}".encode()).digest()[:ASKS]
