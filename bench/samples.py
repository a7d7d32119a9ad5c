"""What both sides are told of samples: how many, how long, and the function that gives rewards for them."""

from __future__ import annotations

from typing import Any

SAMPLES, NEW_TOKENS = 4, 64  # of each prompt; of each sample, as its end is kept from being one on both sides
BETA = 0.05  # of the KL: both sides compute log-probabilities of the reference


def reward(completions: list[Any], **columns: Any) -> list[float]:
    """A number that hangs on a sample's text and costs nothing: its letters, modulo 7."""
    return [float(len(str(one)) % 7) for one in completions]
