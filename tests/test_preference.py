"""Pair losses: a value by hand for each row of the table, then laws that hold for them all."""

import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.maths.gap_losses import dpo
from accord.maths.pair import Pair, gradient_weight, hyperparameters, implicit_reward, log_ratio_gap, per_token
from accord.maths.preference import PAIR_LOSSES
from accord.maths.side_losses import aot, aot_unpaired, bco_pair


def pairs(*rows: tuple[float, float], dtype: torch.dtype = torch.float64) -> Pair:
    columns = torch.tensor(rows, dtype=dtype)
    return Pair(columns[:, 0], columns[:, 1])


def single(chosen: float, rejected: float) -> Pair:
    return pairs((chosen, rejected), dtype=torch.float32)


# One pair whose numbers are easy: rho_w = -7 + 9 = 2, rho_l = -14 + 11 = -3, so h = 5; per token 2/4, -3/5, gap 1.1.
POLICY, REFERENCE, LENGTH = single(-7, -14), single(-9, -11), single(4, 5)
# Of two tokens with probability 1/2 each, and of three with 1/4 each.
HALVES, HALVES_LENGTH = single(2 * math.log(1 / 2), 3 * math.log(1 / 4)), single(2, 3)
LN2, LN3 = math.log(2), math.log(3)


class Case(NamedTuple):
    hyper: dict[str, float]
    expected: float
    policy: Pair = POLICY
    length: Pair = LENGTH


BY_HAND = {
    # beta h = ln 3, and sigma(ln 3) = 3/4.
    "sigmoid": Case({"beta": LN3 / 5, "label_smoothing": 0.0}, math.log(4 / 3)),
    # The same, a quarter of it with the label turned round: -ln sigma(-ln 3) = ln 4.
    "cdpo": Case({"beta": LN3 / 5, "label_smoothing": 0.25}, 0.75 * math.log(4 / 3) + 0.25 * math.log(4)),
    "hinge": Case({"beta": 0.1}, 1 - 0.1 * 5),
    "ipo": Case({"beta": 0.5}, (1.1 - 1) ** 2),
    "exponential": Case({"beta": LN3 / 5}, 1 / 3),
    "robust": Case({"beta": LN3 / 5, "label_smoothing": 0.25}, (0.75 * math.log(4 / 3) - 0.25 * math.log(4)) / 0.5),
    # q = (3/4, 1/4) against p = (9/10, 1/10).
    "exo_pair": Case({"beta": LN3 / 5, "label_smoothing": 0.1}, 0.75 * math.log(5 / 6) + 0.25 * math.log(5 / 2)),
    # s = sigma(ln 3) = 3/4 and exp(-ln 3) = 1/3.
    "discopop": Case({"beta": LN3 / 5, "discopop_tau": 1.0}, 0.25 * math.log(4 / 3) + 0.75 / 3),
    "sigmoid_norm": Case({"beta": LN3 / 1.1}, math.log(4 / 3)),
    # sigma(2 ln 2) = 4/5 and sigma(3 ln 2) = 8/9.
    "nca_pair": Case({"beta": LN2}, math.log(5 / 4) + 0.5 * math.log(5) + 0.5 * math.log(9 / 8)),
    # delta = beta (2 - 3) / 2, so both arguments are 5/2 beta = ln 3.
    "bco_pair": Case({"beta": LN3 / 2.5}, 2 * math.log(4 / 3)),
    "sppo_hard": Case({"beta": 0.5}, (2 - 1) ** 2 + (-3 + 1) ** 2),
    # One pair: its margin 7 against the reference's 2.
    "aot": Case({"beta": LN3 / 5, "label_smoothing": 0.0}, math.log(4 / 3)),
    "aot_unpaired": Case({"beta": LN3 / 5, "label_smoothing": 0.0}, math.log(4 / 3)),
    # 1 - sigma(2 ln 2) = 1/5 and sigma(-3 ln 2) = 1/9.
    "apo_zero": Case({"beta": LN2}, 1 / 5 + 1 / 9),
    # sigma(2 ln 2) = 4/5 and 1 - sigma(5 ln 2) = 1/33.
    "apo_down": Case({"beta": LN2}, 4 / 5 + 1 / 33),
    # -7/4 + 14/5 = 1.05, less 0.55.
    "simpo": Case({"beta": 2 * LN3, "gamma_beta_ratio": 0.55}, math.log(4 / 3)),
    # P = 1/2 and 1/4: odds 1 and 1/3, whose ratio is 3; the first term is ln 2.
    "orpo": Case({"beta": 0.5}, LN2 + 0.5 * math.log(4 / 3), HALVES, HALVES_LENGTH),
    "cpo": Case({"beta": LN3 / 7, "cpo_alpha": 2.0}, math.log(4 / 3) + 2 * 7 / 4),
    "sft": Case({}, 7 / 4),
}
# Three pairs for laws. No hinge has its kink there, no two margins are equal.
THREE = (
    pairs((-7.0, -14.0), (-30.0, -22.0), (-5.5, -5.0)),
    pairs((-9.0, -11.0), (-10.0, -24.0), (-5.0, -5.2)),
    pairs((4.0, 5.0), (9.0, 7.0), (3.0, 3.0)),
)
# The baseline carries no gradient, so finite differences do not apply: its gradient is worked out by hand below.
BASELINE = {"bco_pair"}


