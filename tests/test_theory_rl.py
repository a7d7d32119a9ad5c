"""What policy gradients, online DPO, the best of n and reward models end in, on completions that can be counted."""

import itertools
import math

import pytest
import torch

from accord.evaluate.theory import best_of, grpo_end, online, reinforcement, reward_models
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.parts import Task, timed
from accord.evaluate.theory.world import BETA, World, table_world
from accord.maths.optimum import optimum
from accord.maths.reward import REWARD_LOSSES
from accord.training.shaping import ADVANTAGES, Advantages, Round, Settings

WORLD = table_world()
EVERY = [*reinforcement.tasks([WORLD]), *online.tasks([WORLD]), *best_of.tasks([WORLD]), *reward_models.tasks([WORLD])]


def far(found: Found) -> float:
    assert found.kl_from_optimum is not None
    return found.kl_from_optimum


@pytest.mark.parametrize("task", EVERY, ids=[task.name for task in EVERY])
def test_every_method_ends_where_it_claims(task: Task) -> None:
    for found in timed(task):
        assert found.verdict == "as claimed", found


def test_every_row_of_advantages_has_a_claim() -> None:
    assert not reinforcement.unclaimed(), "add a row to accord.evaluate.theory.reinforcement.WAYS, with its end"


def test_every_reward_loss_has_a_claim() -> None:
    assert not reward_models.unclaimed(), "add a row to accord.evaluate.theory.reward_models.CLAIMS, with its end"


def test_a_new_row_of_advantages_is_picked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADVANTAGES, "own", ADVANTAGES["rloo"])
    (task,) = [task for task in reinforcement.tasks([WORLD]) if task.name == "own"]
    (found,) = timed(task)
    assert found.verdict == "not as claimed" and "WAYS" in found.note


@pytest.mark.parametrize("name", ["reinforce", "rloo", "grpo"])
def test_the_worlds_optimum_is_come_to_from_far(name: str) -> None:
    """The table has something to learn, and it is learnt: the row's own numbers say both."""
    (found,) = reinforcement._found(WORLD, name, reinforcement.WAYS[name])
    best = (WORLD.reference + WORLD.reward / BETA).exp()
    best = best / best.sum(-1, keepdim=True)
    reward = (best * WORLD.reward).sum(-1).mean().item()
    assert found.kl is not None and found.kl > 0.3
    assert found.reward == pytest.approx(reward, abs=1e-6)


def test_a_wrong_baseline_ends_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group's own mean, itself among them: pi* of beta K / (K - 1), so that rows cannot pass by themselves."""

    def own_mean(given: Round, settings: Settings, baseline: float) -> Advantages:
        less = given.by_prompt - given.by_prompt.mean(-1, keepdim=True)
        return Advantages(given.spread(less), torch.zeros_like(given.kl), baseline, math.nan)

    monkeypatch.setitem(ADVANTAGES, "grpo", own_mean)
    (found,) = reinforcement._found(WORLD, "grpo", reinforcement.WAYS["grpo"])
    assert found.verdict == "not as claimed" and far(found) > 0.05
    assert found.policy is not None
    torch.testing.assert_close(found.policy, optimum(WORLD.reference, WORLD.reward, beta=2 * BETA), atol=1e-5, rtol=0)


def test_published_grpo_knows_nothing_of_the_size_of_rewards() -> None:
    claim = grpo_end.k3_end(WORLD, grpo_end.over_the_spread(WORLD.reward, 2), beta=BETA, by_length=True)
    less = WORLD._replace(reward=WORLD.reward / 10)
    tenth = grpo_end.k3_end(less, grpo_end.over_the_spread(less.reward, 2), beta=BETA, by_length=True)
    assert (claim - tenth).abs().max() < 0.01
    assert (optimum(WORLD.reference, WORLD.reward, beta=BETA) - claim).abs().max() > 0.3


def test_k3_of_one_token_by_hand() -> None:
    """One beginning, two tokens of equal chance, rewards 0 and 1, beta 1: with C = c + pi_1 pi_0 is (1/2) / (1 + C)
    and pi_1 (1/2) / C, which sum to 1 where 2 C^2 = 1.
    """
    world = World(
        name="two",
        prompts=("x",),
        completions=("a", "b"),
        reference=torch.tensor([[0.5, 0.5]], dtype=torch.float64).log(),
        reward=torch.tensor([[0.0, 1.0]], dtype=torch.float64),
        length=torch.tensor([[1, 1]]),
        tokens=torch.tensor([[0], [1]]),
        mask=torch.tensor([[True], [True]]),
        place=torch.tensor([[0], [0]]),
        taken=torch.eye(2, dtype=torch.bool)[None],
    )
    found = grpo_end.k3_end(world, grpo_end.less_the_others(world.reward), beta=1.0, by_length=False)
    c = 1 / math.sqrt(2)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.5 / (1 + c), 0.5 / c]], dtype=torch.float64))


@pytest.mark.parametrize("n", [2, 3])
def test_the_best_of_n_by_counting_tuples(n: int) -> None:
    """Every tuple of n samples, the first of the best ones taken."""
    chance, reward = WORLD.reference[0].exp(), WORLD.reward[0]
    counted = torch.zeros_like(chance)
    for members in itertools.product(range(len(chance)), repeat=n):
        best = max(members, key=lambda y: float(reward[y]))
        counted[best] += math.prod(float(chance[y]) for y in members)
    torch.testing.assert_close(best_of.by_sorting(WORLD, n)[0].exp(), counted)


def test_the_hinge_ends_in_whole_numbers() -> None:
    """Three completions by hand are in the way of none: the loss is least where a linear program says."""
    reward, mu = (
        torch.tensor([1.0, 0.0, -3.0], dtype=torch.float64),
        torch.full((3,), -math.log(3), dtype=torch.float64),
    )
    loss = reward_models.expected("hinge", reward, mu, 0.0)
    found = reward_models.stepped(loss, 3)
    every = [torch.tensor([0.0, a, b], dtype=torch.float64) for a in range(-3, 4) for b in range(-3, 4)]
    assert float(loss(found)) == min(float(loss(one)) for one in every)
    torch.testing.assert_close(found, reward_models._hinge_end(reward, mu))


def test_rewards_of_the_wrong_sign_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    row = REWARD_LOSSES["bradley_terry"]
    monkeypatch.setitem(
        REWARD_LOSSES, "bradley_terry", row._replace(loss=lambda gap, target, margin: row.loss(-gap, target, margin))
    )
    (found,) = reward_models._found(WORLD, "bradley_terry")
    assert found.verdict == "not as claimed"
