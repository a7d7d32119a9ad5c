"""Rows and groups -> who was compared with whom: each format, and what is refused, replaced or left out."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.data.report import DataReport, Refusals
from accord.data.sources import Source
from accord.data.style import difference, looks
from accord.data.tally import Tally
from accord.data.verdicts import Reading, read_verdicts
from accord.errors import InputError
from accord.maths.comparisons import Comparisons
from accord.maths.plackett_luce import RankingLikelihood
from accord.records import Completion, Group, Judgement, Message, RecordError

AB = {"model_a": "x", "model_b": "y"}


def read(source: Source, **how: Any) -> tuple[Tally, DataReport]:
    tally, report = Tally(how.get("style", ())), DataReport()
    read_verdicts(source, tally, Refusals("error", report), Reading(**how))
    return tally, report


def comparisons(source: Source, **how: Any) -> Comparisons:
    tally, _ = read(source, **how)
    return tally.comparisons(~tally.replaced(), "prompt")


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        (AB | {"winner": "model_a"}, 1.0),
        (AB | {"winner": "model_b"}, 0.0),
        (AB | {"winner": "tie"}, 0.5),
        (AB | {"winner": "tie (bothbad)"}, 0.5),
        (AB | {"winner": "both_bad"}, 0.5),
        (AB | {"winner": "y"}, 0.0),
        ({"model_a": "x", "model_b": "y", "winner": "b"}, 0.0),
        (AB | {"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1}, 0.5),
        (AB | {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}, 0.0),
        (AB | {"preference": "a-is-slightly-better"}, 1.0),
        (AB | {"preference": "b-is-better"}, 0.0),
        ({"generator_1": "x", "generator_2": "y", "preference": 1}, 1.0),
        ({"generator_1": "x", "generator_2": "y", "preference": 1.75}, 0.25),
        ({"generator_1": "x", "generator_2": "y", "preference": 0}, 0.5),
    ],
)
def test_every_verdict(row: Mapping[str, Any], outcome: float) -> None:
    found = comparisons([row])
    assert found.models == ("x", "y")
    assert (found.first.tolist(), found.second.tolist(), found.outcome.tolist()) == ([0], [1], [outcome])


@pytest.mark.parametrize(
    ("row", "field", "what"),
    [
        (AB | {"winner": "c"}, "winner", "'c' is no verdict"),
        (AB | {"winner_model_a": 1, "winner_model_b": 1, "winner_tie": 0}, "winner_model_a", "2 of"),
        (AB | {"preference": "a"}, "preference", "'a' is no verdict"),
        ({"generator_1": "x", "generator_2": "y", "preference": 2.5}, "preference", "2.5 is no verdict"),
        ({"generator_1": "x", "generator_2": "y", "preference": float("nan")}, "preference", "not a finite number"),
        ({"model_a": None, "model_b": "y", "winner": "tie"}, "model_a", "no model is named"),
        ({"model_a": "x", "model_b": "", "winner": "tie"}, "model_b", "empty text"),
        (AB | {"winner": "tie", "weight": 0}, "weight", "0 is no weight"),
        (AB | {"winner": "tie", "weight": 1e31}, "weight", r"1e\+31 is no weight"),
        (AB | {"winner": "tie", "weight": 1e-300}, "weight", "1e-300 is no weight"),
        ({"model_a": "b", "model_b": "a", "winner": "a"}, "winner", "'a' is a verdict, and the name of a model"),
        ({"model_a": "tie", "model_b": "y", "winner": "tie"}, "winner", "'tie' is a verdict"),
    ],
)
def test_what_is_no_verdict_is_named(row: Mapping[str, Any], field: str, what: str) -> None:
    with pytest.raises(RecordError, match=what) as caught:
        read([row])
    assert caught.value.field == field


def test_rows_of_another_shape_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    rows = [AB | {"winner": "tie"}, AB | {"preference": "tie"}, AB | {"winner": "model_a"}, 7]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecordError, match=r"votes.jsonl:2: winner: missing") as caught:
        read(path)
    assert "votes.jsonl:4: expected an object" in caught.value.others[0]
    tally, report = Tally(), DataReport()
    read_verdicts(path, tally, Refusals("drop", report), Reading())
    assert (len(tally), report.kept) == (2, 2)


def test_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("generator_1,generator_2,preference,instruction\nx,y,1.5,Why?\nx,y,,Who?\ny,x,1,Why?\n")
    tally, report = read(path)
    found = tally.comparisons(~tally.replaced(), "prompt")
    assert found.outcome.tolist() == [0.5, 1.0]
    assert found.cluster.tolist() == [0, 0]
    assert [note.where for note in report.notes.values()] == [f"{path}:3"]  # the one without a preference


def test_what_says_nothing_is_left_out_and_counted() -> None:
    rows = [AB | {"winner": None}, {"model_a": "x", "model_b": "x", "winner": "tie"}, AB | {"winner": "tie"}]
    tally, report = read(rows)
    assert len(tally) == 1
    assert [note.count for note in report.notes.values()] == [1, 1]


def test_a_later_judgement_of_the_same_replaces_the_earlier() -> None:
    def vote(prompt: str, annotator: str | None, winner: str, **more: object) -> dict[str, object]:
        return {**AB, "prompt": prompt, "annotator": annotator, "winner": winner, **more}

    rows = [
        vote("p", "ann", "model_a"),  # replaced by the third
        vote("p", "bob", "model_a"),
        {"model_a": "y", "model_b": "x", "prompt": "p", "annotator": "ann", "winner": "model_a"},
        vote("q", "ann", "tie"),
        vote("p", None, "model_b"),
        vote("p", None, "model_b"),  # nobody knows whether it is the same annotator
        vote("r", "ann", "tie", turn=1),
        vote("r", "ann", "tie", turn=2),  # another turn is another item
    ]
    tally, _ = read(rows)
    assert np.flatnonzero(tally.replaced()).tolist() == [0]
    found = tally.comparisons(~tally.replaced(), "prompt")
    assert found.cluster.tolist() == [0, 0, 1, 0, 0, 2, 2]
    with_annotators = [row for row in rows if row["annotator"]]
    tally, _ = read(with_annotators)
    assert tally.comparisons(~tally.replaced(), "annotator").cluster.tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (-1, -2), (2**61 - 1, 0)])
@pytest.mark.parametrize("column", ["prompt_id", "turn"])
def test_whole_numbers_that_differ_name_different_prompts(column: str, one: int, other: int) -> None:
    rows = [AB | {"winner": "x", "annotator": "ann", "prompt_id": 7, column: number} for number in (one, other)]
    found = comparisons(rows)
    assert len(found.outcome) == 2 and len(set(found.cluster.tolist())) == (1 if column == "turn" else 2)


def test_rows_without_a_prompt_are_clusters_of_their_own() -> None:
    tally, _ = read([AB | {"winner": "tie"}] * 3)
    assert tally.alone == 3
    assert tally.comparisons(~tally.replaced(), "prompt").cluster.tolist() == [0, 1, 2]


RANKED = {"prompt": "p", "completions": ["1", "2", "3"], "models": ["x", "y", "z"], "ranks": [2, 1, 2]}


def test_a_group_gives_all_its_pairs_with_equal_parts() -> None:
    found = comparisons([RANKED | {"weight": 2}])
    assert list(zip(found.first, found.second, found.outcome, strict=True)) == [(0, 1, 0), (0, 2, 0.5), (1, 2, 1)]
    assert found.weight == pytest.approx([2 / 3] * 3)
    assert found.cluster.tolist() == [0, 0, 0]


def test_several_annotators_share_the_weight_of_a_group() -> None:
    judgements = [{"ranks": [1, 2], "annotator": "a"}, {"ratings": [3, 3], "annotator": "b"}, {"annotator": "c"}]
    row = {"prompt": "p", "completions": ["1", "2"], "models": ["x", "y"], "judgements": judgements}
    found = comparisons([row])
    assert found.outcome.tolist() == [1.0, 0.5]
    assert found.weight.tolist() == [0.5, 0.5]


def test_comparisons_with_models_and_groups_made_in_python() -> None:
    row = {"prompt": "p", "chosen": "1", "rejected": "2", "chosen_model": "x", "rejected_model": "y"}
    assert comparisons([row]).outcome.tolist() == [1.0]
    prompt = (Message("user", "p"),)
    replies = tuple(Completion((Message("assistant", name),), name) for name in "xy")
    group = Group("1", prompt, replies, (Judgement(ranks=(2, 1)),))
    assert comparisons([group]).outcome.tolist() == [0.0]


def test_groups_without_models_or_judgements() -> None:
    with pytest.raises(RecordError, match="completion 2 of 2 names no model"):
        read([{"prompt": "p", "completions": ["1", "2"], "models": ["x", None], "ranks": [1, 2]}])
    tally, report = read([RANKED, {"prompt": "q", "completions": ["1", "2", "3"], "models": ["x", "y", "z"]}])
    assert len(tally) == 3 and [note.count for note in report.notes.values()] == [1]


def test_rankings_as_a_whole() -> None:
    two = {"prompt": "q", "completions": ["1", "2"], "models": ["w", "z"], "ratings": [5, 7]}
    tally, _ = read([RANKED, two], whole=True)
    found = tally.rankings(np.array([True, True]), "prompt")
    assert found.models == ("x", "y", "z", "w")
    assert found.model.tolist() == [[0, 1, 2], [3, 2, 0]]
    assert found.rank.tolist() == [[2, 1, 2], [2, 1, 0]]
    assert tally.rankings(np.array([False, True]), "prompt").models == ("z", "w")
    with pytest.raises(InputError, match="--rankings pairs"):
        read([AB | {"winner": "tie"}], whole=True)


def test_a_model_that_is_in_a_ranking_twice() -> None:
    twice = {"prompt": "q", "completions": ["1", "2", "3"], "models": ["w", "z", "w"], "ranks": [1, 2, 3]}
    tally, report = read([RANKED, twice, twice | {"prompt": "r", "models": ["w"] * 3}], whole=True)
    found = tally.rankings(np.ones(len(tally), dtype=bool), "prompt")
    assert dict(zip(found.models, RankingLikelihood(found).taking_part, strict=True)) == {
        "w": 1,
        "x": 1,
        "y": 1,
        "z": 2,
    }
    assert [note.count for note in report.notes.values()] == [1]  # one model alone says nothing


def test_looks_of_a_text() -> None:
    text = "# One\nsome **bold** and __more__\n\n- a\n* b\n 2. c\n#no header\n```\n# a comment\n- x\n```\n"
    assert looks(text, ("length", "headers", "lists", "bold")) == [len(text), 1, 3, 2]
    assert looks((Message("assistant", "# a"), Message("assistant", "**b**")), ("bold", "headers")) == [1, 1]
    assert difference([3, 0, 1], [1, 0, 0]) == [0.5, 0.0, 1.0]


@pytest.mark.parametrize(
    "row",
    [
        AB | {"winner": "tie", "response_a": "***" * 3, "response_b": "abc"},
        AB
        | {
            "winner": "tie",
            "conversation_a": [{"role": "user", "content": "long " * 9}, {"role": "assistant", "content": "x" * 9}],
            "conversation_b": [{"role": "user", "content": "long " * 9}, {"role": "assistant", "content": "x" * 3}],
        },
        {"generator_1": "x", "generator_2": "y", "preference": 1.5, "output_1": "x" * 9, "output_2": "x" * 3},
        {"prompt": "p", "completions": ["x" * 9, "x" * 3], "models": ["x", "y"], "ranks": [1, 1]},
    ],
)
def test_style_of_every_format(row: Mapping[str, Any]) -> None:
    assert comparisons([row], style=("headers", "length")).style.tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (AB | {"preference": "tie"}, 1),
        ({"generator_1": "x", "generator_2": "y", "preference": 1.5, "shown_first": 2}, -1),
    ],
)
def test_who_was_shown_first(row: Mapping[str, Any], shown: int) -> None:
    assert comparisons([row], style=("position",)).style.tolist() == [[shown]]


def test_who_was_shown_first_in_a_table_without_types(tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    file.write_text("instruction,generator_1,generator_2,preference,shown_first\np,x,y,1.2,1\nq,x,y,1.8,2\n")
    assert comparisons(file, style=("position",)).style.tolist() == [[1], [-1]]


@pytest.mark.parametrize(
    ("row", "style", "what"),
    [
        (AB | {"winner": "tie"}, "length", "response_a: missing"),
        ({"generator_1": "x", "generator_2": "y", "preference": 1.5}, "position", "shown first"),
        (RANKED, "position", "rows of two models only"),
    ],
)
def test_style_that_is_not_in_the_data(row: Mapping[str, Any], style: str, what: str) -> None:
    with pytest.raises(RecordError, match=what):
        read([row], style=(style,))


def test_alpacaevals_pairs(shared_data: Callable[[str], Path]) -> None:
    tally, report = read(str(shared_data("alpacaeval_pairs.jsonl.gz")))
    assert len(tally) == 5635  # 6,440 less the 805 of the baseline with itself
    assert sum(note.count for note in report.notes.values()) == 805
