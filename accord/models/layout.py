"""Which layout a run computes in: of those that are exact for the network, the one that costs least.

Exact is what equals stock on the run's longest group, tried at the start. The tree needs attention that takes segments,
the prompt cache a state of keys and values; rows serve every decoder, recurrent ones too. Encoder-decoders have one
layout of their own. Costs: accord.models.cost, measured in docs/benchmarks.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accord.data.batches import Batch, Layout, arrange, shares, size
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.errors import InputError
from accord.maths.likelihood import token_logprob
from accord.models.cost import by_cost
from accord.models.logprobs import LanguageModel, logprobs, resting, taken

# Largest and mean difference of a token's log-probability (nats) that counts as rounding, by the network's precision.
ROUNDING = {torch.float32: (1e-4, 2e-5), torch.bfloat16: (0.5, 0.05), torch.float16: (0.1, 0.01)}

Asked = Literal["auto", "tree", "cache", "rows"]
Head = Literal["gathered", "stock"]
MICRO_BATCH = {"cpu": 2048, "cuda": 16384}  # tokens of a micro-batch where none are asked for
HEADED = {"cpu": 1024, "cuda": 16384}  # the same to train a score head: as fast on a CPU, and in less memory


class Trial(NamedTuple):
    """One way of computing that was tried: its difference from stock, in nats per token, or why it could not run."""

    layout: Layout
    head: Head
    largest: float
    mean: float
    failure: str = ""
    unit: str = "nats per token"

    def __str__(self) -> str:
        what = f"{self.layout} layout, {self.head} output layer"
        return f"{what}: {self.failure or f'differs from stock by up to {self.largest:.2g} {self.unit}'}"


class Reading(NamedTuple):
    """What is read off a network, and is held against stock: rows of numbers, in the order of the completions."""

    ours: Callable[[LanguageModel, Batch], Tensor]
    stock: Callable[[LanguageModel, TokenGroup], Tensor]
    unit: str
    relative: bool = False  # differences count as parts of what is larger than 1


def settle(
    model: LanguageModel,
    group: TokenGroup,
    *,
    asked: Asked = "auto",
    groups: Sequence[TokenGroup] = (),
    keeps: bool = True,
    reading: Reading | None = None,
) -> tuple[LanguageModel, list[Trial]]:
    """The first way that equals stock on `group`, cheapest first, then with stock's output layer; and what failed.

    groups: those of the run, which say what costs least; not given: `group`. keeps: whether a forward pass keeps keys
    and values (with gradient checkpointing it does not). reading: what the run reads off the network; not given:
    log-probabilities. InputError where an encoder-decoder is asked for a decoder's layout.
    """
    network, groups = model.network, groups or (group,)
    if network.config.is_encoder_decoder and asked != "auto":
        what = f"{asked}, and this model has an encoder, which computes each prompt once in any case"
        raise InputError(what, where="layout", fix="leave it out, or auto")
    # A group that shares stands before it: what runs over from one group into the next shows, and so does a prompt
    # that is used twice, and padding on both sides.
    before = max(filter(shares, groups), key=lambda one: one.length, default=group)
    with resting(network):
        return _settle(model, _ways(network, groups, asked, keeps), [_half(before), group], reading or LOGPROBS)


def _ways(network: PreTrainedModel, groups: Sequence[TokenGroup], asked: Asked, keeps: bool) -> list[Layout]:
    """The layouts to be tried, in order. The last serves with stock's output layer too."""
    if network.config.is_encoder_decoder:
        return ["encoder"]
    if asked != "auto":
        return ["rows"] if asked == "rows" else [asked, "rows"]
    layouts: list[Layout] = ["tree", "rows"]
    if keeps and any(map(shares, groups)):
        layouts.insert(1, "cache")
    ordered = by_cost(network, groups, layouts, max_tokens=MICRO_BATCH.get(network.device.type, MICRO_BATCH["cuda"]))
    return ordered[: ordered.index("rows") + 1]


