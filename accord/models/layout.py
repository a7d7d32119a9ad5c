"""Which layout a network computes exactly: tried at the start of every run on its longest group, against stock.

The tree computes each prompt once; with attention by segments it never does more arithmetic than rows (a branch attends
to its prompt and itself only), so it is chosen wherever it is exact. Rows serve networks whose attention takes no
segments, and recurrent ones. Measured in docs/benchmarks.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from accord.data.batches import Layout, arrange, size
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.maths.likelihood import token_logprob
from accord.models.logprobs import LanguageModel, logprobs, resting

# Largest and mean difference of a token's log-probability (nats) that counts as rounding, by the network's precision.
ROUNDING = {torch.float32: (1e-4, 2e-5), torch.bfloat16: (0.5, 0.05), torch.float16: (0.1, 0.01)}


class Trial(NamedTuple):
    """One way of computing that was tried: its difference from stock, in nats per token, or why it could not run."""

    layout: Layout
    head: Literal["gathered", "stock"]
    largest: float
    mean: float
    failure: str = ""

    def __str__(self) -> str:
        what = f"{self.layout} layout, {self.head} output layer"
        return f"{what}: {self.failure or f'differs from stock by up to {self.largest:.2g} nats per token'}"


def settle(
    model: LanguageModel, group: TokenGroup, *, asked: Literal["auto", "tree", "rows"] = "auto"
) -> tuple[LanguageModel, list[Trial]]:
    """The first way of tree, rows, rows with stock's output layer that equals stock on `group`; and what failed before.

    A half of the group stands before it, so that what runs over from one group into the next shows. The rows with
    stock's output layer are stock but for padding, so they are not held against themselves.
    """
    with resting(model.network):
        return _settle(model, [_half(group), group], asked)


def _settle(
    model: LanguageModel, groups: list[TokenGroup], asked: Literal["auto", "tree", "rows"]
) -> tuple[LanguageModel, list[Trial]]:
    truth = torch.cat([stock_logprobs(model, group) for group in groups])
    ways: list[tuple[Layout, Literal["gathered", "stock"]]] = [("tree", "gathered"), ("rows", "gathered")]
    failed: list[Trial] = []
    for layout, head in ways[1:] if asked == "rows" else ways:
        candidate = LanguageModel(model.network, layout, head)
        trial = _try(candidate, groups, truth)
        largest, mean = ROUNDING[next(model.network.parameters()).dtype]
        if not trial.failure and trial.largest <= largest and trial.mean <= mean:
            return candidate, failed
        failed.append(trial)
    return LanguageModel(model.network, "rows", "stock"), failed


def _half(group: TokenGroup) -> TokenGroup:
    """The same prompt with the first half of every completion: a second group of another length beside it."""
    halves = []
    for completion in group.completions:
        end = max(1, len(completion.ids) // 2)
        loss = tuple((start, min(stop, end)) for start, stop in completion.loss if start < end)
        halves.append(TokenCompletion(completion.ids[:end], loss))
    return TokenGroup(group.group, group.prompt, tuple(halves))


def _try(candidate: LanguageModel, groups: Sequence[TokenGroup], truth: Tensor) -> Trial:
    try:
        with torch.no_grad(), candidate.segmented():
            batch = arrange(groups, candidate.layout).to(candidate.device)
            gap = (logprobs(candidate, batch).token.token - truth).abs()
    except Exception as failure:  # whatever a network does that was not made for this: it is not used this way
        return Trial(candidate.layout, candidate.head, float("inf"), float("inf"), f"{failure}".split("\n")[0])
    worst = gap.max().item() if len(gap) else 0.0
    if not torch.isfinite(gap).all():
        return Trial(candidate.layout, candidate.head, worst, worst, "gives numbers that are not finite")
    return Trial(candidate.layout, candidate.head, worst, gap.mean().item() if len(gap) else 0.0)


@torch.no_grad()
def stock_logprobs(model: LanguageModel, group: TokenGroup) -> Tensor:
    """(N,) by the network as transformers has it: one unpadded row a completion, its own attention and logits."""
    parts = []
    keeps = "logits_to_keep" in inspect.signature(model.network.forward).parameters
    for completion in group.completions:
        row = arrange([TokenGroup(group.group, group.prompt, (completion,))], "rows").to(model.device)
        if not len(row.predict):
            continue
        first = int(row.predict.min()) if keeps else 0
        extra = {"logits_to_keep": row.tokens.shape[1] - first} if keeps else {}
        logits = model.network(input_ids=row.tokens, use_cache=False, **extra).logits[0]
        parts.append(token_logprob(logits[row.predict - first], row.target))
    return torch.cat(parts) if parts else torch.zeros(0, device=model.device)


def share_saved(groups: Sequence[TokenGroup], layout: Layout) -> float:
    """The share of the tokens of one row a completion that a layout does not compute."""
    rows = sum(size(group, "rows") for group in groups)
    return 1 - sum(size(group, layout) for group in groups) / rows if rows else 0.0
