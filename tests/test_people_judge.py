"""People as a judge: what they are shown of two answers, what they give back, and what becomes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from stage_runs import lines, words, write_lines

import accord
from accord.cli import main
from accord.evaluate.judges.people import group_of, id_of
from accord.evaluate.verdicts import Answer, Matched

Row = dict[str, Any]
COUNT = 12


def answers(name: str, texts: list[str]) -> list[Row]:
    return [
        {"instruction": f"question {i} ?", "output": text, "generator": name, "dataset": "ab"[i % 2]}
        for i, text in enumerate(texts)
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models that answer 12 questions; to the last both say the same."""
    monkeypatch.chdir(tmp_path)
    good = [f"a good answer to {i}" for i in range(COUNT - 1)]
    for name, texts in (("good", [*good, "so"]), ("bad", [*(f"no {i}" for i in range(COUNT - 1)), "so"])):
        Path(f"{name}.json").write_text(json.dumps(answers(name, texts)))
    return tmp_path


def winrate(*, code: int = 0, **options: Any) -> list[Row]:
    """The rows of the table; empty where there is none yet."""
    asked: Row = {"model": "good.json", "against": "bad.json", "judge": "file", "judge_dir": "asked", "rounds": 50}
    asked["length_control"] = "false"
    Path("table.json").unlink(missing_ok=True)
    assert main(words("winrate", asked | {"json": "table.json"} | options)) == code
    return list(json.loads(Path("table.json").read_text())) if Path("table.json").exists() else []


def asked() -> list[Row]:
    return lines(Path("asked/to_judge.jsonl"))


def judge(rows: list[Row], name: str = "anna", file: str = "round.jsonl") -> None:
    Path("asked/judged").mkdir(exist_ok=True)
    write_lines(Path("asked/judged") / file, [{**row, "annotator": name} if name else row for row in rows])


def is_good(answer: Any) -> bool:
    return "good" in answer[0]["content"]


def prefers(row: Row, good: bool = True) -> Row:
    """Ranks that prefer a good answer, or the other one."""
    return {**row, "ranks": [1 if is_good(one) == good else 2 for one in row["completions"]]}


def test_pairs_are_written_blind_and_the_command_ends_well(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert winrate() == []
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "wait" in line]
    assert line == (
        "11 pairs of answers wait to be judged in asked/to_judge.jsonl: give every row ranks (1 is best), or chosen "
        "(the number of the best, from 1), equal ranks for a tie, save it as a file in the folder "
        "asked/judged, and run the same command again"
    )
    rows = asked()
    assert len(rows) == 11, "two answers of one text are not asked about"
    assert all(row.keys() == {"id", "prompt", "completions", "category", "ranks"} for row in rows)
    assert "generator" not in Path("asked/to_judge.jsonl").read_text()
    places = [is_good(row["completions"][0]) for row in rows]
    assert 2 <= sum(places) <= 9, "either stands first sometimes"
    assert (prompts := [str(row["prompt"]) for row in rows]) != sorted(prompts)


def test_who_is_asked_about_whom_changes_nothing_that_people_see() -> None:
    """Neither the order of the models nor their names has a part in it; the text has."""
    for i in range(30):
        pair = Matched("1", f"p{i}", Answer("x", "one"), Answer("y", "two"))
        other = Matched("7", f"p{i}", Answer("z", "two"), Answer("w", "one"))
        assert group_of(id_of(pair), pair) == group_of(id_of(other), other)
    firsts = {group_of("", Matched("1", f"p{i}", Answer("x", "one"), Answer("y", "two"))) for i in range(30)}
    assert {group.completions[0].content for group in firsts} == {"one", "two"}
    assert id_of(pair) != id_of(pair._replace(prompt="p")) != id_of(pair._replace(first=Answer("x", "three")))


def test_the_same_command_reads_what_people_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """11 pairs: 6 won, 2 lost, 1 tie, 2 not judged; and the one of equal texts, which is a tie."""
    winrate()
    rows = asked()
    said = [*map(prefers, rows[:6]), *(prefers(row, good=False) for row in rows[6:8]), {**rows[8], "ranks": [1, 1]}]
    judge([*said, rows[9]])
    (row,) = winrate()
    assert (row["model"], row["baseline"]) == ("good", "bad")
    assert (row["wins"], row["ties"], row["losses"], row["n"]) == (6, 2, 2, 10)
    assert (row["failed"], row["missing"]) == (0, 2)
    assert row["win_rate"] == pytest.approx(7 / 10)
    seen = "".join(capsys.readouterr())
    assert "people: 9 judgements on 9 of 11 pairs of answers (anna 9)" in seen
    assert "note: 2 pairs were not judged, and count as missing" in seen
    assert "shown first wins:" in seen


