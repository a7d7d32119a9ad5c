"""The demo's simulated annotators against the chances of their law: Plackett-Luce, a blind share, a bias."""

import itertools
import random

import torch
from torch import Tensor

from accord.demo.annotators import Annotator, _judgement, preference
from accord.evaluate.theory.frequencies import LEAST, chi_square

VALUES = (0.5, 0.2, 0.1, -0.3)
ORDERS = list(itertools.permutations(range(1, 5)))  # ranks of the four texts
ONE = Annotator("one", temperature=0.3, blind=0.2, first=0.6)


def came(annotator: Annotator, count: int = 12_000) -> Tensor:
    """(4, 24) how often each order was given, by which text was shown first."""
    chance, found = random.Random(0), torch.zeros(4, len(ORDERS))
    for _ in range(count):
        judgement = _judgement(annotator, VALUES, chance)
        assert judgement.ranks is not None and judgement.shown is not None
        found[judgement.shown.index(1), ORDERS.index(judgement.ranks)] += 1
    return found


def law(annotator: Annotator) -> Tensor:
    """(4, 24)"""
    values = torch.tensor(VALUES, dtype=torch.float64)
    best_first = torch.tensor(ORDERS).argsort(-1)
    rows = []
    for first in range(4):
        bias = annotator.first * (torch.arange(4) == first).double()
        mixed = torch.zeros(len(ORDERS), dtype=torch.float64)
        for share, worth in ((1 - annotator.blind, values / annotator.temperature), (annotator.blind, 0 * values)):
            ordered = (worth + bias).exp()[best_first]
            mixed += share * (ordered / ordered.flip(-1).cumsum(-1).flip(-1)).prod(-1)
        rows.append(mixed / 4)
    return torch.stack(rows)


def test_orders_come_as_often_as_plackett_luce_says() -> None:
    assert chi_square(came(ONE).flatten(), law(ONE).flatten()).p > LEAST


def test_another_temperature_bias_or_blindness_would_be_seen() -> None:
    found = came(ONE).flatten()
    for other in (ONE._replace(temperature=0.25), ONE._replace(first=0.4), ONE._replace(blind=0.1)):
        assert chi_square(found, law(other).flatten()).p < LEAST


def test_each_pair_follows_bradley_terry() -> None:
    """The chance that is told of a pair is that of all orders which have it so."""
    whole = law(ONE) * 4
    ranks = torch.tensor(ORDERS)
    for first, (i, j) in itertools.product(range(4), itertools.combinations(range(4), 2)):
        ahead = whole[first][ranks[:, i] < ranks[:, j]].sum().item()
        told = preference(ONE, VALUES[i] - VALUES[j], (first == i) - (first == j))
        assert abs(ahead - told) < 1e-12
