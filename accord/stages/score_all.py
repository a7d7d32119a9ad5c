"""The log-probability of every completion: from the store what it has, the rest in one pass with a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from accord.data.batches import Batch
from accord.data.dialogue import TokenGroup
from accord.models.identity import Identity, Unidentified, identity
from accord.models.logprobs import LanguageModel
from accord.models.reference import GroupLogprobs, ReferenceLogprobs, reference_logprobs
from accord.models.store import Store
from accord.stages.setup import say
from accord.training.progress import Progress

FLUSH = 300.0  # seconds of computing that a killed pass may lose


def score_all(
    name: str,
    model: LanguageModel,
    groups: Sequence[TokenGroup],
    max_tokens: int,
    watch: Callable[[Batch, list[GroupLogprobs]], None] = lambda batch, found: None,
) -> ReferenceLogprobs:
    """As `reference_logprobs`; `name` stands before the bar. watch: told each micro-batch and its groups' values."""
    done = 0
    with Progress(name, len(groups), unit="group") as progress:

        def advance(batch: Batch, found: list[GroupLogprobs]) -> None:
            nonlocal done
            done += len(batch.members)
            progress.advance(done, None, None, len(batch.members), batch.token_count)
            watch(batch, found)

        result = reference_logprobs(model, groups, max_tokens=max_tokens, advance=advance)
        progress.log()
    return result


class Scorer:
    """Computes a model's values of groups, but for those that the store has, and keeps what was computed there.

    Nothing about the store ends a run: one note says what is wrong with it, and the rest goes without.
    """

    def __init__(self, model: LanguageModel, max_tokens: int, store: Store | None, name: str) -> None:
        self.model, self.max_tokens, self.store, self.name = model, max_tokens, store, name
        self.who = _who(model)
        if self.who is None:
            self.store = None
        self.reused = 0  # groups that the store had

    def reference(self, groups: Sequence[TokenGroup], keys: Sequence[bytes]) -> ReferenceLogprobs:
        """Of these groups; keys: theirs. Equal groups are computed once."""
        values = self._find(keys)
        self.reused = sum(key in values for key in keys)
        if self.reused:
            assert self.store is not None
            say(f"reference: {self.reused:,} of {len(groups):,} groups from {self.store.root}")
        missing = {key: group for key, group in zip(keys, groups, strict=True) if key not in values}
        if missing:
            values |= self._computed(list(missing), list(missing.values()))
        return ReferenceLogprobs.of_groups([values[key] for key in keys])

    def afresh(self, groups: Sequence[TokenGroup], keys: Sequence[bytes]) -> ReferenceLogprobs:
        """The same without what the store has, which is removed from it."""
        assert self.store is not None and self.who is not None
        try:
            self.store.forget(self.who.key)
        except OSError as error:
            self._without(error)
        return self.reference(groups, keys)

    def _computed(self, keys: Sequence[bytes], groups: Sequence[TokenGroup]) -> dict[bytes, GroupLogprobs]:
        values: dict[bytes, GroupLogprobs] = {}
        unsaved: dict[bytes, GroupLogprobs] = {}
        saved_at = time.monotonic()

        def watch(batch: Batch, found: list[GroupLogprobs]) -> None:
            nonlocal saved_at
            unsaved.update(zip((keys[place] for place in batch.indices), found, strict=True))
            if len(values) + len(unsaved) == len(groups) or time.monotonic() - saved_at > FLUSH:
                self._keep(unsaved)
                values.update(unsaved)
                unsaved.clear()
                saved_at = time.monotonic()

        score_all("reference", self.model, groups, self.max_tokens, watch)
        return values

    def _find(self, keys: Sequence[bytes]) -> dict[bytes, GroupLogprobs]:
        if self.store is None or self.who is None:
            return {}
        try:
            return self.store.find(self.who.key, set(keys))
        except OSError as error:
            self._without(error)
            return {}

    def _keep(self, values: dict[bytes, GroupLogprobs]) -> None:
        if self.store is None or self.who is None:
            return
        network = self.model.network
        about = {
            "name": self.name or str(network.name_or_path),
            "class": type(network).__name__,
            "dtype": str(next(network.parameters()).dtype).removeprefix("torch."),
            "way": self.who.way,
        }
        try:
            self.store.keep(self.who.key, about, values)
        except OSError as error:
            self._without(error)

    def _without(self, error: OSError) -> None:
        assert self.store is not None
        what = f"note: the reference's values are not shared with other runs: {self.store.root}"
        say(f"{what}: {error.strerror or error}: make room there, or give --reference_cache DIR")
        self.store = None


def _who(model: LanguageModel) -> Identity | None:
    try:
        return identity(model)
    except Unidentified as error:
        say(f"note: the reference's values are not shared with other runs: {error}")
        return None
