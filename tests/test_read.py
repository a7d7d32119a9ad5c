"""From files, lists and names to groups; every bad row named by line."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from accord.data import lines
from accord.data.read import read_groups
from accord.data.report import BadRows, DataReport, Refusals
from accord.data.sift import sift
from accord.data.take import TAKES
from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Message, Origin

GOOD = {"prompt": "a", "chosen": "b", "rejected": "c"}
LINE = json.dumps(GOOD)


def file_of(folder: Path, *lines: str | bytes, name: str = "prefs.jsonl") -> str:
    path = folder / name
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return str(path)


def bad_rows(path: str) -> list[str]:
    with pytest.raises(BadRows) as caught:
        list(read_groups(path))
    return [message.removeprefix(path) for message in (str(caught.value), *caught.value.others)]


def test_line_numbers_count_blank_lines_and_the_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"\xef\xbb\xbf" + LINE.encode(), "", "  ", LINE + "\r", "")
    assert [(group.id, group.source) for group in read_groups(path)] == [("1", (path, 1)), ("4", (path, 4))]


def test_gzip_and_json_list(tmp_path: Path) -> None:
    packed = tmp_path / "prefs.jsonl.gz"
    packed.write_bytes(gzip.compress(f"{LINE}\n{LINE}\n".encode()))
    assert len(list(read_groups(packed))) == 2
    for name in ("prefs.json", "list.jsonl"):
        path = file_of(tmp_path, json.dumps([GOOD, GOOD], indent=1), name=name)
        assert [(group.id, group.source.line) for group in read_groups(path)] == [("1", 2), ("2", 7)]
    assert len(list(read_groups(file_of(tmp_path, LINE, LINE, name="lines.json")))) == 2


def test_list_of_rows_and_groups() -> None:
    groups = list(read_groups([GOOD, Group("", "p", (Completion("c"),))]))
    assert [group.id for group in groups] == ["1", "2"]
    assert str(groups[1].source) == "<memory>:2"


def test_bad_lines_with_their_true_cause(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        LINE,
        '{"prompt": "a", "chosen" "b"}',
        LINE.encode().replace(b'"b"', b'"caf\xe9"'),
        LINE.replace('"b"', r'"\ud83d"'),
        '{"prompt": "a", "chosen": "b", "chosen": "d", "rejected": "c"}',
        '"just text"',
        LINE.replace('"b"', "null"),
    )
    drop = ": drop the row, or run with --on_bad_row drop"
    assert bad_rows(path) == [
        ":2: not JSON (column 26): Expecting ':' delimiter" + drop,
        ":3: not UTF-8 (column 31): byte 0xe9: save the file as UTF-8",
        r":4: chosen: lone surrogate \ud83d (half a character)" + drop,
        ":5: chosen: duplicate key" + drop,
        ":6: expected an object, got text" + drop,
        ":7: chosen: expected text, got null" + drop,
    ]


def test_whole_surrogate_pairs_are_text(tmp_path: Path) -> None:
    (group,) = read_groups(file_of(tmp_path, LINE.replace('"b"', r'"\ud83d\ude00"')))
    assert group.completions[0].content == "😀"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("[" * 100_000, "nested more than 100 deep"),
        ('{"a": ' * 101 + "1" + "}" * 101, "nested more than 100 deep"),
        ('{"prompt": ' + "9" * 5000 + "}", "a whole number of more than 300 digits"),
        ('{"prompt": [' + "[]," * 600_000 + "1]}", "more than 1,000,000 values in one row"),
        ("[" * 50 + "]" * 50 + "x", "not JSON (column 101): Extra data"),
        ('{"a": "' + "[" * 5000, "not JSON (column 7): Unterminated string starting at"),
    ],
)
def test_absurd_json_is_refused_not_crashed_on(tmp_path: Path, line: str, what: str) -> None:
    assert bad_rows(file_of(tmp_path, LINE, line))[0].startswith(f":2: {what}")


@pytest.mark.parametrize(
    ("tools", "field", "what"),
    [
        ("[" * 100_000, "tools", "nested more than 100 deep"),
        ('[{"a": "\\ud83d"}]', "tools[0].a", r"lone surrogate \ud83d (half a character)"),
        ('[{"a": 1, "a": 2}]', "tools[0].a", "duplicate key"),
        ('[{"a" 1}]', "tools", "not JSON (column 7): Expecting ':' delimiter"),
    ],
)
def test_json_within_a_text_is_read_as_strictly_as_a_line(tmp_path: Path, tools: str, field: str, what: str) -> None:
    (message,) = bad_rows(file_of(tmp_path, json.dumps({**GOOD, "tools": tools})))
    assert message.startswith(f":1: {field}: {what}")


def test_half_a_character_made_in_python_is_named() -> None:
    half = "b\ud83d"
    turns = (Message("user", half),)
    rows = [
        {**GOOD, "chosen": half},
        {"prompt": turns, "completion": [{"role": "assistant", "content": "b"}]},
        Group("", "p", (Completion(half),)),
        Group("", turns, (Completion((Message("assistant", "b"),)),)),
    ]
    with pytest.raises(BadRows) as caught:
        list(read_groups(rows))
    said = [message.split(": lone surrogate")[0] for message in (str(caught.value), *caught.value.others)]
    fields = ["chosen", "prompt[0].content", "completions[0]", "prompt[0].content"]
    assert said == [f"<memory>:{i}: {field}" for i, field in enumerate(fields, 1)]


def test_a_group_made_of_lists_and_dictionaries_is_a_group() -> None:
    """What a row of a file may say, a Group made in Python may, too."""
    asked, said = [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]
    made: Any = [Completion(said), Completion([Message("assistant", "c")])]  # type: ignore[arg-type]
    loose = Group(7, asked, made, [Judgement(ranks=[2, 1])], tools=[{"name": "look"}])  # type: ignore[arg-type]
    (group,) = read_groups([loose])
    first, second = ((Message("assistant", word),) for word in "bc")
    assert group == Group(
        "7",
        (Message("user", "a"),),
        (Completion(first), Completion(second)),
        (Judgement(ranks=(2, 1)),),
        tools=({"name": "look"},),
        source=Origin("<memory>", 1),
    )


@pytest.mark.parametrize("completion", ["b", None, {"content": "b"}])
def test_a_group_with_what_is_no_completion_is_named(completion: Any) -> None:
    with pytest.raises(BadRows, match=r"<memory>:1: completions\[0\]: expected a Completion, got "):
        list(read_groups([Group("", "a", (completion,))]))


def test_brackets_and_digits_within_texts_are_text(tmp_path: Path) -> None:
    text = "[{" * 1000 + '\\"' + "9" * 5000
    (group,) = read_groups(file_of(tmp_path, json.dumps({**GOOD, "chosen": text})))
    assert group.completions[0].content == text


def test_row_too_long_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "ROW_LIMIT", 2**20)
    long = LINE.replace('"b"', '"' + "b" * 5 * 2**20 + '"')
    path = file_of(tmp_path, LINE, long, LINE)
    report = DataReport()
    assert [group.id for group in read_groups(path, on_bad_row="drop", report=report)] == ["1", "3"]
    assert list(report.dropped) == ["a row of more than 1 MB"]


def sifted(path: Path, refusals: Refusals) -> Iterator[tuple[Group, Group]]:
    """As `accord dpo` reads it."""
    return sift(read_groups(path, refusals=refusals), TAKES["dpo"], "dpo", refusals)


def test_at_most_ten_are_listed(tmp_path: Path) -> None:
    assert len(bad_rows(file_of(tmp_path, LINE, *["{"] * 30))) == 10


@pytest.mark.parametrize(("count", "says"), [(9, False), (10, True)])
def test_where_there_may_be_more_the_command_says_who_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, says: bool
) -> None:
    assert main(["init", "--data", file_of(tmp_path, *["{"] * count), "--output_dir", str(tmp_path / "new")]) == 2
    *others, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error[2] ") and ":1: not JSON" in last and len(others) == count - 1 + says
    assert (others[-1] == "reading stopped at bad row 10; accord check names every one") == says


def test_files_of_a_folder_may_be_of_different_formats(tmp_path: Path) -> None:
    file_of(tmp_path, LINE, name="a.jsonl")
    file_of(tmp_path, '{"text": "d"}', '{"text": "e"}', name="b.jsonl")
    file_of(tmp_path, '{"prompt": "a", "completions": ["b", "c"], "ranks": [1, 2]}', name="c.jsonl")
    assert [len(group.completions) for group in read_groups(str(tmp_path))] == [2, 1, 1, 2]


def test_dropped_rows_are_counted_by_reason_and_named(tmp_path: Path) -> None:
    path = file_of(tmp_path, LINE, "{", LINE.replace('"b"', '""'), "{{", LINE[:-1] + ', "id": "x", "flag": 1}')
    report = DataReport()
    assert len(list(sifted(path, Refusals("drop", report)))) == 2
    assert (report.read, report.kept) == (5, 2)
    written: dict[str, Any] = json.loads(json.dumps(report.to_json()))
    assert {reason: [row["where"] for row in rows] for reason, rows in written["dropped"].items()} == {
        "not JSON": [f"{path}:2", f"{path}:4"],
        "chosen: empty text": [f"{path}:3"],
    }
    assert (
        report.summary()
        == "5 read, 2 kept, 3 dropped (not JSON: 2 (lines 2, 4), chosen: empty text: 1 (line 3)); ignored columns: flag"
    )


def test_same_id_twice_names_both_lines(tmp_path: Path) -> None:
    named = LINE[:-1] + ', "id": "x"}'
    path = file_of(tmp_path, named, LINE, named)
    assert bad_rows(path) == [f":3: id: 'x' is already the id of {path}:1: give each row an id of its own, or none"]


def test_first_row_decides_the_format(tmp_path: Path) -> None:
    assert bad_rows(file_of(tmp_path, LINE, '{"prompt": "a", "chosen": "b"}'))[0].startswith(":2: rejected: missing")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf", b"[]"])
def test_nothing_in_it(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"prefs.jsonl: no rows"):
        list(read_groups(file_of(tmp_path, content)))


def test_nothing_left_of_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no usable row: 2 read, 0 kept, 2 dropped"):
        list(read_groups(file_of(tmp_path, "{", "{"), on_bad_row="drop"))


def test_sources_that_are_none(tmp_path: Path) -> None:
    for source, message in {
        str(tmp_path / "none.jsonl"): "no such file",
        "prefs.jsonl": "no such file",
        "": "no such file",
        "./nobody/nothing": "no such file",
        "x" * 5000: "neither a file nor a data set",
        file_of(tmp_path, "x", name="a.txt"): "unknown kind of file",
        file_of(tmp_path, "x", name="a.jsonl.gz"): "cannot be read",
        file_of(tmp_path, gzip.compress(LINE.encode() * 99)[:-9], name="cut.jsonl.gz"): "cannot be read",
        "nobody/nothing-of-the-sort": "neither a file nor a data set that can be loaded",
    }.items():
        with pytest.raises(InputError, match=message):
            list(read_groups(source))


def test_broken_json_list_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.json:2: not JSON \(column 1\)"):
        list(read_groups(file_of(tmp_path, "[" + LINE, LINE + "]", name="a.json")))


def test_duplicate_key_within_a_json_list_names_the_row(tmp_path: Path) -> None:
    path = file_of(tmp_path, f'[{LINE}, {{"prompt": "a", "prompt": "b"}}]', name="a.json")
    assert bad_rows(path)[0].startswith(": row 2: prompt: duplicate key")


def test_unknown_policy() -> None:
    with pytest.raises(InputError, match="'skip' is no policy: error or drop"):
        list(read_groups([GOOD], on_bad_row="skip"))


def test_real_comparisons(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("hh_harmless.jsonl.gz")
    found = [message.removeprefix(str(path)).split(": ")[:3] for message in bad_rows_of(path)]
    assert found == [[f":{line}", "chosen[0].content", "empty text"] for line in (67, 388, 691, 828)]
    report = DataReport()
    assert len(list(sifted(path, Refusals("drop", report)))) == 1772
    assert report.ignored == ["flags"]


def bad_rows_of(path: Path) -> list[str]:
    with pytest.raises(BadRows) as caught:
        list(sifted(path, Refusals("error", DataReport())))
    return [str(caught.value), *caught.value.others]


def test_real_rankings(shared_data: Callable[[str], Path]) -> None:
    assert len(list(read_groups(shared_data("alpacaeval_k_way.jsonl.gz")))) == 403
    assert len(list(read_groups(shared_data("tulu1_k4_items.jsonl.gz")))) == 332
