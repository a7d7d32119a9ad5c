"""Where each completion's tokens lie in flat columns over a data set: what is known of every token is kept once, and
looked up for whatever micro-batch the tokens come in.

G groups with C completions and N predicted tokens in all, in the order of the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.dialogue import TokenGroup


class Ranges(NamedTuple):
    """The ends of completions in a column of tokens, and of groups in a column of completions."""

    end: Tensor  # (C,) where each completion's tokens end
    first: Tensor  # (G,) each group's first completion

    @classmethod
    def of_groups(cls, groups: Sequence[TokenGroup]) -> Ranges:
        """Of the tokens of these groups that carry loss; the first token of a text without a prompt carries none."""
        length = [_predicted(group, place) for group in groups for place in range(len(group.completions))]
        count = torch.tensor([len(group.completions) for group in groups], dtype=torch.long)
        return cls(torch.tensor(length, dtype=torch.long).cumsum(0), count.cumsum(0) - count)

    @property
    def length(self) -> Tensor:
        """(C,) tokens of each completion."""
        return self.end.diff(prepend=self.end.new_zeros(1))

    @property
    def owner(self) -> Tensor:
        """(N,) the completion that each token belongs to."""
        return torch.arange(len(self.end)).repeat_interleave(self.length)

    def completions(self, batch: Batch) -> Tensor:
        """(c,) where a micro-batch's completions lie in a column of completions."""
        firsts = self.first[torch.tensor(batch.indices)].tolist()
        members = zip(firsts, batch.members, strict=True)
        return torch.cat([torch.arange(first, first + len(group.completions)) for first, group in members])

    def tokens(self, batch: Batch) -> Tensor:
        """(n,) where its predicted tokens lie in a column of tokens, in the order of `batch.predict`."""
        chosen = self.completions(batch)
        length = self.length[chosen]
        start = self.end[chosen] - length
        # 0, 1, 2, ... within each completion, behind its own start
        within = torch.arange(int(length.sum())) - (length.cumsum(0) - length).repeat_interleave(length)
        found = start.repeat_interleave(length) + within
        assert len(found) == len(batch.predict), "columns of other groups than those of the micro-batch"
        return found


def _predicted(group: TokenGroup, place: int) -> int:
    loss = group.completions[place].loss
    count = sum(end - start for start, end in loss)
    return count - (not len(group.prompt) and any(start == 0 < end for start, end in loss))
