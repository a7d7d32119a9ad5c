"""Estimates and frequencies against exact values, and that the checks themselves see what is wrong."""

import math

import numpy as np
import pytest
import tiny
import torch

from accord.evaluate.theory import engine_checks, engine_learning, frequencies, kl_estimates, reinforcement, sampled
from accord.evaluate.theory.frequencies import chi_square
from accord.evaluate.theory.parts import Task, timed
from accord.evaluate.theory.spoken import Spoken, counted, ids_of, spoken_of
from accord.evaluate.theory.trained import trained_world
from accord.evaluate.theory.world import BETA, logp, table_world
from accord.maths.divergence import k2
from accord.maths.optimum import kl, optimum
from accord.models.logprobs import LanguageModel
from accord.models.sample import Drawing

WORLD = table_world()
EVERY = [*kl_estimates.tasks([WORLD]), *frequencies.tasks([WORLD])]


@pytest.mark.parametrize("task", EVERY, ids=[task.name for task in EVERY])
def test_every_check_comes_out_as_claimed(task: Task) -> None:
    for found in timed(task):
        assert found.verdict == "as claimed", found


def test_chi_square_by_hand() -> None:
    """44 and 56 of 100 fair throws: 36 / 50 twice."""
    found = chi_square(torch.tensor([44, 56]), torch.tensor([0.5, 0.5]))
    assert (found.value, found.freedom) == (pytest.approx(1.44), 1)
    assert found.p == pytest.approx(math.erfc(math.sqrt(1.44 / 2)))


def test_what_is_rare_is_taken_together() -> None:
    """Of 100: 1, 2, 3 expected make 6, the cell that is compared; 94 is the other one."""
    found = chi_square(torch.tensor([1, 1, 4, 94]), torch.tensor([0.01, 0.02, 0.03, 0.94]))
    assert (found.value, found.freedom) == (pytest.approx(0.0, abs=1e-6), 1)


def test_one_rare_outcome_joins_the_next() -> None:
    found = chi_square(torch.tensor([2, 30, 68]), torch.tensor([0.02, 0.3, 0.68]))
    assert found.freedom == 1


def test_what_cannot_be_came() -> None:
    assert chi_square(torch.tensor([1, 99]), torch.tensor([0.0, 1.0])).p == 0.0


def test_p_values_of_right_samples_are_spread_evenly() -> None:
    """400 data sets: 10 % of p-values below 0.1, within four standard errors; a wrong law gives none above it."""
    rng, chance = np.random.default_rng(0), np.array([0.1, 0.2, 0.3, 0.4])
    right = [
        chi_square(torch.from_numpy(rng.multinomial(2000, chance)), torch.from_numpy(chance)).p for _ in range(400)
    ]
    assert abs(np.mean(np.array(right) < 0.1) - 0.1) < 4 * math.sqrt(0.09 / 400)
    other = torch.tensor([0.15, 0.2, 0.25, 0.4])
    assert chi_square(torch.from_numpy(rng.multinomial(2000, chance)), other).p < 1e-6


def test_a_biased_estimate_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kl_estimates, "ESTIMATES", {"k2": kl_estimates.Claim(k2, True, "mean = KL")})
    assert kl_estimates._mean(WORLD, "k2")[0].verdict == "not as claimed"


def test_the_errors_of_sampled_data_are_what_the_limit_says() -> None:
    """Small: 12 data sets of 4,000 comparisons; n KL within three of the limit's own standard errors."""
    found = sampled.curve(WORLD, "sigmoid", sizes=(4000,), repeats=12)
    ratio, error = found.ratio()
    assert error < 0.3 and abs(ratio - 1) < 3 * error


def test_a_reward_model_and_dpo_make_the_same_of_the_same_data() -> None:
    (found,) = sampled._the_same(WORLD, size=2000, sets=1)
    assert found.verdict == "as claimed"


def test_fisher_information_of_two_by_hand() -> None:
    """Two completions, reward 1 apart: sigma(1) sigma(-1) on the one direction there is."""
    two = WORLD._replace(
        completions=("a", "b"),
        reference=torch.full((1, 2), -math.log(2), dtype=torch.float64),
        reward=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
    )
    p = 1 / (1 + math.exp(-1))
    wanted = p * (1 - p) * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    information = sampled.information_of(two, 0, 2)
    torch.testing.assert_close(information, wanted)
    # pi* puts q on the first: the KL's second derivative by the gap is q (1 - q) / beta^2, and the gap's variance
    # 1 / (n p (1 - p)).
    q = optimum(two.reference[0], two.reward[0], beta=BETA).exp()[0].item()
    limit = sampled.limit_of(two, 0, information)
    assert limit.mean == pytest.approx(q * (1 - q) / (2 * BETA**2) / (p * (1 - p)))
    assert limit.spread == pytest.approx(math.sqrt(2))


