"""Policy gradients as the loop computes them: plain sums from stock's logits, and the exact gradients that they have in
the mean."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from rollouts import Got, asked, each_sample, every, plain_gradients, plain_loss, rollout_of, step_of
from torch import Tensor

from accord.data.batches import Layout, arrange
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.data.ranges import Ranges
from accord.models.critic import Critic
from accord.models.logprobs import LanguageModel
from accord.training.policy import CriticObjective, Terms, first_of
from accord.training.rollout import Rollout, Samples, Tokens

TERMS = {
    "ppo": Terms(aggregate="token_mean"),
    "reinforce": Terms(cliprange=None),
    "rloo": Terms(),
    "grpo, unbiased": Terms(kl_loss="k2", beta=0.3),
    "grpo, published": Terms(kl_loss="k3", beta=0.3, aggregate="sequence_mean"),
    "k2 over lengths": Terms(kl_loss="k2", beta=0.3, aggregate="sequence_mean"),
    "k2 in a mean over tokens": Terms(kl_loss="k2", beta=0.3, aggregate="token_mean"),
    "k3 in a mean over tokens": Terms(kl_loss="k3", beta=0.3, aggregate="token_mean"),
    "the ratio of samples": Terms(ratio="sequence", cliprange=0.5),
    "the ratio of samples, over their lengths": Terms(ratio="sequence", aggregate="sequence_mean"),
    "the ratio of samples, over all tokens": Terms(ratio="sequence", aggregate="token_mean"),
    "tempered": Terms(temperature=0.7, kl_loss="k3", beta=0.3),
    "reinforce over lengths": Terms(cliprange=None, aggregate="sequence_mean"),
}
ON_TRUNK = {
    "a critic on the trunk": Terms(aggregate="token_mean", vf_coef=0.5),
    "a critic on the trunk, losses of samples": Terms(vf_coef=0.5, cliprange_value=0.4, kl_loss="k2", beta=0.3),
}
NEAR = 1e-5


@pytest.fixture(scope="module")
def network() -> Any:
    return tiny.llama()


def head_of(network: Any) -> torch.nn.Linear:
    head = torch.nn.Linear(network.config.hidden_size, 1, bias=False)
    torch.nn.init.normal_(head.weight, std=0.3, generator=torch.Generator().manual_seed(3))
    return head


def assert_same(one: Got, other: Got) -> None:
    assert one.loss == pytest.approx(other.loss, rel=NEAR, abs=1e-6)
    assert tiny.distance(one.gradients, other.gradients) < NEAR
    assert one.sums.keys() == other.sums.keys()
    for name, pair in one.sums.items():
        assert pair == pytest.approx(other.sums[name], rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("name", [*TERMS, *ON_TRUNK])
def test_loss_and_gradient_are_those_of_plain_sums(network: Any, name: str) -> None:
    terms, head = (TERMS | ON_TRUNK)[name], head_of(network) if name in ON_TRUNK else None
    rollout = rollout_of(network, asked(), temperature=terms.temperature)
    got = step_of(network, rollout, terms, head=head)
    plain = plain_gradients(network, lambda: plain_loss(network, rollout, terms, head), head)
    assert got.loss == pytest.approx(float(plain_loss(network, rollout, terms, head).detach()), rel=NEAR, abs=1e-6)
    assert tiny.distance(got.gradients, plain) < NEAR
    if head is None:
        assert got.figure("loss") == pytest.approx(got.loss, rel=NEAR, abs=1e-6)


@pytest.mark.parametrize("name", [*TERMS, *ON_TRUNK])
def test_how_a_step_is_cut_laid_out_and_ordered_changes_nothing_but_rounding(network: Any, name: str) -> None:
    terms, head = (TERMS | ON_TRUNK)[name], head_of(network) if name in ON_TRUNK else None
    rollout = rollout_of(network, asked(), temperature=terms.temperature)
    terms = terms._replace(entropy_coef=0.2)
    usual = step_of(network, rollout, terms, head=head)
    cuts: dict[Layout, tuple[int, tuple[int, ...]]] = {
        "tree": (40, (3, 1, 0, 2)), "cache": (60, (2, 3, 1, 0)), "rows": (4096, (0, 2, 1, 3))
    }  # fmt: skip
    for layout, (max_tokens, order) in cuts.items():
        assert_same(
            step_of(network, rollout, terms, layout=layout, max_tokens=max_tokens, order=order, head=head), usual
        )


@pytest.mark.parametrize("terms", [TERMS["ppo"], TERMS["grpo, unbiased"], ON_TRUNK["a critic on the trunk"]])
def test_an_encoder_decoder_has_the_same(terms: Terms) -> None:
    network = tiny.t5()
    head = head_of(network) if terms in ON_TRUNK.values() else None
    rollout = rollout_of(network, asked())
    plain = plain_gradients(network, lambda: plain_loss(network, rollout, terms, head), head)
    for max_tokens in (40, 4096):
        got = step_of(network, rollout, terms, layout="encoder", max_tokens=max_tokens, head=head)
        assert tiny.distance(got.gradients, plain) < NEAR


def test_the_ratio_is_1_where_the_policy_is_the_one_that_sampled(network: Any) -> None:
    rollout = rollout_of(network, asked())
    with torch.no_grad():
        own = torch.cat([one.logp for one in every(network, rollout.groups)])
    rollout = rollout._replace(tokens=rollout.tokens._replace(old=own))
    for max_tokens in (40, 4096):
        got = step_of(network, rollout, Terms(), max_tokens=max_tokens)
        assert got.figure("val/ratio") == pytest.approx(1.0, abs=1e-5)
        assert got.figure("policy/approxkl_avg") < 1e-10
        assert got.figure("policy/clipfrac_avg") == 0.0


def test_figures_are_means_over_what_is_learnt_from(network: Any) -> None:
    """Of tokens over all tokens, of samples over samples, whatever the lengths; what is left out is not in them."""
    terms = ON_TRUNK["a critic on the trunk"]._replace(cliprange=0.1)
    head, rollout = head_of(network), rollout_of(network, asked())
    with torch.no_grad():
        seen = every(network, rollout.groups)
    kept = [i for i, counts in enumerate(rollout.samples.counts.tolist()) if counts]
    assert len(kept) < len(seen)
    own = list(each_sample(rollout))

    def over_tokens(of: Callable[[int], Tensor]) -> float:
        return float(torch.cat([of(i) for i in kept]).mean())

    def ratio(i: int) -> Tensor:
        return (seen[i].logp - own[i].old).exp()

    def bound(i: int) -> Tensor:
        up, down = own[i].advantage > 0, own[i].advantage < 0
        return ((up & (ratio(i) > 1.1)) | (down & (ratio(i) < 0.9))).float()

    def of_values(i: int) -> tuple[Tensor, Tensor]:
        value = head(seen[i].states).squeeze(-1).detach()
        near = torch.minimum(torch.maximum(value, own[i].value - 0.2), own[i].value + 0.2)
        return (value - own[i].target) ** 2, (near - own[i].target) ** 2

    def surrogate(i: int) -> Tensor:
        return -torch.minimum(ratio(i) * own[i].advantage, ratio(i).clamp(0.9, 1.1) * own[i].advantage)

    expected = {
        "policy/approxkl_avg": over_tokens(lambda i: 0.5 * (seen[i].logp - own[i].old) ** 2),
        "val/ratio": over_tokens(ratio),
        "policy/clipfrac_avg": over_tokens(bound),
        "loss/policy_avg": over_tokens(surrogate),
        "loss/value_avg": over_tokens(lambda i: 0.5 * torch.maximum(*of_values(i))),
        "val/clipfrac_avg": over_tokens(lambda i: (of_values(i)[1] > of_values(i)[0]).float()),
        "objective/entropy": float(torch.stack([one.entropy.sum() for one in seen]).mean()),
        "objective/scores": float(rollout.samples.score.mean()),
        "objective/kl": float(rollout.samples.kl.mean()),
        "objective/non_score_reward": -0.3 * float(rollout.samples.kl.mean()),
        "objective/rlhf_reward": float((rollout.samples.score - 0.3 * rollout.samples.kl).mean()),
        "rewards/judge": 2 * float(rollout.samples.score.mean()),
        "completions/mean_length": sum(len(one.logp) for one in seen) / len(seen),
        "completions/ended": float(rollout.samples.ended.mean()),
    }
    assert 0.1 < expected["policy/clipfrac_avg"] < 0.9 and 0.1 < expected["val/clipfrac_avg"] < 0.9
    for max_tokens in (40, 4096):
        got = step_of(network, rollout, terms, max_tokens=max_tokens, head=head)
        for name, value in expected.items():
            assert got.figure(name) == pytest.approx(value, rel=1e-4, abs=1e-6), name
        assert got.heard[0] / got.heard[1] == pytest.approx(expected["policy/approxkl_avg"], rel=1e-4)


def test_a_step_that_learns_from_no_sample_has_no_gradient(network: Any) -> None:
    rollout = rollout_of(network, asked())
    none = rollout.samples._replace(counts=torch.zeros_like(rollout.samples.counts))
    got = step_of(network, rollout._replace(samples=none), Terms(entropy_coef=0.1, kl_loss="k2", beta=1.0))
    assert got.loss == 0.0 and all(not grad.any() for grad in got.gradients.values())
    assert "loss/policy_avg" not in got.sums and "objective/scores" in got.sums


# ---- in the mean ---------------------------------------------------------------------------------------------------


def all_words(network: Any, prompt: int = 6) -> tuple[Rollout, Tensor]:
    """Every text of one token, each counted as it is probable, so that means are exact; and their rewards (V,)."""
    asked_one = tiny.group(prompt, (1,)).prompt
    made = tuple(TokenCompletion(np.array([word], dtype=np.int32), ((0, 1),)) for word in range(tiny.VOCAB))
    group = TokenGroup(tiny.group(prompt, (1,)).group, asked_one, made)
    with torch.no_grad():
        logp = torch.cat([one.logp for one in every(network, [group])])
    assert float(logp.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    reward = torch.randn(tiny.VOCAB, generator=torch.Generator().manual_seed(5))
    reference = torch.randn(tiny.VOCAB, generator=torch.Generator().manual_seed(6)).log_softmax(-1)
    entropy = -(logp.exp() * logp).sum().expand(tiny.VOCAB)
    nothing = torch.zeros(tiny.VOCAB)
    tokens = Tokens(logp, reference, entropy, reward, nothing, nothing)
    wide = torch.zeros(tiny.VOCAB, dtype=torch.float64)
    samples = Samples(wide, wide, wide, wide, logp.exp().double(), wide)
    return Rollout((group,), Ranges.of_groups([group]), tokens, samples, {}), reward


def probabilities(network: Any, rollout: Rollout) -> Tensor:
    """(V,) of the next word, by stock, with gradient."""
    ids = torch.from_numpy(rollout.groups[0].prompt.astype(np.int64))
    found: Tensor = network(input_ids=ids[None], use_cache=False).logits[0, -1].softmax(-1)
    return found


@pytest.mark.parametrize(
    "terms", [Terms(), Terms(ratio="sequence"), Terms(cliprange=None), Terms(aggregate="token_mean")], ids=str
)
def test_the_mean_gradient_is_that_of_the_expected_reward(network: Any, terms: Terms) -> None:
    rollout, reward = all_words(network)
    exact = plain_gradients(network, lambda: -(probabilities(network, rollout) * reward).sum())
    assert tiny.distance(step_of(network, rollout, terms).gradients, exact) < NEAR


def test_the_mean_gradient_of_the_entropy_term_is_that_of_the_entropy(network: Any) -> None:
    rollout, _ = all_words(network)
    rollout = rollout._replace(tokens=rollout.tokens._replace(advantage=torch.zeros(tiny.VOCAB)))

    def less_entropy() -> Tensor:
        p = probabilities(network, rollout)
        return 0.7 * (p * p.log()).sum()

    got = step_of(network, rollout, Terms(entropy_coef=0.7)).gradients
    assert tiny.distance(got, plain_gradients(network, less_entropy)) < NEAR


def test_the_mean_gradient_of_k2_in_the_loss_is_that_of_the_kl_and_k3s_is_not(network: Any) -> None:
    rollout, _ = all_words(network)
    rollout = rollout._replace(tokens=rollout.tokens._replace(advantage=torch.zeros(tiny.VOCAB)))

    def kl() -> Tensor:
        p = probabilities(network, rollout)
        return 0.5 * (p * (p.log() - rollout.tokens.reference)).sum()

    exact = plain_gradients(network, kl)
    assert tiny.distance(step_of(network, rollout, Terms(kl_loss="k2", beta=0.5)).gradients, exact) < NEAR
    assert tiny.distance(step_of(network, rollout, Terms(kl_loss="k3", beta=0.5)).gradients, exact) > 0.1


# ---- critics and columns -------------------------------------------------------------------------------------------


def test_a_critic_of_its_own_learns_the_mean_over_tokens_that_count(network: Any) -> None:
    trunk, rollout = tiny.llama(seed=4), rollout_of(network, asked())
    head = head_of(trunk)
    critic, terms = Critic(LanguageModel(trunk, "rows"), head), Terms(cliprange_value=0.3)
    objective = CriticObjective(rollout, terms, critic)
    batch = arrange(rollout.groups, "rows")
    measured = objective(LanguageModel(network, "tree"), batch)
    losses = []
    with torch.no_grad():
        seen = every(trunk, rollout.groups)
    for one, own, counts in zip(seen, each_sample(rollout), rollout.samples.counts.tolist(), strict=True):
        value = head(one.states).squeeze(-1).detach()
        near = torch.minimum(torch.maximum(value, own.value - 0.3), own.value + 0.3)
        if counts:
            losses.append(0.5 * torch.maximum((value - own.target) ** 2, (near - own.target) ** 2))
    mean = float(torch.cat(losses).mean())
    assert float(measured.loss.detach()) / objective.weight(batch) == pytest.approx(mean, rel=1e-5)
    weight = measured.only["loss/value_avg"]
    assert float((measured.values["loss/value_avg"] * weight).sum() / weight.sum()) == pytest.approx(mean, rel=1e-5)


def test_the_first_entry_of_each_sample_and_0_where_it_has_none() -> None:
    nothing = np.zeros(0, dtype=np.int32)
    made = (
        TokenCompletion(tiny.tokens(5, 6), ((0, 2),)),
        TokenCompletion(nothing, ()),
        TokenCompletion(tiny.tokens(7), ((0, 1),)),
    )
    batch = arrange([TokenGroup(tiny.group(3, (1,)).group, tiny.tokens(9, 8), made)], "rows")
    assert first_of(torch.tensor([0.5, 1.5, 2.5]), batch.owner, batch.completions).tolist() == [0.5, 0.0, 2.5]


@pytest.mark.parametrize("name", [name for name, terms in TERMS.items() if terms.kl_loss != "none"])
def test_one_pass_of_a_step_that_is_all_of_its_round_is_as_good_as_two(network: Any, name: str) -> None:
    """The engine's pass beforehand, and the step's own beside the sampler's numbers, a little off."""
    terms = TERMS[name]
    rollout = rollout_of(network, asked(), temperature=terms.temperature)
    seen = every(network, rollout.groups, terms.temperature)
    old = torch.cat([one.logp for one in seen]).detach()
    known = rollout.tokens._replace(old=old, entropy=torch.cat([one.entropy for one in seen]).detach())
    kl = torch.stack([(one.old - one.reference).sum() for one in each_sample(rollout._replace(tokens=known))]).double()
    before = rollout._replace(tokens=known, samples=rollout.samples._replace(kl=kl))
    off = known._replace(old=old + 1e-3, entropy=torch.zeros_like(old))
    found = step_of(network, rollout._replace(tokens=off), terms._replace(once=True), max_tokens=40)
    assert_same(found, step_of(network, before, terms, max_tokens=40))
    assert found.figure("val/ratio") == 1.0 and found.figure("policy/approxkl_avg") == 0.0
    assert found.gap == pytest.approx(1e-3, rel=0.1)
