"""Log-probabilities of given tokens from hidden states, without ever holding the logits of all of them.

The output layer runs in chunks. Backward either uses the probabilities that were kept, while they are few, or computes
them again chunk by chunk. With p = softmax(z): d log p_t / dz = onehot(t) - p, so the two gradients are matrix products
with p itself and need no further pass over the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

# Bytes of what one chunk of logits takes, and of all probabilities that may be kept for backward. A CPU is fastest with
# chunks that stay in its caches; a GPU wants them so large that starting its kernels costs nothing beside them.
CHUNK_BYTES, KEEP_BYTES = 16 << 20, 128 << 20
GPU_CHUNK_BYTES, GPU_KEEP_BYTES = 512 << 20, 1 << 30


class OutputLayer(NamedTuple):
    """What turns a hidden state into logits: scale * (W h + b), then cap * tanh(z / cap), then over a temperature."""

    weight: Tensor  # (V, D)
    bias: Tensor | None = None  # (V,)
    scale: float = 1.0
    cap: float | None = None
    temperature: float = 1.0

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, D) -> (N, V) float32."""
        z = _product(hidden, self.weight, self.bias).float()
        if self.scale != 1.0:
            z = z * self.scale
        if self.cap is not None:
            z = self.cap * torch.tanh(z / self.cap)
        return z if self.temperature == 1.0 else z / self.temperature


def _onednn() -> Callable[..., Tensor] | None:
    """oneDNN's float32 product, which torch has only as the operator that its compiler uses; None where it lacks."""
    try:
        return torch.ops.mkldnn._linear_pointwise.default if torch.backends.mkldnn.is_available() else None
    except (AttributeError, RuntimeError):
        return None


ONEDNN = _onednn()
ROWS = 32  # oneDNN keeps a kernel for every number of rows: they are rounded up to a multiple of this


