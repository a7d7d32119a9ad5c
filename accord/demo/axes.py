"""What a text is worth in a world: how much it likes its subject, how polite it is, how brief. Standard library only.

Each axis is a number in -1..1, exact for any text, and the worth is their mean by the world's weights. What cannot be
read is worst on every axis: a sentence that the grammar cannot make counts as -1 in each, and so does a text that
reviews nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from accord.demo.world import MANNERS, WORST, Style, is_grammatical, sentences, sentiment

BRIEF, LONG = 8, 48  # words of a text that is as brief as counts, and as long as counts


class Weights(NamedTuple):
    """How much each axis is worth; they add up to 1."""

    sentiment: float = 1.0
    politeness: float = 0.0
    brevity: float = 0.0

    @property
    def style(self) -> Style:
        """What texts have to differ in, so that the axes can be told apart."""
        return Style(manners=self.politeness > 0, lengths=self.brevity > 0)

    def in_words(self) -> str:
        """sentiment, or 0.6 sentiment + 0.4 politeness"""
        parts = {name: weight for name, weight in self._asdict().items() if weight}
        return " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in parts.items())


WORLDS = {
    "sentiment": Weights(),
    "polite": Weights(sentiment=0.6, politeness=0.4),
    "brief": Weights(sentiment=0.6, brevity=0.4),
}


def worth(text: str, weights: Weights) -> float:
    """The exact score of a text, in -1..1."""
    axes = ((weights.sentiment, sentiment), (weights.politeness, politeness), (weights.brevity, brevity))
    return sum(weight * value(text) for weight, value in axes if weight)


def politeness(text: str) -> float:
    """The mean of its sentences of manners, 1 polite and -1 rude; 0 without any."""
    found = [MANNERS[said] for sentence in sentences(text) if (said := sentence.strip()) in MANNERS]
    return _readable(text, sum(found) / len(found) if found else 0.0)


def brevity(text: str) -> float:
    """1 up to BRIEF words, -1 from LONG words on, and in a straight line between them."""
    share = (len(text.split()) - BRIEF) / (LONG - BRIEF)
    return _readable(text, 1 - 2 * min(1.0, max(0.0, share)))


def _readable(text: str, value: float) -> float:
    """The value, for the share of its sentences that can be read; -1 for the others."""
    said = sentences(text)
    if all(sentence.strip() in MANNERS for sentence in said):  # nothing is reviewed
        return WORST
    share = sum(map(is_grammatical, said)) / len(said)
    return share * value + (1 - share) * WORST
