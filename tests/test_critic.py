"""The critic: V of the state before each token, as stock's own hidden states have it, in every layout and place."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.data.batches import Layout, arrange
from accord.data.dialogue import TokenGroup
from accord.models.critic import values
from accord.models.logprobs import LanguageModel, logprobs

LAYOUTS: list[Layout] = ["tree", "cache", "rows"]
# Two that share a prompt, one alone, and one with a stretch in the middle that carries no loss.
GROUPS = [
    tiny.group(9, (7, 12, 3)),
    tiny.group(2, (5,), seed=1),
    tiny.group(14, (9, 20), seed=2, loss=[[(0, 2), (5, 9)], [(3, 20)]]),
]
DECODERS: dict[str, Callable[[], PreTrainedModel]] = {**tiny.NETWORKS, "mixtral": tiny.mixtral}


def head(network: PreTrainedModel, seed: int = 3) -> nn.Linear:
    """Not zero, so that its values say something of the states."""
    made = nn.Linear(network.config.get_text_config().hidden_size, 1, bias=False)
    nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(seed))
    return made


def stock(network: PreTrainedModel, groups: Sequence[TokenGroup], of: nn.Linear) -> Tensor:
    """(N,) by stock alone: one plain row a completion, its last hidden states before each token with loss."""
    found = []
    for group in groups:
        for one in group.completions:
            row = torch.from_numpy(np.concatenate([group.prompt, one.ids]).astype(np.int64))
            states = network(input_ids=row[None], use_cache=False, output_hidden_states=True).hidden_states[-1][0]
            found += [states[len(group.prompt) + i - 1] for start, end in one.loss for i in range(start, end)]
    return torch.stack(found) @ of.weight[0]


def stock_decoder(network: PreTrainedModel, groups: Sequence[TokenGroup], of: nn.Linear) -> Tensor:
    """The same of an encoder-decoder, the decoder begun with its start token."""
    found, start = [], network.config.decoder_start_token_id
    for group in groups:
        prompt = torch.from_numpy(group.prompt.astype(np.int64))[None]
        for one in group.completions:
            row = torch.from_numpy(np.concatenate([[start], one.ids[:-1]]).astype(np.int64))[None]
            output = network(input_ids=prompt, decoder_input_ids=row, use_cache=False, output_hidden_states=True)
            states = output.decoder_hidden_states[-1][0]
            found += [states[i] for start_, end in one.loss for i in range(start_, end)]
    return torch.stack(found) @ of.weight[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", list(DECODERS))
def test_values_are_those_of_stock_in_every_layout(name: str, layout: Layout) -> None:
    network = DECODERS[name]()
    of = head(network)
    truth, model = stock(network, GROUPS, of), LanguageModel(network, layout)
    assert truth.std() > 0.1  # numbers that differ, so that a wrong place would show
    batch = arrange(GROUPS, layout)
    with model.segmented():
        alone = values(model, batch, of)
        beside = logprobs(model, batch, head=of)
    assert alone.dtype == torch.float32 and beside.value is not None
    torch.testing.assert_close(alone, truth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(beside.value, truth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        beside.token.token, torch.cat([t for g in GROUPS for t in tiny.stock_tokens(network, g)]), atol=1e-4, rtol=1e-4
    )
