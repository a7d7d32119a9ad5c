"""Where a run's reference log-probabilities come from: its own folder, the store that runs share, or a pass of its own.

Values of one token differ by up to 3e-5 nats with the micro-batch that they were computed in. So a run keeps a copy of
those that it began with, and is continued with these.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.batches import arrange
from accord.data.dialogue import TokenGroup
from accord.errors import IntegrityError, StorageError
from accord.models import sealed
from accord.models.identity import group_key
from accord.models.layout import ROUNDING
from accord.models.logprobs import LanguageModel, logprobs, resting
from accord.models.reference import ReferenceLogprobs
from accord.stages.caches import store_of
from accord.stages.config import DpoConfig
from accord.stages.entering import Entered
from accord.stages.resuming import VALUES, Change
from accord.stages.score_all import Scorer
from accord.stages.session import Begun
from accord.stages.setup import Given, moved, network_of, ready, say

FILE = "reference.safetensors"


def reference_of(config: DpoConfig, given: Given, begun: Begun, groups: Sequence[TokenGroup]) -> ReferenceLogprobs:
    """The reference's log-probabilities of these groups; afterwards they lie in the run folder too.

    It is the model of `config.preference.reference` or `given["reference"]`, else the run's own as it begins.
    IntegrityError where that one does not give the same numbers twice.
    """
    assert begun.folder is not None
    path, keys = begun.folder.path / FILE, [group_key(group) for group in groups]
    data = sha256(b"".join(keys)).hexdigest()
    kept = _kept(path, data) if begun.entered.continues else None
    trained_with = begun.entered.found.about["reference"] if begun.entered.found else ""
    if trained_with:
        if kept is not None and kept.seal == trained_with:
            return _taken(begun, kept)
        say(f"note: the reference that the checkpoint was trained with is not in {begun.folder.path}: it is made anew")
    own = config.preference.reference is None and "reference" not in given
    model = begun.model if own else other_model(config, given, begun)
    scorer = Scorer(model, begun.place.max_tokens, store_of(config.preference.reference_cache), _name(config, own))
    if not trained_with and kept is not None and scorer.who and kept.about["content"] == scorer.who.content:
        return _taken(begun, kept)
    found = scorer.reference(groups, keys)
    if own:
        found = _checked(begun, scorer, groups, keys, found)
    about = {"data": data, "content": scorer.who.content if scorer.who else ""}
    begun.entered.reference = sealed.seal_of(_tensors(found), about)
    if trained_with:
        _check_values(begun.entered, trained_with, path)
    _save(path, found, about)
    return found


def _taken(begun: Begun, kept: sealed.Sealed) -> ReferenceLogprobs:
    begun.entered.reference = kept.seal
    return ReferenceLogprobs(**kept.tensors)


def _check_values(entered: Entered, before: str, path: Path) -> None:
    """Whether values that were computed anew are to the bit those that the checkpoint was trained with.

    They are not where the run's first ones came from the store, or with other threads: up to 3e-5 nats are between
    them. Where data or options have changed they are others anyway.
    """
    if entered.reference == before:
        say("the reference made anew is the same, to the bit")
        return
    change = Change(VALUES, f"values {before[:16]}", f"values {entered.reference[:16]}")
    if entered.changes:
        entered.changes.append(change)
    elif not entered.takes(change):
        raise IntegrityError(
            "the reference that the checkpoint was trained with is gone, and made anew its values are not the same",
            where=str(path),
            fix=f"bring back a copy of the file, or go on with the new values: --allow_change {VALUES}",
        )


def _name(config: DpoConfig, own: bool) -> str:
    """For people: how the model was named; empty for an object."""
    name = config.model.model if own else config.preference.reference
    return "" if name in (None, "<object>") else str(name)


def _kept(path: Path, data: str) -> sealed.Sealed | None:
    """The run's own copy, if it is of these data."""
    try:
        kept = sealed.read(path)
    except FileNotFoundError:
        return None
    except IntegrityError as error:
        say(f"note: the run's own copy of the reference is {error.what}: {path}")
        return None
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise StorageError(what, where=str(path), fix="check who owns it") from error
    return kept if kept.about.get("data") == data else None


def _tensors(found: ReferenceLogprobs) -> dict[str, Tensor]:
    return {"token": found.token, "end": found.end, "sum": found.sum, "first": found.first}


def _save(path: Path, found: ReferenceLogprobs, about: dict[str, str]) -> None:
    try:
        sealed.write(path, _tensors(found), about)
    except OSError as error:
        what = f"the reference cannot be written ({error.strerror or error})"
        raise StorageError(what, where=str(path), fix="free some space, or take another --output_dir") from error


def other_model(config: DpoConfig, given: Given, begun: Begun) -> LanguageModel:
    """Another model than the run's own, computing in the same precision; an object in its own."""
    name = config.preference.reference or "<object>"
    network = network_of(name, given.get("reference"), begun.tokenizer, config.model, begun.place)
    model = ready(network, begun.data.groups, config.model)
    if "reference" not in given:
        moved(network, begun.place.device, begun.place.dtype)
    return model


def _checked(
    begun: Begun,
    scorer: Scorer,
    groups: Sequence[TokenGroup],
    keys: Sequence[bytes],
    found: ReferenceLogprobs,
) -> ReferenceLogprobs:
    """The values, if they are those of the policy; what the store had and is not, is computed anew."""
    gap = start_gap(begun.model, groups, found)
    if gap and scorer.reused:
        say(f"note: the store's values are not this model's, and are computed anew: {gap}")
        found = scorer.afresh(groups, keys)
        gap = start_gap(begun.model, groups, found)
    if gap:
        raise IntegrityError(
            f"policy and reference are the same model, and {gap.what}",
            where=f"step 0, {gap.where}",
            fix="the model does not give the same numbers twice; tell us which one it is",
        )
    return found


class Gap(NamedTuple):
    """A difference of policy and reference beyond rounding."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@torch.no_grad()
def start_gap(model: LanguageModel, groups: Sequence[TokenGroup], reference: ReferenceLogprobs) -> Gap | None:
    """Before step 1 every token's log-ratio is within rounding of 0; None where it is, on the longest group."""
    place = max(range(len(groups)), key=lambda i: groups[i].length)
    batch = arrange([groups[place]], model.layout, indices=[place], start=model.start).to(model.device)
    with model.segmented(), resting(model.network):
        own = logprobs(model, batch).token.token
    difference = (own - reference.tokens_of(batch)).abs()
    largest, mean = ROUNDING[model.network.dtype]
    if not len(difference) or (difference.max() <= largest and difference.mean() <= mean):
        return None
    return Gap(f"differ by {difference.max():.2g} nats in a token", str(groups[place].group.source))
