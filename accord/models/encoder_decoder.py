"""The layout in two parts for encoder-decoders: prompts through the encoder once, every completion decoded on its own.

Equation 3 for P(y | x) with x in the encoder; the decoder begins with its start token.
"""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from accord.data.batches import Batch


def decoder_states(network: PreTrainedModel, batch: Batch, mask: Tensor) -> Tensor:
    """(C, Tc, D): the decoder's last hidden states of every row. mask: (C, Tc) where a token stands."""
    states, attended = _encoded(network, batch)
    output = network.get_decoder()(
        input_ids=batch.tokens,
        attention_mask=mask,
        encoder_hidden_states=states,
        encoder_attention_mask=attended,
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state
    return hidden


def decoder_logits(network: PreTrainedModel, batch: Batch, mask: Tensor) -> Tensor:
    """(C, Tc, V): the network's own logits of every row. mask: (C, Tc) where a token stands."""
    states, attended = _encoded(network, batch)
    logits: Tensor = network(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=attended,
        decoder_input_ids=batch.tokens,
        decoder_attention_mask=mask,
        use_cache=False,
    ).logits
    return logits


def _encoded(network: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """(C, Tp, D), (C, Tp): the encoder's states of each row's prompt and its mask; each prompt is encoded once."""
    prompts = batch.prompts
    assert prompts is not None
    mask = prompts.mask.long()
    states: Tensor = network.get_encoder()(input_ids=prompts.tokens, attention_mask=mask).last_hidden_state
    return states.index_select(0, prompts.of), mask.index_select(0, prompts.of)