def test_every_loss_has_a_value_by_hand() -> None:
    assert BY_HAND.keys() == PAIR_LOSSES.keys()


@pytest.mark.parametrize("name", BY_HAND)
def test_value_by_hand(name: str) -> None:
    case = BY_HAND[name]
    assert case.hyper.keys() == hyperparameters(PAIR_LOSSES[name].loss).keys()
    loss = PAIR_LOSSES[name].loss(case.policy, REFERENCE, case.length, **case.hyper)
    assert loss.tolist() == pytest.approx([case.expected], rel=1e-6)


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_loss_at_the_start_is_what_the_row_says(name: str) -> None:
    row = PAIR_LOSSES[name]
    hyper = hyperparameters(row.loss)
    policies = [Pair(*(side / part for side in THREE[0])) for part in (1.0, 3.0)]
    found = torch.stack([row.loss(policy, policy, THREE[2], **hyper) for policy in policies])
    if row.at_start is None:
        assert (found[0] - found[1]).abs().min() > 1e-3
    else:
        torch.testing.assert_close(found, torch.full_like(found, row.at_start(**hyper)))


def test_dpo_starts_at_log_2() -> None:
    assert dpo(POLICY, POLICY, LENGTH, beta=7.0).item() == pytest.approx(math.log(2.0))


@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if name not in BASELINE])
def test_gradient_against_finite_differences(name: str) -> None:
    row, (policy, reference, length) = PAIR_LOSSES[name], THREE

    def loss(chosen: Tensor, rejected: Tensor) -> Tensor:
        found: Tensor = row.loss(Pair(chosen, rejected), reference, length, **hyperparameters(row.loss))
        return found

    leaves = [side.clone().requires_grad_() for side in policy]
    assert torch.autograd.gradcheck(loss, leaves)


def test_gradient_of_bco_leaves_the_baseline_out() -> None:
    # rho = (2, 0) and (-1, -1): with beta = ln 4 delta is ln 4 * (1 - 1) / 2 = 0. Winners: -beta sigma(-beta rho).
    chosen, rejected = torch.tensor([2.0, 0.0]).requires_grad_(), torch.tensor([-1.0, -1.0]).requires_grad_()
    zero = Pair(torch.zeros(2), torch.zeros(2))
    beta = math.log(4)
    loss = bco_pair(Pair(chosen, rejected), zero, zero, beta=beta)
    assert loss.tolist() == pytest.approx([math.log(17 / 16) + math.log(5 / 4), math.log(2) + math.log(5 / 4)])
    left, right = torch.autograd.grad(loss.sum(), (chosen, rejected))
    assert left.tolist() == pytest.approx([-beta / 17, -beta / 2])
    assert right.tolist() == pytest.approx([beta / 5, beta / 5])


def test_bco_is_shifted_by_the_mean_of_both_sides() -> None:
    # rho = (2, 4) and (0, 2): delta is beta (3 + 1) / 2, and the arguments are beta times (0, 2) and (2, 0).
    loss = bco_pair(pairs((2, 0), (4, 2)), pairs((0, 0), (0, 0)), pairs((1, 1), (1, 1)), beta=LN3 / 2)
    assert loss.tolist() == pytest.approx([math.log(2) + math.log(4 / 3)] * 2)


def test_aot_compares_margins_by_rank() -> None:
    # Margins 5 and 1, the reference's 1 and 3: sorted 1 - 1 = 0 and 5 - 3 = 2. The first pair has the larger margin.
    policy, reference = pairs((5, 0), (1, 0)), pairs((1, 0), (3, 0))
    loss = aot(policy, reference, policy, beta=LN3 / 2)
    assert loss.tolist() == pytest.approx([math.log(4 / 3), math.log(2)])
    smoothed = aot(policy, reference, policy, beta=LN3 / 2, label_smoothing=0.25)
    assert smoothed.tolist() == pytest.approx([0.75 * math.log(4 / 3) + 0.25 * math.log(4), math.log(2)])


