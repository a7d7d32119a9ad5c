"""Batch invariance: however a step is cut, loss, gradient and metrics are those of the formula over stock's numbers."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.packing import pack
from accord.errors import Diverged
from accord.maths.preference import PAIR_LOSSES
from accord.models.logprobs import LanguageModel
from accord.models.reference import ReferenceLogprobs, reference_logprobs
from accord.stages.course import course_of, mixed_course
from accord.stages.evaluation import evaluate
from accord.stages.options import DataOptions, TrainOptions
from accord.training.loop import StepResult, fit, measure
from accord.training.objectives import FineTuning, Likelihood, Objective, whole
from accord.training.optimizer import Weights, recipe
from accord.training.preferences import PairObjective
from accord.training.scores import Term
from accord.training.step import Part

CUTS = [(layout, max_tokens) for layout in ("tree", "rows") for max_tokens in (64, 256, 100_000)]
BETA = 0.3

PAIRS = [tiny.group(3 + 5 * i % 11, [4 + i % 5, 3 + 2 * i % 7], seed=i) for i in range(9)]
# K = 3 and 4 with ties, a group whose rank 1 comes last, and weights.
RANKED = [
    tiny.group(9, [5, 8, 3], seed=1, ranks=[1, 2, 3]),
    tiny.group(4, [6, 2, 7], seed=2, ranks=[2, 1, 2]),
    tiny.group(12, [3, 3, 9, 4], seed=3, ranks=[2, 3, 2, 1]),
    tiny.group(5, [4, 6], seed=4, ranks=[2, 1], weight=2.5),
    tiny.group(30, [12, 9, 2], seed=5, ranks=[3, 1, 1], weight=0.5),
]
TURNS = [
    tiny.group(5, [14], seed=1, loss=[((0, 3), (7, 14))]),
    tiny.group(8, [6], seed=2),
    tiny.group(3, [11], seed=3, loss=[((0, 1), (3, 5), (9, 11))]),
    tiny.group(21, [2], seed=4),
    tiny.group(0, [9], seed=5),
]
BLOCKS = pack([tiny.group(0, [n], seed=i) for i, n in enumerate((7, 12, 3, 20, 1, 9, 16, 2, 5, 30, 11))], 24)


def moved(network: Any, size: float = 0.02) -> Any:
    """The same network with its weights a little elsewhere: a policy that has left its reference."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return network


def reference() -> ReferenceLogprobs:
    """Of RANKED under tiny.llama(), by stock alone; what the engine's own pass gives is tested below."""
    return reference_of(RANKED)


def reference_of(groups: Sequence[TokenGroup]) -> ReferenceLogprobs:
    with torch.no_grad():
        parts = [part for group in groups for part in tiny.stock_tokens(tiny.llama(), group)]
    first = np.cumsum([0, *(len(group.completions) for group in groups)])[:-1]
    ends = torch.tensor([len(part) for part in parts]).cumsum(0)
    return ReferenceLogprobs(torch.cat(parts), ends, torch.stack([part.sum() for part in parts]), torch.tensor(first))


def small_trees(groups: Sequence[TokenGroup], places: Sequence[int]) -> list[Batch]:
    return list(micro_batches(groups, places, max_tokens=64, layout="tree"))


def cut(groups: Sequence[TokenGroup], layout: Any, max_tokens: int) -> list[Batch]:
    return list(micro_batches(groups, range(len(groups)), max_tokens=max_tokens, layout=layout))


class Step:
    """One step of plain gradient descent with learning rate 1: the gradient is what the weights lost."""

    def __init__(self, network: Any, parts: Sequence[Part], layout: Any) -> None:
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        weights = Weights.of(network, recipe("sgd"))
        self.result: StepResult
        (self.result,) = fit(LanguageModel(network, layout), [parts], weights, lambda _: 1.0, max_grad_norm=0, seed=0)
        self.gradient = {name: before[name] - p.detach() for name, p in network.named_parameters()}
        self.means = {name: total / weight for name, (total, weight) in self.result.sums.items()}


def step_of(groups: Sequence[TokenGroup], objective: Objective, layout: Any, max_tokens: int) -> Step:
    return Step(moved(tiny.llama()), [Part(cut(groups, layout, max_tokens), objective)], layout)


