"""A round that people judge: what they are asked, and what becomes of what they give back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.data.questions import lines_of
from accord.data.read import read_groups
from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Message
from accord.stages.online_file import Asked, asked, name_of, read_judged

PLAIN = Group("c1", "the cat ?", tuple(map(Completion, (" sat", " ran", " sat"))), category="cats")
CHAT = Group(
    "c2",
    (Message("system", "be brief"), Message("user", "who?")),
    tuple(Completion((Message("assistant", text),)) for text in ("me", "you", "they")),
)
SAME = Group("c3", "and ?", (Completion(" so"), Completion(" so"), Completion(" so")))
TEXTS = [PLAIN, SAME, CHAT]

Row = dict[str, Any]


@pytest.fixture
def questions() -> list[Asked]:
    return asked(TEXTS, 2, seed=3)


@pytest.fixture
def folder(tmp_path: Path, questions: list[Asked]) -> Path:
    """A run folder with its second round to be judged."""
    for kind in ("to_judge", "judged"):
        (tmp_path / kind).mkdir()
    (tmp_path / name_of("to_judge", 2)).write_text(lines_of([one.group for one in questions]), encoding="utf-8")
    return tmp_path


def rows_of(folder: Path) -> list[Row]:
    return [json.loads(line) for line in (folder / name_of("to_judge", 2)).read_text(encoding="utf-8").splitlines()]


def save(folder: Path, rows: list[Any]) -> Path:
    path = folder / name_of("judged", 2)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def by_length(row: Row) -> Row:
    """Ranks: longer texts are better."""
    size = [len(text if isinstance(text, str) else text[0]["content"]) for text in row["completions"]]
    return {**row, "ranks": [1 + sum(other > own for other in size) for own in size]}


def test_people_see_each_prompt_once_and_each_text_once_and_no_score(folder: Path) -> None:
    first, second = rows_of(folder)
    assert first.keys() == {"id", "prompt", "completions", "category", "ranks"}
    assert (first["prompt"], sorted(first["completions"]), first["ranks"]) == ("the cat ?", [" ran", " sat"], None)
    assert second["prompt"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who?"}]
    assert sorted(turns[0]["content"] for turns in second["completions"]) == ["me", "they", "you"]
    assert len({first["id"], second["id"]}) == 2


def test_the_file_is_one_of_groups(folder: Path) -> None:
    (folder / "alone").mkdir()
    path = folder / "alone" / "rows.jsonl"
    path.write_text((folder / name_of("to_judge", 2)).read_text(encoding="utf-8"), encoding="utf-8")
    first, second = read_groups(str(path))
    assert (first.prompt, second.prompt, len(second.completions)) == (PLAIN.prompt, CHAT.prompt, 3)


def test_the_order_is_shuffled_and_the_same_again() -> None:
    many = [Group(f"m{i}", "x", tuple(map(Completion, "abcd"))) for i in range(40)]
    orders = [one.shown for one in asked(many, 1, seed=0)]
    assert orders == [one.shown for one in asked(many, 1, seed=0)]
    assert orders != [one.shown for one in asked(many, 2, seed=0)]
    assert len(set(orders)) > 10 and all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_there_is_nothing_to_read_before_the_file_is_there(folder: Path, questions: list[Asked]) -> None:
    assert read_judged(folder, 2, questions) is None


def ranks(folder: Path, questions: list[Asked]) -> list[list[tuple[int, ...] | None]]:
    """Of each prompt that was asked, what was said of its samples in their own order."""
    found = read_judged(folder, 2, questions)
    assert found is not None
    return [[one.ranks for one in found[question.id]] for question in questions]


def test_ranks_come_back_in_the_order_of_the_samples(folder: Path, questions: list[Asked]) -> None:
    save(folder, [{**row, "ranks": None} | by_length(row) for row in rows_of(folder)])
    # sat, ran, sat are equally long; me < you < they
    assert ranks(folder, questions) == [[(1, 1, 1)], [(3, 2, 1)]]


def test_completions_and_rows_may_stand_in_another_order(folder: Path, questions: list[Asked]) -> None:
    rows = [by_length(row) for row in rows_of(folder)]
    turned = [{**row, "completions": row["completions"][::-1], "ranks": row["ranks"][::-1]} for row in rows[::-1]]
    save(folder, turned)
    assert ranks(folder, questions) == [[(1, 1, 1)], [(3, 2, 1)]]


def test_chosen_is_a_number_from_1_or_a_text(folder: Path, questions: list[Asked]) -> None:
    first, second = rows_of(folder)
    save(folder, [{**first, "chosen": " ran"}, {**second, "chosen": 2}])
    best = second["completions"][1][0]["content"]
    wanted = tuple(1 if text == best else 2 for text in ("me", "you", "they"))
    assert ranks(folder, questions) == [[(2, 1, 2)], [wanted]]
    save(folder, [{**first, "chosen": " ran"}, {**second, "chosen": second["completions"][1]}])
    assert ranks(folder, questions)[1] == [wanted]


def test_several_people_judge_one_prompt(folder: Path, questions: list[Asked]) -> None:
    first, second = rows_of(folder)
    at = first["completions"].index(" ran")
    whole = [{"ranks": [1, 2, 3], "annotator": "a"}, {"ratings": [1.5, 2.5, 2.5], "annotator": "b"}]
    rows = [
        {**first, "chosen": at + 1, "annotator": "a"},
        {**second, "judgements": whole},
        {**first, "ranks": [1, 1], "annotator": "b"},
    ]
    save(folder, rows)
    found = read_judged(folder, 2, questions)
    assert found is not None
    assert [(one.annotator, one.ranks) for one in found[first["id"]]] == [("a", (2, 1, 2)), ("b", (1, 1, 1))]
    order = [turns[0]["content"] for turns in second["completions"]]
    places = tuple(order.index(text) for text in ("me", "you", "they"))
    assert found[second["id"]] == [
        Judgement(ranks=tuple((1, 2, 3)[place] for place in places), annotator="a"),
        Judgement(ratings=tuple((1.5, 2.5, 2.5)[place] for place in places), annotator="b"),
    ]


# What is done to the second of two good rows, and what is said of it.
FAULTS: dict[str, tuple[Callable[[Row], Any], str]] = {
    "nothing said": (
        lambda row: {**row, "ranks": None},
        ":2: not judged: give ranks (1 is best), or chosen (the number of the best, from 1)",
    ),
    "another text": (
        lambda row: {**row, "completions": [[{"role": "assistant", "content": "us"}], *row["completions"][1:]]},
        ":2: completions: not what was asked about: keep the texts of {asked}",
    ),
    "a text more": (
        lambda row: {**row, "completions": [*row["completions"], row["completions"][0]], "ranks": [1, 2, 3, 4]},
        ":2: completions: not what was asked about: keep the texts of {asked}",
    ),
    "another prompt": (
        lambda row: {**row, "prompt": [{"role": "user", "content": "who?"}]},
        ":2: prompt: not what was asked about: keep the texts of {asked}",
    ),
    "another id": (lambda row: {**row, "id": "x"}, ":2: id: 'x' was not asked about: keep the ids of {asked}"),
    "no id": (lambda row: {**row, "id": None}, ":2: id: missing: keep the ids of {asked}"),
    "too few ranks": (lambda row: {**row, "ranks": [1, 2]}, ":2: ranks: 2 entries for 3 completions"),
    "a rank of 0": (
        lambda row: {**row, "ranks": [0, 1, 2]},
        ":2: ranks[0]: 0 is no rank: ranks are whole numbers, 1 is best",
    ),
    "words as ranks": (lambda row: {**row, "ranks": "1 2 3"}, ":2: ranks: expected a list, got text"),
    "chosen and ranks": (lambda row: {**row, "chosen": 1}, ":2: chosen: beside ranks: keep one of the two"),
    "chosen beyond": (
        lambda row: {**row, "ranks": None, "chosen": 4},
        ":2: chosen: 4 is none of the 3 completions: give ranks (1 is best), or chosen",
    ),
    "chosen counted from 0": (
        lambda row: {**row, "ranks": None, "chosen": 0},
        ":2: chosen: 0 is none of the 3 completions",
    ),
    "another text chosen": (
        lambda row: {**row, "ranks": None, "chosen": "us"},
        ":2: chosen: 'us' is none of the 3 completions",
    ),
    "no JSON": (lambda row: '{"id": ', ":2: not JSON (column 8)"),
    "a list": (lambda row: [row], ":2: expected an object, got a list"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_line(folder: Path, questions: list[Asked], name: str) -> None:
    harm, said = FAULTS[name]
    first, second = map(by_length, rows_of(folder))
    path = save(folder, [first, harm(second)])
    with pytest.raises(InputError) as caught:
        read_judged(folder, 2, questions)
    assert f"{path}{said}".format(asked=folder / name_of("to_judge", 2)) in str(caught.value)
    assert caught.value.code == 2


def test_prompts_that_were_left_out_are_named_with_the_line_they_were_asked_in(
    folder: Path, questions: list[Asked]
) -> None:
    path = save(folder, [by_length(rows_of(folder)[0])])
    with pytest.raises(InputError) as caught:
        read_judged(folder, 2, questions)
    asked_in = folder / name_of("to_judge", 2)
    fix = f"add its row to {path}; equal ranks say that none is better"
    assert str(caught.value) == f"{asked_in}:2: {questions[1].id} is not judged: {fix}"


def test_all_faults_are_listed_at_once(folder: Path) -> None:
    many = [Group(f"m{i}", "x", (Completion("a"), Completion("b"))) for i in range(30)]
    questions = asked(many, 2, seed=0)
    rows = [json.loads(line) for line in lines_of([one.group for one in questions]).splitlines()]
    path = save(folder, [{**row, "ranks": [1, 2]} if i == 3 else row for i, row in enumerate(rows)])
    with pytest.raises(InputError) as caught:
        read_judged(folder, 2, questions)
    lines = [str(caught.value), *map(str, caught.value.others)]
    numbers = [1, 2, 3, *range(5, 22)]
    assert [line.split(": ")[0] for line in lines[:20]] == [f"{path}:{number}" for number in numbers]
    assert lines[20:] == ["and 9 problems more"]
