"""One order of several: by mean rank, by majorities of pairs, or by expected wins. K completions of one prompt.

Standard library only. An order is place -> higher is better; a completion that is not in it was kept out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

Order = Mapping[int, float]
CLOSE = 1e-9  # of equal means the last bits may differ


def included(orders: Sequence[Order], k: int) -> list[int]:
    """The places that no more than half of the orders keep out."""
    return [place for place in range(k) if 2 * sum(place in order for order in orders) >= len(orders) > 0]


def mid_ranks(order: Order) -> dict[int, float]:
    """place -> 1 is best; those that are equal share the mean of their ranks: 1, 2.5, 2.5, 4."""
    values = list(order.values())
    return {
        place: 1 + sum(other > own for other in values) + (sum(other == own for other in values) - 1) / 2
        for place, own in order.items()
    }


def mean_ranks(orders: Sequence[Order], k: int) -> dict[int, float]:
    """place -> the mean over the orders that have it of its mid-rank, lower is better.

    Where an order keeps some out, its ranks are stretched over 1 to k: the best of two is as good as the best of four.
    """
    found = {}
    ranked = [_stretched(mid_ranks(order), k) for order in orders]
    for place in included(orders, k):
        own = [ranks[place] for ranks in ranked if place in ranks]
        found[place] = sum(own) / len(own)
    return found


def _stretched(ranks: Mapping[int, float], k: int) -> dict[int, float]:
    many = len(ranks)
    return {place: 1 + (rank - 1) * (k - 1) / (many - 1) if many > 1 else (1 + k) / 2 for place, rank in ranks.items()}


def majorities(orders: Sequence[Order], k: int) -> dict[int, float]:
    """place -> pairs won less pairs lost, a pair going to whom more orders put first (Copeland's score)."""
    places = included(orders, k)
    score = dict.fromkeys(places, 0.0)
    for i, j in combinations(places, 2):
        both = [order for order in orders if i in order and j in order]
        lead = sum((order[i] > order[j]) - (order[i] < order[j]) for order in both)
        sign = (lead > 0) - (lead < 0)
        score[i] += sign
        score[j] -= sign
    return score


def expected_wins(places: Sequence[int], wins: Iterable[tuple[int, int, float]]) -> dict[int, float]:
    """place -> the sum over its pairs of how likely it is the better one, an equal pair counting a half.

    wins: (i, j, P(i is better) + P(equal) / 2).
    """
    score = dict.fromkeys(places, 0.0)
    for i, j, win in wins:
        score[i] += win
        score[j] += 1 - win
    return score


def dense_ranks(score: Order, k: int) -> tuple[int | None, ...]:
    """(K,) 1 for the highest score, equal ones share a rank, the next has the next number; None where there is none."""
    steps: list[float] = []
    for value in sorted(score.values(), reverse=True):
        if not steps or steps[-1] - value > CLOSE:
            steps.append(value)
    rank = {place: 1 + sum(step - value > CLOSE for step in steps) for place, value in score.items()}
    return tuple(rank.get(place) for place in range(k))
