"""The three estimators of the KL against its exact value on a distribution of three outcomes."""

import math

import pytest
import torch

from accord.maths.divergence import k1, k2, k3

PI = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
REF = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
# 1/2 log 2 + 1/4 log 1 + 1/4 log(1/2)
KL = 0.25 * math.log(2.0)


def test_k1_and_k3_have_the_kl_as_their_mean() -> None:
    assert (PI * k1(PI.log(), REF.log())).sum().item() == pytest.approx(KL)
    assert (PI * k3(PI.log(), REF.log())).sum().item() == pytest.approx(KL)


def test_k2_has_half_the_second_moment() -> None:
    # (log 2)^2 / 2 on outcomes of probability 1/2 and 1/4.
    assert (PI * k2(PI.log(), REF.log())).sum().item() == pytest.approx(0.375 * math.log(2.0) ** 2)


def test_terms_by_hand() -> None:
    # pi = 1/2, pi_ref = 1/4: k1 = log 2, k3 = 1/2 - 1 + log 2.
    policy, reference = torch.tensor(0.5).log(), torch.tensor(0.25).log()
    assert k1(policy, reference).item() == pytest.approx(math.log(2.0))
    assert k3(policy, reference).item() == pytest.approx(math.log(2.0) - 0.5)


def test_k2_and_k3_are_never_negative_and_agree_near_zero() -> None:
    policy = torch.linspace(-1e-3, 1e-3, 21, dtype=torch.float64)
    quadratic, exact = k2(policy, torch.zeros(21)), k3(policy, torch.zeros(21))
    assert (quadratic >= 0).all() and (exact >= 0).all()
    torch.testing.assert_close(exact, quadratic, rtol=1e-3, atol=1e-12)


def test_the_expected_gradient_of_k2_is_that_of_the_kl() -> None:
    logits = torch.tensor([0.3, -0.2, 0.7], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(-1)
    exact = torch.autograd.grad((logp.exp() * (logp - REF.log())).sum(), logits, retain_graph=True)[0]
    estimated = torch.autograd.grad((logp.exp().detach() * k2(logp, REF.log())).sum(), logits)[0]
    torch.testing.assert_close(estimated, exact)
