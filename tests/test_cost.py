"""Which layout costs least: the work counted by hand, and the choice as prices change."""

import pytest
import tiny

from accord.data.batches import Layout
from accord.models import cost
from accord.models.cost import Prices, Work, by_cost, work_of

LAYOUTS: tuple[Layout, ...] = ("tree", "cache", "rows")
LONG = tiny.group(300, [20, 30], seed=1)  # 350 tokens of tree: more than one dense mask is made for
SHORT = tiny.group(6, [4, 4], seed=2)


def body_weights() -> int:
    """Of a layer: q and o 32 x 32, k and v 32 x 16, three of 32 x 48, two norms; then the last norm."""
    return 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32) + 32


@pytest.mark.parametrize("tied", [False, True])
def test_the_work_of_each_layout(tied: bool) -> None:
    """Two layers, 32 wide. Pairs: of the root and of each branch with its root; of all rows; masked ones count."""
    network = tiny.llama(tie_word_embeddings=tied)
    places = {"tree": 350, "cache": 299 + 2 * 31, "rows": 2 * 330}
    pairs = {
        "tree": 300 * 300 + 20 * 320 + 30 * 330,
        "cache": 299 * 299 + 2 * 31 * (299 + 31),
        "rows": 2 * 330 * 330,
    }
    calls = {"tree": 3, "cache": 2, "rows": 1}
    for layout in LAYOUTS:
        flops = 6 * body_weights() * places[layout] + 12 * 32 * 2 * pairs[layout]
        passes = 2 if layout == "cache" else 1
        expected = Work(flops, 2 * calls[layout], 2 * passes)
        assert work_of(network, [LONG], layout, max_tokens=10_000) == expected


def test_the_work_of_several_micro_batches_adds_up_and_a_small_family_is_one_call() -> None:
    network = tiny.llama()
    one = work_of(network, [SHORT], "tree", max_tokens=20)
    assert (one.calls, one.passes) == (2, 2)  # two layers, one call each
    assert work_of(network, [SHORT, SHORT], "tree", max_tokens=14) == one + one
    assert work_of(network, [SHORT, SHORT], "tree", max_tokens=28).passes == one.passes


@pytest.mark.parametrize(
    ("prices", "best"),
    [
        (Prices(flop=1.0, call=0.0, one_pass=0.0), "tree"),  # it never computes more
        (Prices(flop=1e-12, call=1.0, one_pass=0.1), "rows"),  # one call and one pass each
        (Prices(flop=1e-7, call=1.0, one_pass=0.5), "cache"),  # less to compute than rows, fewer calls than the tree
    ],
)
def test_prices_decide(prices: Prices, best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "PRICES", {"cpu": prices})
    network = tiny.llama()
    assert by_cost(network, [LONG, LONG], LAYOUTS, max_tokens=10_000)[0] == best


def test_on_a_cpu_the_order_is_fixed() -> None:
    assert by_cost(tiny.llama(), [SHORT], LAYOUTS, max_tokens=10_000) == list(LAYOUTS)


def test_only_the_first_steps_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large data set does not make the start slow: 64 groups say what costs least, in fours of sixteen."""
    seen: list[int] = []

    def counted(*args: object, **named: object) -> Work:
        seen.append(len(args[1]))  # type: ignore[arg-type]
        return Work(0.0, 0, 0)

    monkeypatch.setattr(cost, "PRICES", {"cpu": Prices(1.0, 1.0, 1.0)})
    monkeypatch.setattr(cost, "work_of", counted)
    by_cost(tiny.llama(), [SHORT] * 1000, ("tree",), max_tokens=100)
    assert seen == [16] * 4
