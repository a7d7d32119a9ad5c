"""Equations 1 to 4 on numbers that a reader can check."""

import math

import pytest
import torch

from accord.maths import likelihood

LOG2, LOG3 = math.log(2.0), math.log(3.0)


def test_token_logprob_is_the_log_softmax_at_the_token() -> None:
    # Odds 1 : 2 : 1, then 3 : 0.5 : 0.5: probabilities 2/4 and 3/4.
    logits = torch.log(torch.tensor([[1.0, 2.0, 1.0], [3.0, 0.5, 0.5]])) + torch.tensor([[7.0], [-5.0]])
    logp = likelihood.token_logprob(logits, torch.tensor([1, 0]))
    torch.testing.assert_close(logp.exp(), torch.tensor([0.5, 0.75]))


def test_token_logprob_widens_half_precision_and_keeps_double() -> None:
    token = torch.tensor([0])
    assert likelihood.token_logprob(torch.zeros(1, 3, dtype=torch.bfloat16), token).dtype == torch.float32
    assert likelihood.token_logprob(torch.zeros(1, 3, dtype=torch.float64), token).dtype == torch.float64


def test_a_text_is_the_product_of_its_tokens() -> None:
    # Completion 0: 1/2 * 1/3. Completion 1 has no token. Completion 2: 1/9.
    logp = torch.tensor([-LOG2, -2 * LOG3, -LOG3])
    owner = torch.tensor([0, 2, 0])
    torch.testing.assert_close(likelihood.sum_by_owner(logp, owner, 3).exp(), torch.tensor([1 / 6, 1.0, 1 / 9]))
    assert likelihood.length_by_owner(owner, 3).tolist() == [2, 0, 1]
    mean = likelihood.mean_by_owner(logp, owner, 3)
    torch.testing.assert_close(mean[[0, 2]], torch.tensor([-(LOG2 + LOG3) / 2, -2 * LOG3]))
    assert mean[1].isnan()


def test_a_sum_sends_each_token_the_gradient_of_its_owner() -> None:
    logp = torch.zeros(3, requires_grad=True)
    sums = likelihood.sum_by_owner(logp, torch.tensor([1, 0, 1]), 2)
    (gradient,) = torch.autograd.grad(sums, logp, torch.tensor([5.0, 7.0]))
    assert gradient.tolist() == [7.0, 5.0, 7.0]


def test_the_auxiliary_term_is_weighted_by_alpha() -> None:
    loss = likelihood.fine_tuning_loss(torch.tensor(2.0), torch.tensor(6.0), alpha=0.5)
    assert loss.item() == 5.0


def test_nats_as_bits() -> None:
    # The equation's own example: 1.9 nats are 2.74 bits, and 500e9 such tokens code into 171 GB.
    assert likelihood.bits_per_token(1.9) == pytest.approx(2.74, abs=0.002)
    assert 500e9 * likelihood.bits_per_token(1.9) / 8 == pytest.approx(171e9, rel=0.003)


def test_perplexity_of_a_fair_die_is_six() -> None:
    assert likelihood.perplexity(math.log(6.0)) == pytest.approx(6.0)
    assert likelihood.perplexity(1e4) == math.inf
