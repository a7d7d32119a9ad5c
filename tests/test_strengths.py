"""Strengths of models: by hand, against an iteration of another kind, and against worlds whose strengths are known."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from accord.maths.comparisons import Comparisons, NoTies, PairLikelihood, pair_likelihood
from accord.maths.connected import NotConnected
from accord.maths.newton import Point
from accord.maths.plackett_luce import RankingLikelihood, Rankings
from accord.maths.strengths import Fit, Resampled, bootstrap, clustered, elo, fisher, fit, strengths
from accord.maths.ties import TIES

Floats = NDArray[np.float64]
A, B, C, D = range(4)
WIN, TIE, LOSS = 1.0, 0.5, 0.0


def compared(
    rows: Sequence[tuple[int, int, float]],
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    style: ArrayLike | None = None,
) -> Comparisons:
    """(first, second, outcome) each, of as many models as occur; each a cluster of its own unless that is said."""
    columns = np.array(rows, dtype=np.float64).T
    n = len(rows)
    return Comparisons(
        tuple("ABCDEFGH"[: int(columns[:2].max()) + 1]),
        columns[0].astype(np.int64),
        columns[1].astype(np.int64),
        columns[2],
        np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64),
        np.arange(n) if cluster is None else np.asarray(cluster, dtype=np.int64),
        np.zeros((n, 0)) if style is None else np.asarray(style, dtype=np.float64).reshape(n, -1),
    )


def ranked(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Rankings:
    """(models, ranks) each; shorter ones are filled up with places without a model."""
    width = max(len(models) for models, _ in rows)
    model = np.array([[*models, *[0] * (width - len(models))] for models, _ in rows])
    rank = np.array([[*ranks, *[0] * (width - len(ranks))] for _, ranks in rows])
    names = tuple("ABCDEFGH"[: int(model.max()) + 1])
    return Rankings(names, model, rank, np.ones(len(rows)), np.arange(len(rows)))


FOUR = [(A, B, WIN), (A, B, WIN), (A, B, WIN), (A, B, LOSS)]


def gap(found: Fit) -> float:
    return float(found.parameters[A] - found.parameters[B])


def errors_beside(found: Fit, covariance: Floats, anchor: int = B) -> Floats:
    return strengths(found, covariance, anchor=anchor).standard_error


def test_two_models_by_hand() -> None:
    # Three of four: log(3 / 1). Fisher: 1 / (4 x 3/4 x 1/4).
    found = fit(pair_likelihood(compared(FOUR)))
    assert gap(found) == pytest.approx(math.log(3), abs=1e-9)
    assert found.parameters.sum() == pytest.approx(0, abs=1e-12)
    assert errors_beside(found, fisher(found))[A] == pytest.approx(math.sqrt(4 / 3))
    assert found.loss == pytest.approx(-3 * math.log(3 / 4) - math.log(1 / 4))


def test_sandwich_by_hand() -> None:
    # H = 3/4; sum of squares 3 (1/4)^2 + (3/4)^2 = 3/4, so V = 4/3 x (3/4) / (3/4)^2.
    single = fit(pair_likelihood(compared(FOUR)))
    assert errors_beside(single, clustered(single))[A] == pytest.approx(math.sqrt(16 / 9))
    # Two prompts: sums 1/2 and -1/2, so V = 2/1 x (1/2) / (3/4)^2.
    paired = fit(pair_likelihood(compared(FOUR, cluster=[0, 0, 1, 1])))
    assert errors_beside(paired, clustered(paired))[A] == pytest.approx(math.sqrt(16 / 9))
    # All on one side: 3/4 and -3/4, so V = 2/1 x (9/8) / (3/4)^2.
    uneven = fit(pair_likelihood(compared(FOUR, cluster=[0, 0, 0, 1])))
    assert errors_beside(uneven, clustered(uneven))[A] == pytest.approx(2.0)


def test_a_tie_is_half_a_win_for_both() -> None:
    # 2.5 of 4.
    found = fit(pair_likelihood(compared([(A, B, WIN), (A, B, WIN), (B, A, TIE), (B, A, WIN)])))
    assert gap(found) == pytest.approx(math.log(2.5 / 1.5), abs=1e-9)


def test_davidson_by_hand() -> None:
    # 8 wins, 8 ties, 2 losses fit exactly: log(8 / 2), nu = 8 / sqrt(8 x 2).
    rows = [(A, B, WIN)] * 8 + [(B, A, TIE)] * 8 + [(A, B, LOSS)] * 2
    found = fit(pair_likelihood(compared(rows), ties="davidson"))
    assert gap(found) == pytest.approx(math.log(4), abs=1e-8)
    assert math.exp(found.parameters[2]) == pytest.approx(2.0)
    chances = TIES["davidson"].chances(np.array([math.log(4)]), math.log(2))
    assert [one.item() for one in chances] == pytest.approx([8 / 18, 8 / 18, 2 / 18])


def test_rao_kupper_by_hand() -> None:
    # 6 wins, 4 ties, 2 losses: g - t = logit(1/2), -g - t = logit(1/6) = -log 5.
    rows = [(A, B, WIN)] * 6 + [(A, B, TIE)] * 4 + [(B, A, WIN)] * 2
    found = fit(pair_likelihood(compared(rows), ties="rao_kupper"))
    assert gap(found) == pytest.approx(math.log(5) / 2, abs=1e-8)
    assert found.parameters[2] == pytest.approx(math.log(5) / 2)
    chances = TIES["rao_kupper"].chances(np.array([math.log(5) / 2]), math.log(5) / 2)
    assert [one.item() for one in chances] == pytest.approx([6 / 12, 4 / 12, 2 / 12])


def test_a_probability_as_outcome_is_that_share_of_a_win() -> None:
    found = fit(pair_likelihood(compared([(A, B, 0.75), (B, A, 0.25)])))
    assert gap(found) == pytest.approx(math.log(3), abs=1e-8)


def test_ridge_by_hand() -> None:
    # One win of A and b_A = -b_B = x: 2 sigma(-2x) = 2 x ridge, so at ridge 0.1 the root of 0.1 x = 1 / (1 + e^(2x)).
    found = fit(pair_likelihood(compared([(A, B, WIN)]), ridge=0.1))
    x = float(found.parameters[A])
    assert 0.1 * x == pytest.approx(1 / (1 + math.exp(2 * x)), rel=1e-8)
    assert found.parameters[B] == pytest.approx(-x)


def test_weights_count_as_repetitions() -> None:
    rows = [(A, B, WIN), (A, B, LOSS), (B, C, WIN), (B, C, LOSS), (C, A, TIE)]
    weighted = fit(pair_likelihood(compared(rows, weight=[3, 1, 2, 1, 1])))
    repeated = fit(pair_likelihood(compared([rows[i] for i in (0, 0, 0, 1, 2, 2, 3, 4)])))
    assert weighted.parameters == pytest.approx(repeated.parameters, abs=1e-9)


def world(n: int, strength: Floats, seed: int, tie: float = 0.0) -> list[tuple[int, int, float]]:
    """n comparisons of random pairs; tie: Davidson's nu."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        first, second = generator.choice(len(strength), 2, replace=False)
        half = (strength[first] - strength[second]) / 2
        odds = np.array([math.exp(half), tie, math.exp(-half)])
        rows.append((int(first), int(second), float(generator.choice([WIN, TIE, LOSS], p=odds / odds.sum()))))
    return rows


