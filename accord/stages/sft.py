"""`accord sft`: the likelihood of demonstrations, equation 2."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from accord.data.choose import demonstration
from accord.data.sources import Source
from accord.data.table import fingerprint, mark_of
from accord.errors import InputError
from accord.stages.config import SftConfig
from accord.stages.course import Course, course_of, mixed_course
from accord.stages.dry import carry_out
from accord.stages.intake import Intake, fitting
from accord.stages.outcome import Result
from accord.stages.pretrain import INTAKE as MIX
from accord.stages.pretrain import blocks
from accord.stages.prompts import prompts_of
from accord.stages.session import Begun, Session, begin
from accord.stages.setup import Given, apart, say
from accord.training.objectives import FineTuning, Likelihood, Objective, whole


def run(config: SftConfig, given: Given) -> Result | None:
    """Trains on the best completion of every group. None after a dry run."""
    _check_decoder(config, given)
    intake = Intake("sft", demonstration, fitting(config.length), turns=config.demonstration.turns)
    with begin("sft", config, given, intake, config.length) as begun:
        session = Session("sft", config, begun, _course(config, given, begun), Likelihood(), prompts_of(begun.data))
        return carry_out(session)


def _check_decoder(config: SftConfig, given: Given) -> None:
    asked = {"lm_alpha": config.demonstration.lm_alpha > 0, "mix": config.demonstration.mix is not None}
    if any(asked.values()) and apart(config.model, given):
        what = "a language-model loss on whole texts needs a model that only decodes; this one has an encoder"
        raise InputError(what, where=next(name for name, is_asked in asked.items() if is_asked), fix="leave it out")


def _course(config: SftConfig, given: Given, begun: Begun) -> Course:
    data, options = begun.data, config.demonstration
    groups, objective = data.groups, _objective(config, begun)
    if options.lm_alpha > 0:
        groups = [whole(group) for group in groups]
    if options.mix is None:
        return course_of(groups, data.train, objective, config.data, config.train, begun.cut)
    preparation = replace(begun.preparation, intake=MIX, length=None)
    texts = preparation.of(cast(Source, given.get("mix", options.mix)), config.data.split)
    packed = blocks(texts.groups, preparation.options)
    begun.data = data._replace(fingerprint=fingerprint([data.fingerprint.encode(), *map(mark_of, packed)]))
    say(f"mix: {texts.report.summary()}; {len(packed)} blocks of {preparation.options.max_length} tokens")
    own = (groups, data.train, objective)
    return mixed_course(own, (packed, Likelihood()), options.mix_fraction, config.data, config.train, begun.cut)


def _objective(config: SftConfig, begun: Begun) -> Objective:
    alpha = config.demonstration.lm_alpha
    return FineTuning(begun.data.groups, alpha=alpha) if alpha > 0 else Likelihood()
