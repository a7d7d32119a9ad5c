"""Every loss of the tables as a step of training: the formula over stock's numbers, however the step is cut."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from test_loop import CUTS, PAIRS, RANKED, RANKED_PAIRS, Step, cut, moved, reference_of
from torch import Tensor

from accord.data.batches import arrange
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.mismatch import mismatched
from accord.errors import InputError
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.pair import Pair, hyperparameters
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES
from accord.models.logprobs import LanguageModel
from accord.models.reference import ReferenceLogprobs
from accord.records import Judgement
from accord.training.labels import LabelObjective
from accord.training.loop import measure
from accord.training.moving import MovingReference
from accord.training.objectives import Objective
from accord.training.optimizer import Weights, recipe
from accord.training.preferences import Modifiers, PairObjective
from accord.training.rankings import RankingObjective
from accord.training.scores import Term
from accord.training.step import Part

FEW_CUTS = [("tree", 64), ("rows", 256), ("tree", 100_000)]


def term(table: Any, name: str, **changes: float) -> Term:
    return Term(table[name], hyperparameters(table[name].loss) | changes)


def sums(network: Any, groups: Sequence[TokenGroup]) -> list[Tensor]:
    return [total for group in tiny.stock_sums(network, groups) for total in group]


def lengths(groups: Sequence[TokenGroup]) -> Tensor:
    return torch.tensor([sum(b - a for a, b in c.loss) for group in groups for c in group.completions])


def compared(groups: Sequence[TokenGroup], pairs: Sequence[tuple[int, int, int, float]]) -> tuple[list[int], list[int]]:
    first = [sum(len(group.completions) for group in groups[:g]) for g in range(len(groups))]
    return [first[g] + w for g, w, _, _ in pairs], [first[g] + loser for g, _, loser, _ in pairs]


def by_hand(network: Any, terms: Sequence[Term]) -> Tensor:
    """The mean over RANKED's pairs by weight, all of them in one call of the loss."""
    policy = torch.stack(sums(network, RANKED))
    with torch.no_grad():
        reference = torch.stack(sums(tiny.llama(), RANKED))
    sides, weight = compared(RANKED, RANKED_PAIRS), torch.tensor([pair[3] for pair in RANKED_PAIRS])
    pairs = [Pair(*(x[list(side)] for side in sides)) for x in (policy, reference, lengths(RANKED))]
    loss = sum(one.weight * one.row.loss(*pairs, **one.hyper) for one in terms)
    return (loss * weight).sum() / weight.sum()


def same_step(objective: Objective, groups: Sequence[TokenGroup], loss: Tensor, network: Any, cuts: Any) -> None:
    truth = tiny.gradients(network, loss)
    for layout, max_tokens in cuts:
        step = Step(moved(tiny.llama()), [Part(cut(groups, layout, max_tokens), objective)], layout)
        assert step.result.loss == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)
        assert tiny.distance(step.gradient, truth) < 4e-5
        assert step.means["loss"] == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_a_step_of_every_pair_loss(name: str) -> None:
    network = moved(tiny.llama())
    terms = [term(PAIR_LOSSES, name)]
    reference = reference_of(RANKED) if PAIR_LOSSES[name].needs_reference else None
    same_step(PairObjective(terms, reference), RANKED, by_hand(network, terms), network, FEW_CUTS)


def test_a_sum_of_losses_one_of_which_couples_the_pairs() -> None:
    network = moved(tiny.llama())
    terms = [
        term(PAIR_LOSSES, "aot", beta=0.5),
        term(PAIR_LOSSES, "sft")._replace(weight=0.25),
        term(PAIR_LOSSES, "hinge")._replace(weight=2.0),
    ]
    same_step(PairObjective(terms, reference_of(RANKED)), RANKED, by_hand(network, terms), network, CUTS)


def test_a_coupled_loss_sees_the_whole_step_and_not_its_micro_batches() -> None:
    """Sorted within micro-batches the loss would be another one: the reason for the first pass."""
    objective = PairObjective([term(PAIR_LOSSES, "aot_unpaired", beta=2.0)], reference_of(RANKED))
    model = LanguageModel(moved(tiny.llama()))
    with model.segmented():
        apart = [objective(model, batch) for batch in cut(RANKED, "tree", 64)]
    weight = sum(one.weight.sum().item() for one in apart)
    whole = Step(moved(tiny.llama()), [Part(cut(RANKED, "tree", 64), objective)], "tree")
    assert abs(sum(one.loss.item() for one in apart) / weight - whole.result.loss) > 1e-3


