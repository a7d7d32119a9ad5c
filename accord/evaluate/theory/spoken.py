"""A world's completions as a network has them: token ids, layouts, and its log-probabilities of all completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.data.batches import Batch, Layout, arrange
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.data.encode import Ids
from accord.evaluate.theory.world import World
from accord.models.logprobs import LanguageModel, logprobs
from accord.records import Group


class Spoken(NamedTuple):
    """A network with G prompts and S completions, which are all that it can say with its words in so many tokens."""

    model: LanguageModel
    prompts: tuple[Ids, ...]
    completions: tuple[Ids, ...]
    end: int  # the token that ends a completion

    @property
    def groups(self) -> tuple[TokenGroup, ...]:
        """One of each prompt, with every completion."""
        whole = tuple(TokenCompletion(ids, ((0, len(ids)),)) for ids in self.completions)
        return tuple(TokenGroup(Group(f"x{g}", "", ()), ids, whole) for g, ids in enumerate(self.prompts))

    @property
    def longest(self) -> int:
        """T."""
        return max(map(len, self.completions))

    def batch(self, layout: Layout) -> Batch:
        return arrange(self.groups, layout, start=self.model.start)

    def number(self) -> dict[tuple[int, ...], int]:
        """The place in 0..S-1 of each completion, by its ids."""
        return {tuple(ids.tolist()): s for s, ids in enumerate(self.completions)}


def ids_of(tokens: Sequence[int]) -> Ids:
    return np.array(tokens, dtype=np.int32)


def spoken_of(world: World) -> Spoken:
    """Of a world that a network is behind."""
    assert world.trained is not None, "no network is behind this world"
    own = world.trained
    prompts = tuple(ids_of(own.tokenizer(prompt)["input_ids"]) for prompt in world.prompts)
    completions = tuple(ids_of(row[kept].tolist()) for row, kept in zip(world.tokens, world.mask, strict=True))
    end = own.tokenizer.eos_token_id
    assert isinstance(end, int)
    return Spoken(own.model, prompts, completions, end)


def counted(spoken: Spoken, layout: Layout | None = None) -> Tensor:
    """(G, S) log pi(y|x) by the engine, float64 of its float32."""
    model = spoken.model if layout is None else LanguageModel(spoken.model.network, layout, spoken.model.head)
    with torch.no_grad(), model.segmented():
        found = logprobs(model, spoken.batch(model.layout).to(model.device))
    return found.sum.double().cpu().reshape(len(spoken.prompts), len(spoken.completions))
