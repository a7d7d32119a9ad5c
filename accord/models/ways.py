"""Which way of decoding a network takes: the first that says what the network says of whole rows. Tried once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.data.encode import Ids
from accord.errors import ran_out_of_memory
from accord.models.attention import NotImplementedByNetwork
from accord.models.decode_cache import begin_equal, begin_padded
from accord.models.decode_encoder import begin_beside, begin_beside_whole
from accord.models.decode_shared import attending, begin_shared
from accord.models.decode_whole import begin_whole
from accord.models.decoding import Way, room_of
from accord.models.layout import ROUNDING, stock_logprobs
from accord.models.logprobs import LanguageModel
from accord.models.next_token import Reader, readers
from accord.records import Group

STATE = "what this model carries along reads padding: only prompts of one length are sampled together"
WHOLE = "this model keeps nothing that a sample can go on from: every token reads all before it again, which is slow"
DECODERS = (
    Way("shared", begin_shared, at_once=False, within=attending),
    Way("padded", begin_padded),
    Way("equal", begin_equal, equal=True, note=STATE),
    Way("whole", begin_whole, note=WHOLE),
)
ENCODED = (Way("beside", begin_beside), Way("beside, whole", begin_beside_whole, note=WHOLE))
TRIED = 256  # tokens of the prompt that is tried
FORCED = 6  # tokens that are decoded behind it, where the context has room for them


class Found(NamedTuple):
    """What was found for a network, as it was then. gathered: whether its output layer is applied by us."""

    state: object
    gathered: bool
    way: Way


_FOUND: WeakKeyDictionary[PreTrainedModel, Found] = WeakKeyDictionary()


def way_of(model: LanguageModel, prompts: Sequence[Ids]) -> tuple[Reader, Way]:
    """How a network is asked, and the way that these prompts' samples are decoded in.

    The last resort is not tried, as it is stock itself: whole rows, and the network's own logits.
    """
    network = model.network
    state = (next(network.parameters()).dtype, network.device, model.head)
    found = _FOUND.get(network)
    if found is None or found.state != state:
        reader, way = _tried(model, max(prompts, key=len)[:TRIED])
        found = _FOUND[network] = Found(state, reader.layer is not None, way)
    # Made anew: an adapter may have come, or the output layer been replaced.
    return next(one for one in readers(model) if (one.layer is not None) == found.gathered), found.way


def _tried(model: LanguageModel, prompt: Ids) -> tuple[Reader, Way]:
    ways = ENCODED if model.network.config.is_encoder_decoder else DECODERS
    while len(prompt) > 1 and room_of(model.network, prompt) < FORCED:
        prompt = prompt[:-1]
    every = [(reader, way) for reader in readers(model) for way in ways]
    return next((one for one in every[:-1] if _exact(model, *one, prompt)), every[-1])


def _exact(model: LanguageModel, reader: Reader, way: Way, prompt: Ids) -> bool:
    """Whether two prompts with two completions each, decoded together, have the log-probabilities of whole rows."""
    other = prompt[::-1] if way.equal else prompt[::-1][: max(1, 2 * len(prompt) // 3)]
    length = min(FORCED, room_of(model.network, prompt))
    forced = [np.resize(np.roll(prompt, shift), length) for shift in range(3)]
    rows = [(prompt, forced[0]), (prompt, forced[1]), (other, forced[2])]
    try:
        with way.within(model.network):
            found = _decoded(reader, way, [prompt, other], forced)
    except (NotImplementedByNetwork, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        if ran_out_of_memory(error):
            raise
        return False  # a state of a kind that nobody thought of
    truth = torch.stack([stock_logprobs(model, _group(*row)) for row in rows])
    gap = (found - truth).abs()
    largest, mean = ROUNDING.get(next(model.network.parameters()).dtype, ROUNDING[torch.bfloat16])
    return bool(gap.max() <= largest and gap.mean() <= mean)


def _decoded(reader: Reader, way: Way, prompts: Sequence[Ids], forced: Sequence[Ids]) -> Tensor:
    """(3, T) log-probabilities of three completions, the first two of one prompt. In the middle the rows change
    places, as they do where one leaves."""
    device = reader.network.device
    tokens = torch.from_numpy(np.stack(forced).astype(np.int64)).to(device)
    order = torch.tensor([2, 0, 1], device=device)
    decoding, states = way.begin(reader, prompts, torch.tensor([0, 0, 1], device=device))
    found = [_logp(reader, states, tokens[:, 0])]
    for place in range(1, tokens.shape[1]):
        if place == tokens.shape[1] // 2:
            decoding.keep(order)
            tokens, found = tokens[order], [logp[order] for logp in found]
        states = decoding.step(tokens[:, place - 1])
        found.append(_logp(reader, states, tokens[:, place]))
    return torch.stack(found, 1)[order.argsort()]


def _logp(reader: Reader, states: Tensor, tokens: Tensor) -> Tensor:
    return reader.logits(states).log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)


def _group(prompt: Ids, completion: Ids) -> TokenGroup:
    return TokenGroup(Group("", "", ()), prompt, (TokenCompletion(completion, ((0, len(completion)),)),))
