"""Whether comparisons hang together so that strengths have one finite best value. numpy and scipy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bmat, csr_matrix
from scipy.sparse.csgraph import NegativeCycleError, bellman_ford, connected_components

Ints = NDArray[np.int64]


class NotConnected(ValueError):
    """The parts (numbers of models), the larger first; one_way: they were compared, but one never lost to another.

    Of parts that were compared one way only, the first is one that lost to no other.
    """

    def __init__(self, parts: Sequence[Sequence[int]], *, one_way: bool) -> None:
        self.parts, self.one_way = parts, one_way
        super().__init__(f"{len(parts)} parts")


def beaten(winner: Ints, loser: Ints, count: int) -> csr_matrix:
    """(E,) winners and losers, by number -> (M, M), 1 where the model of the row ever beat or tied that of the column.

    A tie is a win of each over the other.
    """
    key = winner * count + loser
    # As many places as there are wins are counted faster than the wins are sorted.
    edges = np.flatnonzero(np.bincount(key, minlength=count**2)) if count**2 <= len(key) else np.unique(key)
    return csr_matrix((np.ones(len(edges)), (edges // count, edges % count)), shape=(count, count))


def apart(graph: csr_matrix) -> list[list[int]]:
    """The parts between which there is no comparison at all, largest first; one part where all hang together."""
    return _parts(graph, "weak")


def check_connected(graph: csr_matrix) -> None:
    """NotConnected unless from each model a chain of wins leads to every other: Ford 1957.

    Without that some strengths have no finite best value: a model that never lost is infinitely better than the rest.
    """
    if len(parts := apart(graph)) > 1:
        raise NotConnected(parts, one_way=False)
    if len(parts := _parts(graph, "strong")) > 1:
        number = np.empty(graph.shape[0], dtype=np.int64)
        for i, part in enumerate(parts):
            number[part] = i
        edges = graph.tocoo()
        crossing = number[edges.row] != number[edges.col]
        lost = set(number[edges.col[crossing]].tolist())
        top = min(i for i in range(len(parts)) if i not in lost)
        raise NotConnected([parts[top], *(part for i, part in enumerate(parts) if i != top)], one_way=True)


def ties_are_bounded(first: Ints, second: Ints, tied: NDArray[np.bool_], count: int) -> bool:
    """Whether the number that rules ties has a finite best value beside finite strengths, if there are ties.

    (N,) each; of what is no tie, `first` won. There is a direction in which nothing is ever lost, if numbers u exist
    with u_winner - u_loser >= 1 for wins and |u_first - u_second| <= 1 for ties: then ties become ever more likely and
    the strengths go apart just as fast. None exist if a circle of wins and ties has more wins than ties.
    """
    won, lost = first[~tied], second[~tied]
    if len(won) == 0 or not tied.any():
        return False
    wins = beaten(won, lost, count)
    if connected_components(wins, connection="strong")[0] < count:
        return True  # a circle of wins alone
    drawn = beaten(np.r_[first[tied], second[tied]], np.r_[second[tied], first[tied]], count)
    price = drawn - wins - drawn.multiply(wins)  # a win gains 1, also where the two tied as well; a tie alone costs 1
    start = csr_matrix(np.ones((1, count)))  # from here every model is reached
    whole = bmat([[price, None], [start, csr_matrix((1, 1))]], format="csr")
    try:
        bellman_ford(whole, indices=count)
    except NegativeCycleError:
        return True
    return False


def _parts(graph: csr_matrix, connection: str) -> list[list[int]]:
    count, label = connected_components(graph, directed=True, connection=connection)
    found = [np.flatnonzero(label == part).tolist() for part in range(count)]
    return sorted(found, key=lambda part: (-len(part), part))
