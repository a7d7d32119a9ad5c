"""Annotators that are no people: what they say of outputs whose quality is known to us, and not to them.

An output's quality is the strength of the model that wrote it, and a part of its own. An annotator sees it with Gumbel
noise of scale s: so one output seems better than another with P = sigma(gap / s), which is the Bradley-Terry model, and
rankings follow Plackett and Luce. What was put in can be held against what `accord leaderboard` makes of the answers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from accord.collect.layouts import LETTERS

LIKELY_FLAGS = 0.03  # share of flags that are ticked


class Habits(NamedTuple):
    """How annotators judge. noise: scale of the Gumbel noise, in logits. tie_width: what seems closer is called equal.

    position_bias: by how much the output that is shown first seems better, in logits. skips: share of pages.
    """

    noise: float = 1.0
    tie_width: float = 0.3
    position_bias: float = 0.0
    skips: float = 0.02


USUAL = Habits()


def seen(qualities: Sequence[float], habits: Habits, chance: random.Random) -> list[float]:
    """(K,) what one annotator sees in outputs of these qualities, in the order in which they are shown."""
    found = [quality + habits.noise * gumbel(chance) for quality in qualities]
    if found:
        found[0] += habits.position_bias
    return found


def gumbel(chance: random.Random) -> float:
    """The standard Gumbel distribution."""
    return -math.log(-math.log(chance.random() or 0.5))


def ranking(found: Sequence[float], tie_width: float) -> list[list[int]]:
    """Places of outputs, best first; who lies within tie_width of the best of a rank stands in it."""
    ranks: list[list[int]] = []
    for place in sorted(range(len(found)), key=lambda place: -found[place]):
        if ranks and found[ranks[-1][0]] - found[place] < tie_width:
            ranks[-1].append(place)
        else:
            ranks.append([place])
    return ranks


def answer(found: Sequence[float], task: Mapping[str, Any], habits: Habits, chance: random.Random) -> dict[str, Any]:
    """What an annotator sends who sees this in the outputs: the parts that the project asks (as GET .../task)."""
    letters = LETTERS[: len(found)]
    layout = task["layout"]
    said: dict[str, Any] = {}
    if layout == "demonstration":
        return {"text": "This is what the assistant should have said."}
    if layout == "thumbs":
        said["labels"] = {letter: value > 0 for letter, value in zip(letters, found, strict=True)}
    if task["rate"]:
        said["ratings"] = {letter: rating(value, task["scale"]) for letter, value in zip(letters, found, strict=True)}
    if layout in ("ranking", "pair") and len(found) > 1:
        ranks = ranking(found, habits.tie_width if task["ties"] else 0.0)
        said["ranking"] = [[letters[place] for place in sorted(tied)] for tied in ranks]
    keys = [flag["key"] for flag in task["flags"]]
    ticked = {letter: [key for key in keys if chance.random() < LIKELY_FLAGS] for letter in letters}
    said["flags"] = {letter: flags for letter, flags in ticked.items() if flags}
    return said


def rating(value: float, scale: int) -> int:
    """The step of the scale on which a value falls, the middle at 0.5 (the mean of the noise)."""
    share = 1 / (1 + math.exp(max(-700.0, min(700.0, 0.5 - value))))
    return min(scale, 1 + int(share * scale))


def strengths(models: Sequence[str], seed: int) -> dict[str, float]:
    """Strengths in logits, evenly from -1 to 1, in an order that is drawn."""
    names = sorted(models)
    random.Random(f"strengths {seed}").shuffle(names)
    if len(names) < 2:
        return dict.fromkeys(names, 0.0)
    return {name: -1 + 2 * i / (len(names) - 1) for i, name in enumerate(names)}


def own_part(seed: int, group: str, place: int, spread: float) -> float:
    """What one output is better or worse than its model: normal, of standard deviation `spread`."""
    return spread * random.Random(f"output {seed} {group} {place}").gauss(0, 1) if spread else 0.0
