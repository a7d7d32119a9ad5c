"""How a mixture of experts spreads its tokens, and the loss that keeps the load balanced (Fedus et al. 2022, eq. 4-6).

Counted as one row a completion would count, whatever the layout: a prompt that is computed once weighs as often as it
has completions. So the loss is the one that stock transformers computes for the padded rows of the micro-batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from accord.data.batches import Batch
from accord.errors import InputError

ROUTED = "output_router_logits"


class Routing(NamedTuple):
    """Sums over the tokens and layers of a micro-batch; those of a step are the sums of its micro-batches'."""

    chosen: Tensor  # (E,) how often each expert was among the chosen ones
    probability: Tensor  # (E,) what the router gave it; carries the gradient
    tokens: Tensor  # () tokens times layers

    def __add__(self, other: object) -> Routing:
        assert isinstance(other, Routing)
        return Routing(*(one + two for one, two in zip(self, other, strict=True)))

    def balance(self, step: Routing | None = None) -> Tensor:
        """() E sum_e f_e P_e: f_e the choices of expert e per token, P_e its mean probability. top k if balanced.

        A product of two means, so the values of micro-batches do not add up to that of their step. step: the sums of
        the whole step; f is then the step's, P this micro-batch's share of the step's, and the values do add up.
        """
        whole = step or self
        return len(self.chosen) * (whole.chosen / whole.tokens * (self.probability / whole.tokens)).sum()


def coefficient(network: PreTrainedModel) -> float:
    """What stock transformers multiplies the balance loss with in training; 0 for networks that have none.

    As in TRL 1.16 the loss is kept wherever its coefficient is not 0; transformers' own Trainer also wants
    `output_router_logits` in the config. A body with a score head keeps the loss too, which stock has only beside an
    output layer.
    """
    if _is_headed(network):
        config = network.config.get_text_config()
        return float(getattr(config, "router_aux_loss_coef", 0.0) or 0.0) if hasattr(config, ROUTED) else 0.0
    if ROUTED not in inspect.signature(network.forward).parameters:
        return 0.0
    found = getattr(network, "router_aux_loss_coef", None)
    return float((found if found is not None else getattr(network, "aux_loss_coef", None)) or 0.0)


@torch.no_grad()
def check_balance(network: PreTrainedModel, ids: npt.NDArray[np.int32]) -> None:
    """ids (T,): a text. InputError where stock's balance loss of it is another than ours."""
    if not coefficient(network) or _is_headed(network):
        return
    own, stock = None, None
    if not network.config.is_encoder_decoder:
        recorder, row = Recorder(network), torch.from_numpy(ids.astype(np.int64)[None]).to(network.device)
        stock = getattr(recorder(input_ids=row, use_cache=False), "aux_loss", None)
        own = recorder.sums(network, [torch.ones(row.shape[1], device=row.device)])
    if own is None or stock is None or not torch.allclose(own.balance(), stock.float(), rtol=1e-2):
        raise InputError(
            "its balance loss of the experts is of a kind that accord does not know",
            where=str(network.name_or_path or type(network).__name__),
            fix="set the loss's coefficient (router_aux_loss_coef) to 0 in config.json to train without it",
        )


def _is_headed(network: PreTrainedModel) -> bool:
    """Whether something else stands in the place of its output layer."""
    return network.get_output_embeddings() is None


class Recorder:
    """A network, or the body of one, that keeps what its routers say in each forward pass."""

    def __init__(self, network: Callable[..., Any]) -> None:
        self.network = network
        self.passes: list[Sequence[Tensor]] = []  # of each pass, of each layer: (tokens, E) logits

    def __call__(self, **inputs: Any) -> Any:
        output = self.network(**inputs, output_router_logits=True)
        self.passes.append(getattr(output, "router_logits", None) or ())
        return output

    def routing(self, network: PreTrainedModel, batch: Batch) -> Routing | None:
        """The sums over the micro-batch; None where the routers said nothing."""
        return self.sums(network, [weight.to(batch.tokens.device) for weight in _weights(batch)])

    def sums(self, network: PreTrainedModel, weights: Sequence[Tensor]) -> Routing | None:
        """weights: of each pass, (tokens,) what each token counts."""
        if not all(self.passes):
            return None
        top_k = int(getattr(network, "num_experts_per_tok", 0) or network.config.get_text_config().num_experts_per_tok)
        every = zip(self.passes, weights, strict=True)
        layers = [_layer(logits, weight, top_k) for each, weight in every for logits in each]
        return Routing(*(torch.stack(sums).sum(0) for sums in zip(*layers, strict=True)))


def _layer(logits: Tensor, weight: Tensor, top_k: int) -> Routing:
    """logits (..., E), weight (tokens,): what each token counts."""
    probability = logits.reshape(-1, logits.shape[-1]).softmax(-1)
    choices = probability.topk(top_k, -1).indices
    chosen = torch.zeros(probability.shape[-1], device=logits.device)
    chosen.index_add_(0, choices.flatten(), weight.repeat_interleave(top_k))
    return Routing(chosen, (probability.float() * weight[:, None]).sum(0), weight.sum())


def _weights(batch: Batch) -> list[Tensor]:
    """Of each forward pass of a micro-batch, (tokens,): in how many rows of one completion each token would stand."""
    rows = torch.zeros(batch.tokens.shape)
    branches = [0] * len(batch.segments)
    for segment in batch.segments:
        if segment.parent >= 0:
            branches[segment.parent] += 1
    for segment, count in zip(batch.segments, branches, strict=True):
        rows[segment.row, segment.start : segment.end] = max(count, 1)
    if batch.prompts is None:
        return [rows.flatten()]
    continued = torch.bincount(batch.prompts.of.cpu(), minlength=len(batch.prompts.tokens))
    return [(batch.prompts.mask.cpu() * continued[:, None]).float().flatten(), rows.flatten()]
