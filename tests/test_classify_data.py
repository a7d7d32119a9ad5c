"""Labelled text: what the columns `label` and `labels` say, what a classifier takes of it, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.data.classified import Vocabulary, classified, has_class, vocabulary
from accord.data.formats import FORMATS, find_format, to_group, to_rows
from accord.data.read import read_groups
from accord.data.repeats import Repeats, digests
from accord.data.report import DataReport, Refusals
from accord.data.sift import sift
from accord.data.table import said_from, said_to_json
from accord.data.take import TAKES
from accord.data.write import row_writer
from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Origin, RecordError

HERE = Origin("rows.jsonl", 7)


def group(**columns: Any) -> Group:
    return to_group(find_format(columns, HERE), columns, HERE)


def said(**columns: Any) -> Judgement:
    (judgement,) = group(**columns).judgements
    return judgement


READ: dict[str, tuple[dict[str, Any], Judgement]] = {
    "a name": ({"text": "x", "label": "toxic"}, Judgement(classes=("toxic",))),
    "a number": ({"text": "x", "label": 1}, Judgement(classes=("1",))),
    "a whole number with a point": ({"text": "x", "label": 1.0}, Judgement(classes=("1",))),
    "true": ({"text": "x", "label": True}, Judgement(classes=("true",))),
    "a list": ({"text": "x", "labels": ["b", "a"]}, Judgement(classes=(("b", "a"),))),
    "an empty list": ({"text": "x", "labels": []}, Judgement(classes=((),))),
    "flags": ({"text": "x", "labels": {"a": True, "b": 0, "c": None}}, Judgement(flags={"a": (True,), "b": (False,)})),
    "of a completion": ({"prompt": "x", "completion": "y", "labels": 0}, Judgement(classes=("0",))),
    "a name beside a completion": ({"prompt": "x", "completion": "y", "label": "ok"}, Judgement(classes=("ok",))),
    "a thumb stays one": ({"prompt": "x", "completion": "y", "label": True}, Judgement(labels=(True,))),
    "both": (
        {"prompt": "x", "completion": "y", "label": False, "labels": "rude", "annotator": "Ann"},
        Judgement(labels=(False,), classes=("rude",), annotator="Ann"),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_a_row_says(name: str) -> None:
    columns, judgement = READ[name]
    assert said(**columns) == judgement


def test_nothing_said_is_no_judgement() -> None:
    for columns in ({"text": "x"}, {"text": "x", "label": None}, {"text": "x", "labels": {"a": None}}):
        assert group(**columns).judgements == ()


def test_a_label_of_a_conversation_is_of_its_last_turn() -> None:
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant")]
    assert len(group(messages=turns, labels="fine").prompt) == 3
    assert len(group(messages=turns).prompt) == 1


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "both columns": ({"text": "x", "label": "a", "labels": "b"}, "labels: there is label, too: keep one of them"),
    "twice": ({"text": "x", "labels": ["a", "a"]}, "labels: 'a' twice: name each label once"),
    "empty": ({"text": "x", "label": " "}, "label: empty text: give a name, a list of names, or an object"),
    "null in a list": ({"text": "x", "labels": ["a", None]}, "labels[1]: expected a name, got null"),
    "infinite": ({"text": "x", "label": float("inf")}, "label: inf is not a finite number"),
    "a word for yes": ({"text": "x", "labels": {"a": "yes"}}, "labels.a: expected true or false, got text 'yes'"),
    "two": ({"text": "x", "labels": {"a": 2}}, "labels.a: expected true or false, got a number 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    columns, message = REFUSED[name]
    with pytest.raises(RecordError) as caught:
        group(**columns)
    assert f"rows.jsonl:7: {message}" in str(caught.value)


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_holds_every_kind_of_label(ending: str, tmp_path: Path) -> None:
    rows = [
        {"text": "one", "labels": "a b"},
        {"text": "two", "labels": ["a", "c"]},
        {"text": "3", "labels": {"a": True}},
    ]
    groups = [to_group(FORMATS["document"], row, Origin("rows.jsonl", 1 + i)) for i, row in enumerate(rows)]
    path = tmp_path / f"rows{ending}"
    with row_writer(str(path)) as writer:
        for one in groups:
            written, lost = to_rows(FORMATS["document"], one)
            assert lost == []
            for row in written:
                writer.check(row)
                writer.add(row)
    assert [one.judgements for one in read_groups(path)] == [one.judgements for one in groups]


def test_csv_reads_names_numbers_and_lists(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('text,labels\none,a\ntwo,"[""a"", ""b""]"\nthree,1\nfour,[odd\n')
    found = [one.judgements[0].classes for one in read_groups(tmp_path / "rows.csv")]
    assert found == [("a",), (("a", "b"),), ("1",), ("[odd",)]


def test_annotators_of_one_text(tmp_path: Path) -> None:
    """Rows of one id that follow each other: one group, judged twice; flags that only one of them said stay."""
    rows = [
        {"id": "x", "text": "one", "labels": {"rude": True}, "annotator": "Ann"},
        {"id": "x", "text": "one", "labels": {"rude": False, "sad": True}, "annotator": "Ben"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (one,) = read_groups(path)
    assert [judgement.flags for judgement in one.judgements] == [
        {"rude": (True,)},
        {"rude": (False,), "sad": (True,)},
    ]
    assert [row.weight for row in classified(one)] == [0.5, 0.5]


def test_completions_one_by_one_keep_what_was_said_of_each(tmp_path: Path) -> None:
    rows = [
        {"id": "x", "prompt": "p", "completion": "one", "labels": {"rude": True}},
        {"id": "x", "prompt": "p", "completion": "two", "labels": {"sad": False}},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (one,) = read_groups(path)
    assert one.judgements == (Judgement(flags={"rude": (True, None), "sad": (None, False)}),)
    assert [(row.completion, row.kind, row.weight) for row in classified(one)] == [
        (0, {"rude": True}, 0.5),
        (1, {"sad": False}, 0.5),
    ]


def test_what_was_said_survives_as_tokens_do() -> None:
    whole = Group(
        "1",
        "p",
        (Completion("a"), Completion("b")),
        (Judgement(classes=("x", ("y", "z")), flags={"f": (True, None)}),),
        source=HERE,
    ).said
    assert said_from(json.loads(json.dumps(said_to_json(whole)))) == whole


def test_thumbs_are_classes_and_classes_come_first() -> None:
    two = (Completion("a"), Completion("b"))
    thumbs = Group("1", "p", two, (Judgement(labels=(True, False)),))
    assert [row.kind for row in classified(thumbs)] == ["true", "false"]
    both = Group("1", "p", two, (Judgement(labels=(True, False), classes=("x", "y")),))
    assert [row.kind for row in classified(both)] == ["x", "y"]


def test_what_has_no_label_is_refused() -> None:
    compared = group(prompt="p", chosen=" a", rejected=" b")
    with pytest.raises(RecordError, match="an order of completions, and no label: accord reward learns from these"):
        has_class(compared)
    with pytest.raises(RecordError, match="no label says what this is"):
        has_class(group(text="x"))


@pytest.mark.parametrize("stage", ["pretrain", "classify"])
def test_labelled_texts_are_texts(stage: Any) -> None:
    """A label does not make a text something that needs a prompt, and does not keep it from being read as text."""
    refusals = Refusals("error", DataReport())
    rows = [group(text="one", label="false"), group(text="two", label="true")]
    taken = [one for _, one in sift(rows, TAKES[stage], stage, refusals)]
    assert [one.completions[0].content for one in taken] == ["one", "two"]


def texts(*labels: Any) -> list[Group]:
    return [group(text=f"text {i}", labels=label) for i, label in enumerate(labels)]


def test_the_labels_of_a_data_set() -> None:
    assert vocabulary(texts("b", "a", "b")) == Vocabulary(("a", "b"), False)
    assert vocabulary(texts(10, 9, -1, "x")) == Vocabulary(("-1", "9", "10", "x"), False)
    assert vocabulary(texts("a", ["b", "c"])) == Vocabulary(("a", "b", "c"), True)
    assert vocabulary(texts({"toxic": True})) == Vocabulary(("toxic",), True)
    assert vocabulary(texts("a", "a"), ["b", "a"]) == Vocabulary(("b", "a"), False)


def test_targets() -> None:
    labels = Vocabulary(("a", "b"), True)
    assert labels.target("b") == ([0.0, 1.0], [1.0, 1.0])
    assert labels.target(()) == ([0.0, 0.0], [1.0, 1.0])
    assert labels.target({"a": True}) == ([1.0, 0.0], [1.0, 0.0])
    assert labels.target({"b": False}) == ([0.0, 0.0], [0.0, 1.0])


def test_labels_that_are_none() -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl:7: the label 'c' is none of --labels a, b"):
        vocabulary(texts("a", "c"), ["a", "b"])
    with pytest.raises(InputError, match="every text has the same label, 'a'"):
        vocabulary(texts("a", "a"))
    with pytest.raises(InputError, match="60 different labels in 60 texts"):
        vocabulary(texts(*(f"name {i}" for i in range(60))))
    with pytest.raises(InputError, match="no label holds of any text"):
        vocabulary(texts([], []))


def test_one_text_with_two_labels_is_a_contradiction() -> None:
    found = Repeats()
    for i, label in enumerate(("fine", "toxic", "fine")):
        columns = {"id": f"r{i}", "text": "You fool.", "label": label, "annotator": f"Ann {i % 2}"}
        one = to_group(FORMATS["document"], columns, Origin("rows.jsonl", 1 + i))
        found.add(one, digests(one))
    contradiction, *_ = found.found
    assert contradiction.name == "contradiction" and contradiction.id == "r1"
    assert contradiction.what == "text is toxic here (id r1), and fine in rows.jsonl:1 (id r0)"
