"""`accord online-dpo`: sample, have the samples judged, learn from that; equation 12 on the policy's own samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from accord.data.dialogue import TokenGroup
from accord.stages.dry import carry_out
from accord.stages.evaluation import Evaluation
from accord.stages.losses import ChosenLoss, chosen_loss, names_of
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.online_course import OnlineCourse
from accord.stages.online_lessons import Teacher
from accord.stages.online_rounds import Judge, OnlineRounds
from accord.stages.online_samples import Sampler, Scored, figures_of
from accord.stages.outcome import Result
from accord.stages.prompts import prompts_of
from accord.stages.rl_course import cut_all
from accord.stages.rl_evaluation import DRAW, estimated
from accord.stages.rl_findings import to_be_shown
from accord.stages.rl_mix import mix_of
from accord.stages.rl_prompts import Prompts, intake_of
from accord.stages.rl_roles import longest_of, reference_of, scorers_of, watched_of
from accord.stages.rl_rollouts import Writer
from accord.stages.rl_rounds import Clock, Stream
from accord.stages.rl_sampling import sampling_of
from accord.stages.rl_show import Show
from accord.stages.session import Begun, Session, begin
from accord.stages.setup import Given, say
from accord.training.objectives import Likelihood
from accord.training.shaping import Shaping


def run(config: OnlineDpoConfig, given: Given) -> Result | None:
    """Trains the policy on what is said of its samples. None after a dry run, and where people have to judge first."""
    prompts, loss, name = Prompts(), chosen_loss(config.preference), "online-dpo"
    intake = intake_of(prompts, config.length, config.generations, config.rollout.max_new_tokens)
    with begin(name, config, given, intake, config.length) as begun:
        say(told(config, loss))
        show = Show(config, begun.tokenizer)
        sampler = _sampler(config, given, begun, prompts, show)
        mix = mix_of(config, given, begun)
        rounds = _rounds(config, begun, sampler, loss, show)
        course = OnlineCourse(config, begun, rounds, mix).course
        show.session = session = Session(name, config, begun, course, Likelihood(), prompts_of(begun.data))
        session.shown = show.latest
        _furnish(session, rounds)
        to_be_shown(session, sampler.rewards, sampler.watched, told(config, loss))
        return carry_out(session)


def _furnish(session: Session, rounds: OnlineRounds) -> None:
    """What this kind of session does besides its steps."""
    held = [session.begun.data.groups[place] for place in session.begun.data.held]
    session.news, session.figures = rounds.news, rounds.figures
    session.warnings = lambda: rounds.hacking.warnings
    session.evaluation = partial(_evaluation, rounds, held)
    session.extra_state = {"rounds": rounds}


def _evaluation(rounds: OnlineRounds, held: Sequence[TokenGroup], session: Session) -> Evaluation:
    """Samples of held-out prompts; where they have scores, `loss` is minus the objective, -(score - beta KL)."""

    def figures(part: Sequence[TokenGroup]) -> Mapping[str, Tensor]:
        scored = rounds.sampler.sampled(part, DRAW, Clock())
        passed = rounds.sampler.passed(scored.answers.groups, Clock())
        found = figures_of(scored, passed, rounds.beta)
        return {"loss": -found["objective/rlhf_reward"], **found} if scored.score is not None else found

    return estimated(session, held, figures)


def _sampler(config: OnlineDpoConfig, given: Given, begun: Begun, prompts: Prompts, show: Show) -> Sampler:
    reference = reference_of(config.preference.reference, config, given, begun)
    if config.by_people:
        rewards, watched = None, watched_of(config, begun, longest_of(config, begun, prompts))
    else:
        rewards, watched = scorers_of(config, given, begun, prompts)
    writer = Writer(begun.model, sampling_of(config, begun), prompts, begun.tokenizer, show.tell)
    return Sampler(
        writer,
        reference,
        rewards,
        watched,
        partial(cut_all, begun),
        config.judging.reference_each_round,
        own=config.preference.reference is None,
    )


def _rounds(config: OnlineDpoConfig, begun: Begun, sampler: Sampler, loss: ChosenLoss, show: Show) -> OnlineRounds:
    train, ends = config.train, config.ends
    count = train.batch_size * config.rollout.num_mini_batches
    shaping = Shaping(ends.missing_eos, ends.penalty)
    return OnlineRounds(
        sampler,
        Stream(begun.data.train, count, shuffle=config.data.shuffle, seed=train.seed),
        begun.data.groups,
        Teacher(loss, config.extremes, begun.cut),
        judge=None if config.by_people else Judge(shaping, drawn=config.judging.draw_ranks, seed=train.seed),
        folder=Path(config.run.output_dir),
        beta=beta_of(loss),
        shown=partial(_show, show),
    )


def _show(show: Show, step: int, scored: Scored, figures: Mapping[str, Tensor]) -> None:
    numbers = {"kl": figures["objective/kl"]}
    if scored.score is not None:
        numbers = {"score": scored.score, **numbers}
    show.samples(step, scored.answers, numbers, scored.sources)


def beta_of(loss: ChosenLoss) -> float:
    """How strongly the loss holds the policy to the reference: the beta of its first term; 0 without a reference."""
    return loss.terms[0].hyper.get("beta", 0.0) if loss.needs_reference else 0.0


def told(config: OnlineDpoConfig, loss: ChosenLoss) -> str:
    """For people: what is learnt from what."""
    count, names = config.generations, " + ".join(names_of(config.preference))
    who = "people" if config.by_people else "scores"
    if not config.by_people and config.judging.draw_ranks:
        who = "orders drawn from scores"
    what = f"the best and the worst of {count} samples" if config.extremes else f"{count} samples"
    line = f"online dpo: {names} on {what} of a prompt, by {who}"
    if not loss.needs_reference:
        return f"{line}; nothing holds the policy to a reference, and the KL is that to the start"
    holds = "the policy of each round" if config.judging.reference_each_round else "the reference"
    return f"{line}; beta {beta_of(loss):g}, the KL to {holds}"
