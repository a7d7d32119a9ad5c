"""`accord dpo`: losses on pairs, labelled completions and rankings; equations 7 and 12 to 14."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from accord.data.dialogue import TokenGroup
from accord.data.findings import Stage
from accord.data.mismatch import mismatched
from accord.data.take import FOUND, Kind, compared
from accord.stages.config import DpoConfig
from accord.stages.course import course_of
from accord.stages.dry import carry_out
from accord.stages.intake import Intake, fitting
from accord.stages.loss_objective import has_neutral, objective_of
from accord.stages.losses import ChosenLoss, chosen_loss
from accord.stages.outcome import Result
from accord.stages.prompts import prompts_of
from accord.stages.reference import other_model, reference_of
from accord.stages.session import Begun, Findings, Session, begin
from accord.stages.setup import Given, context
from accord.training.displacement import chosen_fall
from accord.training.moving import MovingReference
from accord.training.objectives import Objective
from accord.training.scores import Reference


def intake_of(config: DpoConfig, kind: Kind) -> Intake:
    """Whole groups that hold what such a loss learns from, as texts and as tokens."""
    stage: Stage = "kto" if kind == "labels" else "dpo"
    return Intake(stage, partial(compared, kind), fitting(config.length), name=kind, holds=FOUND[kind][0])


def run(config: DpoConfig, given: Given) -> Result | None:
    """Trains on what the loss takes of every group. None after a dry run."""
    loss = chosen_loss(config.preference)
    with begin("dpo", config, given, intake_of(config, loss.kind), config.length) as begun:
        data = begun.data
        borrowed = _borrowed(config, given, loss, begun)
        reference = _reference(config, given, begun, loss, [*data.groups, *borrowed] if borrowed else data.groups)
        objective = _objective(loss, reference, begun, borrowed)
        held = _held_objective(config, given, begun, loss, objective, borrowed)
        course = course_of(data.groups, data.train, objective, config.data, config.train, begun.cut)
        session = Session("dpo", config, begun, course, held, prompts_of(data))
        session.at_end = _findings
        if isinstance(reference, MovingReference):
            session.after_step, session.extra_state = reference.after_step, {"reference": reference}
        return carry_out(session)


def _findings(session: Session) -> Findings:
    """A note, where the run has made the chosen answers unlikely."""
    fall = chosen_fall(session.folder.metrics())
    return Findings({}) if fall is None else Findings({"chosen_fall": fall._asdict()}, (), [f"note: {fall}"])


def _borrowed(config: DpoConfig, given: Given, loss: ChosenLoss, begun: Begun) -> list[TokenGroup]:
    """Every group's prompt with completions of another, where the loss wants them: held-out ones among themselves."""
    if not has_neutral(loss):
        return []
    groups, limits = begun.data.groups, (config.data.max_length, context(config.model, given))
    longest = min(limit for limit in limits if limit is not None)
    train, held = groups[: begun.data.trained], groups[begun.data.trained :]
    borrow = partial(mismatched, max_length=longest, apart=begun.model.start is not None)
    return [*borrow(train), *(borrow(held, part="held-out ") if held else [])]


def _reference(
    config: DpoConfig, given: Given, begun: Begun, loss: ChosenLoss, groups: Sequence[TokenGroup]
) -> Reference | None:
    if not loss.needs_reference or config.run.dry_run:
        return None
    options = config.preference
    if options.sync_reference == "none":
        return reference_of(config, given, begun, groups)
    own = options.reference is None and "reference" not in given
    start = None if own else other_model(config, given, begun).network
    sync, alpha, every = options.sync_reference, options.sync_alpha, options.sync_steps
    return MovingReference(begun.model, begun.weights.masters, sync=sync, alpha=alpha, every=every, start=start)


def _held_objective(
    config: DpoConfig,
    given: Given,
    begun: Begun,
    loss: ChosenLoss,
    objective: Objective,
    borrowed: Sequence[TokenGroup],
) -> Objective:
    """The same; but where the reference moves, against the one that the run began with.

    Against a reference that has just been moved to the policy every figure would be that of no training at all.
    """
    data = begun.data
    if config.preference.sync_reference == "none" or not data.held or config.run.dry_run:
        return objective
    groups = [*data.groups, *borrowed]
    places = [place for place in range(len(groups)) if place % len(data.groups) >= data.trained]
    found = reference_of(config, given, begun, [groups[place] for place in places])
    return _objective(loss, found.at(places, len(groups)), begun, borrowed)


def _objective(
    loss: ChosenLoss, reference: Reference | None, begun: Begun, borrowed: Sequence[TokenGroup]
) -> Objective:
    return objective_of(loss, reference, begun.data.groups, borrowed, begun.cut)
