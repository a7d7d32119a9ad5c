"""Alpha, kappas, tau and shares of pairs: textbook examples, by hand, and how often intervals hold the truth."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import kendalltau

from accord.maths.chance_agreement import (
    ALPHAS,
    Cells,
    cohen_kappa,
    couples,
    fleiss_kappa,
    interval_alpha,
    nominal_alpha,
    ordinal_alpha,
)
from accord.maths.multiple import holm
from accord.maths.rank_agreement import TIES, kendall, signs_of
from accord.maths.resampling import Statistic, mean_statistic, resampled
from accord.maths.unpaired_means import welch

# Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section D: 4 observers, 12 units, . is no value.
TEXTBOOK = ("123321412...", "123322412" + "5.3", ".33323422" + "51.", "123324412" + "51.")


def table(*raters: str, clusters: Sequence[int] | None = None) -> Cells:
    """A row of digits for each rater, a column for each unit."""
    found = [(unit, rater, int(one)) for rater, row in enumerate(raters) for unit, one in enumerate(row) if one != "."]
    unit, rater, value = (np.array(column) for column in zip(*found, strict=True))
    return Cells(unit, rater, value.astype(float), np.array(clusters or range(len(raters[0]))))


def test_the_textbook_has_twelve_units() -> None:
    assert [len(row) for row in TEXTBOOK] == [12] * 4
    assert "".join(TEXTBOOK).count(".") == 7


@pytest.mark.parametrize(("scale", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_example_with_missing_values(scale: str, expected: float) -> None:
    assert ALPHAS[scale](table(*TEXTBOOK)).value == pytest.approx(expected, abs=5e-4)


def test_alpha_by_hand() -> None:
    # Units (1, 1), (1, 2): n = 4, n_1 = 3, n_2 = 1. Disagreements both ways: 2. alpha = 1 - 3 * 2 / (4^2 - 3^2 - 1).
    assert nominal_alpha(table("11", "12")).value == pytest.approx(1 - 3 * 2 / 6)
    # Units (1, 1), (1, 3): squared difference 4, twice; sum over n_c n_k: 2 * 3 * 1 * 4.
    assert interval_alpha(table("11", "13")).value == pytest.approx(1 - 3 * 8 / 24)
    # Units (1, 2), (3, 3): mean ranks 0.5, 1.5, 3. 2 * 1 observed; expected 2 (1 + 2 * 2.5^2 + 2 * 1.5^2).
    assert ordinal_alpha(table("13", "23")).value == pytest.approx(1 - 3 * 2 / (2 * (1 + 12.5 + 4.5)))


def test_a_value_that_stands_alone_does_not_count() -> None:
    assert nominal_alpha(table("115", "12.")).value == pytest.approx(nominal_alpha(table("11", "12")).value)


@pytest.mark.parametrize("make", [*ALPHAS.values(), fleiss_kappa])
def test_equal_values_say_nothing_of_agreement_beyond_chance(make: Callable[[Cells], Statistic]) -> None:
    assert math.isnan(make(table("222", "222", "2.2")).value)
    assert math.isnan(make(table("123", "...")).value)  # one rater
    assert math.isnan(resampled(make(table("222", "222"))).interval.low)


def test_whole_agreement_is_one() -> None:
    for make in (*ALPHAS.values(), fleiss_kappa):
        assert make(table("1232", "1232", "12.2")).value == pytest.approx(1)


def test_fleiss_own_example() -> None:
    # Fleiss 1971 in the form of 10 units, 14 raters, 5 categories: kappa 0.210.
    counts = "0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2|6 5 2 1 0|0 2 2 3 7"
    said = [
        (unit, value)
        for unit, row in enumerate(counts.split("|"))
        for value, count in enumerate(map(int, row.split()))
        for _ in range(count)
    ]
    unit, value = (np.array(column) for column in zip(*said, strict=True))
    cells = Cells(unit, np.tile(np.arange(14), 10), value.astype(float), np.arange(10))
    assert len(couples(cells).one) == 10 * 14 * 13 / 2
    assert fleiss_kappa(cells).value == pytest.approx(0.20993, abs=1e-5)


def test_cohen_by_hand() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: P = 0.7, P_e = 0.5 * 0.6 + 0.5 * 0.4.
    one, other = np.repeat([1.0, 1, 0, 0], [20, 5, 10, 15]), np.repeat([1.0, 0, 1, 0], [20, 5, 10, 15])
    assert cohen_kappa(one, other, np.arange(50)).value == pytest.approx(0.4)
    assert math.isnan(cohen_kappa(np.ones(5), np.ones(5), np.arange(5)).value)
    # Two raters who never say the same thing as the other: no value in common, and no agreement.
    assert cohen_kappa(np.zeros(5), np.ones(5), np.arange(5)).value == 0


def test_more_of_a_cluster_is_not_more_certainty() -> None:
    once = table(*TEXTBOOK)
    twice = table(*(row * 2 for row in TEXTBOOK), clusters=[*range(12), *range(12)])
    intervals = [resampled(nominal_alpha(cells), rounds=200).interval for cells in (once, twice)]
    widths = [high - low for low, high in intervals]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_the_bootstrap_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = resampled(mean_statistic(values, np.arange(400)), rounds=2000)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 20, rel=0.06)
    assert (
        resampled(mean_statistic([1.0, 2.0], [0, 0])).standard_error
        != resampled(mean_statistic([1.0, 2.0], [0, 1])).standard_error
    )
    assert math.isnan(resampled(mean_statistic([1.0, 2.0], [0, 0])).standard_error)


@pytest.mark.parametrize("make", [nominal_alpha, fleiss_kappa])
def test_the_interval_holds_the_truth(make: Callable[[Cells], Statistic]) -> None:
    """Three raters say the truth, a fair coin for each unit, with chance 0.8: two agree with chance 0.68, where chance
    alone gives 1/2, so that the coefficient is 0.36."""
    generator = np.random.default_rng(1)
    held, trials, units = 0, 200, 150
    unit, rater = np.repeat(np.arange(units), 3), np.tile(np.arange(3), units)
    for _ in range(trials):
        truth = generator.integers(2, size=units)[:, None]
        said = np.where(generator.random((units, 3)) < 0.8, truth, 1 - truth).ravel().astype(float)
        low, high = resampled(make(Cells(unit, rater, said, np.arange(units))), rounds=300).interval
        held += low <= 0.36 <= high
    assert 0.9 <= held / trials <= 0.985


def test_an_interval_that_takes_units_of_one_cluster_for_independent_is_too_short() -> None:
    """Two raters whose errors are those of a whole prompt of five units: both right, or one wrong throughout."""
    generator = np.random.default_rng(2)
    truth = generator.integers(2, size=(60, 5))
    wrong = generator.random((60, 1)) < 0.3
    said = np.stack([truth, np.where(wrong, 1 - truth, truth)], axis=2).reshape(-1).astype(float)
    unit, rater = np.repeat(np.arange(300), 2), np.tile([0, 1], 300)
    errors = [
        resampled(nominal_alpha(Cells(unit, rater, said, cluster)), rounds=300).standard_error
        for cluster in (np.repeat(np.arange(60), 5), np.arange(300))
    ]
    assert errors[0] > 1.7 * errors[1]  # sqrt(5) in the long run


def test_ties_as_one_likes() -> None:
    one, other = np.array([1, 1, 1, 0, 0]), np.array([1, -1, 0, 0, -1])
    credits = {name: rule(one, other) for name, rule in TIES.items()}
    shares = {name: credit.value[credit.counts].mean() for name, credit in credits.items()}
    # Agree: the first and the two ties. Half: the third and the last. Dropped: all but the first two.
    assert shares == pytest.approx({"zero": 2 / 5, "half": (2 + 2 / 2) / 5, "drop": 1 / 2})


def test_tau_of_couples_is_scipys() -> None:
    generator = np.random.default_rng(5)
    one, other = generator.integers(0, 4, (2, 8, 5))
    found = kendall(signs_of(one), signs_of(other))
    assert found == pytest.approx([kendalltau(a, b).statistic for a, b in zip(one, other, strict=True)])
    assert math.isnan(kendall(signs_of([[1, 1, 1]]), signs_of([[1, 2, 3]]))[0])


def test_holm_by_hand() -> None:
    # 0.01 * 3; then 0.03 * 2 and 0.04 * 1, which is not below 0.06.
    assert holm([0.03, 0.01, math.nan, 0.04]).tolist() == pytest.approx([0.06, 0.03, math.nan, 0.06], nan_ok=True)
    assert holm([0.6, 0.9]).tolist() == [1, 1] and holm([]).tolist() == []


def test_welch_is_scipys() -> None:
    from scipy.stats import ttest_ind

    one, other = [1.0, 2.0, 4.0, 9.0], [0.0, 0.5, 0.5]
    found, expected = welch(one, other), ttest_ind(one, other, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert math.isnan(welch([1.0], other).p) and math.isnan(welch([1.0, 1.0], [0.0, 0.0]).p)
