"""A step of training a reward model: the formula over stock's scores, however the step is cut."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from test_loop import CUTS, PAIRS, RANKED, RANKED_PAIRS, Step, cut, moved
from torch import Tensor
from torch.nn.functional import softplus

from accord.data.dialogue import TokenGroup
from accord.data.outcomes import Rule
from accord.maths.pair import hyperparameters
from accord.maths.reward import REWARD_LOSSES
from accord.models.logprobs import LanguageModel
from accord.records import Judgement
from accord.stages.evaluation import evaluate
from accord.training.loop import fit
from accord.training.optimizer import Weights, recipe
from accord.training.rewards import RewardTerm, reward_objective
from accord.training.step import Part

FEW_CUTS = [("tree", 64), ("rows", 256), ("cache", 100_000)]
# Group, place, place of RANKED that tie, and the weight of each pair: the third's first and third, the rest's equals.
RANKED_TIES = [(1, 0, 2, 1 / 3), (2, 0, 2, 1 / 6), (4, 1, 2, 0.5 / 3)]


def scorer(seed: int = 0) -> Any:
    return tiny.build(
        transformers.LlamaForSequenceClassification, transformers.LlamaConfig(**tiny.SHAPE, num_labels=1), seed
    )


def stock_rewards(network: Any, groups: Sequence[TokenGroup]) -> list[list[Tensor]]:
    """Of each group, of each completion: () its score, one plain row at a time, by stock alone."""
    found = []
    for group in groups:
        rows = [np.concatenate([group.prompt, completion.ids]) for completion in group.completions]
        ids = [torch.from_numpy(row.astype(np.int64))[None] for row in rows]
        found.append([network(input_ids=row, use_cache=False).logits[0, 0] for row in ids])
    return found


def term(name: str = "bradley_terry", **changes: Any) -> RewardTerm:
    row = REWARD_LOSSES[name]
    return RewardTerm(row, hyperparameters(row.loss), **changes)


def same_step(made: RewardTerm, groups: Sequence[TokenGroup], loss: Tensor, network: Any, cuts: Any = FEW_CUTS) -> None:
    truth = tiny.gradients(network, loss)
    for layout, max_tokens in cuts:
        step = Step(moved(scorer()), [Part(cut(groups, layout, max_tokens), reward_objective(made))], layout)
        assert step.result.loss == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)
        assert tiny.distance(step.gradient, truth) < 4e-5
        assert step.means["loss"] == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)


def mean(parts: Sequence[tuple[float, Tensor]]) -> Tensor:
    """The mean by weight of (weight, value)."""
    return torch.stack([weight * value for weight, value in parts]).sum() / sum(weight for weight, _ in parts)


def judged(group: TokenGroup, *judgements: Judgement) -> TokenGroup:
    return TokenGroup(replace(group.group, judgements=judgements), group.prompt, group.completions)


SURROGATES = {
    "bradley_terry": lambda gap: softplus(-gap),
    "hinge": lambda gap: (1 - gap).clamp(min=0),
    "exponential": lambda gap: (-gap).exp(),
}


@pytest.mark.parametrize("name", SURROGATES)
def test_a_step_of_every_pair_loss(name: str) -> None:
    """Equation 6: the mean over the pairs of different rank, each of weight 1/C(K,2)."""
    network = moved(scorer())
    reward = stock_rewards(network, RANKED)
    loss = mean([(w, SURROGATES[name](reward[g][i] - reward[g][j])) for g, i, j, w in RANKED_PAIRS])
    same_step(term(name), RANKED, loss, network, CUTS if name == "bradley_terry" else FEW_CUTS)


def test_a_step_with_ties_as_halves() -> None:
    network = moved(scorer())
    reward = stock_rewards(network, RANKED)
    wins = [(w, softplus(reward[g][j] - reward[g][i])) for g, i, j, w in RANKED_PAIRS]
    ties = [(w, (softplus(r := reward[g][i] - reward[g][j]) + softplus(-r)) / 2) for g, i, j, w in RANKED_TIES]
    same_step(term(rule=Rule(ties=True)), RANKED, mean([*wins, *ties]), network)


def test_a_step_of_davidsons_model() -> None:
    """-log of P(win) : P(tie) : P(loss) = exp(g) : nu exp(g / 2) : 1."""
    network, nu = moved(scorer()), 0.7
    reward = stock_rewards(network, RANKED)

    def chances(g: int, i: int, j: int) -> tuple[Tensor, Tensor]:
        gap = reward[g][i] - reward[g][j]
        total = gap.exp() + nu * (gap / 2).exp() + 1
        return gap.exp() / total, nu * (gap / 2).exp() / total

    wins = [(w, -chances(g, i, j)[0].log()) for g, i, j, w in RANKED_PAIRS]
    ties = [(w, -chances(g, i, j)[1].log()) for g, i, j, w in RANKED_TIES]
    made = term("davidson", rule=Rule(ties=True))._replace(hyper={"tie_strength": nu})
    same_step(made, RANKED, mean([*wins, *ties]), network)


def test_a_step_of_plackett_luce() -> None:
    """One completion after the other is chosen from itself and those ranked below it."""
    network = moved(scorer())
    reward = stock_rewards(network, RANKED)
    parts = []
    for group, own in zip(RANKED, reward, strict=True):
        ranks = group.group.judgements[0].ranks
        chosen = [
            torch.stack([own[i], *(own[j] for j in range(len(ranks)) if ranks[j] > ranks[i])]).log_softmax(0)[0]
            for i in range(len(ranks))
        ]
        parts.append((group.group.weight, -torch.stack(chosen).sum()))
    same_step(term("plackett_luce"), RANKED, mean(parts), network, CUTS)


def test_plackett_luce_of_two_completions_is_bradley_terry() -> None:
    steps = [
        Step(
            moved(scorer()),
            [Part(cut(PAIRS, "tree", 256), reward_objective(term(name, center_coefficient=0.1)))],
            "tree",
        )
        for name in ("bradley_terry", "plackett_luce")
    ]
    assert steps[0].means == pytest.approx(steps[1].means, rel=1e-6)
    assert tiny.distance(steps[0].gradient, steps[1].gradient) < 1e-6


def test_margin_and_centring_are_those_of_trl() -> None:
    """RewardTrainer's loss: -logsigmoid(r_w - r_l - margin) + c (r_w + r_l)^2, each a mean over pairs."""
    margins = [0.0, 0.5, 2.0, 0.25]
    groups = [judged(one, Judgement(ranks=(1, 2), margin=m)) for one, m in zip(PAIRS[:4], margins, strict=True)]
    network = moved(scorer())
    chosen, rejected = (torch.stack([pair[side] for pair in stock_rewards(network, groups)]) for side in range(2))
    loss = -torch.nn.functional.logsigmoid(chosen - rejected - torch.tensor(margins)).mean()
    loss = loss + 0.03 * torch.mean((chosen + rejected) ** 2)
    same_step(term(use_margin=True, center_coefficient=0.03), groups, loss, network)


