"""`accord ppo`, `reinforce`, `rloo`, `grpo`: sample, score, make good samples more likely; equations 9 and 15 to 17."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import cast

from torch import Tensor

from accord.data.choose import demonstration
from accord.data.sources import Source
from accord.data.table import fingerprint, mark_of
from accord.models.sample import ends_of
from accord.models.stop_strings import StopStrings
from accord.stages.config import RlConfig
from accord.stages.course import Turn
from accord.stages.dry import carry_out
from accord.stages.intake import Intake, fitting
from accord.stages.outcome import Result
from accord.stages.pretrain import INTAKE as TEXTS
from accord.stages.pretrain import blocks
from accord.stages.prompts import prompts_of
from accord.stages.rl_course import Mix, RlCourse, cut_all
from accord.stages.rl_evaluation import evaluate_prompts
from accord.stages.rl_prompts import Prompts, intake_of
from accord.stages.rl_roles import critic_weights, roles_of
from accord.stages.rl_rollouts import Maker, Roles, Sampling
from accord.stages.rl_rounds import Stream
from accord.stages.rl_show import Show
from accord.stages.rl_state import KlTarget, Rounds
from accord.stages.rl_terms import advantages_of, kl_in, settings_of, shaping_of, told
from accord.stages.session import Begun, Session, begin
from accord.stages.setup import Given, say
from accord.stages.training import rate_of
from accord.training.objectives import Likelihood
from accord.training.optimizer import Weights
from accord.training.trained import Beside


def run(config: RlConfig, given: Given) -> Result | None:
    """Trains the policy on what it samples. None after a dry run."""
    prompts, name = Prompts(), config.policy.algorithm
    intake = intake_of(prompts, config.length, config.generations, config.rollout.max_new_tokens)
    with begin(name, config, given, intake, config.length) as begun:
        say(told(config))
        roles, mix, show = (
            roles_of(config, given, begun, prompts),
            _mix(config, given, begun),
            Show(config, begun.tokenizer),
        )
        rounds = _rounds(config, begun, _maker(config, begun, roles, prompts, show), show)
        course = RlCourse(config, begun, rounds, roles.critic, mix).course
        show.session = session = Session(name, config, begun, course, Likelihood(), prompts_of(begun.data))
        _furnish(session, config, rounds, roles)
        return carry_out(session)


def _furnish(session: Session, config: RlConfig, rounds: Rounds, roles: Roles) -> None:
    """What this kind of session does besides its steps."""
    begun, held = session.begun, [session.begun.data.groups[place] for place in session.begun.data.held]
    session.after_step, session.news = rounds.after_step, rounds.news
    session.figures = lambda: rounds.figures
    session.warnings = lambda: rounds.hacking.warnings
    session.evaluation = lambda one: evaluate_prompts(one, rounds.maker, held, config.policy.kl_coef)
    session.extra_state = {"rounds": rounds}
    if roles.critic is not None:
        weights = critic_weights(roles.critic, config, begun.place.dtype)
        rate = rate_of(session, config.critic.critic_learning_rate or config.train.learning_rate)
        session.beside = [Beside(weights, rate, "critic/")]
        parts = {f"critic_{file}": Kept(weights, file) for file in ("weights", "optimizer")}
        session.extra_state = {**session.extra_state, **parts}


class Kept:
    """One file of a critic's state, for checkpoints."""

    def __init__(self, weights: Weights, file: str) -> None:
        self.weights, self.file = weights, file

    def state_tensors(self) -> Mapping[str, Tensor]:
        return self.weights.state_tensors()[self.file]

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.weights.load_file(self.file, tensors)


def _maker(config: RlConfig, begun: Begun, roles: Roles, prompts: Prompts, show: Show) -> Maker:
    options, tokenizer = config.rollout, begun.tokenizer
    sampling = Sampling(
        config.generations,
        options.max_new_tokens,
        options.temperature,
        ends_of(begun.model.network, tokenizer),
        StopStrings(tokenizer, tuple(options.stop)) if options.stop else None,
        options.sample_rows,
        config.train.seed,
    )
    return Maker(
        roles,
        sampling,
        shaping_of(config),
        settings_of(config),
        advantages_of(config),
        kl_in(config) == "reward",
        prompts,
        tokenizer,
        partial(cut_all, begun),
        show.tell,
    )


def _rounds(config: RlConfig, begun: Begun, maker: Maker, show: Show) -> Rounds:
    train, policy = config.train, config.policy
    adapt = None if policy.kl_target is None else KlTarget(policy.kl_target, policy.kl_horizon or 10_000)
    count = train.batch_size * config.rollout.num_mini_batches
    stream = Stream(begun.data.train, count, shuffle=config.data.shuffle, seed=train.seed)
    return Rounds(
        maker,
        stream,
        begun.data.groups,
        beta=policy.kl_coef,
        adapt=adapt,
        target_kl=policy.target_kl,
        shown=show.round,
    )


def _mix(config: RlConfig, given: Given, begun: Begun) -> Mix | None:
    """The texts or demonstrations of PPO-ptx."""
    options, data = config.ptx, begun.data
    if options.ptx is None and "ptx" not in given:
        return None
    of_texts = options.ptx_kind == "texts"
    intake = TEXTS if of_texts else Intake("sft", demonstration, fitting(config.length))
    preparation = replace(begun.preparation, intake=intake, length=None if of_texts else config.length)
    found = preparation.of(cast(Source, given.get("ptx", options.ptx)), config.data.split)
    groups = blocks(found.groups, preparation.options) if of_texts else found.groups
    begun.data = data._replace(fingerprint=fingerprint([data.fingerprint.encode(), *map(mark_of, groups)]))
    say(f"ptx: {found.report.summary()}")
    turn = Turn(
        range(len(groups)), options.ptx_batch_size or config.train.batch_size, config.data, config.train.seed + 1
    )
    return Mix(groups, turn, Likelihood(), options.ptx_coef)