def test_held_out_figures_of_a_coupled_loss_are_those_of_all_groups_together() -> None:
    objective = PairObjective([term(PAIR_LOSSES, "aot")], reference_of(RANKED))
    model = LanguageModel(moved(tiny.llama()))
    small = measure(model, cut(RANKED, "tree", 64), objective)
    large = measure(model, cut(RANKED, "tree", 100_000), objective)
    assert small.values["loss"] @ small.weight == pytest.approx(large.values["loss"] @ large.weight, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in DIVERGENCES if name != "reverse_kl"])
def test_a_divergence_takes_the_place_of_the_log_ratio(name: str) -> None:
    network, score = moved(tiny.llama()), DIVERGENCES[name].score
    policy, reference = sums(network, PAIRS), sums(tiny.llama(), PAIRS)
    rho = torch.stack(policy) - torch.stack(reference).detach()
    gap = score(rho[0::2]) - score(rho[1::2])
    loss = torch.nn.functional.softplus(-0.4 * gap).mean()
    objective = PairObjective(
        [term(PAIR_LOSSES, "sigmoid", beta=0.4)], reference_of(PAIRS), Modifiers(divergence=score)
    )
    same_step(objective, PAIRS, loss, network, FEW_CUTS)


def test_the_surplus_tokens_of_the_longer_completion_count_less() -> None:
    network, alpha = moved(tiny.llama()), 0.3

    def shortened(net: Any) -> Tensor:
        totals = []
        for group in PAIRS:
            tokens = tiny.stock_tokens(net, group)
            shared = min(len(part) for part in tokens)
            totals += [part[:shared].sum() + alpha * part[shared:].sum() for part in tokens]
        return torch.stack(totals)

    rho = shortened(network) - shortened(tiny.llama()).detach()
    loss = torch.nn.functional.softplus(-0.4 * (rho[0::2] - rho[1::2])).mean()
    modifiers = Modifiers(ld_alpha=alpha)
    objective = PairObjective([term(PAIR_LOSSES, "sigmoid", beta=0.4)], reference_of(PAIRS), modifiers)
    same_step(objective, PAIRS, loss, network, FEW_CUTS)


def test_a_pair_weighs_by_how_likely_the_policy_is_to_write_it() -> None:
    """exp of the mean of log p - log sum p^2 over its tokens, without gradient; a pair's product at most 1."""
    network = moved(tiny.llama())
    likely = []
    for group in PAIRS:
        for completion in group.completions:
            row = torch.from_numpy(tiny.tokens(*group.prompt, *completion.ids)).long()
            p = network(row[None]).logits[0].softmax(-1)[len(group.prompt) - 1 : -1]
            each = p.gather(1, row[len(group.prompt) :, None]).squeeze(1).log() - p.square().sum(-1).log()
            likely.append(each.mean().exp().item())
    factor = (torch.tensor(likely[0::2]) * torch.tensor(likely[1::2])).clamp(max=1)
    rho = torch.stack(sums(network, PAIRS)) - torch.stack(sums(tiny.llama(), PAIRS)).detach()
    loss = (factor * torch.nn.functional.softplus(-0.4 * (rho[0::2] - rho[1::2]))).mean()
    modifiers = Modifiers(use_weighting=True)
    objective = PairObjective([term(PAIR_LOSSES, "sigmoid", beta=0.4)], reference_of(PAIRS), modifiers)
    same_step(objective, PAIRS, loss, network, FEW_CUTS)


def with_judgement(group: TokenGroup, judgement: Judgement) -> TokenGroup:
    return replace(group, group=replace(group.group, judgements=(judgement,)))


THUMBS = [
    with_judgement(tiny.group(6, [5], seed=1), Judgement(labels=(True,))),
    with_judgement(tiny.group(4, [7], seed=2), Judgement(labels=(False,))),
    with_judgement(tiny.group(9, [3, 6], seed=3), Judgement(labels=(False, True))),
    with_judgement(tiny.group(7, [4, 5, 2], seed=4), Judgement(ratings=(1.0, 5.0, 3.0))),  # 3 is the mean: neither
]
LABELS = [(0, True, 1.0), (1, False, 1.0), (2, False, 0.5), (3, True, 0.5), (4, False, 0.5), (5, True, 0.5)]
# THUMBS has these prompts with the labelled completions of the group before.
LENT = [(0, 3, (0, 1)), (1, 0, (0,)), (2, 1, (0,)), (3, 2, (0, 1))]


def lent() -> list[TokenGroup]:
    return [
        TokenGroup(THUMBS[own].group, THUMBS[own].prompt, tuple(THUMBS[other].completions[place] for place in places))
        for own, other, places in LENT
    ]