def test_several_people_judge_one_pair(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each judgement counts, clustered by prompt; a later one of the same person replaces the earlier."""
    winrate()
    rows = asked()
    judge([prefers(row, good=False) for row in rows[:1]] + [prefers(row) for row in rows], file="anna.jsonl")
    judge([prefers(row, good=place > 3) for place, row in enumerate(rows[:8])], "ben", "ben.jsonl")
    judge([{**rows[0], "chosen": rows[0]["completions"][0]}, {**rows[0], "chosen": 1}], "", "nobody.jsonl")
    (row,) = winrate(verdicts="verdicts.jsonl", interval="auto")
    assert (row["n"], row["prompts"], row["missing"]) == (11 + 8 + 2 + 1, 12, 0)
    first_is_good = is_good(rows[0]["completions"][0])
    assert row["losses"] == 4 + 2 * (not first_is_good) and row["ties"] == 1
    assert row["interval_method"] == "cluster"
    said = "".join(capsys.readouterr())
    assert "people: 21 judgements on 11 of 11 pairs of answers (anna 11, ben 8, unnamed 2)" in said
    # Of 8 pairs that two judged 4 are alike; the first has four judgements, of which 2 or 3 are alike: 6 couples.
    share = (4 + 3) / (7 + 6)
    assert f"two people say the same of a pair in {share:.1%}" in said and "8 pairs were judged by several" in said
    (again,) = winrate_of("verdicts.jsonl")
    assert {key: again[key] for key in ("n", "win_rate", "interval")} == {
        key: row[key] for key in ("n", "win_rate", "interval")
    }


def winrate_of(file: str) -> list[Row]:
    assert main(words("winrate", {"data": file, "json": "again.json", "rounds": 50})) == 0
    return list(json.loads(Path("again.json").read_text()))


def test_where_an_answer_stood_is_known(home: Path) -> None:
    """One who always takes the first: the model wins where it stood first, also in a row that was turned about."""
    winrate()
    rows = [{**row, "ranks": [1, 2]} for row in asked()]
    rows[3] = {**rows[3], "completions": rows[3]["completions"][::-1]}
    judge(rows)
    winrate(verdicts="verdicts.jsonl")
    told = [row for row in lines(Path("verdicts.jsonl")) if row["annotator"] == "anna"]
    assert len(told) == 11 and {row["shown_first"] for row in told} == {1, 2}
    assert all(row["preference"] == row["shown_first"] for row in told)


FAULTS: dict[str, tuple[Callable[[list[Row]], Any], str]] = {
    "an id of nothing": (lambda rows: [{**rows[0], "id": "x"}], "judged/round.jsonl:1: id: 'x' was not asked about"),
    "another answer": (
        lambda rows: [{**prefers(rows[0]), "completions": [rows[0]["completions"][0], rows[1]["completions"][1]]}],
        "judged/round.jsonl:1: completions: not what was asked about: keep the texts of asked/to_judge.jsonl",
    ),
    "one rank": (lambda rows: [prefers(rows[0]), {**rows[1], "ranks": [1]}], "judged/round.jsonl:2: ranks: 1 entries"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_line(home: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    winrate()
    harm, said = FAULTS[name]
    judge(harm(asked()))
    assert winrate(code=2) == []
    assert f"error[2] asked/{said}" in capsys.readouterr().err


def test_answers_that_have_changed_are_one_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    winrate()
    before = Path("asked/to_judge.jsonl").read_text()
    texts = json.loads(Path("good.json").read_text())
    texts[0]["output"] = "another good answer"
    Path("good.json").write_text(json.dumps(texts))
    winrate(code=2)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error[2] asked/to_judge.jsonl: 1 of 11 pairs of answers are not in it: answers or prompts")
    assert Path("asked/to_judge.jsonl").read_text() == before


def test_a_file_in_the_place_of_the_folder_is_said_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("asked").write_text("")
    winrate(code=2)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "asked: is a file, where a folder is to be" in said[0]
    Path("asked").unlink()
    winrate()
    Path("asked/judged").write_text("")
    winrate(code=2)
    assert "asked/judged: is a file, where a folder is to be" in capsys.readouterr().err


def test_nothing_is_asked_where_all_answers_are_alike(home: Path) -> None:
    rows = answers("twin", ["so"] * 3)
    Path("one.json").write_text(json.dumps(rows))
    Path("two.json").write_text(json.dumps([{**row, "generator": "other"} for row in rows]))
    (row,) = winrate(model="one.json", against="two.json", judge_dir="none_asked")
    assert (row["ties"], row["n"]) == (3, 3) and not Path("none_asked").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"judge_dir": None}, "judge_dir: not given, and people are to judge"),
        ({"template": "rating"}, "template: belongs to another kind of judge"),
        ({"judge": "openai:x", "base_url": "http://127.0.0.1:1/v1"}, "judge_dir: belongs to people"),
    ],
)
def test_options_that_do_not_go_together(
    home: Path, capsys: pytest.CaptureFixture[str], options: Row, said: str
) -> None:
    given = {"model": "good.json", "against": "bad.json", "judge": "file", "judge_dir": "asked", **options}
    assert main(words("winrate", {key: value for key, value in given.items() if value is not None})) == 2
    assert said in capsys.readouterr().err


def test_models_are_sampled_and_compared_by_people(home: Path) -> None:
    """In Python: None while people are to judge. Conversations, and three models."""
    tiny.write_model(home / "sft")
    prompts = [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in tiny.comparisons(4)]
    write_lines(home / "prompts.jsonl", prompts)
    same: Row = {"prompts": "prompts.jsonl", "judge": "file", "max_new_tokens": 6, "threads": 1, "rounds": 50}
    write_lines(
        home / "people.jsonl", [{**row, "completion": [{"role": "assistant", "content": "x"}]} for row in prompts]
    )
    models = ["people.jsonl", "sft"]
    assert accord.compare(model=models, judge_dir="both", **same) is None
    rows = lines(Path("both/to_judge.jsonl"))
    assert len(rows) == 4
    Path("both/judged").mkdir()
    write_lines(
        Path("both/judged/a.jsonl"),
        [{**row, "chosen": [{"role": "assistant", "content": "x"}], "annotator": "a"} for row in rows],
    )
    found = accord.compare(model=models, judge_dir="both", **same)
    assert found is not None and found.judged is not None
    (first,) = found.judged.table.rows
    assert (first.wins, first.losses) == (0, 4)
