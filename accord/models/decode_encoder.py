"""Decoding beside an encoder: it reads each prompt once, the decoder begins with its start token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutput

from accord.data.encode import Ids
from accord.models.attention import NotImplementedByNetwork
from accord.models.decoding import padded
from accord.models.next_token import Reader


class Beside:
    """encoded: (N, Tp, D) the encoder's states of each row's prompt. attended: (N, Tp) its mask. tokens: (N, T) what
    the decoder has read, where no cache is kept."""

    def __init__(self, reader: Reader, encoded: Tensor, attended: Tensor, tokens: Tensor, cache: Cache | None) -> None:
        self.reader, self.encoded, self.attended = reader, encoded, attended
        self.tokens, self.cache = tokens, cache

    def step(self, tokens: Tensor) -> Tensor:
        if self.cache is None:
            self.tokens = torch.cat([self.tokens, tokens[:, None]], 1)
        return self.states(self.tokens if self.cache is None else tokens[:, None], keeps=self.cache is not None)

    def keep(self, rows: Tensor) -> None:
        self.encoded, self.attended, self.tokens = self.encoded[rows], self.attended[rows], self.tokens[rows]
        if self.cache is not None:
            self.cache.reorder_cache(cast(torch.LongTensor, rows))

    def states(self, tokens: Tensor, *, keeps: bool) -> Tensor:
        """(N, D) of the last of these tokens, which the decoder reads. keeps: with a cache, which is then kept."""
        more: dict[str, Any] = {"use_cache": keeps, **({"past_key_values": self.cache} if self.cache else {})}
        if self.reader.layer is not None:
            more |= {"input_ids": tokens, "encoder_hidden_states": self.encoded}
            output = self.reader.forward(**more, encoder_attention_mask=self.attended)
        else:
            more |= {"decoder_input_ids": tokens, "encoder_outputs": BaseModelOutput(last_hidden_state=self.encoded)}
            output = self.reader.forward(**more, attention_mask=self.attended)
        if keeps:
            self.cache = output.past_key_values
        return self.reader.states(output)[:, -1]


def begin_beside(reader: Reader, prompts: Sequence[Ids], of: Tensor) -> tuple[Beside, Tensor]:
    """The decoder's keys and values are kept, those of the prompt computed once."""
    rows, states = _begin(reader, prompts, of, keeps=True)
    if rows.cache is None:
        raise NotImplementedByNetwork("it keeps no keys and values")
    return rows, states


def begin_beside_whole(reader: Reader, prompts: Sequence[Ids], of: Tensor) -> tuple[Beside, Tensor]:
    """Every step reads again all that was written."""
    return _begin(reader, prompts, of, keeps=False)


def _begin(reader: Reader, prompts: Sequence[Ids], of: Tensor, *, keeps: bool) -> tuple[Beside, Tensor]:
    network = reader.network
    tokens, mask = padded(prompts, network.device, left=False)
    encoded = network.get_encoder()(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    start = torch.full((len(prompts), 1), network.config.decoder_start_token_id, device=tokens.device)
    rows = Beside(reader, encoded, mask.long(), start, None)
    states = rows.states(start, keeps=keeps)[of]
    rows.keep(of)
    return rows, states