@pytest.mark.parametrize("name", UNPAIRED_LOSSES)
def test_a_step_of_every_loss_of_labelled_completions(name: str) -> None:
    network, chosen = moved(tiny.llama()), term(UNPAIRED_LOSSES, name)
    policy = torch.stack(sums(network, THUMBS))
    other = torch.stack(sums(network, lent())) - torch.stack(sums(tiny.llama(), lent()))
    reference = torch.stack(sums(tiny.llama(), THUMBS)).detach()
    place, label, weight = (torch.tensor(column) for column in zip(*LABELS, strict=True))
    baseline = torch.zeros(())
    if chosen.row.baseline:
        baseline = chosen.row.baseline((policy - reference)[place], label, other).detach()
    loss = chosen.row.loss(policy[place], reference[place], lengths(THUMBS)[place], label, baseline, **chosen.hyper)
    everything = [*THUMBS, *mismatched(THUMBS, max_length=100)]

    def others(places: Sequence[int]) -> Any:
        return micro_batches(everything, [len(THUMBS) + place for place in places], max_tokens=40, layout="rows")

    objective = LabelObjective(chosen, reference_of(everything), others)
    same_step(objective, THUMBS, (loss * weight).sum() / 4, network, [("rows", 64), ("rows", 100_000)])


def test_figures_of_labelled_completions_are_means_over_their_own_side() -> None:
    objective = LabelObjective(term(UNPAIRED_LOSSES, "logistic", beta=0.2), reference_of(THUMBS))
    policy, reference = (torch.stack(sums(net, THUMBS)) for net in (moved(tiny.llama()), tiny.llama()))
    reward = 0.2 * (policy - reference).detach()
    step = Step(moved(tiny.llama()), [Part(cut(THUMBS, "tree", 64), objective)], "tree")
    good, bad = ([(place, weight) for place, label, weight in LABELS if label is side] for side in (True, False))
    for name, side in (("rewards/chosen", good), ("rewards/rejected", bad)):
        expected = sum(weight * float(reward[place]) for place, weight in side) / sum(weight for _, weight in side)
        assert step.means[name] == pytest.approx(expected, rel=1e-4)


def test_completions_are_borrowed_from_the_group_before_and_cut_to_the_room_there_is() -> None:
    found = mismatched(THUMBS, max_length=10)
    for own, (place, other, completions) in zip(found, LENT, strict=True):
        assert own.prompt is THUMBS[place].prompt
        room = 10 - len(own.prompt)
        theirs = [THUMBS[other].completions[c].ids[:room].tolist() for c in completions]
        assert [completion.ids.tolist() for completion in own.completions] == theirs
        assert all(end <= room for completion in own.completions for _, end in completion.loss)


def test_of_an_encoder_decoder_prompt_and_borrowed_completion_are_limited_apart() -> None:
    """With its start token, as in the length policy."""
    found = mismatched(THUMBS, max_length=6, apart=True)
    assert [[len(one.ids) for one in group.completions] for group in found] == [[4, 5], [5], [5], [3, 5]]


def test_nothing_is_borrowed_where_all_prompts_are_the_same() -> None:
    with pytest.raises(InputError, match="all prompts are the same"):
        mismatched([THUMBS[0], THUMBS[0]], max_length=100)


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_a_step_of_every_ranking_loss(name: str) -> None:
    """RANKED's ranks, in the order of its groups: K = 2 to 4 with ties."""
    network, chosen = moved(tiny.llama()), term(RANKING_LOSSES, name, beta=0.4)
    ranks = [[1, 2, 3], [2, 1, 2], [2, 3, 2, 1], [2, 1], [3, 1, 1]]
    weights = torch.tensor([1.0, 1.0, 1.0, 2.5, 0.5])
    policy, reference = tiny.stock_sums(network, RANKED), tiny.stock_sums(tiny.llama(), RANKED)
    total = torch.zeros(())
    for p, r, rank, weight in zip(policy, reference, ranks, weights, strict=True):
        rows = (torch.stack(p)[None], torch.stack(r).detach()[None], torch.ones(1, len(rank)), torch.tensor([rank]))
        total = total + weight * chosen.row.loss(*rows, **chosen.hyper).sum()
    same_step(RankingObjective(chosen, reference_of(RANKED)), RANKED, total / weights.sum(), network, CUTS)


def moving(sync: Any, network: Any) -> MovingReference:
    weights = Weights.of(network, recipe("sgd"))
    return MovingReference(LanguageModel(network), weights.masters, sync=sync, alpha=0.25, every=2)


@pytest.mark.parametrize(("sync", "share"), [("soft", 0.25), ("hard", 1.0)])
def test_a_moving_reference_moves_by_its_share_every_second_step(sync: Any, share: float) -> None:
    network = tiny.llama()
    reference = moving(sync, network)
    batch = arrange(PAIRS, "tree")
    start = torch.stack(sums(tiny.llama(), PAIRS)).detach()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    moved(network)
    reference.after_step(1)
    torch.testing.assert_close(reference.of(batch), start, rtol=0, atol=1e-4)
    reference.after_step(2)
    expected = tiny.llama()
    with torch.no_grad():
        for name, parameter in expected.named_parameters():
            parameter.copy_(before[name] + share * (dict(network.named_parameters())[name] - before[name]))
    torch.testing.assert_close(reference.of(batch), torch.stack(sums(expected, PAIRS)).detach(), rtol=0, atol=1e-4)
    tokens = torch.cat([part for group in PAIRS for part in tiny.stock_tokens(expected, group)]).detach()
    torch.testing.assert_close(reference.tokens_of(batch), tokens, rtol=0, atol=1e-4)


