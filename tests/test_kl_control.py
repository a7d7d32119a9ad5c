"""The adaptive coefficient: by hand, and in a closed loop with a KL that can be computed."""

import math

import pytest

from accord.maths.kl_control import adapted_beta


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.6, 0.1 * (1 + 0.1 * 0.05)),  # a tenth above
        (5.4, 0.1 * (1 - 0.1 * 0.05)),
        (6.0, 0.1),
        (600.0, 0.1 * (1 + 0.2 * 0.05)),  # clipped
        (0.0, 0.1 * (1 - 0.2 * 0.05)),
        (-3.0, 0.1 * (1 - 0.2 * 0.05)),  # an estimate may be negative
    ],
)
def test_by_hand(kl: float, expected: float) -> None:
    assert adapted_beta(0.1, kl, 512, target=6.0, horizon=10_240.0) == pytest.approx(expected, rel=1e-12)


def test_the_kl_of_the_optimum_comes_to_its_target() -> None:
    """Of two completions, rewards 1 and 0, equally likely under the reference: pi*(first) = sigma(1 / beta)."""

    def kl(beta: float) -> float:
        p = 1 / (1 + math.exp(-1 / beta))
        return math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)

    for start in (0.05, 5.0):
        beta = start
        for _ in range(2000):
            beta = adapted_beta(beta, kl(beta), 500, target=0.1, horizon=10_000.0)
        assert kl(beta) == pytest.approx(0.1, rel=1e-6)


def test_what_is_no_control_is_refused() -> None:
    with pytest.raises(ValueError, match="no control"):
        adapted_beta(0.1, 1.0, 64, target=0.0)
    with pytest.raises(ValueError, match="50000 samples"):
        adapted_beta(0.1, 1.0, 50_000, target=6.0)
