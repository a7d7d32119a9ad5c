"""Equation 3 needs a network that sees no token before it has predicted it. Tried at the start of every run."""

from __future__ import annotations

import torch

from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.errors import InputError
from accord.models.layout import ROUNDING, stock_logprobs
from accord.models.logprobs import LanguageModel, resting

# Nats per token. Far above rounding, which another length changes too; a network that sees the token is off by nats.
VISIBLE = 0.02


def check_causal(model: LanguageModel, group: TokenGroup) -> None:
    """InputError where the log-probabilities of a completion's first half change when the second is taken away."""
    completion = max(group.completions, key=lambda one: len(one.ids))
    half = len(completion.ids) // 2
    first = tuple((start, min(end, half)) for start, end in completion.loss if start < half)
    if not half:
        return
    with resting(model.network):
        alone, within = (
            stock_logprobs(model, TokenGroup(group.group, group.prompt, (TokenCompletion(ids, first),)))
            for ids in (completion.ids[:half], completion.ids)
        )
    gap = (alone - within).abs().max().item() if len(alone) else 0.0
    precision = next(model.network.parameters()).dtype
    if gap > max(VISIBLE, 4 * ROUNDING.get(precision, ROUNDING[torch.bfloat16])[0]):
        raise InputError(
            f"its log-probability of a token changes by {gap:.2g} nats with the tokens that come after it",
            where=str(model.network.name_or_path or type(model.network).__name__),
            fix="take a model that predicts a token from those before it alone",
        )
