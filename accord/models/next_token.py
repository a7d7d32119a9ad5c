"""What the next token's distribution is read off: hidden states and the output layer, or the network's own logits."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from accord.models.attention import NotImplementedByNetwork
from accord.models.logprobs import Forward, LanguageModel, body_of, output_layer, taken
from accord.models.output import OutputLayer

MOST_LOGITS = 1 << 26  # numbers, where a pass makes the logits of every token that it reads


class Reader(NamedTuple):
    """How a network is asked. D below is the width of its hidden states, or V where it makes its logits itself."""

    network: PreTrainedModel
    forward: Forward  # the network without its output layer, or the decoder beside an encoder; else the whole network
    layer: OutputLayer | None  # None: the network makes its logits itself

    def ask(self, **inputs: Any) -> Any:
        """The output of a forward pass; a network that knows no mask is given none."""
        return self.forward(**(inputs if self.layer is not None else taken(self.network, inputs)))

    def states(self, output: Any) -> Tensor:
        """(R, T, D) of every token."""
        found: Tensor = output.last_hidden_state if self.layer is not None else output.logits
        return found

    def logits(self, states: Tensor) -> Tensor:
        """(N, D) -> (N, V) float32, in memory of their own."""
        return states.float().clone() if self.layer is None else self.layer.logits(states)

    def knows(self, argument: str) -> bool:
        """Whether a forward pass names an argument so."""
        function = getattr(self.forward, "forward", self.forward)
        return argument in inspect.signature(function).parameters

    def most_tokens(self, wanted: int) -> int:
        """How many tokens one pass reads at most, of so many that are wanted."""
        if self.layer is not None:
            return wanted
        return max(1, min(wanted, MOST_LOGITS // self.words))

    @property
    def words(self) -> int:
        """V."""
        return (
            len(self.layer.weight) if self.layer is not None else int(self.network.config.get_text_config().vocab_size)
        )


def readers(model: LanguageModel) -> list[Reader]:
    """As the model computes log-probabilities, and, for an output layer that nobody thought of, by its own logits."""
    network, found = model.network, list[Reader]()
    if model.head == "gathered":
        with suppress(NotImplementedByNetwork):
            layer = output_layer(network)
            forward = network.get_decoder() if network.config.is_encoder_decoder else body_of(network)
            found.append(Reader(network, forward, layer))
    return [*found, Reader(network, network, None)]