def _product(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, D), (V, D), (V,) -> (N, V) without gradient.

    For float32 on CPUs torch calls MKL, which does 104 GFLOP/s a core of other makers (AMD EPYC) where oneDNN does 240.
    The start-up comparison holds the result against stock.
    """
    if ONEDNN is None or hidden.device.type != "cpu" or hidden.dtype != torch.float32:
        return torch.nn.functional.linear(hidden, weight, bias)
    padded = torch.nn.functional.pad(hidden, (0, 0, 0, -len(hidden) % ROWS))
    return ONEDNN(padded, weight, bias, "none", [], "")[: len(hidden)]


def value(hidden: Tensor, head: torch.nn.Linear) -> Tensor:
    """(N, D) -> (N,) float32: a head with one number, read in float32."""
    return torch.nn.functional.linear(hidden.float(), head.weight.float()).squeeze(-1)


Want = Literal["top1", "entropy", "collision"]


class TokenLogprobs(NamedTuple):
    """Of each of N predicted tokens, float32: its log-probability, and what of the distribution was asked for."""

    token: Tensor  # (N,) nats
    top1: Tensor | None = None  # (N,) bool: it is the most probable one
    entropy: Tensor | None = None  # (N,) nats
    collision: Tensor | None = None  # (N,) sum over the vocabulary of p^2


def token_logprobs(hidden: Tensor, target: Tensor, layer: OutputLayer, *, want: tuple[Want, ...] = ()) -> TokenLogprobs:
    """(N, D), (N,) -> log softmax(logits)[target], equation 3, differentiable in `hidden`, the weight and the bias.

    want: what else is made of the distribution, each a pass over all words (without gradient).
    """
    return TokenLogprobs(
        *_TargetLogprob.apply(  # type: ignore[no-untyped-call]
            hidden, layer.weight, layer.bias, target, layer, want
        )
    )


def _chunk_rows(vocabulary: int, hidden: Tensor) -> int:
    """Below float32 the logits stand three times: as they are made, in float32, and their probabilities.

    In float32 as many as the product need not round up.
    """
    each = 4 if hidden.dtype == torch.float32 else 10
    rows = max(1, (CHUNK_BYTES if hidden.device.type == "cpu" else GPU_CHUNK_BYTES) // (each * vocabulary))
    return rows - rows % ROWS if each == 4 and rows > ROWS else rows


def _kept_bytes(hidden: Tensor) -> int:
    return KEEP_BYTES if hidden.device.type == "cpu" else GPU_KEEP_BYTES


class _TargetLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        layer: OutputLayer,
        want: tuple[Want, ...],
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        count, vocabulary = len(hidden), len(weight)
        token = hidden.new_empty(count, dtype=torch.float32)
        top1 = torch.empty(count, dtype=torch.bool, device=hidden.device) if "top1" in want else None
        entropy, collision = (torch.empty_like(token) if name in want else None for name in ("entropy", "collision"))
        differentiable = any(ctx.needs_input_grad[:3])
        few = count * vocabulary * hidden.element_size() <= _kept_bytes(hidden)
        keep = differentiable and few and layer.cap is None
        kept = hidden.new_empty(count, vocabulary) if keep else None
        rows = _chunk_rows(vocabulary, hidden)
        for start in range(0, count, rows):
            part = slice(start, start + rows)
            z = layer._replace(weight=weight, bias=bias).logits(hidden[part])
            z_target = z.gather(1, target[part, None]).squeeze(1)
            p = _softmax_into(z, kept[part] if kept is not None else None)
            # log sum exp z = z_top - log p_top; p_top >= 1/V, so nothing underflows
            log_sum = z.amax(-1) - p.amax(-1).log()
            token[part] = z_target - log_sum
            if top1 is not None:  # several times as slow as the greatest value alone
                top1[part] = z.argmax(-1) == target[part]
            if entropy is not None:
                entropy[part] = log_sum - (p * z).sum(-1)
            if collision is not None:
                collision[part] = (p * p).sum(-1)
        ctx.layer = layer
        ctx.save_for_backward(hidden, weight, bias, target, kept)
        ctx.mark_non_differentiable(*(x for x in (top1, entropy, collision) if x is not None))
        return token, top1, entropy, collision

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        hidden, weight, bias, target, kept = ctx.saved_tensors
        assert gradient is not None
        layer: OutputLayer = ctx.layer._replace(weight=weight, bias=bias)
        g = gradient / layer.temperature * layer.scale
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        d_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        rows = len(hidden) if kept is not None else _chunk_rows(len(weight), hidden)
        for start in range(0, len(hidden), max(rows, 1)):
            part = slice(start, start + rows)
            _add_gradients(layer, hidden[part], target[part], g[part], kept, part, d_hidden, d_weight, d_bias)
        return d_hidden, d_weight, d_bias, None, None, None


def _softmax_into(z: Tensor, kept: Tensor | None) -> Tensor:
    """softmax(z) in float32; a copy in the working precision goes to `kept`."""
    if kept is not None and kept.dtype == torch.float32:
        return torch.softmax(z, -1, out=kept)
    p = torch.softmax(z, -1)
    if kept is not None:
        kept.copy_(p)
    return p


def _add_gradients(
    layer: OutputLayer,
    hidden: Tensor,
    target: Tensor,
    g: Tensor,
    kept: Tensor | None,
    part: slice,
    d_hidden: Tensor | None,
    d_weight: Tensor | None,
    d_bias: Tensor | None,
) -> None:
    """Adds one chunk's share: with e = onehot(target) - p (times the slope of the cap), dh = g e W and dW = e' g h."""
    weight, dtype = layer.weight, hidden.dtype
    column = g.to(dtype)[:, None]
    if layer.cap is None:
        p = kept[part] if kept is not None else torch.softmax(layer.logits(hidden), -1).to(dtype)
        if d_hidden is not None:
            d_hidden[part] = (weight[target] - p @ weight) * column
        if d_weight is not None:
            scaled = hidden * column
            d_weight.addmm_(p.t(), scaled, alpha=-1.0)
            d_weight.index_add_(0, target, scaled)
        if d_bias is not None:
            d_bias.sub_(p.t() @ column.squeeze(1)).index_add_(0, target, column.squeeze(1))
        return
    z = layer.logits(hidden)
    slope = 1 - (z * layer.temperature / layer.cap) ** 2
    e = -torch.softmax(z, -1)
    e.scatter_add_(1, target[:, None], torch.ones_like(g)[:, None])
    e = (e * slope * g[:, None]).to(dtype)
    if d_hidden is not None:
        d_hidden[part] = e @ weight
    if d_weight is not None:
        d_weight.addmm_(e.t(), hidden)
    if d_bias is not None:
        d_bias.add_(e.sum(0))