Ranked = tuple[int, int, int, float]  # group, chosen, rejected, weight


def preference_by_hand(network: Any, pairs: Sequence[Ranked], groups: Sequence[TokenGroup]) -> Tensor:
    """The mean of -log sigma(beta h) over (group, chosen, rejected, weight): log 2 wherever h is 0, ties or not."""
    with torch.no_grad():
        ref = tiny.stock_sums(tiny.llama(), groups)
    policy = tiny.stock_sums(network, groups)
    total = torch.zeros(())
    for g, chosen, rejected, weight in pairs:
        h = (policy[g][chosen] - ref[g][chosen]) - (policy[g][rejected] - ref[g][rejected])
        total = total - weight * torch.log(torch.sigmoid(BETA * h))
    return total / sum(weight for *_, weight in pairs)


# Group, chosen, rejected, weight: group.weight / C(K,2) for each pair of different rank.
RANKED_PAIRS = [
    *((0, 0, 1, 1 / 3), (0, 0, 2, 1 / 3), (0, 1, 2, 1 / 3)),
    *((1, 1, 0, 1 / 3), (1, 1, 2, 1 / 3)),
    *((2, 0, 1, 1 / 6), (2, 3, 0, 1 / 6), (2, 2, 1, 1 / 6), (2, 3, 1, 1 / 6), (2, 3, 2, 1 / 6)),
    (3, 1, 0, 2.5),
    *((4, 1, 0, 0.5 / 3), (4, 2, 0, 0.5 / 3)),
]


def mean_nll(network: Any, groups: Sequence[TokenGroup]) -> Tensor:
    tokens = torch.cat([part for group in groups for part in tiny.stock_tokens(network, group)])
    return -tokens.mean()


