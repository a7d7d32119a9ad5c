"""Reinforcement learning against the exact optimum: every algorithm of `accord rl`, with expected steps.

An algorithm is what its command's options make of it, defaults where nothing is said: which row of ADVANTAGES, where
the KL is, what the loss is summed over. A row of ADVANTAGES for which there is no way here is shown as not claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from accord.evaluate.theory.ends import Meant, measured, row_of
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.grpo_end import k3_end, less_the_others, over_the_spread
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.policy_game import Game, Rules, ended
from accord.evaluate.theory.world import BETA, World, logp
from accord.maths.optimum import optimum
from accord.stages.commands import COMMANDS
from accord.stages.config import RlConfig
from accord.stages.resolve import load
from accord.stages.rl_terms import advantages_of, kl_in, settings_of, terms_of
from accord.training.shaping import ADVANTAGES

KIND = "reinforcement learning"
RATE = 0.3  # of the natural steps; at 0.7 k3, which pulls as pi_ref / pi, would swing
MOST = 15  # completions of which all groups of three are gone through
NEEDED = {"model": "-", "data": "-", "reward": "-", "output_dir": "-"}

OPTIMUM = "pi* = pi_ref exp(r / beta) / Z"
HYPERBOLA = "pi(v|b) = pi_ref(v|b) beta w / (beta w - m + c) at every beginning b"

End = Callable[[World, int, float], Tensor]  # world, K, beta -> (G, S) log of the policy that is claimed


class Way(NamedTuple):
    """A command with options, and the end that is claimed. long: only with --full, and in a small world."""

    command: str
    options: Mapping[str, object]
    claim: str
    end: End
    note: str = ""
    long: bool = False


def _optimum(world: World, samples: int, beta: float) -> Tensor:
    return optimum(world.reference, world.reward, beta=beta)


def _published(world: World, samples: int, beta: float) -> Tensor:
    return k3_end(world, over_the_spread(world.reward, samples), beta=beta, by_length=True)


def _k3(world: World, samples: int, beta: float) -> Tensor:
    return k3_end(world, less_the_others(world.reward), beta=beta, by_length=False)


# Whitening divides every advantage by one number, in which the KL in the rewards has its part too: it moves no end.
# It is left out, as it would take all completions as equally frequent.
PLAIN = {"whiten_advantages": False}
PUBLISHED = {"group_form": "published", "num_generations": 2}

WAYS: dict[str, Way] = {
    "ppo": Way("ppo", PLAIN, OPTIMUM, _optimum, "ratio of each token, a critic, 4 epochs a round"),
    "ppo, ratio of sequences": Way("ppo", {**PLAIN, "ratio": "sequence"}, OPTIMUM, _optimum, "4 epochs a round"),
    "reinforce": Way("reinforce", {}, OPTIMUM, _optimum, "a moving mean as baseline"),
    "rloo": Way("rloo", {"num_generations": 2}, OPTIMUM, _optimum, "K = 2, the KL in the rewards"),
    "rloo, K = 3": Way("rloo", {"num_generations": 3}, OPTIMUM, _optimum, long=True),
    "rloo, mean over tokens": Way(
        "rloo",
        {"num_generations": 2, "loss_aggregation": "sequence_mean"},
        OPTIMUM,
        _optimum,
        "at pi* all rewards less their KL are equal, whatever the weights of tokens",
    ),
    "grpo": Way("grpo", {"num_generations": 2}, OPTIMUM, _optimum, "unbiased: K = 2, k2 of whole samples in the loss"),
    "grpo, K = 3": Way("grpo", {"num_generations": 3}, OPTIMUM, _optimum, long=True),
    "grpo, kl_loss k3": Way(
        "grpo", {"num_generations": 2, "kl_loss": "k3"}, HYPERBOLA, _k3, "k3 descends the KL the other way round"
    ),
    "grpo as published": Way(
        "grpo", PUBLISHED, HYPERBOLA, _published, "K = 2: of rewards only their order is left, and k3"
    ),
    "grpo as published, K = 3": Way(
        "grpo", {**PUBLISHED, "num_generations": 3}, HYPERBOLA, _published, "another K, another end", long=True
    ),
}


def rules_of(way: Way, beta: float = BETA) -> Rules:
    """As `accord` would run it."""
    given = {**NEEDED, "kl_coef": beta, **way.options}
    config = load(COMMANDS[way.command].config, arguments=given)
    assert isinstance(config, RlConfig)
    return Rules(
        advantages_of(config),
        terms_of(config, beta),
        settings_of(config),
        kl_in(config) == "reward",
        beta,
        config.generations,
        config.epochs,
    )


def unclaimed() -> list[str]:
    """Rows of ADVANTAGES that no way here runs."""
    return sorted(set(ADVANTAGES) - {rules_of(way).advantages for way in WAYS.values()})


def tasks(worlds: Sequence[World]) -> list[Task]:
    """Every way in every world, and every row of ADVANTAGES that none runs."""
    missing = [Task(name, partial(_unclaimed, worlds[0], name)) for name in unclaimed()]
    return [*_tasks(worlds, long=False), *missing]


def long_tasks(worlds: Sequence[World]) -> list[Task]:
    return _tasks(worlds, long=True)


def _tasks(worlds: Sequence[World], *, long: bool) -> list[Task]:
    chosen = [(name, way) for name, way in WAYS.items() if way.long == long]
    small = [world for world in worlds if not long or len(world.completions) <= MOST]
    return [Task(f"{name}, {world.name}", partial(_found, world, name, way)) for world in small for name, way in chosen]


def _found(world: World, name: str, way: Way) -> list[Found]:
    """Where it ends."""
    rules = rules_of(way)
    state, rounds = ended(Game(world, rules), rate=RATE)
    claimed = way.end(world, rules.samples, rules.beta)
    meant = Meant(name, KIND, way.claim, rules.beta, f"{way.note}; {rounds} rounds" if way.note else f"{rounds} rounds")
    return [row_of(world, meant, logp(world, state.logits), claimed)]


def _unclaimed(world: World, name: str) -> list[Found]:
    what = "no way of accord.evaluate.theory.reinforcement.WAYS runs this row of ADVANTAGES: add one, with its end"
    return [measured(world, Meant(name, KIND, "none", note=what), right=False)]
