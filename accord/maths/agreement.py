"""How often people who judge the same pair of completions agree. numpy only."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.maths.statistics import Estimate, proportion_interval


class Votes(NamedTuple):
    """(U,) of each pair of completions: how many people call the first better, the second better, neither."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    neither: NDArray[np.float64]


def with_another(votes: Votes, clusters: NDArray[np.intp]) -> Estimate:
    """How often two people who both decide between two completions decide alike; (U,) clusters: the prompts."""
    alike = _couples(votes.first) + _couples(votes.second)
    return _share(alike, _couples(votes.first + votes.second), clusters)


def three_way(votes: Votes, clusters: NDArray[np.intp]) -> Estimate:
    """How often two people say the same of two completions: the one, the other, or neither is better."""
    alike = sum(map(_couples, votes), start=np.zeros(len(clusters)))
    return _share(alike, _couples(votes.first + votes.second + votes.neither), clusters)


def with_majority(votes: Votes, clusters: NDArray[np.intp]) -> Estimate:
    """How often one who decides decides as the majority of the others; where those are divided equally nobody counts.

    Only of pairs between which three or more decide: the majority of one other is `with_another`.
    """
    lead = votes.first - votes.second
    several = votes.first + votes.second >= 3
    # One of the first's own voters sees a lead that is smaller by one, one of the second's a lead greater by one.
    alike = votes.first * (lead > 1) + votes.second * (lead < -1)
    against = votes.first * (lead < 1) + votes.second * (lead > -1)
    return _share(several * alike, several * (alike + against), clusters)


def _couples(people: NDArray[np.float64]) -> NDArray[np.float64]:
    return people * (people - 1) / 2


def _share(alike: NDArray[np.float64], of: NDArray[np.float64], clusters: NDArray[np.intp]) -> Estimate:
    """Of all comparisons of people, whatever the pair; pairs of one prompt may depend on each other."""
    return proportion_interval(alike / np.maximum(of, 1), clusters, of)
