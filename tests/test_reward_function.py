"""A Python function that gives rewards, and every way in which it may give none."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.errors import AccordError, Diverged, InputError, ServiceError
from accord.records import Completion, Group, Judgement, Message, Origin
from accord.stages.reward_function import RewardFunction, function_of

GROUPS = [
    Group("a", "one ?", (Completion(" x"), Completion(" yyy")), source=Origin("p.jsonl", 1)),
    Group("b", "two ?", (Completion(""), Completion(" w")), source=Origin("p.jsonl", 2), category="sums"),
]


def scored(function: Callable[..., Any], groups: Sequence[Group] = GROUPS) -> list[float]:
    found = RewardFunction("f", function, "rewards:f").score(groups)
    assert found.dtype == torch.float64
    values: list[float] = found.tolist()
    return values


def test_each_sample_is_a_group_by_itself() -> None:
    seen: list[Group] = []

    def length(groups: list[Group]) -> list[float]:
        assert isinstance(groups, list)
        seen.extend(groups)
        return [float(len(group.completions[0].content)) for group in groups]

    judged = Group("c", (Message("user", "hi"),), (Completion("1"), Completion("22")), (Judgement(ranks=(1, 2)),))
    assert scored(length, [*GROUPS, judged]) == [2.0, 4.0, 0.0, 2.0, 1.0, 2.0]
    assert [group.id for group in seen] == ["a", "a", "b", "b", "c", "c"]
    assert all(len(group.completions) == 1 and not group.judgements for group in seen)
    assert seen[2].prompt == "two ?" and seen[2].category == "sums" and seen[4].prompt == judged.prompt


NUMBERS: dict[str, Any] = {
    "floats": [1.0, 2.5, -3.0, 0.0],
    "a tuple": (1.0, 2.5, -3.0, 0.0),
    "numpy": np.array([1.0, 2.5, -3.0, 0.0], dtype=np.float32),
    "torch": torch.tensor([1.0, 2.5, -3.0, 0.0], requires_grad=True),
    "of all kinds": [True, np.float64(2.5), -3, torch.tensor(0.0)],
    "fractions": [1, Fraction(5, 2), -3.0, False],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_whatever_is_a_list_of_numbers_is_taken(name: str) -> None:
    assert scored(lambda groups: NUMBERS[name]) == [1.0, 2.5, -3.0, 0.0]


WRONG: dict[str, tuple[Any, str]] = {
    "a number": (1.0, "rewards:f: gave 1.0 (float), not a list of 4 numbers: it gets a list of groups"),
    "a scalar tensor": (torch.tensor(1.0), "rewards:f: gave 1.0 (float), not a list of 4 numbers"),
    "a text": ("1234", "rewards:f: gave '1234' (str), not a list of 4 numbers"),
    "nothing": (None, "rewards:f: gave None (NoneType), not a list of 4 numbers"),
    "a mapping": ({"a": 1.0}, "rewards:f: gave {'a': 1.0} (dict), not a list"),
    "too few": ([1.0], "rewards:f: gave 1 numbers for 4 samples"),
    "one a group": ([1.0, 2.0], "rewards:f: gave 2 numbers for 4 samples"),
    "too many": ([1.0] * 5, "rewards:f: gave 5 numbers for 4 samples"),
    "none": ([], "rewards:f: gave 0 numbers for 4 samples"),
    "texts": ([1.0, 2.0, "3", 4.0], "rewards:f: p.jsonl:2 (id b, sample 1): gave '3' (str), not a number"),
    "lists": ([1.0, [2.0], 3.0, 4.0], "rewards:f: p.jsonl:1 (id a, sample 2): gave [2.0] (list), not a number"),
    "columns": (np.zeros((4, 1)), "rewards:f: p.jsonl:1 (id a, sample 1): gave [0.0] (list), not a number"),
    "complex": ([1j, 0, 0, 0], "rewards:f: p.jsonl:1 (id a, sample 1): gave 1j (complex), not a number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_list_of_numbers_is_a_mistake_of_the_function(name: str) -> None:
    given, said = WRONG[name]
    with pytest.raises(InputError) as raised:
        scored(lambda groups: given)
    assert str(raised.value).startswith(said) and raised.value.code == 2


@pytest.mark.parametrize(
    "value", [None, math.nan, math.inf, -math.inf, np.float32("nan"), torch.tensor(math.inf), 10**400]
)
def test_a_number_that_is_missing_or_not_finite_ends_the_run(value: Any) -> None:
    with pytest.raises(
        Diverged, match=r"^rewards:f: p.jsonl:2 \(id b, sample 2\): gave (None|nan|-?inf), which is"
    ) as raised:
        scored(lambda groups: [1.0, 2.0, 3.0, value])
    assert raised.value.code == 3


def test_a_function_that_fails_is_named_with_the_line() -> None:
    def fails(groups: list[Group]) -> list[float]:
        return [1 / len(group.completions[0].content) for group in groups]

    with pytest.raises(InputError, match=r"^rewards:f: failed with ZeroDivisionError: .*test_reward_function.py:\d+\)"):
        scored(fails)


def test_failures_that_say_what_they_are_stay_what_they_are() -> None:
    def fails(error: BaseException) -> Callable[..., Any]:
        def function(groups: list[Group]) -> list[float]:
            raise error

        return function

    for error in (ServiceError("it is down"), MemoryError(), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised:
            scored(fails(error))
        assert raised.value is error


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with a module and a file; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    (tmp_path / "accord_test_rewards.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Rule:\n    weight: float\n"
        "def short(groups):\n    return [-Rule(1.0).weight * len(g.completions[0].content) for g in groups]\n"
        "number = 3\n"
    )
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "beside.py").write_text("FACTOR = 10.0\n")
    (tmp_path / "deep" / "own.py").write_text(
        "from beside import FACTOR\ndef long(groups):\n    return [FACTOR for _ in groups]\n"
    )
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_functions_of_the_current_directory_and_of_files(here: Path) -> None:
    for written in (
        "accord_test_rewards:short",
        "accord_test_rewards.py:short",
        f"{here}/accord_test_rewards.py:short",
    ):
        assert scored(function_of(written)) == [-2.0, -4.0, 0.0, -2.0]
    assert scored(function_of("deep/own.py:long")) == [10.0] * 4
    assert function_of("math:fsum") is math.fsum


MISSING = {
    "nothing_of_this_name:f": "nothing_of_this_name cannot be imported (ModuleNotFoundError: No module named",
    "accord_test_rewards:tall": "accord_test_rewards has no function 'tall'",
    "accord_test_rewards:number": "'number' is 3 (int), and no function",
    "broken.py:f": "broken.py cannot be imported (ModuleNotFoundError: No module named 'nothing_of_this_name')",
    "gone.py:f": "gone.py: no such file",
}


@pytest.mark.parametrize("written", MISSING)
def test_a_function_that_is_not_there_is_refused(here: Path, written: str) -> None:
    for _ in range(2):  # what failed once is not half there afterwards
        with pytest.raises(AccordError) as raised:
            function_of(written)
        assert MISSING[written] in str(raised.value) and raised.value.code == 2 and "\n" not in str(raised.value)
