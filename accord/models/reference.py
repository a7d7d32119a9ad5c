"""Reference log-probabilities, computed once before the first step.

The values of every token are kept, so that losses that need more than sums can be fed from the same file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.data.batches import Batch, micro_batches
from accord.data.dialogue import TokenGroup
from accord.models.logprobs import LanguageModel, logprobs, resting


@dataclass(frozen=True)
class ReferenceLogprobs:
    """Of G groups with C completions in all, in the order of the data set."""

    token: Tensor  # (N,) nats, float32
    end: Tensor  # (C,) where each completion's tokens end in `token`
    sum: Tensor  # (C,) nats, summed as the policy's are
    first: Tensor  # (G,) each group's first completion

    def of(self, batch: Batch) -> Tensor:
        """(C,) sums of a micro-batch's completions, in its order."""
        places = [
            torch.arange(int(self.first[i]), int(self.first[i]) + len(group.completions))
            for i, group in zip(batch.indices, batch.members, strict=True)
        ]
        return self.sum[torch.cat(places)].to(batch.last.device)

    def save(self, path: Path, fingerprint: str) -> None:
        """One safetensors file, whole or not at all. fingerprint: of the data that the numbers belong to."""
        aside = path.with_name(f".{path.name}.tmp")
        tensors = {"token": self.token, "end": self.end, "sum": self.sum, "first": self.first}
        save_file(tensors, aside, metadata={"fingerprint": fingerprint})
        os.replace(aside, path)

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> ReferenceLogprobs | None:
        """None where there is no file, or one of other data."""
        if not path.exists():
            return None
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("fingerprint") != fingerprint:
                return None
        return cls(**load_file(path))


@torch.no_grad()
def reference_logprobs(
    model: LanguageModel,
    groups: Sequence[TokenGroup],
    *,
    max_tokens: int,
    advance: Callable[[int, int], None] = lambda groups, tokens: None,
) -> ReferenceLogprobs:
    """One pass over all groups, similar lengths together. advance: told the groups and tokens of each micro-batch."""
    token: list[Tensor] = [torch.empty(0)] * sum(len(group.completions) for group in groups)
    total = torch.zeros(len(token))
    counts = torch.tensor([len(group.completions) for group in groups])
    first = counts.cumsum(0) - counts
    batches = micro_batches(groups, range(len(groups)), max_tokens=max_tokens, layout=model.layout)
    with model.segmented(), resting(model.network):
        for batch in batches:
            result = logprobs(model, batch.to(model.device))
            parts = result.token.token.cpu().split(result.length.tolist())
            sums = result.sum.cpu()
            place = 0
            for i, group in zip(batch.indices, batch.members, strict=True):
                start, count = int(first[i]), len(group.completions)
                token[start : start + count] = [part.clone() for part in parts[place : place + count]]
                total[start : start + count] = sums[place : place + count]
                place += count
            advance(len(batch.members), batch.token_count)
    lengths = torch.tensor([len(part) for part in token], dtype=torch.long)
    return ReferenceLogprobs(torch.cat(token) if token else torch.empty(0), lengths.cumsum(0), total, first)
