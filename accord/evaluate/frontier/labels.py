"""Where the labels of points stand: beside their point, and neither on another point nor on another label."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

LETTER, HEIGHT = 6.8, 12.0  # pixels of a text of 8 points at 100 dots an inch
GAP, REACH = 5.0, 4.0  # between point and text; how far around a point nothing may stand
STEP = 3.0  # between the places that stand for a line


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    low: float
    right: float
    high: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        tall = min(self.high, other.high) - max(self.low, other.low)
        return max(0.0, wide) * max(0.0, tall)


def placed(
    texts: Sequence[str],
    anchors: Sequence[tuple[float, float]],
    ways: Sequence[Sequence[tuple[float, float]]],
    within: Box,
    scale: float,
) -> list[tuple[float, float]]:
    """The lower left corner of each text, in pixels: of twelve places around its point the one that covers least.

    ways: the corners of the lines that are drawn. scale: pixels of a pixel at 100 dots an inch.
    """
    reach = REACH * scale
    taken = [Box(x - reach, y - reach, x + reach, y + reach) for x, y in anchors]
    taken += [Box(x - 1, y - 1, x + 1, y + 1) for way in ways for x, y in _along(way)]
    found = list[tuple[float, float]]()
    for text, (x, y) in zip(texts, anchors, strict=True):
        choices = list(_around(x, y, LETTER * scale * len(text), HEIGHT * scale, GAP * scale))
        best = min(range(len(choices)), key=lambda place: (_covered(choices[place], taken, within), place))
        taken.append(choices[best])
        found.append(choices[best][:2])
    return found


def _along(way: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Places every few pixels on a line."""
    for (x, y), (u, v) in pairwise(way):
        count = int(math.hypot(u - x, v - y) / STEP) + 1
        for place in range(count):
            share = place / count
            yield x + share * (u - x), y + share * (v - y)


def _around(x: float, y: float, wide: float, tall: float, gap: float) -> list[Box]:
    """Above to the right first, then the others, then the same further out."""
    places = []
    for far in (gap, 3 * gap):
        left, right, above, below = x - far - wide, x + far, y + far / 2, y - far / 2 - tall
        corners = ((right, above), (right, below), (left, above), (left, below))
        edges = ((x - wide / 2, y + 2 * far), (x - wide / 2, y - 2 * far - tall))
        places += [Box(a, b, a + wide, b + tall) for a, b in (*corners, *edges)]
    return places


def _covered(box: Box, taken: Sequence[Box], within: Box) -> float:
    """What a text there would cover, and what of it would lie outside."""
    area = (box.right - box.left) * (box.high - box.low)
    return sum(box.overlap(one) for one in taken) + (area - box.overlap(within))