def test_a_moving_reference_comes_back_from_a_checkpoint() -> None:
    one, other = moving("soft", tiny.llama()), moving("soft", tiny.llama())
    moved(one.model.network)
    one.exact = {name: tensor + 0.01 for name, tensor in one.exact.items()}
    one._publish()
    other.load_state_tensors({name: tensor.clone() for name, tensor in one.state_tensors().items()})
    batch = arrange(PAIRS, "tree")
    assert torch.equal(one.of(batch), other.of(batch))


def test_a_moving_reference_begins_where_it_is_told_and_never_drops_out() -> None:
    policy, start = tiny.gpt2().train(), tiny.gpt2(seed=1).train()
    masters = dict(policy.named_parameters())
    reference = MovingReference(LanguageModel(policy), masters, sync="hard", alpha=1.0, every=1, start=start)
    expected = torch.stack(sums(tiny.gpt2(seed=1), PAIRS)).detach()
    torch.testing.assert_close(reference.of(arrange(PAIRS, "tree")), expected, rtol=0, atol=1e-4)
    assert policy.training and not reference.of(arrange(PAIRS, "tree")).requires_grad


def test_in_bf16_a_moving_reference_keeps_moves_too_small_for_it() -> None:
    network = tiny.llama()
    weights = Weights.of(network, recipe("sgd"), dtype=torch.bfloat16)
    reference = MovingReference(LanguageModel(network), weights.masters, sync="soft", alpha=0.25, every=1)
    before = {name: tensor.clone() for name, tensor in reference.exact.items()}
    for step in (1, 2):
        reference.after_step(step)
    own = dict(reference.model.network.named_parameters())
    for name, master in weights.masters.items():
        left = 0.75**2 * (before[name] - master.detach())
        torch.testing.assert_close(reference.exact[name] - master.detach(), left, rtol=0, atol=1e-7)
        assert torch.equal(own[name], reference.exact[name].bfloat16())


def test_a_moving_reference_is_the_policys_architecture() -> None:
    def begun(policy: Any, start: Any) -> MovingReference:
        masters = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        return MovingReference(LanguageModel(policy), masters, sync="hard", alpha=1.0, every=1, start=start)

    for policy, start, says in (
        (tiny.llama(), tiny.llama(num_hidden_layers=3), "the policy has no tensor like the reference's"),
        (tiny.llama(num_hidden_layers=3), tiny.llama(), "the reference has no tensor like the policy's"),
        (tiny.llama(tie_word_embeddings=True), tiny.llama(), "no tensor like the reference's lm_head.weight"),
        (tiny.llama(), tiny.llama(intermediate_size=64), "no tensor like the policy's"),
        (tiny.llama(), tiny.mistral(), "a MistralForCausalLM, and the policy a LlamaForCausalLM"),
    ):
        with pytest.raises(InputError, match=says):
            begun(policy, start)
    frozen = tiny.llama(seed=1)
    frozen.model.embed_tokens.requires_grad_(False)
    with pytest.raises(InputError, match=r"embed_tokens\.weight is not trained, and differs"):
        begun(frozen, tiny.llama())


def test_a_moving_reference_shares_what_is_not_trained() -> None:
    network = tiny.llama()
    network.model.embed_tokens.requires_grad_(False)
    reference = moving("soft", network).model.network
    assert reference.model.embed_tokens.weight is network.model.embed_tokens.weight
    assert reference.lm_head.weight.data_ptr() != network.lm_head.weight.data_ptr()
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    assert network.lm_head.weight.requires_grad


def test_a_step_with_a_moving_reference_is_one_with_the_same_numbers_kept() -> None:
    kept: ReferenceLogprobs = reference_of(PAIRS)
    network = tiny.llama()
    live = moving("hard", network)
    chosen = [term(PAIR_LOSSES, "sigmoid")]
    one = Step(moved(tiny.llama()), [Part(cut(PAIRS, "tree", 64), PairObjective(chosen, kept))], "tree")
    two = Step(moved(tiny.llama()), [Part(cut(PAIRS, "tree", 64), PairObjective(chosen, live))], "tree")
    assert one.result.loss == pytest.approx(two.result.loss, rel=1e-5)
    assert tiny.distance(one.gradient, two.gradient) < 1e-5
