"""Log-probabilities of completions: the one engine that every stage computes with.

batch -> hidden states -> the places that predict completion tokens -> chunked output layer -> a sum per completion.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accord.data.batches import Batch, Layout
from accord.errors import InputError
from accord.maths.likelihood import length_by_owner, sum_by_owner
from accord.models.attention import NAME, NotImplementedByNetwork, Segments
from accord.models.encoder_decoder import decoder_logits, decoder_states
from accord.models.experts import Recorder, Routing, coefficient
from accord.models.output import OutputLayer, TokenLogprobs, Want, token_logprobs
from accord.models.output import value as value_of
from accord.models.prompt_cache import completion_inputs
from accord.models.roles import in_role

Forward = Callable[..., Any]


@dataclass
class LanguageModel:
    """A decoder or encoder-decoder of transformers and how Accord computes with it.

    layout: the one that costs least of those that this network computes exactly ("tree" needs its attention to take
    segments, "cache" that it keeps keys and values; an encoder-decoder has "encoder" alone).
    head: "gathered" reads hidden states and applies the output layer itself; "stock" lets the network make its logits.
    """

    network: PreTrainedModel
    layout: Layout = "tree"
    head: Literal["gathered", "stock"] = "gathered"

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def start(self) -> int | None:
        """The token that an encoder-decoder's decoder begins with; None for a decoder."""
        config = self.network.config
        return config.decoder_start_token_id if config.is_encoder_decoder else None

    @contextmanager
    def segmented(self) -> Iterator[None]:
        """Attention by segments within; the network's own attention is put back at the end."""
        before = attention_of(self.network)
        if self.layout != "tree" or before == NAME:
            yield
            return
        self.network.set_attn_implementation(NAME)
        try:
            yield
        finally:
            self.network.set_attn_implementation(before)

    def acting(self) -> AbstractContextManager[None]:
        """Within, a network that is seen in a role (accord.models.roles) computes in it."""
        return in_role(self.network)


def attention_of(network: PreTrainedModel) -> str:
    """What its layers attend by. The body's config says it: a network may share a body and have another config."""
    body = getattr(network, network.base_model_prefix, None)
    config = body.config if isinstance(body, PreTrainedModel) else network.config
    return str(config._attn_implementation)


@contextmanager
def resting(network: PreTrainedModel) -> Iterator[None]:
    """Without dropout, whatever state the network came in; its parts may be in another than it says of itself."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


class CompletionLogprobs(NamedTuple):
    """Of each of C completions the sum and the number of its tokens; of each of N tokens its own."""

    sum: Tensor  # (C,) nats, float32
    length: Tensor  # (C,) tokens that carry loss
    token: TokenLogprobs  # (N,)
    routing: Routing | None = None  # of a mixture of experts whose load is kept balanced
    value: Tensor | None = None  # (N,) float32, of a value head on the same states

    @property
    def aux(self) -> Tensor | None:
        """() the balance loss of this micro-batch by itself, without its coefficient; None for other networks."""
        return self.routing.balance() if self.routing else None

    @property
    def mean(self) -> Tensor:
        """(C,) nats per token; 0 where a completion has no token that carries loss."""
        return self.sum / self.length.clamp(min=1)


def logprobs(
    model: LanguageModel,
    batch: Batch,
    *,
    temperature: float = 1.0,
    want: tuple[Want, ...] = (),
    head: torch.nn.Linear | None = None,
) -> CompletionLogprobs:
    """Equation 3 for every completion of a micro-batch. want: what else each token is to have (`TokenLogprobs`).

    head: a value head, read off the state before each predicted token in the same forward pass.
    """
    stock = model.head == "stock"
    forward: Forward = model.network if stock or batch.layout == "encoder" else body_of(model.network)
    recorder = Recorder(forward) if coefficient(model.network) and batch.layout != "encoder" else None
    value = None
    catching: AbstractContextManager[list[Tensor]] = caught(model.network) if head and stock else nullcontext([])
    with catching as states:
        if stock:
            token = _stock(model, batch, recorder or forward, temperature, want)
            value = value_of(_before(states[-1], batch), head) if head else None
        else:
            gathered = _before(hidden_states(model, batch, recorder or forward), batch)
            layer = output_layer(model.network)._replace(temperature=temperature)
            token = token_logprobs(gathered, batch.target, layer, want=want)
            value = value_of(gathered, head) if head else None
    length = length_by_owner(batch.owner, batch.completions)
    total = sum_by_owner(token.token, batch.owner, batch.completions)
    routing = recorder.routing(model.network, batch) if recorder else None
    return CompletionLogprobs(total, length, token, routing, value)


def states_before(model: LanguageModel, batch: Batch) -> Tensor:
    """(N, D) the last hidden state before each predicted token, in the order of `batch.predict`."""
    return _before(hidden_states(model, batch), batch)


def _before(hidden: Tensor, batch: Batch) -> Tensor:
    return hidden.reshape(-1, hidden.shape[-1])[batch.predict]


@contextmanager
def caught(network: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Gets the last hidden states (R, T, D) of every forward pass that the network makes within."""
    found: list[Tensor] = []

    def hook(module: object, inputs: object, output: Any) -> None:
        found.append(output.last_hidden_state)

    try:
        body: Any = network.get_decoder() if network.config.is_encoder_decoder else body_of(network)
    except NotImplementedByNetwork as error:
        what, where = f"{error}, so that no value can be read off its states", str(network.name_or_path)
        raise InputError(what, where=where, fix="take a model that has one, as Llama, Qwen or Gemma") from error
    handle = body.register_forward_hook(hook)
    try:
        yield found
    finally:
        handle.remove()


