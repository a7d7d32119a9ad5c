"""Rows that follow each other and are one group, and ids that must not be two groups'."""

from typing import Any

import pytest

from accord.data.join import MOST, permuted
from accord.data.read import JOINED, read_groups
from accord.data.report import BadRows, DataReport, Refusals
from accord.data.sift import sift
from accord.data.take import TAKES
from accord.records import Completion, Group, Judgement

PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}


def groups_of(*rows: Any) -> list[Group]:
    return list(read_groups(rows))


def refusals(*rows: Any) -> list[str]:
    with pytest.raises(BadRows) as caught:
        groups_of(*rows)
    return [str(caught.value), *caught.value.others]


def rated(response: str, helpfulness: float, prompt: str = "sky?", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, **more}


def test_rows_of_one_id_are_judgements_of_one_group() -> None:
    first = {**PAIR, "id": "x", "annotator": "Ann", "margin": 1}
    other = {"id": "x", "prompt": "a", "chosen": "c", "rejected": "b", "annotator": "Ben"}
    group, last = groups_of(first, other, PAIR)
    assert group.completions == (Completion("b"), Completion("c"))
    assert group.judgements == (
        Judgement(ranks=(1, 2), margin=1.0, annotator="Ann"),
        Judgement(ranks=(2, 1), annotator="Ben"),
    )
    assert (group.source.line, last.id) == (1, "3")


def test_joined_rows_are_counted() -> None:
    report = DataReport()
    named = {**PAIR, "id": "x"}
    assert len(list(read_groups([named, named, PAIR], report=report))) == 2
    assert report.notes[JOINED].count == 1
    assert (report.read, report.joined, report.kept) == (3, 1, 2)
    assert report.summary() == "3 read, 1 joined to the row before, 2 kept, 0 dropped"
    assert DataReport.from_json(report.to_json()).kept == DataReport.merged([report, DataReport()]).kept == 2


def test_a_group_of_several_rows_is_dropped_as_one() -> None:
    """Every row that was read is joined, kept or dropped."""
    report = DataReport()
    refusals = Refusals("drop", report)
    rows = [rated("a", 1), rated("a", 2), rated("b", 1, prompt="sea?"), rated("c", 2, prompt="sea?")]
    groups = list(sift(read_groups(rows, refusals=refusals), TAKES["dpo"], "dpo", refusals))
    assert (report.read, report.joined, report.kept, len(groups)) == (4, 2, 1, 1)


def test_labels_of_one_id_are_completions_of_one_group() -> None:
    row = {"id": "x", "prompt": "a"}
    (group,) = groups_of({**row, "completion": "b", "label": True}, {**row, "completion": "c", "label": False})
    assert group.completions == (Completion("b"), Completion("c"))
    assert group.judgements == (Judgement(labels=(True, False)),)


def test_a_completion_labelled_again_is_judged_again() -> None:
    row = {"id": "x", "prompt": "a", "completion": "b"}
    (group,) = groups_of({**row, "label": True}, {**row, "label": False}, {**row, "label": True})
    assert group.completions == (Completion("b"),)
    assert [judgement.labels for judgement in group.judgements] == [(True,), (False,), (True,)]


@pytest.mark.parametrize(
    "other",
    [{"prompt": "other"}, {"weight": 2}, {"category": "x"}, {"chosen": "other"}],
    ids=["prompt", "weight", "category", "completions"],
)
def test_rows_of_one_id_that_do_not_fit_together(other: dict[str, Any]) -> None:
    assert refusals({**PAIR, "id": "x"}, {**PAIR, "id": "x", **other}) == [
        "<memory>:2: id: 'x' is already the id of <memory>:1: give each row an id of its own, or none"
    ]


def test_demonstrations_of_one_id_are_not_joined() -> None:
    row = {"id": "x", "prompt": "a"}
    assert "already the id" in refusals({**row, "completion": "b"}, {**row, "completion": "c"})[0]


def test_rows_of_one_id_must_follow_each_other() -> None:
    assert refusals({**PAIR, "id": "x"}, PAIR, {**PAIR, "id": "x"})[0].startswith("<memory>:3: id: 'x' is already")


def test_an_id_that_is_another_rows_number() -> None:
    assert "'1' is already the id of <memory>:1" in refusals(PAIR, {**PAIR, "id": "1"})[0]
    assert "'2' is already the id of <memory>:1" in refusals({**PAIR, "id": 2}, PAIR)[0]
    assert [group.id for group in groups_of(PAIR, {**PAIR, "id": "2"}, PAIR)] == ["1", "2", "3"]


def test_successive_rows_of_helpsteer_with_one_prompt() -> None:
    rows = [rated("blue", 4, verbosity=1), rated("red", 1, verbosity=2), rated("yes", 3, prompt="sure?")]
    first, second = groups_of(*rows)
    assert [completion.content[0].content for completion in first.completions] == ["blue", "red"]  # type: ignore[union-attr]
    assert first.judgements == (Judgement(ratings=(4.0, 1.0), aspects={"verbosity": (1.0, 2.0)}),)
    assert (first.id, second.id, len(second.completions)) == ("1", "3", 1)


def test_equal_responses_of_helpsteer_stay_two() -> None:
    (group,) = groups_of(rated("blue", 4), rated("blue", 3))
    assert len(group.completions) == 2
    assert group.judgements == (Judgement(ratings=(4.0, 3.0)),)


def test_annotators_of_helpsteer() -> None:
    by = [("blue", 4, "Ann"), ("red", 1, "Ann"), ("blue", 2, "Ben"), ("red", 3, "Ben")]
    (group,) = groups_of(*(rated(response, rating, annotator=who) for response, rating, who in by))
    assert group.judgements == (
        Judgement(ratings=(4.0, 1.0), annotator="Ann"),
        Judgement(ratings=(2.0, 3.0), annotator="Ben"),
    )


def test_an_aspect_that_not_every_row_has_is_left_aside() -> None:
    (group,) = groups_of(rated("blue", 4, verbosity=1, coherence=4), rated("red", 1, coherence=3))
    assert group.judgements[0].aspects == {"coherence": (4.0, 3.0)}


def test_a_bad_row_among_those_of_a_prompt_is_dropped_alone() -> None:
    report = DataReport()
    rows = [rated("blue", 4), rated("red", float("nan")), rated("green", 2)]
    (group,) = read_groups(rows, on_bad_row="drop", report=report)
    assert (len(group.completions), report.read, report.joined, report.kept) == (2, 3, 1, 1)


def test_endless_rows_of_one_prompt_are_not_held_forever() -> None:
    groups = groups_of(*(rated(str(i), i) for i in range(MOST + 1)))
    assert [len(group.completions) for group in groups] == [MOST, 1]


def test_many_ids_are_told_apart() -> None:
    rows = [{"text": "a", "id": f"row {i}"} for i in range(3000)]
    assert len(groups_of(*rows)) == 3000
    assert "'row 1234' is already the id of <memory>:1235" in refusals(*rows, rows[1234])[0]


def test_some_of_the_completions_keep_the_order_in_which_they_were_shown() -> None:
    said = Judgement(ranks=(1, 2, 3, 4), shown=(3, 1, 4, 2))
    assert permuted(said, (2, 0)) == Judgement(ranks=(3, 1), shown=(2, 1))
    assert permuted(said, (3, 2, 1, 0)) == Judgement(ranks=(4, 3, 2, 1), shown=(2, 4, 1, 3))
