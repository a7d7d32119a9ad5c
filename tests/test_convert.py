"""`accord convert`: through the command line, as people use it."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from accord.cli import main
from accord.data.formats import FORMATS
from accord.data.read import read_groups
from accord.errors import InputError
from accord.records import Completion, Group
from accord.stages.commands import convert
from accord.stages.convert_options import FormatName

ASK = [{"role": "user", "content": "sky?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


PAIR = {"prompt": ASK, "chosen": said("blue"), "rejected": said("red")}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *rows: object) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def test_the_names_of_the_option_are_those_of_the_table() -> None:
    assert list(get_args(FormatName)) == list(FORMATS)


def test_rows_change_their_columns() -> None:
    source = write("in.jsonl", PAIR, {**PAIR, "category": "colours"})
    assert main(["convert", source, "out.jsonl", "--to", "hh"]) == 0
    first, second = rows_of("out.jsonl")
    assert first == {
        "chosen": "\n\nHuman: sky?\n\nAssistant: blue",
        "rejected": "\n\nHuman: sky?\n\nAssistant: red",
    }
    assert second["category"] == "colours"
    assert [group.prompt for group in read_groups("out.jsonl")] == [group.prompt for group in read_groups("in.jsonl")]


def test_the_table_counts_what_is_lost_and_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    source = write("in.jsonl", {**PAIR, "margin": 2, "flags": []}, {"prompt": "a", "chosen": "b", "rejected": "c"})
    assert main(["convert", source, "out.jsonl", "--to", "ultrafeedback", "--json", "-"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [tuple(row.values()) for row in table] == [
        ("rows read", 2, ""),
        ("columns not read: flags", 1, ""),
        ("groups", 2, ""),
        ("left out: plain text: who says it is not known", 1, "in.jsonl:2"),
        ("not held: ranks", 1, "in.jsonl:1"),
        ("not held: margins", 1, "in.jsonl:1"),
        ("rows written", 1, ""),
    ]


def test_several_judgements_are_rows_of_one_id_and_come_back_as_one_group() -> None:
    judgements = [{"ranks": [1, 2], "annotator": "Ann"}, {"ranks": [2, 1], "annotator": "Ben", "margin": 1.0}]
    group = {"id": "x", "prompt": "a", "completions": ["b", "c"], "judgements": judgements}
    main(["convert", write("in.jsonl", group, {**group, "id": "y"}), "out.jsonl", "--to", "comparison"])
    assert [(row["id"], row["chosen"], row["annotator"]) for row in rows_of("out.jsonl")] == [
        ("x", "b", "Ann"),
        ("x", "c", "Ben"),
        ("y", "b", "Ann"),
        ("y", "c", "Ben"),
    ]
    for one, other in zip(read_groups("out.jsonl"), read_groups("in.jsonl"), strict=True):
        assert (one.id, one.completions, one.judgements) == (other.id, other.completions, other.judgements)


def test_an_id_is_written_unless_the_number_of_the_row_is_the_same() -> None:
    main(["convert", write("in.jsonl", PAIR, {**PAIR, "id": "x"}, PAIR), "out.jsonl", "--to", "implicit"])
    assert [row.get("id") for row in rows_of("out.jsonl")] == [None, "x", None]
    main(["convert", write("in.jsonl", {"text": "a"}, {"text": "b"}), "out.csv", "--to", "document"])
    assert Path("out.csv").read_text() == "id,text\n1,a\n2,b\n"


def test_prompts_that_are_equal_stay_apart_in_helpsteer() -> None:
    rated = {"prompt": ASK, "completions": [said("blue"), said("red")], "ratings": [4, 1]}
    main(["convert", write("in.jsonl", rated, rated), "out.jsonl", "--to", "helpsteer"])
    assert [(row["id"], row["response"], row["helpfulness"]) for row in rows_of("out.jsonl")] == [
        ("1", "blue", 4.0),
        ("1", "red", 1.0),
        ("2", "blue", 4.0),
        ("2", "red", 1.0),
    ]
    assert [len(group.completions) for group in read_groups("out.jsonl")] == [2, 2]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["convert", *words]) == 2
    return capsys.readouterr().err


def test_nothing_is_written_where_nothing_can_be_held(capsys: pytest.CaptureFixture[str]) -> None:
    source = write("in.jsonl", {"prompt": "a", "completion": "b"})
    text = refused(capsys, source, "out.jsonl", "--to", "comparison")
    assert text == (
        "error[2] in.jsonl:1: no group can be a row of comparison: fewer than two completions (1 of 1): "
        "choose another format\n"
    )
    assert [path.name for path in Path().iterdir()] == ["in.jsonl"]


def test_its_own_input_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    source = write("in.jsonl", PAIR)
    before = Path(source).read_bytes()
    Path("link.jsonl").symlink_to(source)
    for output in ("in.jsonl", "./in.jsonl", "link.jsonl"):
        assert "is the data that is read" in refused(capsys, source, output, "--to", "hh")
    assert Path(source).read_bytes() == before


def test_bad_rows_stop_or_are_dropped_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    source = write("in.jsonl", PAIR, {"prompt": "a"})
    assert "in.jsonl:2: chosen: missing" in refused(capsys, source, "out.jsonl", "--to", "hh")
    assert not Path("out.jsonl").exists()
    assert main(["convert", source, "out.jsonl", "--to", "hh", "--on_bad_row", "drop"]) == 0
    assert "bad rows dropped: chosen: missing" in capsys.readouterr().out
    assert len(rows_of("out.jsonl")) == 1


def test_what_a_stage_would_refuse_is_still_converted() -> None:
    source = write("in.jsonl", {**PAIR, "chosen": said("")}, {**PAIR, "rejected": said("blue")})
    main(["convert", source, "out.jsonl", "--to", "alpaca_comparison"])
    assert [(row["chosen"], row["rejected"]) for row in rows_of("out.jsonl")] == [("", "red"), ("blue", "blue")]


def test_an_ending_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown kind of file" in refused(capsys, write("in.jsonl", PAIR), "out.txt", "--to", "hh")


def test_implicit_prompts_need_to_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    source = write("in.jsonl", {"chosen": ASK + said("blue"), "rejected": ASK + said("red")})
    assert "or run with --implicit_prompt" in refused(capsys, source, "out.jsonl", "--to", "comparison")
    assert main(["convert", source, "out.jsonl", "--to", "comparison", "--implicit_prompt"]) == 0
    assert rows_of("out.jsonl") == [PAIR]


def test_text_that_csv_would_read_as_turns_is_left_out() -> None:
    odd = {"prompt": '[{"role": "user", "content": "x"}]', "completion": "a"}
    result = convert(data=[{"prompt": "a", "completion": "b"}, odd], output="out.csv", to="demonstration")
    assert (result.rows, list(result.left_out)) == (1, ["prompt: text that reads as something else in CSV"])


def test_a_column_of_parquet_has_one_type() -> None:
    mixed = [PAIR, {"prompt": "a", "chosen": "b", "rejected": "c"}]
    result = convert(data=mixed, output="out.parquet", to="comparison")
    assert list(result.left_out) == ["prompt: of another type than in the first row, in Parquet"]
    assert len(list(read_groups("out.parquet"))) == 1


def test_python_gives_groups_and_gets_the_counts() -> None:
    groups = [Group("", "a", (Completion("b"),)), Group("", "a", ())]
    result = convert(data=groups, output="out.jsonl", to="demonstration")
    assert (result.groups, result.rows) == (2, 1)
    assert result.left_out["no completion"].first == "<memory>:2"
    with pytest.raises(InputError, match="to: 'demo'"):
        convert(data=groups, output="out.jsonl", to="demo")


def test_real_comparisons_there_and_back(shared_data: Any) -> None:
    """hh_harmless to the texts of hh-rlhf that it came from, and back: the same words."""
    source = str(shared_data("hh_harmless.jsonl.gz"))
    result = convert(data=source, output="hh.jsonl", to="hh")
    before, after = (list(read_groups(name)) for name in (source, "hh.jsonl"))
    same = [one for one, other in zip(before, after, strict=True) if one.prompt == other.prompt]
    assert (result.groups, result.rows, len(same)) == (1776, 1776, 1776)
    assert [one.completions for one in before] == [other.completions for other in after]
