"""Judges that are no language models, and what any judge is like: worked out by hand, or held against stock."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from chat_double import pairs
from score_runs import furnish_scorers, stock_logits

from accord.errors import AccordError, Diverged, InputError
from accord.evaluate.judges.bias import Bias, bias
from accord.evaluate.judges.chosen import judge_of
from accord.evaluate.judges.function import FunctionJudge
from accord.evaluate.verdicts import Answer, Matched, Verdict
from accord.stages.judge_options import AskingOptions, JudgeOptions


def options(**given: Any) -> JudgeOptions:
    return JudgeOptions(**given)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("judges")
    furnish_scorers(home)
    tiny.write_model(home / "model")
    return home


ROWS = tiny.comparisons(6)
COMPARED = [
    *(Matched(row["id"], row["prompt"], Answer("new", row["chosen"]), Answer("old", row["rejected"])) for row in ROWS),
    Matched("same", ROWS[0]["prompt"], Answer("new", ROWS[0]["chosen"]), Answer("old", ROWS[0]["chosen"])),
]


@pytest.mark.parametrize(("name", "label", "of"), [("reward", None, lambda z: z[0]), ("flags", "rude", lambda z: z[1])])
def test_the_answer_with_the_greater_score_wins(
    home: Path, name: str, label: str | None, of: Callable[[list[float]], float]
) -> None:
    """Scores by stock transformers, one text at a time; a classifier of yes and no has log-odds as logits."""
    judge = judge_of(options(judge=str(home / name), judge_label=label), AskingOptions(threads=1), {}, 0)
    verdicts = judge.judge(COMPARED)
    scores = stock_logits(home / name, ROWS, ("chosen", "rejected"))
    expected = [float(of(first) > of(second)) for first, second in scores]
    assert [one.outcome for one in verdicts] == [*expected, 0.5] and len(set(expected)) == 2
    assert {(one.annotator, one.failure, one.orders) for one in verdicts} == {(name, None, None)}


def test_an_answer_that_says_nothing_is_scored(home: Path) -> None:
    silent = COMPARED[0]._replace(second=Answer("old", ""))
    (verdict,) = judge_of(options(judge=str(home / "reward")), AskingOptions(threads=1), {}, 0).judge([silent])
    assert verdict.outcome in (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "label", "what"),
    [("model", None, "it is a language model"), ("flags", None, "label"), ("flags", "kind", "label")],
)
def test_no_scorer(home: Path, name: str, label: str | None, what: str) -> None:
    with pytest.raises(InputError, match=what):
        judge_of(options(judge=str(home / name), judge_label=label), AskingOptions(threads=1), {}, 0)


def test_a_function_gives_an_outcome_for_each_pair() -> None:
    def longer(matched: list[Matched]) -> list[float]:
        return [float(len(one.first.text) > len(one.second.text)) for one in matched]

    verdicts = FunctionJudge("longer", longer).judge(pairs(("aa", "b"), ("a", "bb")))
    assert [(one.outcome, one.annotator) for one in verdicts] == [(1.0, "longer"), (0.0, "longer")]
    assert [one.outcome for one in FunctionJudge("f", lambda m: np.array([0.25, 1])).judge(COMPARED[:2])] == [0.25, 1.0]


def test_none_of_a_function_is_a_verdict_that_failed() -> None:
    (one, other) = FunctionJudge("f", lambda matched: [None, 0.5]).judge(pairs(("a", "b"), ("a", "b")))
    assert one.outcome is None and one.failure == "the function gave None" and other.outcome == 0.5


WRONG: dict[str, tuple[Any, type[AccordError], str]] = {
    "NaN": ([math.nan, 1.0], Diverged, "f: prompt p0: gave nan"),
    "infinite": ([0.0, math.inf], Diverged, "f: prompt p1: gave inf"),
    "above": ([1.5, 0.0], Diverged, "gave 1.5"),
    "below": ([-0.1, 0.0], Diverged, "gave -0.1"),
    "text": (["1", 0.0], Diverged, "gave '1'"),
    "too few": ([1.0], Diverged, "gave 1 outcomes for 2 pairs"),
    "too many": ([1.0] * 3, Diverged, "gave 3 outcomes for 2 pairs"),
    "a number": (1.0, Diverged, "not a list of 2"),
    "nothing": (None, Diverged, "not a list of 2"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_outcome_ends_all(kind: str) -> None:
    gives, error, what = WRONG[kind]
    with pytest.raises(error, match=what) as raised:
        FunctionJudge("f", lambda matched: gives).judge(pairs(("a", "b"), ("a", "b")))
    assert raised.value.code == 3 and "\n" not in str(raised.value)


def test_a_function_that_fails_is_named_with_its_line() -> None:
    def broken(matched: list[Matched]) -> list[float]:
        raise KeyError("nothing")

    with pytest.raises(InputError, match=r"broken: failed with KeyError: 'nothing' \(.*test_judges.py:\d+\)"):
        FunctionJudge("broken", broken).judge(COMPARED)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"judge": "openai:m"}, "base_url"),
        ({"judge": "openai:", "base_url": "http://h/v1"}, "judge"),
        ({"judge": "http://h/v1"}, "judge"),
        ({"judge": "openai:m", "base_url": "ftp://h"}, "base_url"),
        ({"judge": "openai:m", "base_url": "http://u:p@h/v1"}, "base_url"),
        ({"judge": "openai:m", "base_url": "http://h/v1", "judge_key": "sk-1"}, "judge_key"),
        ({"judge": "openai:m", "base_url": "http://h/v1", "judge_label": "x"}, "judge_label"),
        ({"judge": "openai:m", "base_url": "http://h/v1", "judge_parameters": {"model": "x"}}, "judge_parameters"),
        ({"judge": "reward", "orders": "first"}, "orders"),
        ({"judge": "a.b:f", "judge_label": "x"}, "judge_label"),
    ],
)
def test_options_that_contradict_each_other(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: "):
        options(**given)


def test_ratings_have_no_order() -> None:
    given = options(judge="openai:m", base_url="http://h/v1", template="rating", orders="random")
    with pytest.raises(InputError, match="shows one answer at a time"):
        judge_of(given, AskingOptions(), {}, 0)


def test_a_key_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(InputError, match="the environment variable NO_SUCH_KEY is not set"):
        judge_of(options(judge="openai:m", base_url="http://h/v1", judge_key="NO_SUCH_KEY"), AskingOptions(), {}, 0)


def seen(*orders: tuple[float | None, float | None], texts: tuple[str, str] = ("aa", "b")) -> Bias:
    matched = pairs(*[texts] * len(orders))
    both = [None if None in order else sum(order) / 2 for order in orders]  # type: ignore[arg-type]
    return bias(matched, [Verdict(value, orders=order) for value, order in zip(both, orders, strict=True)])


def test_what_a_judge_is_like_by_hand() -> None:
    """Shown first wins in 1 and 1 - 0 of the first pair, 1 and 1 - 1 of the second, 0.5 and 1 - 0 of the third."""
    found = seen((1.0, 0.0), (0.8, 0.7), (0.5, 0.0))
    assert found.first_shown is not None and found.consistent is not None and found.flipped is not None
    assert found.first_shown.n == 6 and found.first_shown.estimate.mean == pytest.approx((1 + 1 + 1 + 0 + 0.5 + 1) / 6)
    assert found.consistent.estimate.mean == pytest.approx(1 / 3)
    assert found.flipped.estimate.mean == pytest.approx(1 / 3)


def test_the_errors_of_a_share_go_by_prompt() -> None:
    """Ten prompts whose two orders say the same are ten answers of the place, and not twenty: Wilson's 10 of 10."""
    found = seen(*[(1.0, 0.0)] * 10)
    assert found.first_shown is not None
    assert found.first_shown.estimate.interval.low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert any("moved by who is shown first" in line for line in found.lines())