def test_centring_of_a_ranking_is_the_mean_over_its_pairs() -> None:
    group, c = RANKED[2], 0.2
    network = moved(scorer())
    (reward,) = stock_rewards(network, [group])
    of_pairs = torch.stack([(reward[i] + reward[j]) ** 2 for i, j in combinations(range(4), 2)]).mean()
    with_it, without = (
        Step(
            moved(scorer()),
            [Part(cut([group], "tree", 500), reward_objective(term("plackett_luce", center_coefficient=x)))],
            "tree",
        )
        for x in (c, 0.0)
    )
    assert with_it.result.loss - without.result.loss == pytest.approx(c * of_pairs.item(), rel=1e-4)


def test_ratings_and_smoothing_as_targets() -> None:
    """Ratings 4 and 2: sigma(0.5 x 2). Smoothing by 0.1: nine tenths one way, one tenth the other."""
    network, group = moved(scorer()), judged(PAIRS[0], Judgement(ratings=(2.0, 4.0)))
    ((low, high),) = stock_rewards(network, [group])
    gap, target = high - low, 1 / (1 + math.exp(-1.0))
    loss = target * softplus(-gap) + (1 - target) * softplus(gap)
    same_step(term(rule=Rule(rating_scale=0.5)), [group], loss, network)
    network = moved(scorer())
    ((low, high),) = stock_rewards(network, [group])
    same_step(term(label_smoothing=0.1), [group], 0.9 * softplus(low - high) + 0.1 * softplus(high - low), network)