def _settle(
    model: LanguageModel, layouts: Sequence[Layout], groups: Sequence[TokenGroup], reading: Reading
) -> tuple[LanguageModel, list[Trial]]:
    truth = torch.cat([reading.stock(model, group) for group in groups])
    failed: list[Trial] = []
    for layout in layouts:
        candidate = LanguageModel(model.network, layout)
        trial = _try(candidate, groups, truth, reading)
        largest, mean = ROUNDING[next(model.network.parameters()).dtype]
        if not trial.failure and trial.largest <= largest and trial.mean <= mean:
            return candidate, failed
        failed.append(trial)
    # Stock but for padding, so it is not held against itself.
    return LanguageModel(model.network, layouts[-1], "stock"), failed


def _half(group: TokenGroup) -> TokenGroup:
    """The first halves of the prompt and of every completion, and a first token alone: a group of other lengths."""
    halves: list[TokenCompletion] = []
    for completion in (*group.completions, group.completions[0]):
        end = max(1, len(completion.ids) // 2) if len(halves) < len(group.completions) else 1
        loss = tuple((start, min(stop, end)) for start, stop in completion.loss if start < end)
        halves.append(TokenCompletion(completion.ids[:end], loss))
    return TokenGroup(group.group, group.prompt[: max(2, len(group.prompt) // 2)], tuple(halves))


def _try(candidate: LanguageModel, groups: Sequence[TokenGroup], truth: Tensor, reading: Reading) -> Trial:
    unit = reading.unit
    try:
        with torch.no_grad(), candidate.segmented():
            batch = arrange(groups, candidate.layout, start=candidate.start).to(candidate.device)
            gap = (reading.ours(candidate, batch) - truth).abs()
    except Exception as failure:  # whatever a network does that was not made for this: it is not used this way
        return Trial(candidate.layout, candidate.head, float("inf"), float("inf"), f"{failure}".split("\n")[0], unit)
    if reading.relative:
        gap = gap / truth.abs().clamp(min=1)
    worst = gap.max().item() if len(gap) else 0.0
    if not torch.isfinite(gap).all():
        return Trial(candidate.layout, candidate.head, worst, worst, "gives numbers that are not finite", unit)
    return Trial(candidate.layout, candidate.head, worst, gap.mean().item() if len(gap) else 0.0, unit=unit)


@torch.no_grad()
def stock_logprobs(model: LanguageModel, group: TokenGroup) -> Tensor:
    """(N,) by the network as transformers has it: one unpadded row a completion, its own attention and logits."""
    parts = []
    keeps = "logits_to_keep" in inspect.signature(model.network.forward).parameters
    for completion in group.completions:
        one = TokenGroup(group.group, group.prompt, (completion,))
        row = arrange([one], "rows" if model.start is None else "encoder", start=model.start).to(model.device)
        if not len(row.predict):
            continue
        first = int(row.predict.min()) if keeps else 0
        extra = {"logits_to_keep": row.tokens.shape[1] - first} if keeps else {}
        with model.acting():
            logits = model.network(**taken(model.network, {**_plain(row), "use_cache": False, **extra})).logits[0]
        parts.append(token_logprob(logits[row.predict - first], row.target))
    return torch.cat(parts) if parts else torch.zeros(0, device=model.device)


LOGPROBS = Reading(lambda model, batch: logprobs(model, batch).token.token, stock_logprobs, "nats per token")


def _plain(row: Batch) -> dict[str, Tensor]:
    if row.prompts is None:
        return {"input_ids": row.tokens}
    return {"input_ids": row.prompts.tokens, "decoder_input_ids": row.tokens}


def share_saved(groups: Sequence[TokenGroup], layout: Layout) -> float:
    """The share of the tokens of one row a completion that a layout does not compute."""
    starts = sum(len(group.completions) for group in groups) if layout == "encoder" else 0  # a decoder's, in any case
    rows = starts + sum(size(group, "rows") for group in groups)
    return 1 - sum(size(group, layout) for group in groups) / rows if rows else 0.0
