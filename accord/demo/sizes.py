"""How much of everything the demo makes, and how long each part of it takes."""

from __future__ import annotations

from typing import NamedTuple


class Sizes(NamedTuple):
    """As it stands: about four minutes on one core."""

    texts: int = 8000
    demonstrations: int = 2000  # questions, as the next three: each has its own
    ranked: int = 1000
    held_out: int = 200
    evaluated: int = 300
    answers_each: int = 4
    annotators_each: int = 2
    best_of: int = 32
    longest: int = 96  # tokens of a sampled answer
    context: int = 256
    vocab_size: int = 1024
    hidden_size: int = 128
    layers: int = 2
    pretrain_steps: int = 800
    sft_epochs: float = 2.0
    reward_epochs: float = 2.0
    dpo_epochs: float = 2.0
    ppo_rounds: int = 20
    ppo_samples: int = 64  # of a round
    shown: int = 3  # questions whose answers are shown on the terminal; the page has some more


FULL = Sizes()

# Seconds of each part at FULL, on one of two cores with AVX2 of a virtual machine that others used little: what the
# time that is left is told by.
SECONDS = {
    "world": 1.0,
    "init": 1.0,
    "pretrain": 73.0,
    "sft": 17.0,
    "compare": 14.0,
    "reward": 25.0,
    "dpo": 28.0,
    "ppo": 40.0,
    "best_of_n": 32.0,
    "measure": 9.0,
}