def test_the_same_as_zermelos_iteration() -> None:
    """pi_i = W_i / sum_j n_ij / (pi_i + pi_j), Zermelo 1929: another way to the same place."""
    rows = world(300, np.array([0.0, 0.5, 1.0, -0.7]), seed=1, tie=0.5)
    wins, met = np.zeros(4), np.zeros((4, 4))
    for first, second, outcome in rows:
        wins[first] += outcome
        wins[second] += 1 - outcome
        met[first, second] += 1
        met[second, first] += 1
    pi = np.ones(4)
    for _ in range(2000):
        pi = wins / (met / (pi[:, None] + pi[None, :])).sum(1)
    expected = np.log(pi) - np.log(pi).mean()
    assert fit(pair_likelihood(compared(rows))).parameters == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("ties", TIES)
def test_which_model_stands_first_changes_nothing(ties: str) -> None:
    rows = world(80, np.array([0.0, 0.4, -0.4]), seed=2, tie=0.6)
    style = np.random.default_rng(0).normal(size=(80, 2))
    straight = compared(rows, style=style)
    turned = replace(straight, first=straight.second, second=straight.first, outcome=1 - straight.outcome, style=-style)
    found = [fit(pair_likelihood(data, ties=ties)) for data in (straight, turned)]
    assert found[0].parameters == pytest.approx(found[1].parameters, abs=1e-8)
    assert clustered(found[0]) == pytest.approx(clustered(found[1]), abs=1e-8)


