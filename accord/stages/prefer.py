"""`accord dpo`: losses on pairs of completions, equations 12 to 14."""

from __future__ import annotations

import torch

from accord.data.batches import arrange
from accord.data.choose import pairs
from accord.errors import IntegrityError
from accord.maths.preference import PAIR_LOSSES, hyperparameters
from accord.models.layout import ROUNDING
from accord.models.logprobs import LanguageModel, logprobs, resting
from accord.models.reference import ReferenceLogprobs
from accord.records import Group, RecordError
from accord.stages.config import DpoConfig
from accord.stages.course import course_of
from accord.stages.dry import carry_out
from accord.stages.outcome import Result
from accord.stages.prompts import prompts_of
from accord.stages.score_all import score_all
from accord.stages.session import Begun, Session, begin
from accord.stages.setup import Given, fitting, moved, network_of, ready
from accord.training.objectives import Preference

REFERENCE_FILE = "reference.safetensors"


def comparison(group: Group) -> Group:
    """The group itself, if it holds a preference. RecordError where it does not."""
    if pairs(group):
        return group
    what = "no completion is preferred to another" if group.judgements else "no ranks or ratings say which is better"
    raise RecordError(what, origin=group.source, fix="drop the row, or run with --on_bad_row drop")


def run(config: DpoConfig, given: Given) -> Result | None:
    """Trains on all pairs of different rank of every group. None after a dry run."""
    with begin("dpo", config, given, comparison, fitting(config.length)) as begun:
        options = config.preference
        needs = PAIR_LOSSES[options.loss_type].needs_reference and not config.run.dry_run
        reference = _reference(config, given, begun) if needs else None
        objective = Preference(options.loss_type, reference, _hyper(config))
        data = begun.data
        course = course_of(data.groups, data.train, objective, config.data, config.train, begun.cut)
        return carry_out(Session("dpo", config, begun, course, objective, prompts_of(data)))


def _hyper(config: DpoConfig) -> dict[str, float]:
    """The loss's own hyper-parameters, as the options have them."""
    options = config.preference
    return {name: getattr(options, name, default) for name, default in hyperparameters(options.loss_type).items()}


def _reference(config: DpoConfig, given: Given, begun: Begun) -> ReferenceLogprobs:
    """The reference's log-probabilities of all groups: the run's own file, or computed once and kept there."""
    assert begun.folder is not None
    path, fingerprint = begun.folder.path / REFERENCE_FILE, begun.data.fingerprint
    kept = ReferenceLogprobs.load(path, fingerprint) if config.run.resume else None
    if kept is not None:
        return kept
    own = config.preference.reference is None and "reference" not in given
    model = begun.model if own else _other(config, given, begun)
    found = score_all("reference", model, begun.data.groups, begun.place.max_tokens)
    found.save(path, fingerprint)
    if own:
        check_start(begun, found)
    return found


def _other(config: DpoConfig, given: Given, begun: Begun) -> LanguageModel:
    name = config.preference.reference or "<object>"
    network = network_of(name, given.get("reference"), begun.tokenizer, config.model, begun.place)
    model = ready(network, begun.data.groups, config.model)
    if "reference" not in given:
        moved(network, begun.place.device, begun.place.dtype)
    return model


@torch.no_grad()
def check_start(begun: Begun, reference: ReferenceLogprobs) -> None:
    """Before step 1 policy and reference are the same model: every token's log-ratio is within rounding of 0.

    IntegrityError where it is not: the numbers of such a run would mean nothing.
    """
    model, groups = begun.model, begun.data.groups
    place = max(begun.data.train, key=lambda i: groups[i].length)
    batch = arrange([groups[place]], model.layout, indices=[place]).to(model.device)
    with model.segmented(), resting(model.network):
        own = logprobs(model, batch).token.token.cpu()
    first, count = int(reference.first[place]), len(groups[place].completions)
    start = int(reference.end[first - 1]) if first else 0
    gap = (own - reference.token[start : int(reference.end[first + count - 1])]).abs()
    largest, mean = ROUNDING[begun.place.dtype]
    if not (gap.max() <= largest and gap.mean() <= mean):
        raise IntegrityError(
            f"policy and reference are the same model, and differ by {gap.max():.2g} nats in a token",
            where=f"step 0, {groups[place].group.source}",
            fix="the model does not give the same numbers twice; tell us which one it is",
        )
