"""What Argilla and Label Studio export becomes groups; what cannot be told is asked for, what is not taken is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from accord.collect.peers_answers import GUESSED, Fields
from accord.collect.peers_formats import imported_groups
from accord.data.report import DataReport
from accord.records import Completion, Group, Judgement, Message, RecordError


def read(
    tmp_path: Path, rows: list[dict[str, Any]], fields: Fields = GUESSED, lines: bool = False
) -> tuple[list[Group], DataReport]:
    path = tmp_path / ("a.jsonl" if lines else "a.json")
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    report = DataReport()
    return list(imported_groups(path, fields=fields, report=report)), report


FIELDS = {"prompt": "ask", "response1": "a", "response2": "b", "response3": "c"}
RANKED = [{"value": "response2", "rank": 1}, {"value": "response1", "rank": 2}, {"value": "response3", "rank": 2}]
NESTED = {
    "id": "r1",
    "fields": FIELDS,
    "metadata": {},
    "suggestions": {"ranking": {"value": ["response1"], "score": None, "agent": "llm"}},
    "responses": {
        "ranking": [
            {"value": RANKED, "user_id": "u1"},
            {"value": ["response3", "response1", "response2"], "user_id": "u2"},
        ],
        "response1_quality": [{"value": 4, "user_id": "u1"}],
        "response2_quality": [{"value": 5, "user_id": "u1"}],
        "response3_quality": [{"value": 2, "user_id": "u1"}],
        "comment": [{"value": "all short", "user_id": "u1"}],
    },
    "vectors": {},
    "_server_id": "s",
}
OF_U1 = Judgement(ranks=(2, 1, 2), ratings=(4.0, 5.0, 2.0), notes=("comment: all short", "", ""), annotator="u1")
OF_U2 = Judgement(ranks=(2, 3, 1), annotator="u2")


def test_argilla_2(tmp_path: Path) -> None:
    (one,), report = read(tmp_path, [NESTED])
    assert (one.id, one.prompt, [c.content for c in one.completions]) == ("r1", "ask", ["a", "b", "c"])
    assert one.judgements == (OF_U1, OF_U2)
    assert "suggestions (of models)" in str(report.to_json()) and "answers to comment: kept as notes" in str(
        report.to_json()
    )


def test_argilla_2_flat_and_as_lines(tmp_path: Path) -> None:
    flat = {
        "id": "r1", "status": "completed", "_server_id": "s", **FIELDS, "source": None,
        "ranking.responses": [RANKED, ["response3", "response1", "response2"], RANKED],
        "ranking.responses.users": ["u1", "u2", "u3"],
        "ranking.responses.status": ["submitted", "submitted", "draft"],
        "ranking.suggestion": None, "ranking.suggestion.score": None,
    }  # fmt: skip
    (one,), report = read(tmp_path, [flat], lines=True)
    assert [said.ranks for said in one.judgements] == [(2, 1, 2), (2, 3, 1)]
    assert "responses that are draft, left out" in str(report.to_json())


def test_a_feedback_data_set(tmp_path: Path) -> None:
    record = {
        "fields": {"instruction": "ask", "reply-1": "a", "reply-2": "b"},
        "external_id": "x7",
        "responses": [
            {"user_id": "u1", "status": "submitted", 
             "values": {"preference": {"value": "reply-2"}, "why": {"value": "it is true"}}},
            {"user_id": "u2", "status": "submitted", "values": {"preference": {"value": "Tie"}}},
            {"user_id": "u3", "status": "discarded", "values": {"preference": {"value": "reply-1"}}},
        ],
        "suggestions": [],
    }  # fmt: skip
    (one,), _ = read(tmp_path, [record])
    assert one.id == "x7" and [said.ranks for said in one.judgements] == [(2, 1), (1, 1)]
    assert one.judgements[0].notes == ("why: it is true", "")
    column = {
        "prompt": "ask", "reply_1": "a", "reply_2": "b",
        "reply-ranking": [
            {"user_id": "u1", "value": {"rank": [2, 1], "value": ["reply-1", "reply-2"]}, "status": "submitted"}
        ],
        "reply-ranking-suggestion": {"rank": [1, 2], "value": ["reply-1", "reply-2"]},
        "external_id": None, "metadata": "{}",
    }  # fmt: skip
    (one,), report = read(tmp_path, [column])
    assert one.judgements == (Judgement(ranks=(2, 1), annotator="u1"),) and "suggestions" in str(report.to_json())


def test_single_texts_are_rated_and_labelled(tmp_path: Path) -> None:
    record = {
        "fields": {"prompt": [{"role": "user", "content": "hi"}], "completion": "hello"},
        "responses": {
            "quality": [{"value": 4, "user_id": "u"}], "wit": [{"value": 2, "user_id": "u"}],
            "topic": [{"value": "greeting", "user_id": "u"}], "tags": [{"value": ["x", "y"], "user_id": "u"}],
        },
    }  # fmt: skip
    (one,), _ = read(tmp_path, [record], Fields(labels=("topic",)))
    assert one.prompt == (Message("user", "hi"),) and one.completions == (Completion((Message("assistant", "hello"),)),)
    (said,) = one.judgements
    assert (said.ratings, said.aspects, said.classes) == ((4.0,), {"wit": (2.0,)}, ("greeting",))
    assert said.notes == ("tags: x, y",)


def test_an_answer_that_was_written(tmp_path: Path) -> None:
    record = {"fields": {"prompt": "ask"}, "responses": {"ideal": [{"value": "so", "user_id": "u"}]}}
    (one,), _ = read(tmp_path, [record])
    assert one.completions == () and one.judgements == (Judgement(written="so", annotator="u"),)


def test_what_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    record = {
        "fields": {"one": "ask", "two": "a", "three": "b"},
        "responses": {"q": [{"value": "three", "user_id": "u"}]},
    }
    with pytest.raises(
        RecordError, match=r"which field is the prompt cannot be told: name it .*there are: one, two, three"
    ):
        read(tmp_path, [record])
    (one,), _ = read(tmp_path, [record], Fields("one", ("two", "three")))
    assert one.prompt == "ask" and one.judgements[0].ranks == (2, 1)
    with pytest.raises(RecordError, match="four: missing: there are: one, two, three"):
        read(tmp_path, [record], Fields("one", ("four",)))


def test_what_is_not_taken_is_said(tmp_path: Path) -> None:
    record = {
        "fields": FIELDS,
        "responses": {
            "overall": [{"value": 3, "user_id": "u"}], "spans": [{"value": [{"start": 0, "end": 1}], "user_id": "u"}],
            "order": [{"value": [{"value": "other", "rank": 1}, {"value": "thing", "rank": 2}], "user_id": "u"}],
            "response1_wit": [{"value": 3, "user_id": "u"}],
        },
    }  # fmt: skip
    (one,), report = read(tmp_path, [record])
    assert one.judgements == ()
    said = str(report.to_json())
    for what in ("overall (a rating that is of no one output)", "spans (answers of another kind)",
                 "order (a ranking of what are no outputs)", "wit (ratings of some outputs only)"):  # fmt: skip
        assert what in said


def result(kind: str, value: dict[str, Any], name: str = "q", to: str = "t") -> dict[str, Any]:
    return {"id": "x", "from_name": name, "to_name": to, "type": kind, "value": value}


def task(data: dict[str, Any], *annotations: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    said = [
        {"id": n, "result": one, "completed_by": n, "was_cancelled": False, "lead_time": 4.5}
        for n, one in enumerate(annotations, 1)
    ]
    return {"id": 7, "data": data, "annotations": said, "predictions": [], **more}


def test_a_ranker_on_a_list(tmp_path: Path) -> None:
    data = {
        "prompt": "ask",
        "items": [{"id": name, "title": name.upper(), "body": f"text {name}"} for name in ("blog", "mdn", "wiki")],
    }
    some = result("ranker", {"ranker": {"rank": ["mdn", "wiki", "blog"]}})
    buckets = result("ranker", {"ranker": {"good": ["wiki", "mdn"], "bad": ["blog"], "_": []}})
    partly = result("ranker", {"ranker": {"rank": ["wiki", "blog"]}})
    (one,), report = read(tmp_path, [task(data, [some], [buckets], [partly], predictions=[{"result": []}])])
    assert (one.id, [c.content for c in one.completions]) == ("7", ["text blog", "text mdn", "text wiki"])
    assert [said.ranks for said in one.judgements] == [(3, 1, 2), (2, 1, 1), (2, None, 1)]
    assert [(said.annotator, said.seconds) for said in one.judgements] == [("1", 4.5), ("2", 4.5), ("3", 4.5)]
    assert "buckets taken as ranks, the best first: good, bad" in str(report.to_json())
    assert "predictions (of models)" in str(report.to_json())


def test_two_texts_compared(tmp_path: Path) -> None:
    data = {"prompt": "ask", "answer1": "a", "answer2": "b"}
    left, right = (result("pairwise", {"selected": side}, to="answer1,answer2") for side in ("left", "right"))
    stars = [result("rating", {"rating": n}, f"stars{n}", f"answer{n}") for n in (1, 2)]
    note = result("textarea", {"text": ["too long"]}, "why answer2")
    choice = result("choices", {"choices": ["answer2"]})
    other = task(data, [left, *stars, note], [right], [choice], [result("brush", {})])
    other["annotations"][1] |= {"was_cancelled": True}
    other["annotations"][2] |= {"ground_truth": True, "completed_by": {"id": 3, "email": "anna@x"}}
    (one,), report = read(tmp_path, [other])
    first, second = one.judgements
    assert (first.ranks, first.ratings, first.notes) == ((1, 2), (1.0, 2.0), ("", "too long"))
    assert (second.ranks, second.annotator, second.settled) == ((2, 1), "anna@x", True)
    assert "annotations that were skipped, left out" in str(report.to_json()) and "q (brush)" in str(report.to_json())


def test_one_text_and_none(tmp_path: Path) -> None:
    chosen, rated = (
        result("choices", {"choices": ["good", "short"]}, "kind"),
        result("rating", {"rating": 4}, "stars", "txt"),
    )
    (one,), _ = read(tmp_path, [task({"prompt": "ask", "answer": "a"}, [chosen, rated])], Fields(labels=("kind",)))
    assert one.judgements == (Judgement(classes=(("good", "short"),), ratings=(4.0,), annotator="1", seconds=4.5),)
    (none,), _ = read(tmp_path, [task({"text": "ask"}, [result("textarea", {"text": ["so", "there"]})])])
    assert none.judgements == (Judgement(written="so\nthere", annotator="1", seconds=4.5),)


def test_formats_that_training_reads_are_read_as_ever(tmp_path: Path) -> None:
    (one,), _ = read(tmp_path, [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    assert one.judgements == (Judgement(ranks=(1, 2)),)
