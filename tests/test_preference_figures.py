"""The figures of losses on pairs, labels and rankings, by hand over stock's numbers; and who sees a modifier."""

from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from test_loop import PAIRS, RANKED, Step, cut, moved, reference_of
from test_preference_objectives import FEW_CUTS, LABELS, THUMBS, lengths, same_step, sums, term
from torch import Tensor

from accord.data.batches import Batch
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES
from accord.models.experts import coefficient
from accord.models.logprobs import LanguageModel, logprobs
from accord.training.labels import LabelObjective
from accord.training.loop import measure
from accord.training.objectives import Objective
from accord.training.preferences import Modifiers, PairObjective
from accord.training.rankings import RankingObjective
from accord.training.step import Part

BETA = 0.4
OWNER = [0, 1, 2, 2, 3, 3, 3]  # the group of each completion of THUMBS


def ratios(groups: Any) -> Tensor:
    """(C,) log pi / pi_ref of the moved policy."""
    policy, reference = (torch.stack(sums(network, groups)) for network in (moved(tiny.llama()), tiny.llama()))
    return (policy - reference).detach()


@pytest.mark.parametrize("modifiers", [Modifiers(divergence=DIVERGENCES["forward_kl"].score), Modifiers(ld_alpha=0.0)])
def test_a_loss_without_reference_sees_all_tokens_as_they_are(modifiers: Modifiers) -> None:
    """Though a divergence, or less weight for some tokens, changes what the loss beside it sees."""
    network, weight = moved(tiny.llama()), 0.5
    both = [term(PAIR_LOSSES, "sigmoid", beta=BETA), term(PAIR_LOSSES, "sft")._replace(weight=weight)]
    policy = torch.stack(sums(network, PAIRS))
    shared = [min(len(one.ids) for one in group.completions) for group in PAIRS for _ in group.completions]
    parts = [[part for group in PAIRS for part in tiny.stock_tokens(one, group)] for one in (network, tiny.llama())]
    if modifiers.divergence is None:
        own, kept = (torch.stack([p[:n].sum() for p, n in zip(side, shared, strict=True)]) for side in parts)
        score = own - kept.detach()
    else:
        score = modifiers.divergence(policy - torch.stack(sums(tiny.llama(), PAIRS)).detach())
    dpo = torch.nn.functional.softplus(-BETA * (score[0::2] - score[1::2]))
    loss = (dpo - weight * policy[0::2] / lengths(PAIRS)[0::2]).mean()
    same_step(PairObjective(both, reference_of(PAIRS), modifiers), PAIRS, loss, network, FEW_CUTS)


def test_rewards_under_a_divergence_are_its_scores() -> None:
    score = DIVERGENCES["js_divergence"].score
    objective = PairObjective(
        [term(PAIR_LOSSES, "sigmoid", beta=BETA)], reference_of(PAIRS), Modifiers(divergence=score)
    )
    step = Step(moved(tiny.llama()), [Part(cut(PAIRS, "tree", 64), objective)], "tree")
    rewards = BETA * score(ratios(PAIRS))
    assert step.means["rewards/chosen"] == pytest.approx(rewards[0::2].mean().item(), rel=1e-4)
    assert step.means["rewards/rejected"] == pytest.approx(rewards[1::2].mean().item(), rel=1e-4)


