"""A step whose loss couples its rows: the gradient of one graph over all micro-batches, whatever is drawn in them.

And the figures of every loss of the tables: the same numbers in training and in evaluation, however a step is cut.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import tiny
import torch
from test_adapters import adapted, trained
from test_loop import RANKED, RANKED_PAIRS, cut, moved, reference_of
from test_preference_objectives import LABELS, THUMBS, compared, lengths, lent, term
from torch import Tensor

from accord.data.batches import Batch
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.mismatch import mismatched
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.pair import Pair
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES
from accord.models.experts import Routing, coefficient
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.reference import reference_logprobs
from accord.stages.evaluation import evaluate
from accord.stages.options import TrainOptions
from accord.stages.trainable import weights_of
from accord.training.labels import LabelObjective
from accord.training.loop import fit
from accord.training.objectives import Objective
from accord.training.optimizer import Weights, recipe
from accord.training.preferences import Modifiers, PairObjective
from accord.training.rankings import RankingObjective
from accord.training.scores import Term
from accord.training.step import Part, mixed


def with_lora_dropout() -> Any:
    return trained(adapted(tiny.llama(), dropout=0.4)).train()


def with_checkpoints() -> Any:
    network = moved(tiny.gpt2()).train()
    network.gradient_checkpointing_enable({"use_reentrant": False})
    return network


def with_experts() -> Any:
    return moved(tiny.mixtral(router_aux_loss_coef=0.5, attention_dropout=0.3, router_jitter_noise=0.2)).train()


SETTINGS: dict[str, Callable[[], Any]] = {
    "plain": lambda: moved(tiny.llama()),
    "dropout": lambda: moved(tiny.gpt2()).train(),
    "dropout of an adapter": with_lora_dropout,
    "dropout, activations computed anew": with_checkpoints,
    "experts, dropout, jitter": with_experts,
}
LAYOUT: Any = "rows"
SMALL = 60  # tokens of a micro-batch


def reference_for(network: Any, groups: Sequence[TokenGroup]) -> Any:
    """Of another network of the same kind; which one does not matter."""
    other = tiny.llama(seed=3) if network.config.model_type != "gpt2" else tiny.gpt2(seed=3)
    return reference_logprobs(LanguageModel(other, "rows"), groups, max_tokens=300)


class Whole:
    """One graph: the log-probabilities of every completion of a step, drawn as the step draws, and its balance loss."""

    def __init__(self, network: Any, groups: Sequence[TokenGroup], batches: Sequence[Batch]) -> None:
        found: dict[int, Sequence[Tensor]] = {}
        routing: list[Routing] = []
        for place, batch in enumerate(batches):
            torch.manual_seed(mixed(0, 0, place))
            result = logprobs(LanguageModel(network, LAYOUT), batch)
            parts = iter(result.sum)
            members = zip(batch.indices, batch.members, strict=True)
            found |= {i: [next(parts) for _ in one.completions] for i, one in members}
            routing += [result.routing] if result.routing else []
        self.sums = torch.stack([value for i in sorted(found) for value in found[i]])
        self.balance = torch.zeros(())
        if routing:
            total = Routing(*(torch.stack(parts).sum(0) for parts in zip(*routing, strict=True)))
            self.balance = coefficient(network) * total.balance()


def gradient(network: Any, part: Part, *, dtype: torch.dtype = torch.float32) -> tuple[float, dict[str, Tensor]]:
    """(loss, what the weights lost in one step of learning rate 1)."""
    weights = Weights.of(network, recipe("sgd"), dtype=dtype)
    before = {name: master.detach().clone() for name, master in weights.masters.items()}
    model = LanguageModel(network, LAYOUT)
    (result,) = fit(model, [[part]], weights, lambda _: 1.0, max_grad_norm=0, seed=0)
    return result.loss, {name: before[name] - master.detach() for name, master in weights.masters.items()}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", [name for name, row in PAIR_LOSSES.items() if row.coupled])
def test_coupled_pairs_have_the_gradient_of_one_graph(name: str, setting: str) -> None:
    terms = [term(PAIR_LOSSES, name, beta=0.7), term(PAIR_LOSSES, "sft")._replace(weight=0.3)]
    network, batches = SETTINGS[setting](), cut(RANKED, LAYOUT, SMALL)
    assert len(batches) > 2
    kept = reference_for(network, RANKED)
    whole = Whole(network, RANKED, batches)
    sides, weight = compared(RANKED, RANKED_PAIRS), torch.tensor([pair[3] for pair in RANKED_PAIRS])
    pairs = [Pair(*(x[list(side)] for side in sides)) for x in (whole.sums, kept.sum, lengths(RANKED))]
    losses = sum(one.weight * one.row.loss(*pairs, **one.hyper) for one in terms)
    loss = (losses * weight).sum() / weight.sum() + whole.balance
    truth = tiny.gradients(network, loss)
    found, slope = gradient(network, Part(batches, PairObjective(terms, kept)))
    assert found == pytest.approx(loss.item(), rel=1e-5)
    assert tiny.distance({name: slope[name] for name in truth}, truth) < 4e-5


def borrowing(groups: Sequence[TokenGroup]) -> Any:
    everything = [*groups, *mismatched(groups, max_length=100)]

    def others(places: Sequence[int]) -> Iterator[Batch]:
        return micro_batches(everything, [len(groups) + i for i in places], max_tokens=40, layout=LAYOUT)

    return everything, others


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", [name for name, row in UNPAIRED_LOSSES.items() if row.coupled])
def test_labels_with_a_baseline_have_the_gradient_of_one_graph(name: str, setting: str) -> None:
    chosen = term(UNPAIRED_LOSSES, name, beta=0.7)
    network, batches = SETTINGS[setting](), cut(THUMBS, LAYOUT, 30)
    assert len(batches) > 2
    everything, others = borrowing(THUMBS)
    kept = reference_for(network, everything)
    whole = Whole(network, THUMBS, batches)
    place, label, weight = (torch.tensor(column) for column in zip(*LABELS, strict=True))
    policy, reference = whole.sums[place], kept.sum[place]
    with torch.no_grad():
        foreign = list(others([i for batch in batches for i in batch.indices]))
        shifted = [batch._replace(indices=tuple(i - len(THUMBS) for i in batch.indices)) for batch in foreign]
        ratio = Whole(network, lent(), shifted).sums - kept.sum[len(whole.sums) :]
        baseline = chosen.row.baseline(policy - reference, label, ratio)
    losses = chosen.row.loss(policy, reference, lengths(THUMBS)[place], label, baseline, **chosen.hyper)
    loss = (losses * weight).sum() / weight.sum() + whole.balance
    truth = tiny.gradients(network, loss)
    torch.manual_seed(77)  # whatever was drawn before does not matter
    found, slope = gradient(network, Part(batches, LabelObjective(chosen, kept, others)))
    assert found == pytest.approx(loss.item(), rel=1e-5)
    assert tiny.distance({name: slope[name] for name in truth}, truth) < 4e-5


@pytest.mark.parametrize("name", ["aot", "bco_pair"])
def test_in_bf16_too(name: str) -> None:
    """Against float64: the error is that of bf16 and no larger than that of one micro-batch."""
    terms = [term(PAIR_LOSSES, name, beta=0.7)]
    kept = reference_of(RANKED)
    exact = moved(tiny.llama()).to(torch.bfloat16).double()
    sides, weight = compared(RANKED, RANKED_PAIRS), torch.tensor([pair[3] for pair in RANKED_PAIRS])
    sums = torch.stack([x for group in tiny.stock_sums(exact, RANKED) for x in group])
    pairs = [Pair(*(x[list(side)] for side in sides)) for x in (sums, kept.sum, lengths(RANKED))]
    loss = (terms[0].row.loss(*pairs, **terms[0].hyper) * weight).sum() / weight.sum()
    truth = tiny.gradients(exact, loss)
    for max_tokens in (SMALL, 100_000):
        part = Part(cut(RANKED, LAYOUT, max_tokens), PairObjective(terms, kept))
        _, slope = gradient(moved(tiny.llama()), part, dtype=torch.bfloat16)
        assert tiny.distance(slope, truth) < 0.05


JUDGED = {"pairs": RANKED, "labels": THUMBS, "rankings": RANKED}
MODIFIED: dict[str, tuple[str, Any]] = {
    "wpo": ("sigmoid", Modifiers(use_weighting=True)),
    "ld": ("sigmoid", Modifiers(ld_alpha=0.4)),
    "forward_kl": ("sigmoid", Modifiers(divergence=DIVERGENCES["forward_kl"].score)),
    "ld with a coupled loss": ("aot", Modifiers(ld_alpha=0.4)),
}
EVERY = [
    *(("pairs", name) for name in (*PAIR_LOSSES, *MODIFIED)),
    *(("labels", name) for name in UNPAIRED_LOSSES),
    *(("rankings", name) for name in RANKING_LOSSES),
]


def objective_of(kind: str, name: str) -> Objective:
    groups = JUDGED[kind]
    if kind == "rankings":
        return RankingObjective(term(RANKING_LOSSES, name, beta=0.4), reference_of(groups))
    if kind == "labels":
        everything, others = borrowing(groups)
        return LabelObjective(term(UNPAIRED_LOSSES, name), reference_of(everything), others)
    row, modifiers = MODIFIED.get(name, (name, None))
    one: Term = term(PAIR_LOSSES, row)
    return PairObjective([one], reference_of(groups) if one.row.needs_reference else None, modifiers)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_figure_is_the_same_however_it_is_cut_and_in_evaluation(kind: str, name: str) -> None:
    groups, objective = JUDGED[kind], objective_of(kind, name)
    seen = []
    for layout, max_tokens in (("tree", 40), ("cache", 70), ("rows", 70), ("rows", 100_000)):
        network = moved(tiny.llama())
        batches = cut(groups, layout, max_tokens)
        model = LanguageModel(network, layout)
        held = evaluate(model, batches, objective)
        weights = Weights.of(network, recipe("sgd"))
        (result,) = fit(model, [[Part(batches, objective)]], weights, lambda _: 0.0, max_grad_norm=0, seed=0)
        means = {name: total / weight for name, (total, weight) in result.sums.items()}
        assert {name: one.mean for name, one in held.estimates.items()} == pytest.approx(means, rel=1e-4, abs=1e-5)
        assert result.loss == pytest.approx(means["loss"], rel=1e-4)
        seen.append((len(batches), held.flat()))
    assert len({count for count, _ in seen}) > 1
    for _, figures in seen[1:]:
        assert figures == pytest.approx(seen[0][1], rel=2e-4, abs=2e-5)


def test_gradients_that_a_model_brings_do_not_enter_the_first_step() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        network = tiny.llama()
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        weights = weights_of(network, TrainOptions(learning_rate=0.1, warmup_steps=0), dtype)
        assert weights.gradients() == [] and all(parameter.grad is None for parameter in network.parameters())


def test_the_parts_of_a_step_draw_apart() -> None:
    batches, model = cut(RANKED, LAYOUT, SMALL), LanguageModel(moved(tiny.gpt2()).train(), LAYOUT)
    objective = PairObjective([term(PAIR_LOSSES, "simpo")], None)
    parts = [Part(batches, objective), Part(batches, objective, name="mix/")]
    weights = Weights.of(model.network, recipe("sgd"))
    (result,) = fit(model, [parts], weights, lambda _: 0.0, max_grad_norm=0, seed=0)
    assert result.sums["loss"][0] != pytest.approx(result.sums["mix/loss"][0], rel=1e-3)