def joined(groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """Each demonstration as one text: every token but the very first is predicted."""
    made = []
    for group in groups:
        (completion,) = group.completions
        ids = np.concatenate([group.prompt, completion.ids])
        made.append(TokenGroup(group.group, ids[:0], (type(completion)(ids, ((1, len(ids)),)),)))
    return made


def auxiliary(network: Any, alpha: float) -> Tensor:
    """Equation 2: (alpha L_LM + L_FT) over the completions' tokens."""
    completion = torch.cat([part for group in TURNS for part in tiny.stock_tokens(network, group)])
    everything = torch.cat([part for group in joined(TURNS) for part in tiny.stock_tokens(network, group)])
    return -(alpha * everything.sum() + completion.sum()) / len(completion)


# name -> (groups that are computed, objective, the loss by hand)
CASES: dict[str, Any] = {
    "dpo, K = 2": (
        PAIRS,
        lambda: PairObjective([Term(PAIR_LOSSES["sigmoid"], {"beta": BETA})], reference_of(PAIRS)),
        lambda net: preference_by_hand(net, [(g, 0, 1, 1.0) for g in range(len(PAIRS))], PAIRS),
    ),
    "dpo, K = 2 to 4 with ties": (
        RANKED,
        lambda: PairObjective([Term(PAIR_LOSSES["sigmoid"], {"beta": BETA})], reference()),
        lambda net: preference_by_hand(net, RANKED_PAIRS, RANKED),
    ),
    "sft, several turns": (TURNS, Likelihood, lambda net: mean_nll(net, TURNS)),
    "pretrain, packed": (BLOCKS, Likelihood, lambda net: mean_nll(net, [g for g in BLOCKS_APART if g.length > 1])),
    "sft, lm_alpha 0.3": (
        [whole(group) for group in TURNS],
        lambda: FineTuning(TURNS, alpha=0.3),
        lambda net: auxiliary(net, 0.3),
    ),
}
BLOCKS_APART = [
    TokenGroup(block.group, block.prompt, (document,)) for block in BLOCKS for document in block.completions
]


@pytest.mark.parametrize("case", CASES)
def test_a_step_is_the_formula_however_it_is_cut(case: str) -> None:
    groups, objective, by_hand = CASES[case]
    network = moved(tiny.llama())
    loss = by_hand(network)
    truth = tiny.gradients(network, loss)
    norm = math.sqrt(sum(float(grad.double().square().sum()) for grad in truth.values()))
    counts = set()
    for layout, max_tokens in CUTS:
        step = step_of(groups, objective(), layout, max_tokens)
        where = f"{layout}, {max_tokens}"
        assert step.result.loss == pytest.approx(loss.item(), rel=1e-5), where
        assert step.result.grad_norm == pytest.approx(norm, rel=1e-5), where
        assert tiny.distance(step.gradient, truth) < 1e-5, where
        counts.add(len(cut(groups, layout, max_tokens)))
    assert len(counts) > 1 and min(counts) == 1  # the cuts did differ


@pytest.mark.parametrize("case", CASES)
def test_metrics_do_not_depend_on_the_cut(case: str) -> None:
    groups, objective, _ = CASES[case]
    first, *others = (step_of(groups, objective(), *how).means for how in CUTS)
    for other in others:
        assert other == pytest.approx(first, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_evaluation_gives_one_number_at_any_budget(case: str) -> None:
    groups, objective, _ = CASES[case]
    model = LanguageModel(moved(tiny.llama()))
    found = []
    for layout, max_tokens in CUTS:
        model.layout = layout
        found.append(evaluate(model, cut(groups, layout, max_tokens), objective()))
    for other in found[1:]:
        assert other.groups == found[0].groups == len(groups)
        assert other.flat() == pytest.approx(found[0].flat(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("case", ["dpo, K = 2", "dpo, K = 2 to 4 with ties", "sft, several turns", "pretrain, packed"])
def test_held_out_loss_is_the_training_loss_of_the_same_data(case: str) -> None:
    groups, objective, by_hand = CASES[case]
    network = moved(tiny.llama())
    expected = by_hand(network).item()
    found = evaluate(LanguageModel(network), cut(groups, "tree", 256), objective())
    assert found.estimates["loss"].mean == pytest.approx(expected, rel=1e-5)


def test_the_figures_of_a_comparison_by_hand() -> None:
    groups, network = PAIRS[:4], moved(tiny.llama())
    with torch.no_grad():
        ref, policy = tiny.stock_sums(tiny.llama(), groups), tiny.stock_sums(network, groups)
    chosen = [BETA * float(p[0] - r[0]) for p, r in zip(policy, ref, strict=True)]
    rejected = [BETA * float(p[1] - r[1]) for p, r in zip(policy, ref, strict=True)]
    margins = [a - b for a, b in zip(chosen, rejected, strict=True)]
    lengths = [(len(g.completions[0].ids), len(g.completions[1].ids)) for g in groups]
    expected = {
        "loss": np.mean([math.log(1 + math.exp(-m)) for m in margins]),
        "rewards/chosen": np.mean(chosen),
        "rewards/rejected": np.mean(rejected),
        "rewards/margins": np.mean(margins),
        "rewards/accuracies": np.mean([m > 0 for m in margins]),
        "logps/chosen": np.mean([float(p[0]) for p in policy]),
        "logps/rejected": np.mean([float(p[1]) for p in policy]),
        "gradient_weight": np.mean([1 / (1 + math.exp(m)) for m in margins]),
        "length_gap": np.mean([a - b for a, b in lengths]),
        "bits_per_token/chosen": np.mean(
            [-float(p[0]) / w / math.log(2) for p, (w, _) in zip(policy, lengths, strict=True)]
        ),
    }
    step = step_of(
        groups, PairObjective([Term(PAIR_LOSSES["sigmoid"], {"beta": BETA})], reference_of(groups)), "tree", 64
    )
    assert step.means == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_figures_of_a_likelihood_by_hand() -> None:
    """Means over all tokens, not over rows."""
    network = moved(tiny.llama())
    with torch.no_grad():
        nll = float(mean_nll(network, TURNS))
        right = total = 0
        for group in TURNS:
            row = torch.from_numpy(np.concatenate([group.prompt, group.completions[0].ids]).astype(np.int64))
            best = network(row[None]).logits[0].argmax(-1)
            for start, end in group.completions[0].loss:
                for place in range(len(group.prompt) + start, len(group.prompt) + end):
                    right, total = right + int(best[place - 1] == row[place]), total + 1
    step = step_of(TURNS, Likelihood(), "tree", 64)
    assert step.means["loss"] == pytest.approx(nll, rel=1e-5)
    assert step.means["bits_per_token"] == pytest.approx(nll / math.log(2), rel=1e-5)
    assert step.means["mean_token_accuracy"] == pytest.approx(right / total)


@pytest.mark.parametrize("alpha", [None, 0.5], ids=["likelihood", "with equation 2"])
def test_a_demonstration_of_weight_three_is_three_of_weight_one(alpha: float | None) -> None:
    heavy = [replace(TURNS[0], group=replace(TURNS[0].group, weight=3.0)), *TURNS[1:4]]
    thrice = [TURNS[0], *TURNS[:4], TURNS[0]]
    found = []
    for groups in (heavy, thrice):
        objective: Objective = Likelihood() if alpha is None else FineTuning(groups, alpha=alpha)
        rows = groups if alpha is None else [whole(group) for group in groups]
        found.append(step_of(rows, objective, "rows", 64))
    one, other = found
    assert one.result.loss == pytest.approx(other.result.loss, rel=1e-5)
    assert tiny.distance(one.gradient, other.gradient) < 1e-5
    assert one.means == pytest.approx(other.means, rel=1e-5)
    assert step_of(TURNS[:4], Likelihood(), "rows", 64).result.loss != pytest.approx(one.result.loss, rel=1e-3)


def test_the_parts_of_a_mix_have_their_shares() -> None:
    """(1 - f) mean over the own tokens + f mean over the mix's, whatever the numbers of groups and tokens."""
    network = moved(tiny.llama())
    own, other = mean_nll(network, TURNS), mean_nll(network, [g for g in BLOCKS_APART if g.length > 1])
    loss = 0.75 * own + 0.25 * other
    truth = tiny.gradients(network, loss)
    for layout, max_tokens in CUTS:
        parts = [
            Part(cut(TURNS, layout, max_tokens), Likelihood(), 0.75),
            Part(cut(BLOCKS, layout, max_tokens), Likelihood(), 0.25, "mix/"),
        ]
        step = Step(moved(tiny.llama()), parts, layout)
        assert step.result.loss == pytest.approx(loss.item(), rel=1e-5)
        assert tiny.distance(step.gradient, truth) < 1e-5
        assert step.means["loss"] == pytest.approx(own.item(), rel=1e-5)
        assert step.means["mix/loss"] == pytest.approx(other.item(), rel=1e-5)


DATA = DataOptions(data="none", shuffle=False)


def test_a_course_goes_through_all_groups_and_its_last_step_is_smaller() -> None:
    options = TrainOptions(learning_rate=0.1, warmup_steps=0, batch_size=4)
    course = course_of(PAIRS, range(9), Likelihood(), DATA, options, small_trees)
    steps = [sorted(i for part in course.at(n) for batch in part.batches for i in batch.indices) for n in range(4)]
    assert course.per_epoch == 3
    assert steps == [[0, 1, 2, 3], [4, 5, 6, 7], [8], [0, 1, 2, 3]]


def test_each_epoch_has_every_group_once_and_an_order_of_its_own() -> None:
    options = TrainOptions(learning_rate=0.1, warmup_steps=0, batch_size=3, seed=1)
    course = course_of(
        PAIRS, range(2, 9), Likelihood(), DATA.model_copy(update={"shuffle": True}), options, small_trees
    )
    epochs = [
        [i for n in range(3 * e, 3 * e + 3) for part in course.at(n) for batch in part.batches for i in batch.indices]
        for e in range(2)
    ]
    assert [sorted(epoch) for epoch in epochs] == [list(range(2, 9))] * 2
    sets = [{frozenset(i for b in course.at(3 * e)[0].batches for i in b.indices)} for e in range(2)]
    assert sets[0] != sets[1]


def test_a_mixed_course_takes_its_fraction_from_the_mix() -> None:
    options = TrainOptions(learning_rate=0.1, warmup_steps=0, batch_size=4)
    course = mixed_course((TURNS, range(5), Likelihood()), (BLOCKS, Likelihood()), 0.25, DATA, options, small_trees)
    assert course.per_epoch == 2
    own, mix = course.at(0)
    assert [sum(len(batch.members) for batch in part.batches) for part in (own, mix)] == [3, 1]
    assert (own.coefficient, mix.coefficient, own.name, mix.name) == (0.75, 0.25, "", "mix/")


def test_the_reference_pass_is_stock_in_the_order_of_the_data() -> None:
    expected = reference()
    for layout, max_tokens in CUTS:
        found = reference_logprobs(LanguageModel(tiny.llama(), layout), RANKED, max_tokens=max_tokens)
        torch.testing.assert_close(found.token, expected.token, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.sum, expected.sum, rtol=1e-5, atol=1e-4)
        assert torch.equal(found.end, expected.end) and torch.equal(found.first, expected.first)


def test_a_batch_finds_its_reference_wherever_its_groups_stand() -> None:
    batch = next(iter(micro_batches(RANKED, [4, 1], max_tokens=10_000, layout="tree")))
    expected = {4: [12, 13, 14], 1: [3, 4, 5]}  # completions before: 3 + 3 + 4 + 2, and 3
    places = [place for i in batch.indices for place in expected[i]]
    assert torch.equal(reference().of(batch), reference().sum[places])


@pytest.mark.parametrize("groups", [PAIRS, RANKED], ids=["K = 2", "ties"])
def test_at_step_0_the_loss_is_log_2_and_margins_are_0(groups: Sequence[TokenGroup]) -> None:
    for layout in ("tree", "rows"):
        network = tiny.llama()
        found = reference_logprobs(LanguageModel(network, layout), groups, max_tokens=100)
        step = Step(
            network,
            [Part(cut(groups, layout, 64), PairObjective([Term(PAIR_LOSSES["sigmoid"], {"beta": 0.1})], found))],
            layout,
        )
        assert step.means["loss"] == pytest.approx(math.log(2), abs=1e-5)
        assert step.result.loss == pytest.approx(math.log(2), abs=1e-5)
        assert step.means["rewards/margins"] == pytest.approx(0, abs=1e-5)
        assert step.means["gradient_weight"] == pytest.approx(0.5, abs=1e-5)


def broken(network: Any) -> Any:
    with torch.no_grad():
        network.model.layers[1].mlp.down_proj.weight[3, 5] = float("nan")
    return network


def test_a_number_that_is_not_finite_stops_before_the_update() -> None:
    network = broken(tiny.llama())
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    weights = Weights.of(network, recipe())
    part = Part(cut(TURNS, "tree", 64), Likelihood())
    steps = fit(LanguageModel(network), [[part]], weights, lambda _: 0.1, max_grad_norm=1.0, seed=0, first=6)
    with pytest.raises(Diverged, match=r"step 7: loss nan.*made.jsonl:\d") as caught:
        next(steps)
    assert caught.value.code == 3
    assert all(torch.equal(p.nan_to_num(), before[name].nan_to_num()) for name, p in network.named_parameters())
    assert network.config._attn_implementation == "sdpa"


def test_an_infinite_gradient_of_a_finite_loss_stops_too() -> None:
    network = tiny.llama()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    network.model.norm.weight.register_hook(lambda grad: grad * float("inf"))
    weights = Weights.of(network, recipe())
    steps = fit(
        LanguageModel(network), [[Part(cut(TURNS, "tree", 64), Likelihood())]], weights, lambda _: 0.1,
        max_grad_norm=1.0, seed=0,
    )  # fmt: skip
    with pytest.raises(Diverged, match=r"step 1: loss \d.*gradient norm (inf|nan)"):
        next(steps)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_a_step_without_a_predicted_token_is_no_crash() -> None:
    """A document of 9 tokens in blocks of 8: the second block has one token, which nothing predicts."""
    blocks = pack([tiny.group(0, [9])], 8)
    network = tiny.llama()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    step = Step(network, [Part(cut(blocks[1:], "tree", 64), Likelihood())], "tree")
    assert (step.result.loss, step.result.grad_norm) == (0.0, 0.0)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_clipping_scales_the_whole_gradient() -> None:
    network = moved(tiny.llama())
    loss = mean_nll(network, TURNS)
    truth = tiny.gradients(network, loss)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    norm = math.sqrt(sum(float(grad.square().sum()) for grad in truth.values()))
    part = Part(cut(TURNS, "tree", 64), Likelihood())
    (result,) = fit(
        LanguageModel(network), [[part]], Weights.of(network, recipe("sgd")), lambda _: 1.0,
        max_grad_norm=norm / 4, seed=0,
    )  # fmt: skip
    moves = {name: before[name] - p.detach() for name, p in network.named_parameters()}
    assert result.grad_norm == pytest.approx(norm, rel=1e-5)  # as it was before
    assert tiny.distance(moves, {name: grad / 4 for name, grad in truth.items()}) < 1e-4


def test_dropout_depends_on_seed_step_and_micro_batch_alone() -> None:
    """Started at step 3, a run draws what it would have drawn had it come there: exact resume with dropout."""

    def trained(first: int, count: int, seed: int = 0) -> list[float]:
        network = tiny.gpt2().train()
        torch.manual_seed(count)  # whatever was drawn before
        step = [Part(cut(TURNS, "tree", 24), Likelihood())]
        weights = Weights.of(network, recipe("sgd"))
        how = {"max_grad_norm": 0, "seed": seed, "first": first}
        runs = fit(LanguageModel(network), [step] * count, weights, lambda _: 0.0, **how)
        return [result.loss for result in runs]

    whole_run = trained(0, 5)
    assert len(set(whole_run)) == 5
    assert trained(3, 2) == whole_run[3:]
    assert trained(0, 1, seed=1) != whole_run[:1]


def test_bf16_learns_nearly_the_same() -> None:
    network = moved(tiny.llama())
    truth = tiny.gradients(network, mean_nll(network, TURNS))
    weights = Weights.of(network, recipe("sgd"), dtype=torch.bfloat16)
    before = {name: master.detach().clone() for name, master in weights.masters.items()}
    part = Part(cut(TURNS, "tree", 64), Likelihood())
    list(fit(LanguageModel(network), [[part]], weights, lambda _: 1.0, max_grad_norm=0, seed=0))
    moves = {name: before[name] - master.detach() for name, master in weights.masters.items()}
    assert tiny.distance(moves, truth) < 0.05


def test_what_a_step_reports() -> None:
    """PAIRS[0] and [1]: prompts 3 and 8, completions 4 + 3 and 5 + 5; rows repeat the prompts."""
    groups = PAIRS[:2]
    step = step_of(
        groups, PairObjective([Term(PAIR_LOSSES["sigmoid"], {"beta": BETA})], reference_of(groups)), "tree", 1000
    )
    assert [(len(g.prompt), *(len(c.ids) for c in g.completions)) for g in groups] == [(3, 4, 3), (8, 5, 5)]
    result = step.result
    assert (result.step, result.groups, result.tokens, result.row_tokens) == (1, 2, 10 + 18, 13 + 26)
    assert (result.learning_rate, result.seconds > 0) == (1.0, True)


def test_the_time_of_a_step_counts_its_making() -> None:
    """As of samples, which take longer than what is learnt from them; not what is done between two steps."""

    def made() -> Iterator[list[Part]]:
        for _ in range(2):
            time.sleep(0.2)
            yield [Part(cut(TURNS, "tree", 64), Likelihood())]

    network = moved(tiny.llama())
    weights, began = Weights.of(network, recipe("sgd")), time.perf_counter()
    seconds = []
    for step in fit(LanguageModel(network), made(), weights, lambda _: 1.0, max_grad_norm=0, seed=0):
        seconds.append(step.seconds)
        time.sleep(0.3)
    assert all(one >= 0.2 for one in seconds)
    assert sum(seconds) < time.perf_counter() - began - 0.6


def test_measuring_leaves_no_gradient_and_no_other_mode() -> None:
    network = tiny.gpt2().train()
    model = LanguageModel(network)
    found = [evaluate(model, cut(TURNS, "tree", 64), Likelihood()).estimates["loss"].mean for _ in range(2)]
    assert found[0] == found[1]  # no dropout
    assert network.training
    assert all(p.grad is None for p in network.parameters())
    held = measure(model, [], Likelihood())
    assert (held.values, len(held.weight)) == ({}, 0)