def test_aot_unpaired_compares_log_ratios_by_rank() -> None:
    # Chosen 4 and 1, rejected -1 and 1: sorted 1 + 1 = 2 and 4 - 1 = 3. The first chosen one is the larger.
    policy, reference = pairs((4, -1), (1, 1)), pairs((0, 0), (0, 0))
    loss = aot_unpaired(policy, reference, policy, beta=1.0)
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-3)), math.log1p(math.exp(-2))])


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_a_pair_depends_on_the_others_only_where_the_row_says_so(name: str) -> None:
    row, hyper = PAIR_LOSSES[name], hyperparameters(PAIR_LOSSES[name].loss)
    together = row.loss(*THREE, **hyper)
    alone = torch.cat(
        [row.loss(*(Pair(*(side[i : i + 1] for side in part)) for part in THREE), **hyper) for i in range(3)]
    )
    assert torch.allclose(together, alone) is not row.coupled


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_swapping_chosen_and_rejected_changes_the_loss(name: str) -> None:
    row, case = PAIR_LOSSES[name], BY_HAND[name]
    turned = row.loss(*(Pair(*part[::-1]) for part in (case.policy, REFERENCE, case.length)), **case.hyper)
    assert turned.item() != pytest.approx(case.expected, rel=1e-3)


@pytest.mark.parametrize("name", PAIR_LOSSES)
@given(st.floats(-50, 50), st.floats(-50, 50))
def test_shifting_policy_and_reference_alike_changes_nothing(name: str, chosen: float, rejected: float) -> None:
    row, hyper = PAIR_LOSSES[name], hyperparameters(PAIR_LOSSES[name].loss)
    policy, reference, length = (Pair(*(side[:1] for side in part)) for part in THREE)
    moved = Pair(reference.chosen + chosen, reference.rejected + rejected)
    before = row.loss(policy, reference, length, **hyper)
    if row.needs_reference:
        policy = Pair(policy.chosen + chosen, policy.rejected + rejected)
    torch.testing.assert_close(row.loss(policy, moved, length, **hyper), before)


@pytest.mark.parametrize("name", [name for name, row in PAIR_LOSSES.items() if row.needs_reference])
def test_losses_that_take_a_divergence_do_not_see_what_a_prompt_adds(name: str) -> None:
    row, hyper = PAIR_LOSSES[name], hyperparameters(PAIR_LOSSES[name].loss)
    policy, reference, _ = THREE
    length = Pair(THREE[2].chosen, THREE[2].chosen)
    added = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    moved = Pair(policy.chosen + added, policy.rejected + added)
    same = torch.allclose(row.loss(moved, reference, length, **hyper), row.loss(policy, reference, length, **hyper))
    assert same is (row.divergence or name == "aot")  # aot compares margins, but needs those of the reference


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_float32_stays_finite_far_away(name: str) -> None:
    row, hyper = PAIR_LOSSES[name], hyperparameters(PAIR_LOSSES[name].loss)
    zero = pairs(*[(0, 0)] * 4, dtype=torch.float32)
    policy = pairs((-1e4, 0), (0, -1e4), (-1e4, -1e4), (0, 0), dtype=torch.float32)
    leaves = Pair(*(side.requires_grad_() for side in policy))
    for reference, length in ((zero, single(1, 1)), (zero, single(1000, 1)), (policy, single(1, 1))):
        loss = row.loss(leaves, Pair(*(side.detach() for side in reference)), length, **hyper)
        gradient = torch.cat(torch.autograd.grad(loss.sum(), leaves, allow_unused=True, materialize_grads=True))
        assert loss.dtype == torch.float32
        assert loss.isfinite().all()
        assert gradient.isfinite().all()
        assert gradient.norm().isfinite()


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_an_empty_completion_makes_no_nan(name: str) -> None:
    row, hyper = PAIR_LOSSES[name], hyperparameters(PAIR_LOSSES[name].loss)
    policy = Pair(torch.zeros(1).requires_grad_(), torch.full((1,), -3.0).requires_grad_())
    loss = row.loss(policy, single(0, -4), single(0, 5), **hyper)
    gradient = torch.cat(torch.autograd.grad(loss.sum(), policy, allow_unused=True, materialize_grads=True))
    assert loss.isfinite().all() and gradient.isfinite().all()


def test_dpo_far_away_is_linear_and_zero() -> None:
    policy, reference = pairs((-1e4, 0.0), (0.0, -1e4)), pairs((0.0, 0.0), (0.0, 0.0))
    assert dpo(policy, reference, policy, beta=1.0).tolist() == pytest.approx([1e4, 0.0])


def test_exponential_is_exact_up_to_forty_nats_and_grows_beyond() -> None:
    policy = pairs((-39.0, 0.0), (-41.0, 0.0), (-1e4, 0.0))
    zero = pairs(*[(0.0, 0.0)] * 3)
    exact, near, far = PAIR_LOSSES["exponential"].loss(policy, zero, zero, beta=1.0).tolist()
    assert exact == pytest.approx(math.exp(39))
    assert near == pytest.approx(2 * math.exp(40))  # the tangent in 40, one further
    assert far == pytest.approx(9961 * math.exp(40))


