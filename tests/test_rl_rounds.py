"""How far a policy goes in a round: early ends, the KL coefficient, warm-up, samples that are left out."""

import json
from pathlib import Path

import pytest
import torch
from rl_runs import run
from stage_runs import loaded

from accord.training.watch import STEPS


def test_a_round_is_left_once_the_policy_has_gone_far(workshop: Path, tmp_path: Path) -> None:
    """The first step of a round is always made: the policy is the one that sampled. Later ones not, past 1.5 times the
    target; and the next round begins with its first step again."""
    how = {"model": workshop / "model", "num_ppo_epochs": 4, "max_steps": 8, "learning_rate": 0.05}
    every = run("ppo", tmp_path / "every", **how)
    left = run("ppo", tmp_path / "left", **how, target_kl=1e-6)
    assert [("loss" in line) for line in every.lines] == [True] * 8
    assert [("loss" in line) for line in left.lines] == [True, True, False, False] * 2
    assert left.column("policy/left_early") == [0.0, 1.0, 1.0, 1.0] * 2
    assert left.column("loss")[:2] == every.column("loss")[:2]
    wide = run("ppo", tmp_path / "wide", **how, target_kl=1e6)
    assert wide.column("loss") == every.column("loss")


def test_kl_coef_follows_its_target(workshop: Path, tmp_path: Path) -> None:
    """Every round has 16 samples: beta changes by a fifth of 16 / 160 at most."""
    how = {"model": workshop / "model", "max_steps": 4, "kl_target": 1e-3, "kl_horizon": 160, "learning_rate": 5e-2}
    betas = run("rloo", tmp_path / "run", **how).column("objective/kl_coef")
    assert betas[0] == 0.02 and betas[1] == pytest.approx(0.02 * 0.98)  # the first round's KL is 0
    assert betas[2:] == pytest.approx([0.02 * 0.98 * 1.02, 0.02 * 0.98 * 1.02**2])


def test_only_the_critic_learns_at_first(workshop: Path, tmp_path: Path) -> None:
    """Two rounds of two steps each: the policy is the one that it was, whatever the optimiser."""
    how = {"model": workshop / "model", "num_ppo_epochs": 2, "critic_warmup": 2, "weight_decay": 0.1}
    before, _ = loaded(workshop / "model")
    warm = run("ppo", tmp_path / "warm", **how, max_steps=4)
    assert all(torch.equal(warm.weights[name], tensor) for name, tensor in before.state_dict().items())
    assert all(value > 0 for value in warm.column("critic/grad_norm")) and "val/ratio" not in warm.lines[0]
    assert warm.column("grad_norm") == [0.0] * 4
    on = run("ppo", tmp_path / "on", **how, max_steps=5)
    assert on.lines[-1]["grad_norm"] > 0 and on.lines[-1]["val/ratio"] == pytest.approx(1.0, abs=1e-5)


def test_samples_that_were_cut_may_be_left_out(workshop: Path, tmp_path: Path) -> None:
    """Without any end, nothing is learnt; with stop strings, what ended is."""
    none = run("rloo", tmp_path / "none", model=workshop / "model", missing_eos="mask", max_steps=2)
    before, _ = loaded(workshop / "model")
    assert none.column("completions/ended") == [0.0, 0.0] and none.column("loss") == [0.0, 0.0]
    assert all(torch.equal(none.weights[name], tensor) for name, tensor in before.state_dict().items())
    stop = {"stop": ["a", "e", "i", "s", "n"], "max_new_tokens": 12}
    some = run("rloo", tmp_path / "some", model=workshop / "model", missing_eos="mask", **stop, max_steps=2)
    assert 0 < some.lines[0]["completions/ended"] < 1 and some.lines[0]["grad_norm"] > 0


def test_equal_losses_are_no_news(workshop: Path, tmp_path: Path) -> None:
    """Two samples of equal length: their advantages, and with them the loss, add up to 0 in every step."""
    how = {"num_generations": 2, "batch_size": 2, "max_new_tokens": 2, "learning_rate": 1e-4, "max_steps": STEPS + 3}
    found = run("rloo", tmp_path / "run", model=workshop / "model", **how)
    assert max(abs(value) for value in found.column("loss")) < 1e-6
    assert not found.summary["warnings"]
    assert json.loads((found.place / "summary.json").read_text())["steps"] == STEPS + 3