class Itself:
    """A reference that is the policy, to the bit."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def of(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            return logprobs(self.model, batch).sum

    def tokens_of(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            return logprobs(self.model, batch).token.token


@pytest.mark.parametrize("kind", ["pairs", "labels", "rankings"])
def test_where_policy_and_reference_are_equal_half_is_right(kind: str) -> None:
    model = LanguageModel(tiny.llama(), "rows")
    own = Itself(model)
    objectives: dict[str, Objective] = {
        "pairs": PairObjective([term(PAIR_LOSSES, "sigmoid")], own),
        "labels": LabelObjective(term(UNPAIRED_LOSSES, "bco"), own),
        "rankings": RankingObjective(term(RANKING_LOSSES, "plackett_luce"), own),
    }
    groups = THUMBS if kind == "labels" else RANKED
    held = measure(model, cut(groups, "rows", 70), objectives[kind])
    assert set(held.values["rewards/accuracies"]) == {0.5}


@pytest.mark.parametrize(("name", "figure"), [("kto", "kl"), ("bco", "baseline")])
def test_a_label_is_right_on_its_side_of_the_baseline(name: str, figure: str) -> None:
    rho = ratios(THUMBS)
    places, labels, _ = zip(*LABELS, strict=True)
    baseline = rho[list(places)].sort().values[4:].mean()  # one is above it
    right = [bool(rho[place] > baseline) is label for place, label in zip(places, labels, strict=True)]
    assert right != [bool(rho[place] > 0) is label for place, label in zip(places, labels, strict=True)]
    objective = LabelObjective(term(UNPAIRED_LOSSES, name), reference_of(THUMBS))
    (batch,) = cut(THUMBS, "rows", 100_000)
    order = [place for i in batch.indices for place, _, _ in LABELS if OWNER[place] == i]
    model = LanguageModel(moved(tiny.llama()), "rows")
    found = objective.with_baseline(model, batch, baseline).values
    assert found["rewards/accuracies"].tolist() == [float(right[places.index(place)]) for place in order]
    assert found[figure].tolist() == pytest.approx([baseline.item()] * len(LABELS))


def test_labels_of_a_group_that_weighs_more_weigh_more() -> None:
    factors = [1.0, 2.5, 0.5, 3.0]
    weighty = [replace(one, group=replace(one.group, weight=w)) for one, w in zip(THUMBS, factors, strict=True)]
    network = moved(tiny.llama())
    rho = torch.stack(sums(network, THUMBS)) - torch.stack(sums(tiny.llama(), THUMBS)).detach()
    total = torch.zeros(())
    for place, label, share in LABELS:
        signed = rho[place] if label else -rho[place]
        total = total + share * factors[OWNER[place]] * torch.nn.functional.softplus(-BETA * signed)
    objective = LabelObjective(term(UNPAIRED_LOSSES, "logistic", beta=BETA), reference_of(THUMBS))
    same_step(objective, weighty, total / sum(factors), network, FEW_CUTS)


def test_the_figures_of_a_ranking_by_hand() -> None:
    """One group: ranks 2, 3, 2, 1. Of its pairs all but the tie count; best is the last, worst the second."""
    objective = RankingObjective(term(RANKING_LOSSES, "plackett_luce", beta=BETA), reference_of([RANKED[2]]))
    step = Step(moved(tiny.llama()), [Part(cut([RANKED[2]], "tree", 100), objective)], "tree")
    first, second, third, last = (BETA * ratios([RANKED[2]])).tolist()
    pairs = [(first, second), (third, second), (last, first), (last, third), (last, second)]
    assert step.means["rewards/chosen"] == pytest.approx(last, rel=1e-4)
    assert step.means["rewards/rejected"] == pytest.approx(second, rel=1e-4)
    assert step.means["rewards/margins"] == pytest.approx(last - second, rel=1e-4)
    assert step.means["rewards/accuracies"] == pytest.approx(sum(better > worse for better, worse in pairs) / 5)


@pytest.mark.parametrize("kind", ["pairs", "labels", "rankings"])
def test_every_kind_keeps_the_balance_of_experts(kind: str) -> None:
    network = tiny.mixtral(router_aux_loss_coef=0.5)
    own = Itself(LanguageModel(network, "rows"))
    objectives: dict[str, Objective] = {
        "pairs": PairObjective([term(PAIR_LOSSES, "sigmoid")], own),
        "labels": LabelObjective(term(UNPAIRED_LOSSES, "logistic"), own),
        "rankings": RankingObjective(term(RANKING_LOSSES, "plackett_luce"), own),
    }
    groups = THUMBS if kind == "labels" else RANKED
    step = Step(network, [Part(cut(groups, "rows", 70), objectives[kind], 0.5)], "rows")
    expected = 0.5 * step.means["loss"] + 0.5 * coefficient(network) * step.means["aux_loss"]
    assert step.result.loss == pytest.approx(expected, rel=1e-5) and step.means["aux_loss"] > 1


def test_the_balance_of_two_micro_batches_is_that_of_one() -> None:
    def balance(max_tokens: int, count: int) -> float:
        network = tiny.mixtral(router_aux_loss_coef=0.5)
        batches = cut(RANKED[:2], "rows", max_tokens)
        assert len(batches) == count
        objective = PairObjective([term(PAIR_LOSSES, "simpo")], None)
        return Step(network, [Part(batches, objective)], "rows").means["aux_loss"]

    assert balance(10, 2) == pytest.approx(balance(1000, 1), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "hyper", "given"),
    [("sigmoid", {}, True), ("sigmoid", {"label_smoothing": 0.2}, False), ("ipo", {}, False), ("simpo", {}, False)],
)
def test_only_dpo_itself_reports_its_gradient_weight(name: str, hyper: dict[str, float], given: bool) -> None:
    """Equation 13 is DPO's: the gradient of another loss has another weight."""
    row = PAIR_LOSSES[name]
    chosen = [term(PAIR_LOSSES, name, **hyper)]
    objective = PairObjective(chosen, reference_of(PAIRS) if row.needs_reference else None)
    step = Step(tiny.llama(), [Part(cut(PAIRS, "tree", 64), objective)], "tree")
    assert ("gradient_weight" in step.means) is given
