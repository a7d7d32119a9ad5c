"""What a judge's reply says, or that it says nothing: strictly, by hand."""

from math import log

import pytest

from accord.evaluate.judges.orders import Said, shown_in, together
from accord.evaluate.judges.replies import (
    Reply,
    Unreadable,
    Usage,
    bracketed,
    label_of,
    ranks_of,
    rating_of,
    weighed,
)


def reply(text: str, **probabilities: float) -> Reply:
    first = {token.replace("_", " "): log(p) for token, p in probabilities.items()} or None
    return Reply(text, first, Usage(1, 1))


@pytest.mark.parametrize(("text", "label"), [("m", 0), ("M", 1), (" M\n", 1)])
def test_a_reply_that_is_a_label(text: str, label: int) -> None:
    assert label_of(text, ("m", "M")) == label


@pytest.mark.parametrize("text", ["", "m.", "mM", "m M", "The better is M", "model_m", "tie", "'m'", "µ"])
def test_a_reply_that_is_none(text: str) -> None:
    with pytest.raises(Unreadable, match="is not one of m, M"):
        label_of(text, ("m", "M"))


def test_labels_are_weighed_by_their_probabilities() -> None:
    assert weighed(reply("m", m=0.6, M=0.2, x=0.2), ("m", "M")) == pytest.approx(0.75)
    assert weighed(reply("m", m=0.3, _m=0.3, M=0.2), ("m", "M")) == pytest.approx(0.75)
    assert weighed(reply("M", M=0.9), ("m", "M")) == 0.0
    assert weighed(reply("A", A=0.4, B=0.2, C=0.2), ("A", "B", "C")) == pytest.approx((0.4 + 0.1) / 0.8)


def test_without_probabilities_nothing_is_weighed() -> None:
    assert weighed(reply("m"), ("m", "M")) is None
    assert weighed(reply("m", x=0.5), ("m", "M")) is None


@pytest.mark.parametrize(
    ("text", "label"), [("[[A]]", 0), ("Both fine. [[ B ]]", 1), ("[[C]] ... so [[C]]", 2), ("as [1] says [[B]]", 1)]
)
def test_a_verdict_in_brackets(text: str, label: int) -> None:
    assert bracketed(text, ("A", "B", "C")) == label


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A is better", "no verdict in"),
        ("[A]", "no verdict in"),
        ("[[A]] or [[B]]", "2 different verdicts"),
        ("[[D]]", "is not one of"),
        ("[[A or B]]", "is not one of"),
        ("[[a]]", "is not one of"),
        ("[[]]", "is not one of"),
        ("", "no verdict in"),
    ],
)
def test_no_verdict_in_brackets(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        bracketed(text, ("A", "B", "C"))


@pytest.mark.parametrize(
    ("text", "rating"), [("Rating: [[7]]", 7.0), ("[[1]]", 1.0), ("[[10]]", 10.0), ("[[8.5]]", 8.5)]
)
def test_a_rating(text: str, rating: float) -> None:
    assert rating_of(text) == rating


@pytest.mark.parametrize(
    "text", ["7", "[[0]]", "[[11]]", "[[-3]]", "[[seven]]", "[[7/10]]", "[[nan]]", "[[3]] [[4]]", "[[1_0]]"]
)
def test_no_rating(text: str) -> None:
    with pytest.raises(Unreadable):
        rating_of(text)


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("[[A > B > C]]", (1, 2, 3)),
        ("[[C > A = B]]", (2, 2, 1)),
        ("[[A=C>B]]", (1, 3, 1)),
        ("so [[ B = A = C ]]", (1, 1, 1)),
    ],
)
def test_an_order(text: str, ranks: tuple[int, ...]) -> None:
    assert ranks_of(text, "ABC") == ranks


@pytest.mark.parametrize(
    "text", ["A > B > C", "[[A > B]]", "[[A > B > C > D]]", "[[A > A > C]]", "[[A >> B > C]]", "[[A, B, C]]"]
)
def test_no_order(text: str) -> None:
    with pytest.raises(Unreadable):
        ranks_of(text, "ABC")


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (Said(1.0), Said(1.0), 1.0),
        (Said(0.0), Said(0.0), 0.0),
        (Said(1.0), Said(0.0), 0.5),
        (Said(0.0), Said(1.0), 0.5),
        (Said(1.0), Said(0.5), 0.5),
        (Said(0.5), Said(0.5), 0.5),
        (Said(0.9, True), Said(0.3, True), 0.6),
        (Said(0.9, True), Said(1.0), 1.0),  # one of them was not weighed, so neither is
        (Said(0.9, True), Said(0.0), 0.5),
    ],
)
def test_two_orders_together(first: Said, second: Said, outcome: float) -> None:
    assert together(first, second) == pytest.approx(outcome)


def test_orders_of_two() -> None:
    assert shown_in("both", 0, "why ?", ("x", "y")) == [(0, 1), (1, 0)]
    assert shown_in("first", 0, "why ?", ("x", "y")) == [(0, 1)]


def test_a_drawn_order_depends_on_the_prompt_and_on_both_models() -> None:
    """Of 200 prompts about half; for another model, baseline or seed other ones: the halves are independent."""

    def drawn(seed: int, *models: str) -> list[int]:
        return [shown_in("random", seed, f"prompt {i}", models)[0][0] for i in range(200)]

    base = drawn(0, "x", "y")
    assert base == drawn(0, "x", "y") and 70 < sum(base) < 130
    for other in (drawn(1, "x", "y"), drawn(0, "z", "y"), drawn(0, "x", "z")):
        assert 70 < sum(a == b for a, b in zip(base, other, strict=True)) < 130


def test_orders_of_several_are_one_and_its_reverse() -> None:
    (one, other) = shown_in("both", 0, "why ?", "abcd")
    assert one[::-1] == other and sorted(one) == [0, 1, 2, 3]
