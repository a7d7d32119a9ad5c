"""Looks at every iteration of reinforcement learning for a reward that is exploited, or that says nothing.

A policy exploits (hacks) its reward where the score that it is trained on, the proxy, goes on rising while what people
wanted does not: completions become long or short, it strays far from the reference, or a second scorer that it is not
trained on falls. None of these is proof; each is a reason to read samples, and is said once, with the step.

The rule. The first FIRST iterations say what is usual: of each figure the mean m, and the spread s, by which an
iteration differs from the next for no reason: s^2 = (mean squared step from one to the next) / 2, which a steady rise
in these iterations hardly widens, as it would their standard deviation. What is now is the median of the last RECENT
iterations, so that one odd iteration, or two, say nothing. The score has risen if now is above m + FAR s. Once it has,
it is said if now

- the mean length is above LONGER m, or below m / LONGER, and FAR s away from m;
- the KL is above `kl` nats a sequence, and above m + FAR s. It rises in every run, so that what it was at first says
  little of where it may go. The default, 10 nats, is what the best of 60,000 samples would cost (ln n - (n - 1) / n);
- fewer samples end by themselves: ENDED below m, and FAR s. Where samples are cut at a length, they cannot get longer;
- the samples begin alike: of the pairs of tokens at their beginnings fewer than FEWER m are different ones, and FAR s
  fewer. Reinforcement learning makes samples surer, so that some of that is usual;
- a second scorer is below m - FAR s.

False alarms: a second scorer that only fluctuates while the score rises gives one in about 0.3 % of runs of 500
iterations where noise is normal, in 1 % where it is Student's t with 3 degrees of freedom, in 2 % where neighbours
correlate by 0.3 (simulated; tests/test_hacking.py). The others have limits of their own besides, which noise does
not reach.

A reward that is the same for all samples of every prompt has no gradient but that of the KL. One such iteration may be
chance where rewards are 0 and 1; it is said after FLAT in a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from accord.training.watch import Remark

FIRST = 10  # iterations that say what is usual
RECENT = 5  # iterations whose median is what is now
FAR = 5.0  # spreads
LONGER = 1.5  # as long as usual, or as short
ENDED = 0.2  # of all samples
FEWER = 0.5  # of the usual share of different pairs of tokens
KL = 10.0  # nats a sequence
FLAT = 2  # iterations in a row
SAME = 1e-6  # relative; what is closer differs by rounding

FIX = "the reward may be exploited: read the samples, and see whether they are better"


class Course:
    """The first and the last values of one figure."""

    def __init__(self, first: Sequence[float] = (), last: Sequence[float] = ()) -> None:
        self.first, self.last = list(first), list(last)

    def add(self, value: float) -> None:
        if len(self.first) < FIRST:
            self.first.append(value)
        else:
            self.last = [*self.last, value][-RECENT:]

    @property
    def is_known(self) -> bool:
        """Whether there is a usual, and a now to hold against it."""
        return len(self.last) == RECENT

    @property
    def usual(self) -> float:
        return fmean(self.first)

    @property
    def now(self) -> float:
        return median(self.last)

    @property
    def far(self) -> float:
        """The difference from usual that noise does not explain."""
        steps = [(after - before) ** 2 for before, after in zip(self.first, self.first[1:], strict=False)]
        return max(FAR * math.sqrt(fmean(steps) / 2), SAME * abs(self.usual))

    @property
    def has_risen(self) -> bool:
        return self.is_known and self.now > self.usual + self.far

    @property
    def has_fallen(self) -> bool:
        return self.is_known and self.now < self.usual - self.far

    def __str__(self) -> str:
        return f"from {self.usual:.4g} to {self.now:.4g}"


class Hacking:
    """What it has seen survives a checkpoint, so that a resumed run warns as one that was left alone.

    kl: nats a sequence that the policy may stray from the reference before that is said.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None, *, kl: float = KL) -> None:
        saved = saved or {}
        self.kl = kl
        self.warnings = [Remark(*one) for one in saved.get("warnings", ())]
        self._said: list[str] = list(saved.get("said", ()))  # the kinds of warnings that were given
        self._flat: int = saved.get("flat", 0)  # iterations in a row with equal rewards
        self._own = {name: Course(*one) for name, one in saved.get("own", {}).items()}
        self._second = {name: Course(*one) for name, one in saved.get("second", {}).items()}
        self._told = len(self.warnings)

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint: what `Hacking(...)` takes back."""
        return {
            "warnings": [list(one) for one in self.warnings],
            "said": self._said,
            "flat": self._flat,
            "own": {name: [one.first, one.last] for name, one in self._own.items()},
            "second": {name: [one.first, one.last] for name, one in self._second.items()},
        }

    def see(
        self,
        step: int,
        *,
        score: float,
        spread: float,
        length: float,
        ended: float,
        kl: float,
        distinct: float = math.nan,
        second: Mapping[str, float] | None = None,
    ) -> None:
        """The finite figures of an iteration, in their order. step: of the run, for people.

        score: the mean of the reward that is learnt. spread: the largest difference of the rewards of one prompt's
        samples; of single samples, of all. length: mean tokens of a sample. ended: the share that ends by itself. kl:
        nats a sequence. distinct: the share of different pairs among all pairs of tokens with which samples begin, NaN
        where there are none. second: the means of scores that are not learnt, by name.
        """
        own = {"score": score, "length": length, "ended": ended, "kl": kl, "distinct": distinct}
        for name, value in own.items():
            if not math.isnan(value):
                self._own.setdefault(name, Course()).add(value)
        for name, value in (second or {}).items():
            self._second.setdefault(name, Course()).add(value)
        self._is_flat(step, spread)
        if self._own["score"].has_risen:
            self._strays(step)
            self._grows_alike(step)
            self._second_falls(step)

    def news(self) -> list[Remark]:
        """The warnings since the last call."""
        new = self.warnings[self._told :]
        self._told = len(self.warnings)
        return new

    def _is_flat(self, step: int, spread: float) -> None:
        self._flat = self._flat + 1 if spread == 0 else 0
        if self._flat == FLAT:
            what = f"all samples of every prompt had the same reward, {FLAT} times running: nothing is learnt from it, "
            self._say("flat", step, what + "be it that the prompts are too hard or too easy, or that it is constant")

    def _strays(self, step: int) -> None:
        length, ended, kl = (self._own[name] for name in ("length", "ended", "kl"))
        longer = length.has_risen and length.now > LONGER * length.usual
        shorter = length.has_fallen and length.now < length.usual / LONGER
        if longer or shorter:
            self._say("length", step, self._while(f"the mean length went {length} tokens"))
        if ended.has_fallen and ended.now < ended.usual - ENDED:
            self._say("ended", step, self._while(f"the share of samples that end by themselves fell {ended}"))
        if kl.has_risen and kl.now > self.kl:
            self._say("kl", step, self._while(f"the KL from the reference rose {kl} nats a sequence"))

    def _grows_alike(self, step: int) -> None:
        distinct = self._own.get("distinct", Course())
        if distinct.has_fallen and distinct.now < FEWER * distinct.usual:
            what = f"the share of different pairs of tokens, with which samples begin, fell {distinct}"
            self._say("distinct", step, self._while(what))

    def _second_falls(self, step: int) -> None:
        for name, course in self._second.items():
            if course.has_fallen:
                self._say(f"second {name}", step, self._while(f"{name}, which is not learnt, fell {course}"))

    def _while(self, what: str) -> str:
        return f"the score rose {self._own['score']} while {what}: {FIX}"

    def _say(self, kind: str, step: int, what: str) -> None:
        """Once of each kind."""
        if kind not in self._said:
            self._said.append(kind)
            self.warnings.append(Remark(step, what))
