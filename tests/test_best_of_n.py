"""The best of n: by hand, against counting all choices, and with numbers of samples whose binomials overflow."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.maths.best_of_n import expected_best_of_n, kl_best_of_n


def test_by_hand() -> None:
    # The pairs of 1, 2, 4, 8 have the maxima 2, 4, 4, 8, 8, 8; the triples 4, 8, 8, 8.
    rewards = torch.tensor([4.0, 1.0, 8.0, 2.0])
    expected = {1: 15 / 4, 2: 34 / 6, 3: 28 / 4, 4: 8.0}
    for n, value in expected.items():
        assert expected_best_of_n(rewards, n).item() == pytest.approx(value, rel=1e-12)


@given(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 3.0]), min_size=1, max_size=7), st.data())
def test_it_is_the_mean_over_all_choices_of_n(rewards: list[float], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(rewards)))
    maxima = [max(chosen) for chosen in itertools.combinations(rewards, n)]
    assert expected_best_of_n(torch.tensor(rewards), n).item() == pytest.approx(sum(maxima) / len(maxima), abs=1e-6)


def test_each_prompt_has_its_own() -> None:
    best = expected_best_of_n(torch.tensor([[[1.0, 3.0, 2.0], [0.0, 0.0, 6.0]]]), 2)
    torch.testing.assert_close(best, torch.tensor([[8 / 3, 4.0]], dtype=torch.float64))


@pytest.mark.parametrize("n", [1, 2, 17, 5000, 9999, 10_000])
def test_ten_thousand_samples(n: int) -> None:
    # The largest of n out of 1..N has the mean n (N + 1) / (n + 1).
    samples = torch.arange(1, 10_001).flip(0)
    assert expected_best_of_n(samples, n).item() == pytest.approx(n * 10_001 / (n + 1), rel=1e-11)


def test_more_than_there_are_cannot_be_told() -> None:
    for n in (0, 4):
        with pytest.raises(ValueError, match=f"best of {n} cannot be told from 3"):
            expected_best_of_n(torch.zeros(3), n)


def test_the_kl_by_hand() -> None:
    assert kl_best_of_n(1) == 0.0
    assert kl_best_of_n(16) == pytest.approx(math.log(16) - 15 / 16)
    with pytest.raises(ValueError, match="best of 0"):
        kl_best_of_n(0)


def exact_kl(outcomes: int, n: int) -> float:
    """KL between the best of n and one draw, of equally likely outcomes that all score differently."""
    best = [(i**n - (i - 1) ** n) / outcomes**n for i in range(1, outcomes + 1)]
    return sum(p * math.log(p * outcomes) for p in best)


def test_the_kl_bounds_the_exact_one_and_is_its_limit() -> None:
    for n in (2, 4, 16):
        coarse, fine = exact_kl(8, n), exact_kl(20_000, n)
        assert coarse < fine < kl_best_of_n(n)
        assert fine == pytest.approx(kl_best_of_n(n), abs=1e-3)
