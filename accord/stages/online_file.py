"""A round of samples judged by people: written to a file without scores, and read back with what they said.

to_judge/round-0001.jsonl has a row for each prompt: `id`, `prompt`, `completions` in an order of their own, samples
that say the same once. People judge them (accord.data.questions), and save it as judged/round-0001.jsonl.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accord.data.join import permuted
from accord.data.questions import Questions, read_opinions
from accord.records import Group, Judgement
from accord.training.step import mixed

TO_JUDGE, JUDGED = "to_judge", "judged"  # folders of the run


class Asked(NamedTuple):
    """One prompt of a round as people see it. shown (K,): for each sample the completion that it is."""

    place: int  # in the round
    id: str
    group: Group
    shown: tuple[int, ...]


def asked(texts: Sequence[Group], number: int, seed: int) -> list[Asked]:
    """What people are asked of a round: prompts whose samples do not all say the same. number: the round's, from 1."""
    found = []
    for place, text in enumerate(texts):
        distinct = sorted(set(text.same))
        if len(distinct) < 2:
            continue
        order = np.random.default_rng(mixed(seed, 3, number, place)).permutation(distinct).tolist()
        completions = tuple(text.completions[first] for first in order)
        group = Group(f"{number}-{place + 1}-{text.id}", text.prompt, completions, category=text.category)
        found.append(Asked(place, group.id, group, tuple(order.index(first) for first in text.same)))
    return found


def read_judged(folder: Path, number: int, questions: Sequence[Asked]) -> dict[str, list[Judgement]] | None:
    """By id, what was said of each prompt's samples in their own order; None: the file is not there.

    InputError that lists every problem with its line; every prompt must be judged.
    """
    path, source = folder / name_of(JUDGED, number), folder / name_of(TO_JUDGE, number)
    if not path.exists():
        return None
    said = read_opinions(path, Questions([one.group for one in questions], source, whole=True))
    return {one.id: [permuted(opinion.judgement, one.shown) for opinion in said[one.id]] for one in questions}


def name_of(kind: str, number: int) -> str:
    """The file of a round, in the run folder."""
    return f"{kind}/round-{number:04d}.jsonl"