@torch.no_grad()
def routing_of(model: LanguageModel, batch: Batch) -> Routing | None:
    """How a mixture of experts spreads the tokens of a micro-batch; None for other networks."""
    if batch.layout == "encoder" or not coefficient(model.network):
        return None
    recorder = Recorder(model.network if model.head == "stock" else body_of(model.network))
    with model.acting():
        inputs, _ = _inputs(recorder, batch)
        recorder(**inputs)
    return recorder.routing(model.network, batch)


def body_of(network: PreTrainedModel) -> Forward:
    """The network without its output layer."""
    for name in (network.base_model_prefix, "model"):  # Llama 4's text model has its body under another name
        if name and isinstance(body := getattr(network, name, None), torch.nn.Module):
            return body
    raise NotImplementedByNetwork("it has no body apart from its output layer")


def hidden_states(model: LanguageModel, batch: Batch, body: Forward | None = None) -> Tensor:
    """(R, T, D): the last hidden states of every token, before the output layer."""
    with model.acting():
        if batch.layout == "encoder":
            return decoder_states(model.network, batch, _row_mask(batch))
        body = body or body_of(model.network)
        inputs, segments = _inputs(body, batch)
        output = body(**(taken(body, inputs) if model.head == "stock" else inputs))
    if segments is not None and segments.used == 0:
        raise NotImplementedByNetwork("its attention does not take segments")
    hidden: Tensor = output.last_hidden_state
    return hidden


def _inputs(body: Forward, batch: Batch) -> tuple[dict[str, Any], Segments | None]:
    """What a decoder's rows are computed from; in the cache layout that takes one pass of `body` over the prompts."""
    if batch.layout == "cache":
        return {"input_ids": batch.tokens, "use_cache": True, **completion_inputs(body, batch, _row_mask(batch))}, None
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


def taken(network: Forward, inputs: dict[str, Any]) -> dict[str, Any]:
    """Without the mask and the wish for no cache, if the network's own forward knows no such argument.

    Right padding comes after everything that a causal network reads, so that the mask is not needed.
    """
    known = inspect.signature(getattr(network, "forward", network)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return inputs
    return {
        name: value for name, value in inputs.items() if name in known or name not in ("attention_mask", "use_cache")
    }


def _row_mask(batch: Batch) -> Tensor:
    """(R, T) 1 where a token stands, 0 for the padding on the right."""
    ends = torch.tensor([segment.end for segment in batch.segments])
    mask = torch.arange(batch.tokens.shape[1])[None, :] < ends[:, None]
    return mask.long().to(batch.tokens.device)


def _stock(
    model: LanguageModel, batch: Batch, forward: Forward, temperature: float, want: tuple[Want, ...]
) -> TokenLogprobs:
    """The network's own logits at the predicting places; for output layers nobody thought of."""
    with model.acting():
        if batch.layout == "encoder":
            logits = decoder_logits(model.network, batch, _row_mask(batch))
        else:
            inputs, _ = _inputs(forward, batch)
            logits = forward(**taken(model.network, inputs)).logits
    z = logits.reshape(-1, logits.shape[-1])[batch.predict].float() / temperature
    logp = torch.log_softmax(z, -1)
    token = logp.gather(1, batch.target[:, None]).squeeze(1)
    with torch.no_grad():
        p = logp.exp() if {"entropy", "collision"} & set(want) else logp
        top1 = z.argmax(-1) == batch.target if "top1" in want else None
        entropy = -(p * logp).sum(-1) if "entropy" in want else None
        collision = (p * p).sum(-1) if "collision" in want else None
    return TokenLogprobs(token, top1, entropy, collision)


def output_layer(network: PreTrainedModel) -> OutputLayer:
    """The network's output layer with the scale and soft-cap that its config names."""
    layer = network.get_output_embeddings()
    if layer is None:
        raise NotImplementedByNetwork("it has no output layer")
    if type(layer) is not torch.nn.Linear:  # an adapter in it or a copy in its place would be left out
        raise NotImplementedByNetwork(f"its output layer is not a plain one ({type(layer).__name__})")
    config = network.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
    scaling = getattr(config, "logits_scaling", None)  # Granite divides
    if scaling:
        scale /= float(scaling)
    if getattr(config, "scale_decoder_outputs", False):  # T5 with tied embeddings
        scale *= config.d_model**-0.5
    bias = getattr(layer, "bias", None)
    if (beside := getattr(network, "final_logits_bias", None)) is not None:  # BART
        bias = beside.flatten() if bias is None else bias + beside.flatten()
    return OutputLayer(layer.weight, bias, scale, getattr(config, "final_logit_softcapping", None))
