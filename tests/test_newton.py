"""Newton's method: by hand, and where a whole step would lead away."""

import numpy as np
import pytest

from accord.maths.newton import Floats, NoMinimum, Point, minimise


def test_a_parabola_takes_one_step() -> None:
    def parabola(x: Floats) -> Point:
        bend = np.array([[4.0, 1.0], [1.0, 2.0]])
        return Point(float(x @ bend @ x / 2 - x @ np.array([5.0, 3.0])), bend @ x - [5.0, 3.0], bend)

    found = minimise(parabola, np.zeros(2))
    assert found.place == pytest.approx([1.0, 1.0])  # 4 + 1 = 5, 1 + 2 = 3
    assert found.steps == 1


@pytest.mark.parametrize("start", [0.5, 2.0, -30.0])
def test_steps_that_lead_uphill_are_halved(start: float) -> None:
    """On sqrt(1 + x^2) a whole step goes from x to -x^3: away from the minimum, where |x| > 1."""

    def bowl(x: Floats) -> Point:
        root = np.sqrt(1 + x**2)
        return Point(float(root[0]), x / root, np.diag(root**-3))

    found = minimise(bowl, np.array([start]))
    assert found.place[0] == pytest.approx(0, abs=1e-9)
    assert found.steps < 40


def test_digits_double_with_every_step() -> None:
    """x - log x from 0.9: a step goes from x = 1 - e to 1 - e^2."""
    seen = []

    def curve(x: Floats) -> Point:
        seen.append(1 - float(x[0]))
        return Point(float(x[0] - np.log(x[0])), 1 - 1 / x, np.diag(x**-2))

    minimise(curve, np.array([0.9]))
    assert seen[:4] == pytest.approx([1e-1, 1e-2, 1e-4, 1e-8], rel=1e-6)


@pytest.mark.parametrize(
    ("value", "gradient", "hessian"),
    [
        (lambda x: np.exp(-x), lambda x: -np.exp(-x), lambda x: np.exp(-x)),  # falls for ever
        (lambda x: -x, lambda x: -1.0, lambda x: 0.0),  # is flat
    ],
)
def test_without_a_minimum(value: object, gradient: object, hessian: object) -> None:
    def function(x: Floats) -> Point:
        one = float(x[0])
        return Point(value(one), np.array([gradient(one)]), np.array([[hessian(one)]]))  # type: ignore[operator]

    with pytest.raises(NoMinimum):
        minimise(function, np.zeros(1))