def test_discopop_rises_at_the_start() -> None:
    gap = torch.zeros(1, requires_grad=True)
    zero = torch.zeros(1)
    loss = PAIR_LOSSES["discopop"].loss(Pair(gap, zero), Pair(zero, zero), LENGTH, beta=1.0, discopop_tau=0.05)
    assert torch.autograd.grad(loss.sum(), gap)[0].item() == pytest.approx((1 - LN2) / 0.2 - 0.75)


def test_label_smoothing_with_sigmoid_is_cdpo() -> None:
    smoothed = PAIR_LOSSES["sigmoid"].loss(*THREE, beta=0.3, label_smoothing=0.2)
    torch.testing.assert_close(smoothed, PAIR_LOSSES["cdpo"].loss(*THREE, beta=0.3, label_smoothing=0.2))
    assert not torch.allclose(smoothed, PAIR_LOSSES["sigmoid"].loss(*THREE, beta=0.3))


def test_robust_is_unbiased_for_flipped_labels() -> None:
    turned = [Pair(*part[::-1]) for part in THREE]
    over_flips = 0.7 * PAIR_LOSSES["robust"].loss(*THREE, beta=0.3, label_smoothing=0.3) + 0.3 * PAIR_LOSSES[
        "robust"
    ].loss(*turned, beta=0.3, label_smoothing=0.3)
    torch.testing.assert_close(over_flips, dpo(*THREE, beta=0.3))


def test_dpo_gradient_is_equation_13() -> None:
    # h = 5 with beta = ln 3 / 5: the weight is sigma(-ln 3) = 1/4, so -beta/4 on the chosen, +beta/4 on the rejected.
    beta = math.log(3.0) / 5
    chosen, rejected = POLICY.chosen.clone().requires_grad_(), POLICY.rejected.clone().requires_grad_()
    loss = dpo(Pair(chosen, rejected), REFERENCE, LENGTH, beta=beta).sum()
    chosen_gradient, rejected_gradient = torch.autograd.grad(loss, (chosen, rejected))
    assert gradient_weight(POLICY, REFERENCE, beta=beta).item() == pytest.approx(0.25)
    assert chosen_gradient.item() == pytest.approx(-beta / 4)
    assert rejected_gradient.item() == pytest.approx(beta / 4)


def test_implicit_rewards() -> None:
    reward = implicit_reward(POLICY, REFERENCE, LENGTH, beta=0.5)
    assert (reward.chosen.item(), reward.rejected.item()) == (1.0, -1.5)
    assert log_ratio_gap(POLICY, REFERENCE).item() == 5


# What `rewards/chosen` and `rewards/rejected` are, from the numbers at the top.
REWARDS = {
    "ipo": (0.5 * 2 / 4, 0.5 * -3 / 5),
    "sigmoid_norm": (LN3 / 1.1 * 2 / 4, LN3 / 1.1 * -3 / 5),
    "simpo": (2 * LN3 * -7 / 4, 2 * LN3 * -14 / 5),
    "orpo": (0.0, math.log(1 / 3)),  # odds 1 and 1/3
    "cpo": (LN3 / 7 * -7, LN3 / 7 * -14),
    "sft": (-7 / 4, -14 / 5),
}


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_reward_by_hand(name: str) -> None:
    case = BY_HAND[name]
    reward = PAIR_LOSSES[name].reward(case.policy, REFERENCE, case.length, **case.hyper)
    chosen, rejected = REWARDS.get(name) or (2 * case.hyper["beta"], -3 * case.hyper["beta"])
    assert reward.chosen.item() == pytest.approx(chosen, abs=1e-6)
    assert reward.rejected.item() == pytest.approx(rejected)


def test_the_weight_is_high_where_the_reward_is_wrong() -> None:
    right = gradient_weight(POLICY, REFERENCE, beta=1.0)
    wrong = gradient_weight(Pair(*POLICY[::-1]), Pair(*REFERENCE[::-1]), beta=1.0)
    assert right.item() < 0.01 < 0.99 < wrong.item()
    assert (right + wrong).item() == pytest.approx(1.0)


def test_means_of_an_empty_completion_are_zero() -> None:
    assert per_token(single(-6, 0), single(3, 0)) == Pair(torch.tensor([-2.0]), torch.tensor([0.0]))


def test_hyperparameters_are_read_from_the_signature() -> None:
    assert hyperparameters(PAIR_LOSSES["sigmoid"].loss) == {"beta": 0.1, "label_smoothing": 0.0}
    assert hyperparameters(PAIR_LOSSES["sft"].loss) == {}
