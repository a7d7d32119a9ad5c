"""Losses of classifiers by hand, and the objective against stock's losses, however a step is cut."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as stock_cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from accord.data.classified import Vocabulary
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.maths.classification import balanced, cross_entropy, lead, own_margin, two_label_margin, zero_one
from accord.maths.surrogates import SURROGATES
from accord.models.logprobs import LanguageModel
from accord.models.output import OutputLayer
from accord.records import Class, Judgement, Said
from accord.training.classification import (
    ClassObjective,
    ClassTerm,
    LanguageTerm,
    class_weights,
    label_counts,
    whole_rows,
)
from accord.training.loop import measure

THREE = Vocabulary(("a", "b", "c"), several=False)
TWO = Vocabulary(("fine", "toxic"), several=False)
EACH = Vocabulary(("a", "b", "c"), several=True)
CUTS = [("tree", 24), ("rows", 64), ("cache", 48), ("tree", 100_000)]


def labelled(count: int, *said: Judgement, weight: float = 1.0, seed: int = 0, prompt: int = 4) -> TokenGroup:
    """Random tokens; `count` completions of 3 to 6 of them."""
    made = tiny.group(prompt, [3 + (seed + i) % 4 for i in range(count)], seed=seed)
    group = made.group
    own = Said(group.id, said, weight, None, group.source, tuple(range(count)))
    return TokenGroup(own, made.prompt, made.completions)


def of_class(*names: Class) -> Judgement:
    return Judgement(classes=names)


ONE_EACH = [
    labelled(1, of_class("a"), seed=1),
    labelled(1, of_class("b"), seed=2, prompt=9),
    labelled(2, of_class("c", "b"), seed=3, weight=2.0),
    labelled(1, of_class("b"), of_class("c"), seed=4),
]
# (group, completion, class, weight), written out by hand
ONE_ROWS = [(0, 0, 0, 1.0), (1, 0, 1, 1.0), (2, 0, 2, 1.0), (2, 1, 1, 1.0), (3, 0, 1, 0.5), (3, 0, 2, 0.5)]
SEVERAL = [
    labelled(1, of_class(("a", "c")), seed=1),
    labelled(1, of_class(()), seed=2),
    labelled(1, Judgement(flags={"a": (False,), "b": (True,)}), seed=5),  # of c nothing was said
]
SEVERAL_TARGET = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
SEVERAL_SAID = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def classifier(labels: int = 3, **changes: Any) -> Any:
    config = LlamaConfig(**{**tiny.SHAPE, "num_labels": labels, **changes})
    return tiny.build(LlamaForSequenceClassification, config)


def ids(group: TokenGroup, completion: int) -> Tensor:
    both = [*group.prompt.tolist(), *group.completions[completion].ids.tolist()]
    return torch.tensor([both])


def stock_scores(network: Any, groups: Sequence[TokenGroup], rows: Sequence[tuple[int, int]]) -> Tensor:
    return torch.cat([network(ids(groups[g], c), use_cache=False).logits for g, c in rows])


def step(objective: ClassObjective, network: Any, groups: Sequence[TokenGroup], layout: Any, tokens: int) -> Tensor:
    """The loss of all groups as one step, as the loop makes it."""
    model = LanguageModel(network, layout)
    batches = list(micro_batches(groups, range(len(groups)), max_tokens=tokens, layout=layout))
    whole = sum(objective.weight(batch) for batch in batches)
    with model.segmented():
        return torch.stack([objective(model, batch).loss / whole for batch in batches]).sum()


def test_cross_entropy_by_hand() -> None:
    z = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]])  # P = 1/4, 3/4
    assert cross_entropy(z, torch.eye(2)).tolist() == pytest.approx([math.log(4.0), math.log(4 / 3)], rel=1e-6)


# m = y f(x), f = 3 - 1 = 2, y = -1 where the first label holds
SURROGATE = {"logistic": (2.126928, 0.126928), "hinge": (3.0, 0.0), "exponential": (7.389056, 0.135335)}


@pytest.mark.parametrize("name", SURROGATE)
def test_surrogates_of_two_labels_by_hand(name: str) -> None:
    z = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    margin = two_label_margin(z, torch.eye(2))
    assert margin.tolist() == [-2.0, 2.0]
    assert SURROGATES[name](margin).tolist() == pytest.approx(SURROGATE[name], rel=1e-5)
    assert zero_one(margin).tolist() == [1.0, 0.0]


def test_logistic_loss_of_two_labels_is_their_cross_entropy() -> None:
    z, target = torch.tensor([[0.3, -1.2], [2.0, 5.0], [0.0, 0.5]]), torch.eye(2)[[0, 1, 1]]
    assert torch.allclose(SURROGATES["logistic"](two_label_margin(z, target)), cross_entropy(z, target))


def test_margins() -> None:
    z = torch.tensor([[1.0, 4.0, 2.0]])
    assert lead(z, torch.tensor([[0.0, 1.0, 0.0]])).tolist() == [2.0]  # 4 - 2
    assert lead(z, torch.tensor([[0.0, 0.0, 1.0]])).tolist() == [-2.0]  # 2 - 4
    assert own_margin(z, torch.tensor([[1.0, 0.0, 0.0]])).tolist() == [[1.0, -4.0, -2.0]]


def test_balanced_weights_by_hand() -> None:
    """30 and 10 of 40: 40 / (2 * 30) and 40 / (2 * 10)."""
    assert balanced(torch.tensor([30.0, 10.0])).tolist() == pytest.approx([2 / 3, 2.0])
    assert balanced(torch.tensor([5.0, 0.0])).tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    ("labels", "loss"), [(THREE, "cross_entropy"), *((labels, name) for labels in (TWO, EACH) for name in SURROGATES)]
)
def test_gradients_against_finite_differences(labels: Vocabulary, loss: Any) -> None:
    size = len(labels.names)
    z = torch.randn(4, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.eye(size, dtype=torch.float64)[[0, 1, 1, size - 1]]
    term = ClassTerm(labels, loss)
    assert torch.autograd.gradcheck(lambda x: term.decided(x, target)[0], (z,))


@pytest.mark.parametrize(("layout", "tokens"), CUTS)
def test_the_step_is_the_mean_of_stocks_losses_however_it_is_cut(layout: Any, tokens: int) -> None:
    network = classifier()
    objective = ClassObjective(ClassTerm(THREE))
    own = step(objective, network, ONE_EACH, layout, tokens)
    z = stock_scores(network, ONE_EACH, [(g, c) for g, c, _, _ in ONE_ROWS])
    weight = torch.tensor([w for *_, w in ONE_ROWS])
    each = stock_cross_entropy(z, torch.tensor([k for _, _, k, _ in ONE_ROWS]), reduction="none")
    wanted = (each * weight).sum() / weight.sum()
    assert own.item() == pytest.approx(wanted.item(), rel=1e-5)
    stock = tiny.gradients(network, wanted)
    own = step(objective, network, ONE_EACH, layout, tokens)
    assert tiny.distance(tiny.gradients(network, own), stock) < 1e-5


def test_class_weights_are_those_of_torch() -> None:
    """A weighted mean, as torch.nn.CrossEntropyLoss(weight=...) has it."""
    network, groups = classifier(), ONE_EACH[:2]
    weight = torch.tensor([3.0, 0.5, 1.0])
    own = step(ClassObjective(ClassTerm(THREE, class_weight=weight)), network, groups, "rows", 64)
    z = stock_scores(network, groups, [(0, 0), (1, 0)])
    assert own.item() == pytest.approx(stock_cross_entropy(z, torch.tensor([0, 1]), weight).item(), rel=1e-5)


def test_each_label_by_itself_is_stocks_loss_over_what_was_said() -> None:
    network = classifier()
    own = step(ClassObjective(ClassTerm(EACH)), network, SEVERAL, "tree", 64)
    z = stock_scores(network, SEVERAL, [(0, 0), (1, 0), (2, 0)])
    each = torch.nn.functional.binary_cross_entropy_with_logits(z, SEVERAL_TARGET, reduction="none")
    assert own.item() == pytest.approx((each[SEVERAL_SAID > 0]).mean().item(), rel=1e-5)  # 8 of 9


def test_figures_count_what_was_said() -> None:
    network = classifier()
    model = LanguageModel(network, "rows")
    batches = micro_batches(SEVERAL, range(3), max_tokens=64, layout="rows")
    held = measure(model, batches, ClassObjective(ClassTerm(EACH)))
    z = stock_scores(network, SEVERAL, [(0, 0), (1, 0), (2, 0)])
    right = ((z > 0).float() == SEVERAL_TARGET).float()
    by_hand = [right[0].mean().item(), right[1].mean().item(), right[2, :2].mean().item()]
    order = held.group.tolist()
    assert held.values["accuracy"].tolist() == pytest.approx([by_hand[place] for place in order], abs=1e-6)
    assert held.values["zero_one_loss"].tolist() == pytest.approx([1 - by_hand[place] for place in order], abs=1e-6)
    assert held.values["all_right"].tolist() == [float(by_hand[place] == 1) for place in order]
    assert dict(zip(order, held.row_weight("loss").tolist(), strict=True)) == pytest.approx({0: 1, 1: 1, 2: 2 / 3})


def test_label_counts_and_their_weights() -> None:
    count = label_counts([group.group for group in ONE_EACH], THREE)
    assert count[1].tolist() == [1.0, 2.5, 1.5]  # by weight; of 5 texts
    assert class_weights(count, THREE).tolist() == pytest.approx([5 / 3, 5 / 7.5, 5 / 4.5])
    count = label_counts([group.group for group in SEVERAL], EACH)
    assert count.tolist() == [[2.0, 2.0, 1.0], [1.0, 1.0, 1.0]]
    assert class_weights(count, EACH).tolist() == [
        pytest.approx([0.75, 0.75, 1.0]),  # 3 / (2 * 2), 3 / (2 * 2), 2 / (2 * 1)
        pytest.approx([1.5, 1.5, 1.0]),
    ]


@pytest.mark.parametrize(("layout", "tokens"), CUTS)
def test_equation_2_over_stocks_two_losses(layout: Any, tokens: int) -> None:
    """L_FT + alpha L_LM: of each text the mean over its tokens, then the mean over texts; both train the embedding."""
    alpha, network = 0.5, classifier()
    language: Any = tiny.build(LlamaForCausalLM, LlamaConfig(**tiny.SHAPE, tie_word_embeddings=True))
    language.model = network.model  # one body, and one embedding
    language.lm_head.weight = network.model.embed_tokens.weight
    rows = [whole_rows(group) for group in ONE_EACH]
    term = LanguageTerm(alpha, lambda: OutputLayer(network.model.embed_tokens.weight))
    objective = ClassObjective(ClassTerm(THREE), term)
    z = stock_scores(network, ONE_EACH, [(g, c) for g, c, _, _ in ONE_ROWS])
    weight = torch.tensor([w for *_, w in ONE_ROWS])
    texts = [ids(ONE_EACH[g], c) for g, c, _, _ in ONE_ROWS]
    nll = torch.stack([language(one, labels=one, use_cache=False).loss for one in texts])
    each = stock_cross_entropy(z, torch.tensor([k for _, _, k, _ in ONE_ROWS]), reduction="none")
    wanted = ((each + alpha * nll) * weight).sum() / weight.sum()
    own = step(objective, network, rows, layout, tokens)
    assert own.item() == pytest.approx(wanted.item(), rel=1e-5)
    stock = tiny.gradients(network, wanted)
    assert tiny.distance(tiny.gradients(network, step(objective, network, rows, layout, tokens)), stock) < 1e-5


def test_whole_rows_keep_the_last_token() -> None:
    group = ONE_EACH[2]
    row = whole_rows(group)
    assert not len(row.prompt) and row.group is group.group
    assert [one.ids.tolist() for one in row.completions] == [ids(group, c)[0].tolist() for c in range(2)]


def test_a_group_that_weighs_nothing_more_changes_nothing() -> None:
    """Weights are relative: all of them times 7 are the same step."""
    network, objective = classifier(), ClassObjective(ClassTerm(THREE))
    heavier = [
        TokenGroup(replace(group.group, weight=7 * group.group.weight), group.prompt, group.completions)
        for group in ONE_EACH
    ]
    one, other = (step(objective, network, groups, "tree", 64).item() for groups in (ONE_EACH, heavier))
    assert one == pytest.approx(other, rel=1e-6)