@pytest.mark.parametrize("ties", TIES)
def test_gathering_equal_comparisons_changes_nothing(ties: str) -> None:
    rows = world(60, np.array([0.0, 0.4, -0.4]), seed=3, tie=0.6)
    data = compared(rows, cluster=np.arange(60) // 3, weight=np.linspace(0.5, 2, 60))
    gathered = pair_likelihood(data, ties=ties)
    singly = PairLikelihood(data, ties, 0.0, 0.5, data, np.arange(60))
    assert len(gathered.cells.first) < 20
    one, other = fit(gathered), fit(singly)
    assert one.parameters == pytest.approx(other.parameters, abs=1e-9)
    assert clustered(one) == pytest.approx(clustered(other), abs=1e-9)


def differences(likelihood: PairLikelihood | RankingLikelihood, place: Floats, by: float = 1e-5) -> Point:
    """Gradient and Hessian by differences of the value and of the gradient."""
    steps = by * np.eye(len(place))
    slope = [(likelihood.at(place + step).value - likelihood.at(place - step).value) / (2 * by) for step in steps]
    bend = [(likelihood.at(place + step).gradient - likelihood.at(place - step).gradient) / (2 * by) for step in steps]
    return Point(likelihood.at(place).value, np.array(slope), np.array(bend))


@pytest.mark.parametrize("ties", TIES)
def test_derivatives_of_pairs(ties: str) -> None:
    rows = [*world(20, np.array([0.0, 0.4, -0.4]), seed=4, tie=0.8), (A, B, 0.3)]
    style = np.random.default_rng(1).normal(size=(21, 2))
    data = compared(rows, style=style, weight=np.linspace(0.5, 2, 21))
    likelihood = pair_likelihood(data, ties=ties, ridge=0.2, style_ridge=0.7)
    theta = [] if TIES[ties].start is None else [0.4]
    place = np.array([0.3, -0.2, 0.4, *theta, 0.5, -0.6])
    expected, found = differences(likelihood, place), likelihood.at(place)
    assert found.gradient == pytest.approx(expected.gradient, abs=1e-6)
    assert found.hessian == pytest.approx(expected.hessian, abs=1e-6)


def test_derivatives_of_rankings() -> None:
    rows = [((A, B, C, D), (2, 1, 3, 3)), ((D, A), (1, 2)), ((C, B, A), (1, 2, 3))]
    likelihood = RankingLikelihood(ranked(rows), 0.1)
    place = np.array([0.3, -0.2, 0.9, 0.1])
    expected, found = differences(likelihood, place), likelihood.at(place)
    assert found.gradient == pytest.approx(expected.gradient, abs=1e-6)
    assert found.hessian == pytest.approx(expected.hessian, abs=1e-6)


def test_a_ranking_by_hand() -> None:
    # P(B first of three) P(A before C): strengths log 2, log 3, log 1.
    likelihood = RankingLikelihood(ranked([((A, B, C), (2, 1, 3))]))
    place = np.log([2.0, 3.0, 1.0])
    assert likelihood.at(place).value - likelihood.pin / 2 * place.sum() ** 2 == pytest.approx(
        -math.log(3 / 6) - math.log(2 / 3)
    )
    # A and B tie above C: each is chosen from itself and C.
    tied = RankingLikelihood(ranked([((A, B, C), (1, 1, 3))]))
    assert tied.at(place).value - tied.pin / 2 * place.sum() ** 2 == pytest.approx(-math.log(2 / 3) - math.log(3 / 4))


def test_rankings_of_two_are_comparisons() -> None:
    rows = world(60, np.array([0.0, 0.5, -0.5]), seed=5)
    pairs = fit(pair_likelihood(compared(rows, cluster=np.arange(60))))
    whole = fit(RankingLikelihood(ranked([((i, j), (1, 2) if o == WIN else (2, 1)) for i, j, o in rows])))
    assert whole.parameters == pytest.approx(pairs.parameters, abs=1e-8)
    assert clustered(whole) == pytest.approx(clustered(pairs), abs=1e-8)
    assert fisher(whole) == pytest.approx(fisher(pairs), abs=1e-8)


def test_parts_that_were_never_compared() -> None:
    rows = [(A, B, WIN), (A, B, LOSS), (C, D, WIN), (C, D, LOSS)]
    with pytest.raises(NotConnected) as caught:
        fit(pair_likelihood(compared(rows)))
    assert caught.value.parts == [[A, B], [C, D]] and not caught.value.one_way
    assert fit(pair_likelihood(compared(rows), ridge=0.1)).parameters == pytest.approx(np.zeros(4))


@pytest.mark.parametrize("loser", [A, B])
def test_a_part_that_never_lost(loser: int) -> None:
    rows = [(A, B, WIN), (A, B, LOSS), (C, loser, WIN)]
    with pytest.raises(NotConnected) as caught:
        fit(pair_likelihood(compared(rows)))
    assert caught.value.parts == [[C], [A, B]] and caught.value.one_way
    with pytest.raises(NotConnected):
        fit(RankingLikelihood(ranked([((C, A), (1, 2)), ((C, B), (1, 2)), ((A, B), (1, 2)), ((B, A), (1, 2))])))


def test_a_tie_joins_two_parts() -> None:
    rows = [(A, B, WIN), (A, B, LOSS), (C, A, WIN), (C, A, TIE)]
    # Half of a tie: 1.5 of 2 against A, whose own strength is B's.
    found = fit(pair_likelihood(compared(rows)))
    assert found.parameters[C] - found.parameters[A] == pytest.approx(math.log(3), abs=1e-8)


@pytest.mark.parametrize("ties", ["davidson", "rao_kupper"])
@pytest.mark.parametrize(
    ("rows", "bounded"),
    [
        ([(A, B, WIN), (A, B, LOSS)], False),  # no tie
        ([(A, B, TIE), (A, B, TIE)], False),  # nothing else
        ([(A, B, WIN), (A, B, TIE)], False),  # the gap and nu may grow together
        ([(A, B, WIN), (A, B, LOSS), (A, B, TIE)], True),
        ([(A, B, WIN), (B, C, WIN), (A, C, TIE)], True),  # a circle of two wins and one tie
        ([(A, B, WIN), (B, C, TIE), (A, C, TIE)], False),  # of one win and two ties
        ([(A, B, WIN), (B, C, WIN), (C, A, WIN), (A, B, TIE)], True),
    ],
)
def test_when_the_number_of_ties_is_finite(ties: str, rows: list[tuple[int, int, float]], bounded: bool) -> None:
    likelihood = pair_likelihood(compared(rows), ties=ties)
    if bounded:
        assert np.abs(fit(likelihood).parameters).max() < 10
    else:
        with pytest.raises(NoTies):
            fit(likelihood)


def test_elo() -> None:
    assert elo(np.array([0.0, math.log(10), -math.log(10)])) == pytest.approx([1000, 1400, 600])


def test_anchor_and_mean() -> None:
    found = fit(pair_likelihood(compared([*FOUR, (B, C, WIN), (B, C, LOSS)])))
    covariance = clustered(found)
    anchored, free = strengths(found, covariance, anchor=C), strengths(found, covariance)
    assert anchored.strength == pytest.approx([math.log(3), 0, 0], abs=1e-8)
    assert free.strength == pytest.approx(np.array([2, -1, -1]) * math.log(3) / 3, abs=1e-8)
    assert anchored.standard_error[C] == 0 and free.standard_error[C] > 0
    assert anchored.n.tolist() == [4, 6, 2]
    assert anchored.rank.tolist() == free.rank.tolist() == [1, 2, 2]


def test_ranks_by_hand() -> None:
    # Gaps 2, 1, 3 between neighbours; each difference has the error sqrt(2): sure from 2.77 on.
    one = fit(pair_likelihood(compared([(i, j, TIE) for i in range(4) for j in range(i)])))
    found = one._replace(parameters=np.array([3.0, 1.0, 0.0, -3.0]))
    ranks = strengths(found, np.eye(4))
    assert ranks.rank.tolist() == [1, 2, 3, 4]
    assert ranks.rank_interval.tolist() == [[1, 2], [1, 3], [2, 3], [4, 4]]
    # What the errors have in common does not blur the order.
    assert strengths(found, np.eye(4) * 0.01 + 100).rank_interval.tolist() == [[i, i] for i in range(1, 5)]


def test_bootstrap_ranks_and_percentiles_by_hand() -> None:
    one = fit(pair_likelihood(compared(FOUR)))
    # B ahead in 2 of 100 resamples: at 95 % that is sure, at 97 % it is not.
    samples = np.array([[1.0, 0.0]] * 98 + [[0.0, 1.0]] * 2)
    found = strengths(one, Resampled(samples, 0), anchor=B)
    assert found.rank_interval.tolist() == [[1, 1], [2, 2]]
    assert found.interval[A].tolist() == [1.0, 1.0]
    wide = strengths(one, Resampled(samples, 0), anchor=B, level=0.97)
    assert wide.rank_interval.tolist() == [[1, 2], [1, 2]]
    assert wide.standard_error[A] == pytest.approx(np.std([1.0] * 98 + [-1.0] * 2, ddof=1))


def test_bootstrap_resamples_clusters() -> None:
    rows = world(240, np.array([0.0, 0.6, -0.6]), seed=6)
    found = fit(
        pair_likelihood(compared([row for row in rows for _ in range(3)], cluster=np.repeat(np.arange(240), 3)))
    )
    resampled = bootstrap(found, 400, seed=0)
    by_samples = strengths(found, resampled, anchor=A).standard_error
    by_sandwich = errors_beside(found, clustered(found), A)
    assert by_samples[1:] == pytest.approx(by_sandwich[1:], rel=0.15)
    assert (by_sandwich[1:] > 1.6 * errors_beside(found, fisher(found), A)[1:]).all()  # sqrt(3) times as large
    assert np.array_equal(bootstrap(found, 5, seed=0).samples, resampled.samples[:5])
    assert resampled.failed == 0


def test_resamples_without_a_finite_fit_are_counted() -> None:
    found = fit(pair_likelihood(compared(FOUR)))
    resampled = bootstrap(found, 300, seed=0)
    # The one loss is missing with chance (3/4)^4 = 0.316, the wins with (1/4)^4.
    assert resampled.failed == 300 - len(resampled.samples)
    assert 0.22 < resampled.failed / 300 < 0.42


def test_the_error_shrinks_as_one_over_root_n() -> None:
    truth = np.array([0.9, 0.3, -0.2, -1.0])

    def error(n: int, seed: int, rankings: bool) -> float:
        if rankings:
            generator = np.random.default_rng(seed)
            noisy = truth + generator.gumbel(size=(n, 4))  # sorting these is Plackett-Luce: Yellott 1977
            order = np.argsort(-noisy, axis=1)
            rank = np.argsort(order, axis=1) + 1
            likelihood = RankingLikelihood(
                Rankings(tuple("ABCD"), np.tile(np.arange(4), (n, 1)), rank, np.ones(n), np.arange(n))
            )
            return float(np.abs(fit(likelihood).parameters - truth).mean())
        return float(np.abs(fit(pair_likelihood(compared(world(n, truth, seed)))).parameters - truth).mean())

    for rankings in (False, True):
        few, many = (np.mean([error(n, seed, rankings) for seed in range(30)]) for n in (100, 1600))
        # 4 in the mean; with 30 worlds of 4 strengths each its own error is about 10 %.
        assert 2.9 < few / many < 5.5


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    # 60 prompts of 6 judgements, and on each prompt the two models differ by more or less: only clusters see that.
    generator = np.random.default_rng(7)
    held = {"clustered": 0, "fisher": 0}
    nodes, at = np.polynomial.hermite_e.hermegauss(40)
    mean = float(at @ (1 / (1 + np.exp(-(0.5 + 1.5 * nodes)))) / at.sum())
    truth = math.log(mean / (1 - mean))  # the strength that says how often A wins over all prompts
    for _ in range(300):
        gaps = np.repeat(0.5 + 1.5 * generator.normal(size=60), 6)
        outcome = (generator.random(360) < 1 / (1 + np.exp(-gaps))).astype(float)
        data = compared([(A, B, o) for o in outcome], cluster=np.repeat(np.arange(60), 6))
        found = fit(pair_likelihood(data))
        for name, covariance in (("clustered", clustered(found)), ("fisher", fisher(found))):
            low, high = strengths(found, covariance, anchor=B, clusters=60).interval[A]
            held[name] += low <= truth <= high
    assert 0.91 <= held["clustered"] / 300 <= 0.985
    assert held["fisher"] / 300 < 0.85


def test_style_is_told_from_strength() -> None:
    # B is longer and no better: longer answers win. What is left of B beside length is nothing.
    generator = np.random.default_rng(8)
    longer = np.where(generator.random(4000) < 0.8, -1.0, 1.0)  # of A over B
    outcome = (generator.random(4000) < 1 / (1 + np.exp(-longer))).astype(float)
    rows = [(A, B, o) for o in outcome]
    assert gap(fit(pair_likelihood(compared(rows)))) < -0.4
    found = fit(pair_likelihood(compared(rows, style=longer)))
    assert gap(found) == pytest.approx(0, abs=0.1)
    assert found.parameters[2] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("ties", ["half", "davidson"])
def test_agrees_with_choix_and_statsmodels(ties: str) -> None:
    """Development only: neither is needed by the package."""
    rows = world(400, np.array([0.0, 0.5, 1.0, -0.7]), seed=9, tie=0.0 if ties == "half" else 0.7)
    cluster = np.arange(400) // 4
    found = fit(pair_likelihood(compared(rows, cluster=cluster), ties=ties))
    if ties == "half":
        choix = pytest.importorskip("choix")
        won = [(i, j) if outcome == WIN else (j, i) for i, j, outcome in rows]
        expected = choix.ilsr_pairwise(4, won, alpha=0.0, tol=1e-12)
        assert found.parameters == pytest.approx(expected - expected.mean(), abs=1e-5)
        sm = pytest.importorskip("statsmodels.api")
        design = np.zeros((400, 4))
        for row, (i, j, _) in enumerate(rows):
            design[row, i], design[row, j] = 1, -1
        logit = sm.Logit([outcome for _, _, outcome in rows], design[:, 1:])
        result = logit.fit(disp=0, cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False})
        errors = errors_beside(found, clustered(found), anchor=A)[1:] * math.sqrt(99 / 100)
        assert errors == pytest.approx(result.bse, rel=1e-4)
        assert errors_beside(found, fisher(found), anchor=A)[1:] == pytest.approx(logit.fit(disp=0).bse, rel=1e-4)
        return
    base = pytest.importorskip("statsmodels.base.model")

    class Davidson(base.GenericLikelihoodModel):  # type: ignore[misc,name-defined]
        def loglikeobs(self, parameters: Floats) -> Floats:
            b = np.r_[0.0, parameters[:3]]
            total = []
            for i, j, outcome in rows:
                tie = math.exp(parameters[3] + (b[i] + b[j]) / 2)
                odds = {WIN: math.exp(b[i]), LOSS: math.exp(b[j]), TIE: tie}
                total.append(math.log(odds[outcome] / sum(odds.values())))
            return np.array(total)

    model = Davidson(np.zeros(400), np.zeros((400, 4)))
    result = model.fit(start_params=np.zeros(4), disp=0, method="bfgs", maxiter=500, gtol=1e-8)
    anchored = [*(found.parameters[1:4] - found.parameters[0]), found.parameters[4]]
    assert anchored == pytest.approx(result.params, abs=1e-4)
    assert errors_beside(found, fisher(found), anchor=A)[1:] == pytest.approx(result.bse[:3], rel=1e-2)
