"""Whether all numbers are finite: what is not is never saved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from accord.errors import Diverged


@torch.no_grad()
def check_finite(tensors: Iterable[tuple[str, Tensor]], *, where: str) -> None:
    """Diverged names the first of these named tensors that has a NaN or an infinity. where: as the error says it."""
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    # The least and the greatest are not finite where any number is not; nothing is copied, and one number is fetched
    # a tensor, all at once.
    ends = [torch.stack(torch.aminmax(tensor)).isfinite().all() for _, tensor in named]
    by_device: dict[torch.device, list[Tensor]] = {}
    for end in ends:
        by_device.setdefault(end.device, []).append(end)
    if all(bool(torch.stack(some).all()) for some in by_device.values()):
        return
    name = next(name for (name, _), end in zip(named, ends, strict=True) if not end)
    what = f"{name} has values that are not finite; such weights are not saved"
    raise Diverged(what, where=where, fix="train with a lower learning_rate; what was saved before is untouched")
