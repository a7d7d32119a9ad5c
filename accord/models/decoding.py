"""The ways in which rows are continued token by token. Which of them is exact for a network: accord.models.ways.

Shapes: P prompts, N rows, T tokens, D as in accord.models.next_token.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from accord.data.encode import Ids
from accord.errors import InputError
from accord.models.next_token import Reader

PASS_TOKENS = {"cpu": 8192, "cuda": 65536}  # most tokens, padding counted, that are read in one pass


class Decoding(Protocol):
    """Rows that have read their prompt and what was sampled so far."""

    def step(self, tokens: Tensor) -> Tensor:
        """(N,) the next token of each row -> (N, D) its state, from which the one after it is predicted."""

    def keep(self, rows: Tensor) -> None:
        """(M,) only these rows go on, in this order; one may come several times."""


# (reader, prompts, (N,) the prompt of each row) -> the rows, and the (N, D) last states of their prompts
Begin = Callable[[Reader, Sequence[Ids], Tensor], tuple[Decoding, Tensor]]


class Way(NamedTuple):
    """One way to decode.

    equal: prompts that begin together must be of one length. at_once: one pass reads them. within: the network must be
    so while rows are decoded. note: what a user should know of it.
    """

    name: str
    begin: Begin
    equal: bool = False
    at_once: bool = True
    within: Callable[[PreTrainedModel], AbstractContextManager[object]] = nullcontext
    note: str = ""


def padded(prompts: Sequence[Ids], device: torch.device, *, left: bool) -> tuple[Tensor, Tensor]:
    """(P, T) the prompts' ids, (P, T) bool where they stand."""
    width = max(map(len, prompts))
    tokens = np.zeros((len(prompts), width), dtype=np.int64)
    mask = np.zeros((len(prompts), width), dtype=bool)
    for row, ids in enumerate(prompts):
        places = slice(width - len(ids), width) if left else slice(len(ids))
        tokens[row, places], mask[row, places] = ids, True
    return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)


def pass_tokens(reader: Reader) -> int:
    """Most tokens of one pass, where it is more than a single row."""
    return reader.most_tokens(PASS_TOKENS.get(reader.network.device.type, PASS_TOKENS["cuda"]))


def room_of(network: PreTrainedModel, prompt: Ids, where: str = "prompt") -> int:
    """How many tokens the model's context holds behind a prompt. InputError for an empty one."""
    if not len(prompt):
        raise InputError("no tokens to go on from", where=where, fix="give it at least one")
    context = getattr(network.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    return int(context) - (1 if network.config.is_encoder_decoder else len(prompt))
