"""Reference log-probabilities of every token, computed once before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.ranges import Ranges
from accord.maths.likelihood import sum_by_owner
from accord.models.adapters import adapters_off
from accord.models.identity import idle_adapter
from accord.models.logprobs import LanguageModel, logprobs, resting

GroupLogprobs = tuple[Tensor, ...]  # of each completion of a group: (n,) nats, float32


@dataclass(frozen=True)
class ReferenceLogprobs:
    """Of G groups with C completions and N predicted tokens in all, in the order of the data set."""

    token: Tensor  # (N,) nats, float32
    end: Tensor  # (C,) where each completion's tokens end in `token`
    sum: Tensor  # (C,) nats, summed as the policy's are
    first: Tensor  # (G,) each group's first completion

    @classmethod
    def of_groups(cls, groups: Sequence[GroupLogprobs]) -> ReferenceLogprobs:
        """Of these groups, in their order."""
        completions = [values for group in groups for values in group]
        token = torch.cat(completions) if completions else torch.zeros(0)
        length = torch.tensor([len(values) for values in completions], dtype=torch.long)
        count = torch.tensor([len(group) for group in groups], dtype=torch.long)
        owner = torch.arange(len(completions)).repeat_interleave(length)
        return cls(token, length.cumsum(0), sum_by_owner(token, owner, len(completions)), count.cumsum(0) - count)

    def at(self, places: Sequence[int], count: int) -> ReferenceLogprobs:
        """The same values for a data set of `count` groups of which these are at `places`; the others have none."""
        first = self.first.new_full((count,), len(self.end))  # looked up by mistake, it is out of range
        first[torch.tensor(places, dtype=torch.long)] = self.first
        return replace(self, first=first)

    @property
    def ranges(self) -> Ranges:
        return Ranges(self.end, self.first)

    def of(self, batch: Batch) -> Tensor:
        """(C,) sums of a micro-batch's completions, in its order."""
        return self.sum[self.ranges.completions(batch)].to(batch.last.device)

    def tokens_of(self, batch: Batch) -> Tensor:
        """(N,) of a micro-batch's predicted tokens, in the order of `batch.predict` and `batch.owner`."""
        return self.token[self.ranges.tokens(batch)].to(batch.last.device)


def reference_logprobs(
    model: LanguageModel,
    groups: Sequence[TokenGroup],
    *,
    max_tokens: int,
    advance: Callable[[Batch, list[GroupLogprobs]], None] = lambda batch, found: None,
) -> ReferenceLogprobs:
    """One pass over all groups, similar lengths together.

    advance: told each micro-batch and its groups' values.
    """
    found: dict[int, GroupLogprobs] = {}
    batches = micro_batches(groups, range(len(groups)), max_tokens=max_tokens, layout=model.layout, start=model.start)
    # Without an adapter that adds nothing the numbers are the base's to the bit, whatever its rank.
    off = adapters_off(model.network) if idle_adapter(model.network) else nullcontext()
    with torch.no_grad(), model.segmented(), resting(model.network), off:
        for batch in batches:
            result = logprobs(model, batch.to(model.device))
            parts = iter([part.clone() for part in result.token.token.cpu().split(result.length.tolist())])
            values = [tuple(next(parts) for _ in group.completions) for group in batch.members]
            found.update(zip(batch.indices, values, strict=True))
            advance(batch, values)
    return ReferenceLogprobs.of_groups([found[place] for place in range(len(groups))])
