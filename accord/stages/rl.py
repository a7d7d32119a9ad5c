"""`accord ppo`, `reinforce`, `rloo`, `grpo`: sample, score, make good samples more likely; equations 9 and 15 to 17."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from torch import Tensor

from accord.models.critic import Critic
from accord.models.roles import role_of
from accord.stages.config import RlConfig
from accord.stages.dry import carry_out
from accord.stages.outcome import Result
from accord.stages.prompts import prompts_of
from accord.stages.rl_course import RlCourse, cut_all
from accord.stages.rl_evaluation import evaluate_prompts
from accord.stages.rl_findings import to_be_shown
from accord.stages.rl_mix import mix_of
from accord.stages.rl_options import KL_HORIZON
from accord.stages.rl_prompts import Prompts, intake_of
from accord.stages.rl_roles import critic_weights, roles_of
from accord.stages.rl_rollouts import Maker, Roles
from accord.stages.rl_rounds import Stream
from accord.stages.rl_sampling import sampling_of
from accord.stages.rl_show import Show
from accord.stages.rl_state import KlTarget, Rounds
from accord.stages.rl_terms import advantages_of, is_once, kl_in, settings_of, shaping_of, told
from accord.stages.session import Begun, Session, begin
from accord.stages.setup import Given, say
from accord.stages.training import rate_of
from accord.training.objectives import Likelihood
from accord.training.optimizer import Weights
from accord.training.trained import Beside

# The loss of a policy gradient is of no meaning; that its gradient is 0 is.
LIFELESS = (
    "rewards that differ between the samples of a prompt, which those of this run do not, or samples that are not all "
    "left out (missing_eos); with a kl_coef of 0 nothing else gives a gradient"
)


def run(config: RlConfig, given: Given) -> Result | None:
    """Trains the policy on what it samples. None after a dry run."""
    prompts, name = Prompts(), config.policy.algorithm
    intake = intake_of(prompts, config.length, config.generations, config.rollout.max_new_tokens)
    with begin(name, config, given, intake, config.length) as begun:
        say(told(config))
        roles, mix, show = (
            roles_of(config, given, begun, prompts),
            mix_of(config, given, begun),
            Show(config, begun.tokenizer),
        )
        rounds = _rounds(config, begun, _maker(config, begun, roles, prompts, show), show)
        course = RlCourse(config, begun, rounds, roles.critic, mix).course
        show.session = session = Session(name, config, begun, course, Likelihood(), prompts_of(begun.data))
        session.shown = show.latest
        _furnish(session, config, rounds, roles)
        to_be_shown(session, roles.rewards, roles.watched, told(config))
        with _ready(roles.critic):
            return carry_out(session)


def _ready(critic: Critic | None) -> AbstractContextManager[None]:
    """Within, a critic on a network of its own computes: in a backward pass too, which may compute its states again."""
    own = None if critic is None else critic.model
    return nullcontext() if own is None or role_of(own.network) else own.segmented()


def _furnish(session: Session, config: RlConfig, rounds: Rounds, roles: Roles) -> None:
    """What this kind of session does besides its steps."""
    begun, held = session.begun, [session.begun.data.groups[place] for place in session.begun.data.held]
    session.after_step, session.news = rounds.after_step, rounds.news
    session.losses_tell, session.lifeless = False, LIFELESS
    session.figures = lambda: {**rounds.figures, **rounds.seconds}
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
    return Maker(
        roles,
        sampling_of(config, begun),
        shaping_of(config),
        settings_of(config),
        advantages_of(config),
        kl_in(config) == "reward",
        is_once(config),
        prompts,
        begun.tokenizer,
        partial(cut_all, begun),
        show.tell,
    )


def _rounds(config: RlConfig, begun: Begun, maker: Maker, show: Show) -> Rounds:
    train, policy = config.train, config.policy
    adapt = None if policy.kl_target is None else KlTarget(policy.kl_target, policy.kl_horizon or KL_HORIZON)
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
