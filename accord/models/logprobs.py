"""Log-probabilities of completions: the one engine that every stage computes with.

batch -> hidden states -> the places that predict completion tokens -> chunked output layer -> a sum per completion.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accord.data.batches import Batch, Layout
from accord.maths.likelihood import length_by_owner, sum_by_owner
from accord.models.attention import NAME, Segments
from accord.models.output import OutputLayer, TokenLogprobs, token_logprobs

Want = Literal["figures"]


@dataclass
class LanguageModel:
    """A decoder of transformers and how Accord computes with it.

    layout: the widest layout this network is known to compute exactly ("tree" needs its attention to take segments).
    head: "gathered" reads hidden states and applies the output layer itself; "stock" lets the network make its logits.
    """

    network: PreTrainedModel
    layout: Layout = "tree"
    head: Literal["gathered", "stock"] = "gathered"

    @property
    def device(self) -> torch.device:
        return self.network.device

    @contextmanager
    def segmented(self) -> Iterator[None]:
        """Attention by segments within; the network's own attention is put back at the end."""
        before = self.network.config._attn_implementation
        if self.layout != "tree" or before == NAME:
            yield
            return
        self.network.set_attn_implementation(NAME)
        try:
            yield
        finally:
            self.network.set_attn_implementation(before)


@contextmanager
def resting(network: PreTrainedModel) -> Iterator[None]:
    """Without dropout, whatever state the network came in."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


class CompletionLogprobs(NamedTuple):
    """Of each of C completions the sum and the number of its tokens; of each of N tokens its own."""

    sum: Tensor  # (C,) nats, float32
    length: Tensor  # (C,) tokens that carry loss
    token: TokenLogprobs  # (N,)

    @property
    def mean(self) -> Tensor:
        """(C,) nats per token; 0 where a completion has no token that carries loss."""
        return self.sum / self.length.clamp(min=1)


def logprobs(
    model: LanguageModel, batch: Batch, *, temperature: float = 1.0, want: tuple[Want, ...] = ()
) -> CompletionLogprobs:
    """Equation 3 for every completion of a micro-batch. want: "figures" adds entropy and sum of p^2 of each token."""
    figures = "figures" in want
    if model.head == "stock":
        token = _stock(model, batch, temperature, figures)
    else:
        hidden = hidden_states(model, batch)
        gathered = hidden.reshape(-1, hidden.shape[-1])[batch.predict]
        layer = output_layer(model.network)._replace(temperature=temperature)
        token = token_logprobs(gathered, batch.target, layer, figures=figures)
    length = length_by_owner(batch.owner, batch.completions)
    return CompletionLogprobs(sum_by_owner(token.token, batch.owner, batch.completions), length, token)


def hidden_states(model: LanguageModel, batch: Batch) -> Tensor:
    """(R, T, D): the last hidden states of every token, before the output layer."""
    body = getattr(model.network, model.network.base_model_prefix)
    inputs, segments = _inputs(batch)
    output = body(**inputs)
    if segments is not None and segments.used == 0:
        raise NotImplementedByNetwork("its attention does not take segments")
    hidden: Tensor = output.last_hidden_state
    return hidden


class NotImplementedByNetwork(Exception):
    """The network cannot compute in the layout asked for; the start-up comparison falls back."""


def _inputs(batch: Batch) -> tuple[dict[str, Any], Segments | None]:
    inputs: dict[str, Any] = {"input_ids": batch.tokens, "use_cache": False}
    if batch.layout == "tree":
        segments = Segments(batch.segments, batch.tokens.device)
        # A mask of four dimensions is passed on as it is, so that no dense one is made; segments take its place.
        nothing = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=batch.tokens.device)
        return {
            **inputs,
            "position_ids": batch.positions,
            "attention_mask": nothing,
            "segments": segments,
        }, segments
    return {**inputs, "attention_mask": _row_mask(batch)}, None


def _row_mask(batch: Batch) -> Tensor:
    """(R, T) 1 where a token stands, 0 for the padding on the right."""
    ends = torch.tensor([segment.end for segment in batch.segments])
    mask = torch.arange(batch.tokens.shape[1])[None, :] < ends[:, None]
    return mask.long().to(batch.tokens.device)


def _stock(model: LanguageModel, batch: Batch, temperature: float, figures: bool) -> TokenLogprobs:
    """The network's own logits at the predicting places; for output layers nobody thought of."""
    inputs, _ = _inputs(batch)
    logits: Tensor = model.network(**inputs).logits
    z = logits.reshape(-1, logits.shape[-1])[batch.predict].float() / temperature
    logp = torch.log_softmax(z, -1)
    token = logp.gather(1, batch.target[:, None]).squeeze(1)
    top1 = z.argmax(-1) == batch.target
    if not figures:
        return TokenLogprobs(token, top1)
    with torch.no_grad():
        p = logp.exp()
        return TokenLogprobs(token, top1, -(p * logp).sum(-1), (p * p).sum(-1))


def output_layer(network: PreTrainedModel) -> OutputLayer:
    """The network's output layer with the scale and soft-cap that its config names."""
    layer = network.get_output_embeddings()
    if layer is None:
        raise NotImplementedByNetwork("it has no output layer")
    config = network.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
    scaling = getattr(config, "logits_scaling", None)  # Granite divides
    if scaling:
        scale /= float(scaling)
    return OutputLayer(
        layer.weight, getattr(layer, "bias", None), scale, getattr(config, "final_logit_softcapping", None)
    )
