"""What fallible annotators mean together: planted confusion, hand-worked values, and when a majority is as good."""

import numpy as np
import pytest

from accord.maths.consensus import dense_ranks, expected_wins, included, majorities, mean_ranks, mid_ranks
from accord.maths.dawid_skene import BETTER, EQUAL, MIRROR, WORSE, dawid_skene, verdicts


def drawn(truth: np.ndarray, confusion: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every annotator answers every unit."""
    generator = np.random.default_rng(seed)
    units, annotators = len(truth), len(confusion)
    unit, annotator = np.repeat(np.arange(units), annotators), np.tile(np.arange(annotators), units)
    edges = confusion.cumsum(-1)[annotator, truth[unit]]
    return unit, annotator, (generator.random(len(unit))[:, None] > edges).sum(-1).clip(max=confusion.shape[1] - 1)


def of_accuracy(*accuracy: float, classes: int = 2) -> np.ndarray:
    return np.stack([np.eye(classes) * (p - (1 - p) / (classes - 1)) + (1 - p) / (classes - 1) for p in accuracy])


def test_one_step_by_hand() -> None:
    # Two units, two annotators of two classes; they agree on the first unit (0, 0) and differ on the second (0, 1).
    # Shares of votes: (1, 0) and (1/2, 1/2). Counted with 1 added to each, a row being the truth:
    #   annotator 0 says 0 of both: [1 + 1.5, 1], [1 + 0.5, 1]; annotator 1 says 0, 1: [1 + 1, 1 + 0.5], [1, 1 + 0.5]
    # prior (1 + 1.5, 1 + 0.5) / 4.
    first, second = np.array([[2.5, 1], [1.5, 1]]), np.array([[2, 1.5], [1, 1.5]])
    first, second = (one / one.sum(-1, keepdims=True) for one in (first, second))
    prior = np.array([2.5, 1.5]) / 4
    joint = np.stack([prior * first[:, 0] * second[:, 0], prior * first[:, 0] * second[:, 1]])
    unit, annotator, answer = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0, 0, 0, 1])
    found = dawid_skene(unit, annotator, answer, classes=2, smoothing=1.0, most_steps=1)
    np.testing.assert_allclose(found.confusion, [first, second])
    np.testing.assert_allclose(found.prior, prior)
    np.testing.assert_allclose(found.posterior, joint / joint.sum(-1, keepdims=True))
    steady = np.log(joint.sum(-1)).sum() + np.log(found.confusion).sum() + np.log(prior).sum()
    assert found.log_likelihood == pytest.approx(steady)


def test_planted_confusion_is_found() -> None:
    confusion = np.array([
        [[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]],
        [[0.6, 0.3, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6]],
        [[0.7, 0.1, 0.2], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]],
        [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]],
    ])  # fmt: skip
    prior = np.array([0.5, 0.3, 0.2])
    truth = np.random.default_rng(1).choice(3, 8000, p=prior)
    found = dawid_skene(*drawn(truth, confusion, 2), classes=3)
    # a share counted among 1,600 has a standard error of at most 0.0125; what is not known for sure adds to it
    assert np.abs(found.confusion - confusion).max() < 0.05
    assert np.abs(found.prior - prior).max() < 0.03


def test_the_likelihood_never_falls() -> None:
    data = drawn(np.random.default_rng(3).integers(0, 2, 200), of_accuracy(0.9, 0.6, 0.7), 4)
    values = [dawid_skene(*data, classes=2, tolerance=-np.inf, most_steps=n).log_likelihood for n in range(1, 12)]
    assert (np.diff(values) >= -1e-9).all() and values[-1] > values[0]


def test_equally_good_annotators_are_a_majority() -> None:
    truth = np.random.default_rng(5).integers(0, 2, 3000)
    unit, annotator, answer = drawn(truth, of_accuracy(0.8, 0.8, 0.8, 0.8, 0.8), 6)
    found = dawid_skene(unit, annotator, answer, classes=2).posterior.argmax(-1)
    majority = (np.bincount(unit, answer) > 2.5).astype(int)
    assert (found == majority).all()


def test_a_much_better_annotator_is_heard_more_than_the_majority() -> None:
    truth = np.random.default_rng(7).integers(0, 2, 3000)
    unit, annotator, answer = drawn(truth, of_accuracy(0.98, 0.6, 0.6, 0.6, 0.6), 8)
    found = dawid_skene(unit, annotator, answer, classes=2).posterior.argmax(-1)
    majority = np.bincount(unit, answer) > 2.5
    right, of_majority = (found == truth).mean(), (majority == truth).mean()
    assert right > 0.96 and of_majority < 0.88  # exactly: 0.98 x P(at least 2 of 4) + 0.02 x P(all but one or more)


def test_without_smoothing_a_certain_annotator_is_certain() -> None:
    unit, annotator, answer = np.array([0, 1, 2, 3]), np.zeros(4, int), np.array([0, 0, 1, 1])
    found = dawid_skene(unit, annotator, answer, classes=2, smoothing=0.0)
    np.testing.assert_allclose(found.confusion, [np.eye(2)])
    np.testing.assert_allclose(found.posterior, np.eye(2)[answer])


def test_a_unit_of_which_nothing_is_said_has_the_prior() -> None:
    found = dawid_skene(np.array([0, 2]), np.array([0, 0]), np.array([0, 0]), classes=2)
    np.testing.assert_allclose(found.posterior[1], found.prior, atol=1e-3)


def test_verdicts_do_not_depend_on_which_is_the_first() -> None:
    truth = np.random.default_rng(9).choice(3, 400, p=[0.6, 0.2, 0.2])  # mostly the first is better
    unit, annotator, answer = drawn(truth, of_accuracy(0.9, 0.7, 0.6, classes=3), 10)
    found = verdicts(unit, annotator, answer)
    exchanged = np.random.default_rng(11).random(400) < 0.5
    other = verdicts(unit, annotator, np.where(exchanged[unit], MIRROR[answer], answer))
    back = np.where(exchanged[:, None], other.posterior[:, MIRROR], other.posterior)
    np.testing.assert_allclose(found.posterior, back, atol=1e-9)
    np.testing.assert_allclose(found.confusion, found.confusion[:, MIRROR][:, :, MIRROR], atol=1e-9)
    assert found.prior[BETTER] == pytest.approx(found.prior[WORSE]) and found.prior[EQUAL] < 0.3


def test_mean_ranks_keep_ties() -> None:
    # a > b = c and a = b > c: mid-ranks 1, 2.5, 2.5 and 1.5, 1.5, 3; means 1.25, 2, 2.75
    orders = [{0: 3.0, 1: 1.0, 2: 1.0}, {0: 2.0, 1: 2.0, 2: 1.0}]
    assert mid_ranks(orders[0]) == {0: 1, 1: 2.5, 2: 2.5}
    assert mean_ranks(orders, 3) == {0: 1.25, 1: 2.0, 2: 2.75}
    # a > b > c and c > b > a: all have 2
    both = mean_ranks([{0: 3, 1: 2, 2: 1}, {0: 1, 1: 2, 2: 3}], 3)
    assert dense_ranks({place: -rank for place, rank in both.items()}, 3) == (1, 1, 1)


def test_what_most_keep_out_stays_out() -> None:
    orders = [{0: 2, 1: 1}, {0: 1, 1: 2, 2: 3}, {0: 2, 1: 1}]
    assert included(orders, 3) == [0, 1]
    # stretched over 1 to 3: a 1, 3, 1; b 3, 2, 3
    assert mean_ranks(orders, 3) == {0: pytest.approx(5 / 3), 1: pytest.approx(8 / 3)}
    assert dense_ranks({0: 1.0, 1: 2.0}, 3) == (2, 1, None)


def test_a_majority_of_pairs() -> None:
    # 3 x a > b > c, 2 x b > c > a: a beats both by 3 to 2
    orders = [{0: 3, 1: 2, 2: 1}] * 3 + [{0: 1, 1: 3, 2: 2}] * 2
    assert majorities(orders, 3) == {0: 2.0, 1: 0.0, 2: -2.0}


def test_expected_wins_by_hand() -> None:
    score = expected_wins([0, 1, 2], [(0, 1, 0.9), (0, 2, 0.8), (1, 2, 0.5)])
    assert score == {0: pytest.approx(1.7), 1: pytest.approx(0.6), 2: pytest.approx(0.7)}
    assert dense_ranks({0: 1.0, 1: 1.0 + 1e-12, 2: 0.5}, 3) == (1, 1, 2)
