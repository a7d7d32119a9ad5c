"""The round that a run learns from, kept over checkpoints: what was sampled, and what is known of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor

from accord.data.dialogue import TokenGroup
from accord.data.ranges import Ranges
from accord.maths.kl_control import adapted_beta
from accord.stages.rl_rollouts import Controls, Figures, Made, Maker
from accord.stages.rl_rounds import Clock, Stream, look
from accord.stages.rl_saved import are_of, columns_of, read, samples_of, written
from accord.training.hacking import KL, Hacking
from accord.training.policy import Heard
from accord.training.rollout import Rollout, Samples, Tokens
from accord.training.shaping import Spread
from accord.training.watch import Remark

BEYOND = 2.0  # times a KL that is held, and the policy has strayed from the reference
GAP = "sampler/logp_difference"
EARLY = 1.5  # times the target, and a round is left: Spinning Up in Deep RL (Achiam 2018)
Shown = Callable[[int, Rollout, Made], None]  # steps done, the round


class KlTarget:
    """The KL that its coefficient is adapted to, in nats a sample; and over how many samples."""

    def __init__(self, target: float, horizon: int) -> None:
        self.target, self.horizon = target, horizon

    def next(self, beta: float, kl: float, samples: int) -> float:
        return adapted_beta(beta, kl, samples, target=self.target, horizon=self.horizon)


class Rounds:
    """One round at a time, made when its first step is asked for."""

    def __init__(
        self,
        maker: Maker,
        stream: Stream,
        groups: Sequence[TokenGroup],
        *,
        beta: float,
        adapt: KlTarget | None = None,
        target_kl: float | None = None,
        shown: Shown = lambda step, rollout, made: None,
    ) -> None:
        """groups: those that the stream's places are of. target_kl: nats a token, after which a round is left early."""
        self.maker, self.stream, self.groups = maker, stream, groups
        self.adapt, self.target_kl, self.shown = adapt, target_kl, shown
        self.beta, self.begun_with = beta, beta
        self.baseline, self.spread = math.nan, Spread()
        self.iteration = -1
        self.rollout: Rollout | None = None
        self.left = False  # the rest of the round's steps are passed over
        self.most_kl = KL if adapt is None else max(KL, BEYOND * adapt.target)
        self.hacking = Hacking(kl=self.most_kl)
        self.figures: dict[str, float] = {}  # of the round, for the log
        self.seconds: dict[str, float] = {}  # that it took: not in checkpoints, which hold nothing of the clock
        self._heard = [0.0, 0.0]

    def at(self, iteration: int, step: int) -> Rollout:
        """The round of this number, from 0. step: steps done before it."""
        self._heard = [0.0, 0.0]  # what was heard before is of blanks, which are tried for their memory, or of no step
        if self.iteration != iteration or self.rollout is None:
            self._make(iteration, step)
        assert self.rollout is not None
        return self.rollout

    def hear(self, heard: Heard) -> None:
        """Of a micro-batch that is learnt from."""
        self._heard[0] += heard.kl
        self._heard[1] += heard.tokens
        if (known := self.figures.get(GAP)) is not None:
            self.figures[GAP] = max(known, heard.gap)

    def after_step(self, step: int) -> None:
        """Whether the policy has gone further from the one that sampled than it may."""
        total, count = self._heard
        self._heard = [0.0, 0.0]
        if self.target_kl is not None and count and total / count > EARLY * self.target_kl:
            self.left = True
            self.figures["policy/left_early"] = 1.0

    def news(self) -> list[Remark]:
        """What of the rewards is to be said since the last call."""
        return self.hacking.news()

    def _make(self, iteration: int, step: int) -> None:
        clock = Clock()
        prompts = [self.groups[place] for place in self.stream.at(iteration)]
        made = self.maker.sampled(prompts, iteration, clock)
        used = Controls(self.beta, self.baseline, self.spread)
        rollout, found = self.maker.rollout(made, used, clock)
        self.iteration, self.rollout, self.left = iteration, rollout, False
        self.baseline = found.baseline
        samples = rollout.samples
        look(
            self.hacking,
            step,
            groups=rollout.groups,
            score=samples.score,
            length=rollout.ranges.length,
            ended=samples.ended,
            kl=samples.kl,
            watched=made.watched,
        )
        self.figures, self.seconds = self._figures(found), clock.figures
        if self.adapt is not None:
            self.beta = self.adapt.next(self.beta, found.kl, len(rollout.samples.kl))
        self.shown(step, rollout, made)

    def _figures(self, found: Figures) -> dict[str, float]:
        explained = {} if math.isnan(found.explained) else {"val/explained_variance": found.explained}
        return {
            "objective/kl_coef": self.beta,
            **explained,
            GAP: found.gap,
            "policy/left_early": 0.0,
        }

    def state_tensors(self) -> Mapping[str, Tensor]:
        """For a checkpoint."""
        about = {
            "iteration": self.iteration,
            "beta": self.beta,
            "begun_with": self.begun_with,
            "baseline": None if math.isnan(self.baseline) else self.baseline,
            "spread": vars(self.spread),
            "left": self.left,
            "hacking": self.hacking.to_json(),
            "figures": self.figures,
            "sources": list(self.rollout.sources) if self.rollout else [],
        }
        return {"about": written(about), **(dict(_columns(self.rollout)) if self.rollout else {})}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The reverse of `state_tensors`, exact to the bit."""
        about = read(tensors["about"])
        if self.adapt is not None and about["begun_with"] == self.begun_with:
            self.beta = about["beta"]  # else kl_coef was allowed to be another one, or to stay as it is
        self.baseline = math.nan if about["baseline"] is None else about["baseline"]
        self.spread, self.figures = Spread(**about["spread"]), about["figures"]
        self.hacking = Hacking(about["hacking"], kl=self.most_kl)
        prompts = [self.groups[place] for place in self.stream.at(max(about["iteration"], 0))]
        if about["iteration"] >= 0 and are_of(prompts, tensors):  # else the order was allowed to be another one
            self.iteration, self.left = about["iteration"], about["left"]
            self.rollout = _rollout(prompts, tensors, about["sources"])


def _columns(rollout: Rollout) -> Iterator[tuple[str, Tensor]]:
    yield from columns_of(rollout.groups)
    for kind, columns in (("token", rollout.tokens), ("sample", rollout.samples)):
        yield from ((f"{kind}/{name}", column) for name, column in columns._asdict().items())
    yield from ((f"source/{name}", column) for name, column in rollout.sources.items())


def _rollout(prompts: Sequence[TokenGroup], tensors: Mapping[str, Tensor], sources: Sequence[str]) -> Rollout:
    groups = samples_of(prompts, tensors)
    tokens = Tokens(*(tensors[f"token/{name}"].clone() for name in Tokens._fields))
    samples = Samples(*(tensors[f"sample/{name}"].clone() for name in Samples._fields))
    named = {name: tensors[f"source/{name}"].clone() for name in sources}
    return Rollout(groups, Ranges.of_groups(groups), tokens, samples, named)
