"""The algorithms of reinforcement learning by name, what each is, and the defaults of its command. Imports no torch."""

from __future__ import annotations

from typing import Literal, NamedTuple

Algorithm = Literal["ppo", "reinforce", "rloo", "grpo"]


class About(NamedTuple):
    """A row of ALGORITHMS. least: samples of a prompt that it needs. The rest: the defaults of its command."""

    text: str
    least: int
    num_generations: int
    num_ppo_epochs: int

    @property
    def defaults(self) -> dict[str, object]:
        """By option."""
        return {"num_generations": self.num_generations, "num_ppo_epochs": self.num_ppo_epochs}


# PPO's epochs are those of Huang et al. 2024 (The N+ implementation details); four samples are RLOO's in its paper.
ALGORITHMS: dict[Algorithm, About] = {
    "ppo": About("a critic, an advantage for every token, a clipped ratio", 1, 1, 4),
    "reinforce": About("rewards less a moving mean", 1, 1, 1),
    "rloo": About("rewards less the mean of the prompt's other samples", 2, 4, 1),
    "grpo": About("as rloo with the KL in the loss, or as published", 2, 4, 1),
}