def test_a_slope_of_minus_one_is_read_off() -> None:
    errors = np.array([[0.1], [0.025], [0.00625]]) * np.ones((1, 4))
    found = sampled.Curve("x", (100, 400, 1600), errors, sampled.Limit(10.0, 0.5))
    assert found.slope()[0] == pytest.approx(-1.0)
    assert found.ratio() == (pytest.approx(1.0), pytest.approx(0.25))


TRAINED = trained_world()
SPOKEN = spoken_of(TRAINED)
COUNTED = [*engine_checks.tasks([TRAINED]), *kl_estimates.tasks([TRAINED])]


@pytest.mark.parametrize("task", COUNTED, ids=[task.name for task in COUNTED])
def test_every_check_of_the_network_comes_out_as_claimed(task: Task) -> None:
    for found in timed(task):
        assert found.verdict == "as claimed", found


def test_the_encoders_layout_is_stocks_and_sums_to_one() -> None:
    """An encoder-decoder of three words, of which all completions can be counted too."""
    network = tiny.t5(vocab_size=3, eos_token_id=0, decoder_start_token_id=1, pad_token_id=2)
    completions = tuple(ids_of(row[kept].tolist()) for row, kept in zip(WORLD.tokens, WORLD.mask, strict=True))
    spoken = Spoken(LanguageModel(network, "encoder"), (ids_of([1, 2, 2, 1]), ids_of([2])), completions, 0)
    found = counted(spoken)
    torch.testing.assert_close(found, engine_checks.stock_sums(spoken), rtol=0, atol=2e-5)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, dtype=torch.float64), rtol=0, atol=2e-5)


def test_completions_without_their_end_are_seen() -> None:
    """They then have the chance of everything that begins so, and more than 1 together."""
    cut = SPOKEN._replace(completions=tuple(ids[: max(1, len(ids) - 1)] for ids in SPOKEN.completions))
    assert all(found.verdict == "not as claimed" for found in engine_checks._layouts(TRAINED, cut))


def test_the_chances_of_a_cut_by_hand() -> None:
    """Of .5 .3 .2 after every beginning: top_p 0.6 leaves .625 .375, min_p 0.5 too, top_k 1 leaves one word."""
    logits = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log().expand(2, 7, 3)
    policy = logp(WORLD, logits)
    first = WORLD.completions.index("⊣")
    for drawing, chance in ((Drawing(top_p=0.6), 0.625), (Drawing(min_p=0.5), 0.625), (Drawing(top_k=1), 1.0)):
        found = engine_checks.drawn_by(WORLD, policy, drawing).exp()
        assert found[0, first].item() == pytest.approx(chance)
        assert found.sum(-1).tolist() == pytest.approx([1.0, 1.0])


def test_samples_of_another_distribution_are_seen() -> None:
    came = engine_checks.came(SPOKEN, 0, 5000, Drawing(0.8))
    assert chi_square(came, counted(SPOKEN)[0].exp()).p < 1e-6


def test_expected_steps_of_the_engine_bring_a_network_to_its_optimum() -> None:
    """Through the product's own objective; half way to the end of what `accord theory` runs."""
    given, other = engine_learning.with_speakable_optimum(TRAINED)
    best = counted(other).log_softmax(-1)
    rules = reinforcement.rules_of(reinforcement.WAYS["grpo"])
    learner = engine_learning.learnt(given, rules, steps=80)
    begun, ended = (kl(best, one).mean().item() for one in (given.reference, counted(learner).log_softmax(-1)))
    assert begun > 0.01 and ended < begun / 20


def test_rloo_stays_where_its_rewards_less_their_kl_are_equal() -> None:
    """A round of samples at pi*: RLOO's advantages are 0, every one of them; unbiased GRPO's are not."""
    given, other = engine_learning.with_speakable_optimum(TRAINED)
    largest = {}
    for name in ("rloo", "grpo"):
        rules = reinforcement.rules_of(reinforcement.WAYS[name])
        largest[name] = engine_learning.drawn_round(given, other, rules, 8, seed=0).tokens.advantage.abs().max().item()
    assert largest["rloo"] < 1e-5 < 0.05 < largest["grpo"]