def test_a_judge_without_a_fondness_is_not_accused() -> None:
    found = seen(*[(1.0, 1.0)] * 10, *[(0.0, 0.0)] * 10)
    assert not any("moved" in line for line in found.lines())
    assert found.first_shown is not None and found.first_shown.estimate.mean == 0.5


def test_where_one_order_was_asked_for_the_place_says_nothing_unless_it_was_drawn() -> None:
    assert seen((1.0, None), (1.0, None)).first_shown is None
    drawn = seen((1.0, None), (None, 0.0), (None, 1.0))
    assert drawn.first_shown is not None and drawn.first_shown.estimate.mean == pytest.approx(2 / 3)
    assert drawn.consistent is None


def test_the_longer_answer_wins() -> None:
    """Of three pairs that differ in length the longer one wins, wins and ties; a failed one says nothing."""
    texts = [("aaa", "b"), ("a", "bbb"), ("aa", "b"), ("a", "b"), ("aa", "b")]
    said = [Verdict(1.0), Verdict(0.0), Verdict(0.5), Verdict(1.0), Verdict(None, "failed")]
    found = bias(pairs(*texts), said)
    assert found.longer is not None and found.longer.n == 3
    assert found.longer.estimate.mean == pytest.approx(2.5 / 3)
    assert found.first_shown is None and found.to_json()["flipped"] is None
