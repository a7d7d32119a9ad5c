"""Decoding on keys and values of our own: each prompt's stand once, however many samples it has.

For networks whose attention goes through transformers' interface and passes on what it is not asked for: those that
can compute the tree layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accord.data.encode import Ids
from accord.models.attention import NotImplementedByNetwork
from accord.models.decoding import padded, pass_tokens
from accord.models.logprobs import attention_of
from accord.models.next_token import Reader
from accord.models.sampling_attention import NAME, Shared

KINDS = {"full_attention", "sliding_attention"}  # layers of others, such as chunks, see something else


class Continued:
    """Rows on shared prompts. positions: (N,) of the next token of each."""

    def __init__(self, reader: Reader, shared: Shared, positions: Tensor) -> None:
        self.reader, self.shared, self.positions = reader, shared, positions

    def step(self, tokens: Tensor) -> Tensor:
        self.shared.go_on()
        states = _pass(self.reader, tokens[:, None], self.positions[:, None], self.shared)
        self.positions = self.positions + 1
        return states[:, 0]

    def keep(self, rows: Tensor) -> None:
        self.shared.keep(rows)
        self.positions = self.positions[rows]


@contextmanager
def attending(network: PreTrainedModel) -> Iterator[None]:
    """With attention to shared prompts; the network's own is put back at the end."""
    before = attention_of(network)
    kinds = set(getattr(network.config.get_text_config(), "layer_types", None) or ())
    if not network._can_set_attn_implementation() or not kinds <= KINDS:
        raise NotImplementedByNetwork("its attention is one of its own")
    network.set_attn_implementation(NAME)
    try:
        yield
    finally:
        network.set_attn_implementation(before)


def begin_shared(reader: Reader, prompts: Sequence[Ids], of: Tensor) -> tuple[Continued, Tensor]:
    """Prompts of any lengths, read in as many passes as it takes."""
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=of.device)
    shared = Shared(lengths, max(map(len, prompts)), of)
    states = [_read(reader, prompts, part, shared) for part in passes(list(map(len, prompts)), pass_tokens(reader))]
    return Continued(reader, shared, lengths[of]), torch.cat(states)[of]


def passes(lengths: Sequence[int], most: int) -> list[slice]:
    """Neighbours that are read in one pass: `most` tokens, padding counted, or one prompt."""
    found, start = list[slice](), 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - start) * max(lengths[start : end + 1]) > most:
            found.append(slice(start, end))
            start = end
    return found


def _read(reader: Reader, prompts: Sequence[Ids], part: slice, shared: Shared) -> Tensor:
    """(R, D) the last state of each of these prompts."""
    tokens, mask = padded(prompts[part], reader.network.device, left=False)
    shared.read(part)
    states = _pass(reader, tokens, torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens), shared)
    if not shared.turn:
        raise NotImplementedByNetwork("its attention does not take shared prompts")
    return states[torch.arange(len(tokens), device=tokens.device), mask.sum(1) - 1]


def _pass(reader: Reader, tokens: Tensor, positions: Tensor, shared: Shared) -> Tensor:
    # A mask of four dimensions is passed on as it is, so that no dense one is made.
    nothing = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=tokens.device)
    inputs: dict[str, Any] = {"input_ids": tokens, "position_ids": positions, "attention_mask": nothing}
    return reader.states(reader.ask(**inputs, use_cache=False, shared=shared))
