"""Replies of a language model that judges -> what they say, or that they say nothing that counts.

Read strictly: what is no verdict in exactly the form that was asked for is a failure. It is never taken for a tie or
for the likelier of two readings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

BRACKETS = re.compile(r"\[\[([^\[\]]*)\]\]")
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
LOWEST, HIGHEST = 1.0, 10.0  # MT-bench's scale
SHOWN = 60  # characters of a reply that an error has


class Usage(NamedTuple):
    """Tokens of one request. counted: by the server; else guessed from the characters."""

    prompt: int
    completion: int
    counted: bool = True

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class Reply(NamedTuple):
    """What a server said. first: log-probabilities of the likeliest first tokens, by text; None: it gives none."""

    text: str
    first: Mapping[str, float] | None
    usage: Usage


class Unreadable(ValueError):
    """A reply without a verdict in the form that was asked for."""


def label_of(reply: str, labels: Sequence[str]) -> int:
    """Which label the whole reply is, white space around it left out. Unreadable: none."""
    if (said := reply.strip()) not in labels:
        raise Unreadable(f"{_shown(reply)} is not one of {', '.join(labels)}")
    return labels.index(said)


def weighed(reply: Reply, labels: Sequence[str]) -> float | None:
    """How far the answer that the first label stands for is better: P(first) / (P(first) + P(second)), with a third
    label for ties (P(first) + P(tie) / 2) / (all three). None: the server gives no log-probabilities.

    AlpacaEval's weighted judge. Tokens that are a label but for white space count for it; one that is not among those
    that the server names has no part.
    """
    if reply.first is None:
        return None
    part = [0.0] * 3
    for token, logp in reply.first.items():
        if token.strip() in labels:
            part[labels.index(token.strip())] += math.exp(logp)
    return (part[0] + part[2] / 2) / sum(part) if sum(part) > 0 else None


def bracketed(reply: str, labels: Sequence[str]) -> int:
    """Which label stands in double brackets; several times only if it is the same one. Unreadable: none, another, or
    two."""
    said = _bracketed(reply)
    if said not in labels:
        raise Unreadable(f"[[{said[:SHOWN]}]] is not one of {', '.join(labels)}")
    return labels.index(said)


def rating_of(reply: str) -> float:
    """The number of 1 to 10 in double brackets. Unreadable: none, or two."""
    said = _bracketed(reply)
    value = float(said) if NUMBER.fullmatch(said) else math.nan
    if not LOWEST <= value <= HIGHEST:
        raise Unreadable(f"[[{said[:SHOWN]}]] is no rating of {LOWEST:g} to {HIGHEST:g}")
    return value


def ranks_of(reply: str, names: Sequence[str]) -> tuple[int, ...]:
    """(K,) ranks from an order as [[B > A = C]]: 1 is best, equal ranks are ties. Unreadable: no order of all K."""
    said = _bracketed(reply)
    levels = [[name.strip() for name in level.split("=")] for level in said.split(">")]
    named = [name for level in levels for name in level]
    if sorted(named) != sorted(names):
        raise Unreadable(f"[[{said[:SHOWN]}]] is no order of {', '.join(names)}")
    above = {name: sum(map(len, levels[:place])) for place, level in enumerate(levels) for name in level}
    return tuple(1 + above[name] for name in names)


def _bracketed(reply: str) -> str:
    found: list[str] = list(dict.fromkeys(one.strip() for one in BRACKETS.findall(reply)))
    if not found:
        raise Unreadable(f"no verdict in [[ ]]: {_shown(reply)}")
    if len(found) > 1:
        raise Unreadable(f"{len(found)} different verdicts: {', '.join(f'[[{one[:20]}]]' for one in found[:3])}")
    return found[0]


def _shown(reply: str) -> str:
    line = " ".join(reply.split())
    return repr(line[:SHOWN] + "..." if len(line) > SHOWN else line)
