"""From letters to places and back, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.collect.layouts import LETTERS, canonical, warnings, wire
from accord.collect.refusals import Invalid
from accord.collect.settings import FLAGS, RESERVED, Flag, Settings

RANKING = Settings(flags=())


def test_by_hand() -> None:
    # Shown: the third output as A, the first as B, the second as C.
    said = {"ratings": {"A": 7, "B": 1, "C": 4}, "ranking": [["A"], ["C"]], "excluded": ["B"]}
    assert canonical(said, RANKING, (2, 0, 1)) == {"ratings": [1, 4, 7], "ranks": [None, 2, 1]}


def test_other_layouts_by_hand() -> None:
    pair = Settings(layout="pair", rate=False, flags=())
    assert canonical({"ranking": [["A", "B"]], "both_bad": True}, pair, (1, 0)) == {"ranks": [1, 1], "both_bad": True}
    assert canonical({"ranking": [["B"], ["A"]]}, pair, (1, 0)) == {"ranks": [1, 2]}
    thumbs = Settings(layout="thumbs", flags=())
    assert canonical({"labels": {"A": False}}, thumbs, (0,)) == {"labels": [False]}
    written = Settings(layout="demonstration")
    assert canonical({"text": " Yes. "}, written, ()) == {"text": " Yes. "}


def _orders_and_levels(k: int) -> st.SearchStrategy[tuple[list[int], list[int]]]:
    return st.tuples(st.permutations(range(k)), st.lists(st.integers(0, 3), min_size=k, max_size=k))


@given(st.integers(1, 9).flatmap(_orders_and_levels))
def test_there_and_back(drawn: tuple[list[int], list[int]]) -> None:
    shown, levels = drawn
    letters = LETTERS[: len(shown)]
    ranking = [[x for x, level in zip(letters, levels, strict=True) if level == one] for one in sorted({*levels} - {3})]
    said = {
        "ratings": {letter: 1 + level for letter, level in zip(letters, levels, strict=True)},
        "ranking": ranking,
        "excluded": [letter for letter, level in zip(letters, levels, strict=True) if level == 3],
    }
    answer = canonical(said, RANKING, shown)
    back = wire(answer, shown)
    assert back["ratings"] == said["ratings"]
    if len(shown) > 1 and ranking:
        assert (back["ranking"], back["excluded"]) == (ranking, said["excluded"])


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"ratings": {"A": 8}}, "ratings.A"),
        ({"ratings": {"A": True}}, "ratings.A"),
        ({"ratings": {"A": 1.0}}, "ratings.A"),
        ({"ratings": {"D": 1}}, "ratings.D"),
        ({"ratings": [1, 2, 3]}, "ratings"),
        ({"ranking": [["A"], ["A", "B", "C"]]}, "ranking"),
        ({"ranking": [["A"], ["B"], ["C"], ["D"]]}, "ranking"),
        ({"ranking": [["A", "B"], ["C"]], "excluded": ["C"]}, "ranking"),
        ({"ranking": "ABC"}, "ranking"),
        ({"excluded": ["Z"]}, "excluded"),
        ({"flags": {"A": ["no_such"]}}, "flags.A"),
        ({"notes": {"A": "\ud800"}}, "notes.A"),
        ({"text": "x"}, "text"),
        ({"labels": {"A": True}}, "labels"),
        ({"model": "gpt"}, "model"),
    ],
)
def test_refused_also_in_drafts(said: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as error:
        canonical(said, RANKING, (0, 1, 2), complete=False)
    assert field in error.value.fields


def test_ties_may_be_forbidden() -> None:
    with pytest.raises(Invalid, match="no two may be equal"):
        canonical({"ranking": [["A", "B"]]}, Settings(layout="pair", rate=False, ties=False), (0, 1))


def test_contradictions_are_told_and_equal_ratings_are_none() -> None:
    assert warnings({"ratings": [7, 2, 2], "ranks": [2, 1, 3]}, (1, 0, 2)) == [
        "B is rated higher than A, but ranked below it"
    ]
    assert warnings({"ratings": [7, 2], "ranks": [None, 1]}, (0, 1)) == []


def test_flags_have_letters_of_their_own() -> None:
    assert not {flag.letter for flag in FLAGS} & set(RESERVED)
    with pytest.raises(ValueError, match="the page's own"):
        Settings(flags=(Flag(key="a", label="A", letter="s"),))
    with pytest.raises(ValueError, match="two flags have the letter"):
        Settings(flags=(Flag(key="a", label="A", letter="f"), Flag(key="b", label="B", letter="f")))
    with pytest.raises(ValueError, match="no address"):
        Settings(hook="file:///etc/passwd")
