"""Attention while sampling: passes that read prompts, then passes that read one token of each row.

Registered with transformers under the name `accord_sampling`. No mask is needed but over the ends of shorter prompts,
which are padded on the right, and over what lies beyond a window.

Shapes as in accord.models.shared_prompts; H heads, G = H / H_kv, t tokens of each row behind its prompt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from accord.models.attention import Attend, NotImplementedByNetwork, no_mask
from accord.models.shared_prompts import Layer, Pair, slots

NAME = "accord_sampling"


class Shared:
    """The keys and values of some prompts and of the rows that continue them, layer by layer.

    lengths: (P,) tokens of each prompt, `longest` of them padded. of: (N,) the prompt of each row.
    """

    def __init__(self, lengths: Tensor, longest: int, of: Tensor) -> None:
        self.lengths, self.longest, self.of, self.slots = lengths, longest, of, slots(of)
        self.layers: list[Layer] = []
        self.turn = 0  # layers that have attended in this pass
        self.reading: slice | None = None  # the prompts that this pass reads; None: it reads one token of each row
        self.at = -1  # the place of that token behind the prompts
        self._hidden: dict[int | None, Tensor | None] = {}

    def read(self, prompts: slice) -> None:
        """The next pass reads these prompts."""
        self.reading, self.turn = prompts, 0

    def go_on(self) -> None:
        """The next pass reads one token of each row."""
        self.reading, self.turn, self.at = None, 0, self.at + 1
        self._hidden = {}

    def keep(self, rows: Tensor) -> None:
        """(M,) only these rows go on, in this order; one may come several times."""
        places = self.slots.places.to(rows.device)[rows]
        live, self.of = torch.unique(self.of[rows], return_inverse=True)
        self.slots, self.lengths = slots(self.of), self.lengths[live]
        source = self.slots.spread(places)
        for layer in self.layers:
            layer.keep(live, source, self.at + 1)

    def layer(self, key: Tensor, value: Tensor) -> Layer:
        """Of the layer whose turn it is, with room for its prompts."""
        if self.turn == len(self.layers):
            rows = (len(self.lengths), key.shape[1], self.longest)
            # Zeros, since padding is multiplied with a weight of 0.
            room = (key.new_zeros(*rows, key.shape[3]), value.new_zeros(*rows, value.shape[3]))
            self.layers.append(Layer(room))
        self.turn += 1
        return self.layers[self.turn - 1]

    def hidden(self, window: int | None) -> Tensor | None:
        """(P, 1, 1, Lp) True where a row's token does not see that of its prompt; None where it sees all."""
        if window not in self._hidden:
            place, ends = torch.arange(self.longest, device=self.lengths.device), self.lengths[:, None]
            mask = place >= ends
            if window is not None:
                mask = mask | (place <= ends + self.at - window)
            self._hidden[window] = mask[:, None, None] if bool(mask.any()) else None
        return self._hidden[window]


class Options(NamedTuple):
    """Of one layer. sinks: (H,) a score that no token has (GPT-OSS)."""

    scaling: float | None
    softcap: float | None
    window: int | None
    sinks: Tensor | None


def sampling_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    shared: Shared | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """(R, H, T, d) queries, (R, H_kv, T, d) keys and values -> (R, T, H, d). T is 1 but where prompts are read."""
    if shared is None or (attention_mask is not None and attention_mask.numel() > 1):
        raise NotImplementedByNetwork("its attention does not take shared prompts")
    precision, options = query.dtype, Options(scaling, softcap, sliding_window, s_aux)
    if query.device.type == "cpu" and precision != torch.float32:
        query, key, value = query.float(), key.float(), value.float()  # products of few rows are slow below float32
    layer = shared.layer(key, value)
    if shared.reading is not None:
        attended = _read(layer, shared.reading, options, query, key, value).transpose(1, 2)
    else:
        attended = _go_on(layer, shared, options, query, (key, value))
    return attended.to(precision).contiguous(), None


def _read(layer: Layer, prompts: slice, options: Options, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(R, H, T, d) of prompts, whose keys and values are kept."""
    width = key.shape[2]
    for kept, new in zip(layer.prompt, (key, value), strict=True):
        kept[prompts, :, :width] = new
    window, mask = options.window, None
    if window is not None and window < width:
        place = torch.arange(width, device=key.device)
        gap = place[:, None] - place[None, :]
        mask = (gap >= 0) & (gap < window)
    grouped = query.shape[1] != key.shape[1]
    return Attend(0.0, options.scaling, options.softcap, None, grouped, options.sinks)(query, key, value, mask)


def _go_on(layer: Layer, shared: Shared, options: Options, query: Tensor, new: Pair) -> Tensor:
    """(N, H, 1, d) queries -> (N, 1, H, d). One softmax over what a row sees of its prompt and of its own tokens."""
    spread, (own_keys, own_values) = shared.slots.spread, new
    scale = options.scaling if options.scaling is not None else query.shape[-1] ** -0.5
    q = spread((query * scale).squeeze(2).unflatten(1, (own_keys.shape[1], -1))).transpose(1, 2)  # P H_kv S G d
    keys, values = layer.write(
        (spread(own_keys.squeeze(2)).transpose(1, 2), spread(own_values.squeeze(2)).transpose(1, 2)), shared.at
    )
    if options.window is not None:
        keys, values = keys[..., -options.window :, :], values[..., -options.window :, :]
    each, group = q.shape[2:4]
    # Heads that share keys, and all slots of a prompt, are rows of one product.
    of_prompt = _bent(q.flatten(2, 3) @ layer.prompt[0].transpose(2, 3), options.softcap)
    of_own = _bent(q @ keys.transpose(3, 4), options.softcap)
    if (hidden := shared.hidden(options.window)) is not None:
        of_prompt = of_prompt.masked_fill(hidden, float("-inf"))  # a row sees its own token, if nothing else
    scores = [of_prompt.unflatten(2, (each, group)), of_own]
    if options.sinks is not None:
        scores.append(options.sinks.to(q.dtype).reshape(-1, 1, group, 1).expand(*q.shape[:4], 1))
    weights = torch.cat(scores, -1).softmax(-1, dtype=torch.float32).to(q.dtype)
    attended = weights[..., shared.longest : shared.longest + keys.shape[3]] @ values  # P H_kv S G d
    attended += (weights[..., : shared.longest].flatten(2, 3) @ layer.prompt[1]).unflatten(2, (each, group))
    return shared.slots.gather(attended.transpose(1, 2)).flatten(1, 2)[:, None]


def _bent(scores: Tensor, softcap: float | None) -> Tensor:
    """Gemma 2's: softcap * tanh(score / softcap)."""
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


AttentionInterface.register(NAME, sampling_attention)
AttentionMaskInterface.register(NAME, no_mask)
