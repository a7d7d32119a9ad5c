"""How far models are from a reference: KL(pi || pi_ref), estimated from their own answers by the engine that trains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from accord.data.batches import Batch
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.length import length_of
from accord.data.ranges import Ranges
from accord.errors import Diverged
from accord.evaluate.measured import ends, known
from accord.maths.divergence import k1, k3
from accord.maths.statistics import Estimate, mean_interval
from accord.models.load import load_tokenizer
from accord.models.logprobs import LanguageModel
from accord.models.named import context_of, has_encoder
from accord.stages.judge_options import AnsweringOptions
from accord.stages.options import ModelOptions
from accord.stages.rl_rollouts import log_probabilities
from accord.stages.setup import machine, moved, network_of, ready, tokenizer_of
from accord.training.progress import Progress
from accord.training.rollout import summed, swept


class Divergence(NamedTuple):
    """Of one model's n answers, nats an answer. tokens: mean of an answer, its end token counted."""

    model: str
    n: int
    k1: Estimate
    k3: Estimate
    tokens: float

    def to_json(self) -> dict[str, Any]:
        sides = {
            name: {"mean": found.mean, "standard_error": known(found.standard_error), "interval": ends(found.interval)}
            for name, found in (("k1", self.k1), ("k3", self.k3))
        }
        return {"model": self.model, "n": self.n, **sides, "tokens": self.tokens}


@dataclass(frozen=True)
class Divergences:
    """Of every model that it can be told of. why_not: of the others, by name."""

    reference: str
    temperature: float
    rows: list[Divergence]
    why_not: Mapping[str, str]

    def named(self, called: Mapping[str, str]) -> Divergences:
        """With other names in the place of the models'."""
        rows = [row._replace(model=called[row.model]) for row in self.rows]
        why_not = {called[name]: why for name, why in self.why_not.items()}
        return replace(self, reference=called[self.reference], rows=rows, why_not=why_not)

    def to_json(self) -> dict[str, Any]:
        rows = [row.to_json() for row in self.rows]
        return {
            "reference": self.reference,
            "temperature": self.temperature,
            "models": rows,
            "why_not": dict(self.why_not),
        }


def kl_to_reference(
    reference: str, sampled: Mapping[str, Sequence[TokenGroup]], options: AnsweringOptions, level: float
) -> Divergences:
    """sampled: of each model its prompts with the answers that it drew, token by token.

    k1 and k3 are taken of every token and summed: each has the KL of what the two say at that place as its mean, so the
    sum has that of the answers as a whole. Both models are taken at the temperature that answers were drawn at.
    Diverged: a log-probability that is not finite.
    """
    why_not = {name: why for name, groups in sampled.items() if (why := _why_not(name, reference, groups, options))}
    usable = {name: groups for name, groups in sampled.items() if name not in why_not}
    own = {name: _loaded(name, groups, options).token_logprobs(groups) for name, groups in usable.items()}
    rows = []
    if usable:
        other = _loaded(reference, [group for groups in usable.values() for group in groups], options)
        rows = [_row(name, groups, own[name], other.token_logprobs(groups), level) for name, groups in usable.items()]
    return Divergences(reference, options.temperature, rows, why_not)


def _row(name: str, groups: Sequence[TokenGroup], policy: Tensor, reference: Tensor, level: float) -> Divergence:
    ranges = Ranges.of_groups(groups)
    one, other = (mean_interval(each.numpy(), level=level) for each in of_answers(policy, reference, ranges))
    return Divergence(name, len(groups), one, other, float(ranges.length.double().mean()))


def of_answers(policy: Tensor, reference: Tensor, ranges: Ranges) -> tuple[Tensor, Tensor]:
    """(N,), (N,) log-probabilities of every token -> (C,), (C,) float64: k1 and k3 of each answer, summed, in nats."""
    one, other = (summed(estimate(policy.double(), reference.double()), ranges) for estimate in (k1, k3))
    return one, other


def _why_not(name: str, reference: str, groups: Sequence[TokenGroup], options: AnsweringOptions) -> str:
    """Why nothing can be told of it; empty where it can."""
    trusting = options.trust_remote_code
    own, other = (load_tokenizer(one, trust_remote_code=trusting) for one in (name, reference))
    if own.get_vocab() != other.get_vocab():
        return "its tokens are not those of the reference"
    apart, beside = (has_encoder(one, trust_remote_code=trusting) for one in (name, reference))
    if apart != beside:
        return "one of the two has an encoder, and the other has none"
    longest = max(length_of(group, apart=apart) for group in groups)
    most = context_of(reference, trust_remote_code=trusting) or math.inf
    return (
        f"prompt and answer have up to {longest:,} tokens, and the reference takes {most:,}" if longest > most else ""
    )


class Loaded(NamedTuple):
    """A model that is ready, and how it is asked."""

    name: str
    model: LanguageModel
    max_tokens: int
    temperature: float

    @classmethod
    def of(
        cls, asked: ModelOptions, groups: Sequence[TokenGroup], *, threads: int | None, temperature: float
    ) -> Loaded:
        """Held against stock on the longest of the groups."""
        place = machine(asked, threads=threads, max_tokens=None)
        network = network_of(asked.model, None, tokenizer_of(asked, {}), asked, place)
        model = ready(network, groups, asked)
        moved(network, place.device, place.dtype)
        return cls(asked.model, model, place.max_tokens, temperature)

    def token_logprobs(self, groups: Sequence[TokenGroup]) -> Tensor:
        """(N,) of the answers' tokens, nats. Diverged: one is not finite."""
        model, places = self.model, range(len(groups))
        batches = micro_batches(groups, places, max_tokens=self.max_tokens, layout=model.layout, start=model.start)
        with Progress(f"KL: {self.name}", len(groups), unit="answer") as progress:
            read = log_probabilities(self.temperature)
            (found,) = swept(model, _told(batches, progress), Ranges.of_groups(groups), read)
            progress.log()
        if not found.isfinite().all():
            raise Diverged("a log-probability is not finite", where=self.name, fix="compute in --dtype float32")
        return found


def _loaded(name: str, groups: Sequence[TokenGroup], options: AnsweringOptions) -> Loaded:
    own = options.model_dump(include={"dtype", "device", "trust_remote_code"})
    asked = ModelOptions.model_validate({"model": name, **own})
    return Loaded.of(asked, groups, threads=options.threads, temperature=options.temperature)


def _told(batches: Iterable[Batch], progress: Progress) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        progress.advance(progress.step + len(batch.members), None, None, len(batch.members), batch.token_count)
