"""Losses on single labelled completions: values by hand, laws over the table, baselines."""

import math

import pytest
import torch
from torch import Tensor

from accord.maths.pair import hyperparameters
from accord.maths.unpaired import UNPAIRED_LOSSES, kl_baseline, label_baseline, zero_one

# A desirable completion with log-ratio 2 and an undesirable one with -1. beta = ln 2: sigma(2 ln 2) = 4/5.
POLICY, REFERENCE = torch.tensor([-7.0, -12.0]), torch.tensor([-9.0, -11.0])
LENGTH, LABEL = torch.tensor([4.0, 5.0]), torch.tensor([True, False])
LN2 = math.log(2)
WEIGHTED = {"beta": LN2, "desirable_weight": 3.0, "undesirable_weight": 0.5}

# Hyper-parameters, baseline, and the loss of the desirable and of the undesirable one.
BY_HAND = {
    # 2 - 1 = 1 and 1 + 1 = 2: sigma(-ln 2) = 1/3, sigma(-2 ln 2) = 1/5.
    "kto": (WEIGHTED, 1.0, (3 / 3, 0.5 / 5)),
    "bco": ({"beta": LN2}, 1.0, (math.log(3 / 2), math.log(5 / 4))),
    # The baseline is not looked at from here on: m is 2 ln 2 and ln 2.
    "apo_zero_unpaired": (WEIGHTED, 9.0, (3 / 5, 0.5 / 3)),
    "npo": ({"beta": LN2}, 9.0, (0.0, 2 / LN2 * math.log(3 / 2))),
    "logistic": ({"beta": LN2}, 9.0, (math.log(5 / 4), math.log(3 / 2))),
    "exponential_unpaired": ({"beta": LN2}, 9.0, (1 / 4, 1 / 2)),
    "hinge_unpaired": ({"beta": 0.3}, 9.0, (1 - 0.6, 1 - 0.3)),
}


def test_every_loss_has_values_by_hand() -> None:
    assert BY_HAND.keys() == UNPAIRED_LOSSES.keys()


@pytest.mark.parametrize("name", BY_HAND)
def test_value_by_hand(name: str) -> None:
    hyper, baseline, expected = BY_HAND[name]
    assert hyper.keys() == hyperparameters(UNPAIRED_LOSSES[name].loss).keys()
    loss = UNPAIRED_LOSSES[name].loss(POLICY, REFERENCE, LENGTH, LABEL, torch.tensor(baseline), **hyper)
    assert loss.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", UNPAIRED_LOSSES)
def test_loss_at_the_start_is_what_the_row_says(name: str) -> None:
    row = UNPAIRED_LOSSES[name]
    hyper = {**hyperparameters(row.loss), **({"desirable_weight": 3.0} if name in ("kto", "apo_zero_unpaired") else {})}
    found = row.loss(POLICY, POLICY, LENGTH, LABEL, torch.tensor(0.0), **hyper)
    assert found.tolist() == pytest.approx([row.at_start(label, **hyper) for label in (True, False)])


@pytest.mark.parametrize("name", UNPAIRED_LOSSES)
def test_gradient_against_finite_differences(name: str) -> None:
    row = UNPAIRED_LOSSES[name]
    reference, length, label = POLICY.double(), LENGTH.double(), LABEL

    def loss(policy: Tensor) -> Tensor:
        found: Tensor = row.loss(
            policy, reference, length, label, torch.tensor(0.3, dtype=torch.float64), **hyperparameters(row.loss)
        )
        return found

    assert torch.autograd.gradcheck(loss, [torch.tensor([-5.0, -3.0], dtype=torch.float64, requires_grad=True)])


@pytest.mark.parametrize("name", UNPAIRED_LOSSES)
def test_turning_a_label_changes_the_loss(name: str) -> None:
    hyper, baseline, expected = BY_HAND[name]
    turned = UNPAIRED_LOSSES[name].loss(POLICY, REFERENCE, LENGTH, ~LABEL, torch.tensor(baseline), **hyper)
    for now, before in zip(turned.tolist(), expected, strict=True):
        assert now != pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("name", UNPAIRED_LOSSES)
def test_shifting_policy_and_reference_alike_changes_nothing(name: str) -> None:
    hyper, baseline, expected = BY_HAND[name]
    shift = torch.tensor([3.0, -20.0])
    loss = UNPAIRED_LOSSES[name].loss(POLICY + shift, REFERENCE + shift, LENGTH, LABEL, torch.tensor(baseline), **hyper)
    assert loss.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", UNPAIRED_LOSSES)
def test_float32_stays_finite_far_away(name: str) -> None:
    row = UNPAIRED_LOSSES[name]
    policy = torch.tensor([1e4, 1e4, -1e4, -1e4], requires_grad=True)
    zero, label = torch.zeros(4), torch.tensor([True, False, True, False])
    loss = row.loss(policy, zero, zero, label, torch.tensor(0.0), **hyperparameters(row.loss))
    (gradient,) = torch.autograd.grad(loss.sum(), policy)
    assert loss.dtype == torch.float32
    assert loss.isfinite().all() and gradient.norm().isfinite()


def test_a_loss_that_does_not_look_at_the_baseline_makes_none() -> None:
    for name, row in UNPAIRED_LOSSES.items():
        hyper, _, _ = BY_HAND[name]
        low, high = (row.loss(POLICY, REFERENCE, LENGTH, LABEL, torch.tensor(b), **hyper) for b in (0.0, 1.0))
        assert row.coupled is not torch.equal(low, high)
        assert not (row.mismatched and row.baseline is None)


def test_reward_is_the_scaled_log_ratio() -> None:
    for row in UNPAIRED_LOSSES.values():
        hyper = hyperparameters(row.loss) | {"beta": 0.5}
        assert row.reward(POLICY, REFERENCE, LENGTH, LABEL, **hyper).tolist() == [1.0, -0.5]


def test_kl_of_kto_is_the_mean_of_mismatched_completions_at_least_zero() -> None:
    ratio, label = torch.tensor([5.0]), torch.tensor([True])
    assert kl_baseline(ratio, label, torch.tensor([3.0, -1.0, 4.0])).item() == 2.0
    assert kl_baseline(ratio, label, torch.tensor([3.0, -7.0])).item() == 0.0


def test_shift_of_bco_weighs_both_labels_alike() -> None:
    ratio, label = torch.tensor([4.0, 2.0, 6.0, -2.0]), torch.tensor([True, True, True, False])
    assert label_baseline(ratio, label, torch.empty(0)).item() == (4 - 2) / 2
    assert label_baseline(ratio, torch.ones(4, dtype=torch.bool), torch.empty(0)).item() == 2.5


def test_zero_one_counts_contradictions() -> None:
    policy, reference = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0]), torch.zeros(5)
    label = torch.tensor([True, True, False, False, True])
    assert zero_one(policy, reference, label).tolist() == [0, 1, 1, 0, 0]
