"""Who comes when, and who is held out: pure functions of a seed, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from accord.errors import InputError
from accord.records import Group


def order(n: int, *, seed: int, epoch: int, shuffle: bool = True) -> npt.NDArray[np.int64]:
    """(n,) permutation of 0..n-1: a pure function of (n, seed, epoch). Without `shuffle`: 0..n-1 in each epoch.

    Sorts raw Philox words: numpy keeps those the same in all versions, which it does not promise for `permutation`.
    """
    if not shuffle:
        return np.arange(n)
    words = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(n)
    return np.argsort(words, kind="stable")


def split(groups: Sequence[Group], fraction: float, *, seed: int = 0) -> tuple[list[Group], list[Group]]:
    """(training, validation), each in the order given; about `fraction` of the prompts are held out.

    Each prompt is placed by its own hash, so it never stands on both sides and other rows do not move it. One
    exception: where that would leave a side empty, the prompt nearest to the limit changes sides. InputError: a
    fraction outside [0, 1), or fewer than two different prompts.
    """
    if not 0 <= fraction < 1:
        raise InputError(
            f"{fraction} is no fraction", where="validation", fix="a number from 0 up to, not including, 1"
        )
    if not fraction:
        return list(groups), []
    place = {key: _place(key, seed) for key in map(prompt_key, groups)}
    if len(place) < 2:
        what = f"{len(place)} different prompts cannot be split"
        raise InputError(what, where="validation", fix="add data, or hold nothing out (--validation 0)")
    held = {key for key, at in place.items() if at < fraction}
    if not held or len(held) == len(place):
        held ^= {min(place, key=place.__getitem__) if not held else max(place, key=place.__getitem__)}
    training = [group for group in groups if prompt_key(group) not in held]
    return training, [group for group in groups if prompt_key(group) in held]


def prompt_key(group: Group) -> str:
    """Equal if and only if two groups ask the same. A document, which has no prompt, stands for itself."""
    content = group.prompt or [completion.content for completion in group.completions]
    return json.dumps(content, default=lambda message: message.plain(), sort_keys=True)


def _place(key: str, seed: int) -> float:
    """In [0, 1), evenly spread."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56
