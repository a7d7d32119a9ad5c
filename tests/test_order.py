"""Order and split: pure functions, so every value here can be pinned."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.order import ASKS, held_out, order
from accord.data.order import asks as asks_of
from accord.errors import InputError
from accord.records import Completion, Group, Message


def asks(prompt: str, id: str = "") -> Group:
    return Group(id, prompt, (Completion("x"),))


def split(groups: list[Group], fraction: float) -> tuple[list[Group], list[Group]]:
    """(training, validation)"""
    held = held_out(np.frombuffer(b"".join(map(asks_of, groups)), dtype=np.uint8).reshape(-1, ASKS), fraction)
    sides = list(zip(groups, held.tolist(), strict=True))
    return [group for group, out in sides if not out], [group for group, out in sides if out]


@given(st.integers(0, 300), st.integers(0, 2**40), st.integers(0, 99))
def test_order_is_a_permutation_and_a_pure_function(n: int, seed: int, epoch: int) -> None:
    once = order(n, seed=seed, epoch=epoch)
    assert sorted(once.tolist()) == list(range(n))
    assert once.tolist() == order(n, seed=seed, epoch=epoch).tolist()


def test_order_never_changes_between_versions() -> None:
    assert order(8, seed=0, epoch=0).tolist() == [0, 3, 7, 5, 1, 2, 6, 4]  # a change here breaks every resume
    assert order(100, seed=0, epoch=1).tolist() != order(100, seed=0, epoch=0).tolist()
    assert order(100, seed=1, epoch=0).tolist() != order(100, seed=0, epoch=0).tolist()


def test_file_order() -> None:
    assert order(4, seed=3, epoch=2, shuffle=False).tolist() == [0, 1, 2, 3]


def test_order_is_even() -> None:
    first = Counter(int(order(4, seed=seed, epoch=0)[0]) for seed in range(2000))
    assert all(abs(count - 500) < 5 * (2000 * 3 / 16) ** 0.5 for count in first.values())


def test_same_prompt_is_never_on_both_sides() -> None:
    groups = [asks(f"p{i % 50}", str(i)) for i in range(200)]
    training, held = split(groups, 0.2)
    assert len(training) + len(held) == 200
    assert not {group.prompt for group in training} & {group.prompt for group in held}
    assert [group.id for group in training] == sorted((group.id for group in training), key=int)


def test_side_does_not_depend_on_the_other_rows() -> None:
    groups = [asks(f"p{i}") for i in range(400)]
    held = {group.prompt for group in split(groups, 0.1)[1]}
    assert held == {group.prompt for half in (groups[:200], groups[200:]) for group in split(half, 0.1)[1]}
    assert 20 < len(held) < 60


def test_growing_fraction_only_adds() -> None:
    groups = [asks(f"p{i}") for i in range(200)]
    assert {g.prompt for g in split(groups, 0.1)[1]} < {g.prompt for g in split(groups, 0.3)[1]}


@pytest.mark.parametrize("fraction", [1e-9, 0.5, 1 - 1e-9])
def test_no_side_is_empty(fraction: float) -> None:
    for n in (2, 3, 5):
        assert all(split([asks(f"p{i}") for i in range(n)], fraction))


def test_documents_are_told_apart_by_their_text_and_turns_by_what_they_say() -> None:
    documents = [Group(str(i), "", (Completion(f"text {i}"),)) for i in range(20)]
    assert all(split(documents, 0.3))
    chats = [Group(str(i), (Message("user", f"q{i}"),), (Completion((Message("assistant", "x"),)),)) for i in range(20)]
    assert all(split(chats, 0.3))


def test_what_cannot_be_split() -> None:
    with pytest.raises(InputError, match="1 different prompts cannot be split"):
        split([asks("p"), asks("p")], 0.5)
    with pytest.raises(InputError, match=r"validation: 1\.0 is no fraction"):
        split([asks("p")], 1.0)
    assert split([asks("p")], 0.0)[1] == []


def test_a_prompt_asks_the_same_as_text_and_as_a_turn() -> None:
    """Of a mixture of both kinds, one must not be held out where the other is trained on."""
    one, other = Group("1", "why?", ()), Group("2", (Message("user", "why?"),), ())
    assert asks_of(one) == asks_of(other)
    assert asks_of(one) != asks_of(Group("3", (Message("system", "why?"),), ()))
    assert asks_of(one) != asks_of(Group("4", (Message("user", "why?", {"name": "Ann"}),), ()))