@pytest.mark.parametrize("name", SURROGATES)
def test_a_group_is_the_mean_of_its_pairs_one_by_one(name: str) -> None:
    """Loss and gradient of one K-way group, and of its C(K,2) pairs as groups of their own, each with the prompt."""
    whole = tiny.group(12, [3, 8, 5, 4, 6], seed=9, ranks=[2, 4, 1, 5, 3])
    ranks = whole.group.judgements[0].ranks
    ones = []
    for i, j in combinations(range(5), 2):
        sides = tuple(whole.completions[place] for place in (i, j))
        texts = tuple(whole.group.completions[place] for place in (i, j))
        record = replace(whole.group, completions=texts, judgements=(Judgement(ranks=(ranks[i], ranks[j])),))
        ones.append(TokenGroup(record, whole.prompt, sides))
    together = Step(scorer(), [Part(cut([whole], "tree", 500), reward_objective(term(name)))], "tree")
    apart = [Step(scorer(), [Part(cut([one], "rows", 500), reward_objective(term(name)))], "rows") for one in ones]
    assert together.result.loss == pytest.approx(sum(one.result.loss for one in apart) / 10, abs=1e-6)
    average = {name: sum(one.gradient[name] for one in apart) / 10 for name in together.gradient}
    assert tiny.distance(together.gradient, average) < 1e-6


def test_figures_by_hand() -> None:
    """A win, a loss, and a group with a tie, which is in the loss and the mean and in nothing else."""
    groups = [PAIRS[0], PAIRS[1], tiny.group(6, [4, 3, 5], seed=3, ranks=[1, 1, 2])]
    network = moved(scorer())
    made = reward_objective(term(rule=Rule(ties=True)))
    figures = evaluate(LanguageModel(network, "tree"), cut(groups, "tree", 100), made).estimates
    with torch.no_grad():
        reward = [[value.item() for value in row] for row in stock_rewards(network, groups)]
    wins = [
        (1.0, *reward[0]),
        (1.0, *reward[1]),
        (1 / 3, reward[2][0], reward[2][2]),
        (1 / 3, reward[2][1], reward[2][2]),
    ]
    every = [*wins, (1 / 3, reward[2][0], reward[2][1])]

    def average(rows: Any, of: Any) -> Any:
        return pytest.approx(sum(w * of(a, b) for w, a, b in rows) / sum(row[0] for row in rows), rel=1e-4, abs=1e-6)

    assert figures["rewards/chosen"].mean == average(wins, lambda a, b: a)
    assert figures["rewards/rejected"].mean == average(wins, lambda a, b: b)
    assert figures["rewards/margins"].mean == average(wins, lambda a, b: a - b)
    assert figures["rewards/accuracies"].mean == average(wins, lambda a, b: float(a > b))
    assert figures["rewards/mean"].mean == average(every, lambda a, b: (a + b) / 2)


def test_equal_scores_are_half_right() -> None:
    network = scorer()
    torch.nn.init.zeros_(network.score.weight)
    for name in ("bradley_terry", "plackett_luce"):
        figures = evaluate(LanguageModel(network), cut(RANKED, "tree", 100), reward_objective(term(name))).estimates
        assert figures["rewards/accuracies"].mean == 0.5
        assert figures["rewards/margins"].mean == 0.0


def test_a_network_learns_the_rewards_that_made_the_judgements() -> None:
    """Soft labels of ratings that are the rewards are unlimited comparisons: scores become them, but for a constant."""
    truth = (1.2, -0.3, 0.5, -1.4)
    group = judged(tiny.group(7, [4, 3, 5, 4], seed=2), Judgement(ratings=truth))
    network = scorer()
    part = Part(cut([group], "tree", 500), reward_objective(term(rule=Rule(rating_scale=1.0))))
    weights = Weights.of(network, recipe("adam"))
    for _ in fit(LanguageModel(network), [[part]] * 150, weights, lambda _: 5e-3, max_grad_norm=0, seed=0):
        pass
    with torch.no_grad():
        reward = torch.stack(stock_rewards(network, [group])[0])
    expected = torch.tensor(truth)
    torch.testing.assert_close(reward - reward.mean(), expected - expected.mean(), atol=2e-3, rtol=0)
