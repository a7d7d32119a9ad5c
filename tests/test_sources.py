"""Where rows come from: packed files, tables, folders, globs, saved data sets. All give the same rows."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from accord.data import lines, tables
from accord.data.read import read_groups
from accord.data.report import DataReport
from accord.data.sources import files_of, rows
from accord.errors import InputError

TURNS = [{"role": "user", "content": 'x, "y"\nz'}]
ROWS: list[dict[str, Any]] = [
    {"prompt": "a\n\nb", "completions": ["[1] b", "", '"c"'], "ranks": [1, 2, 2], "annotator": None, "weight": 1.5},
    {"prompt": TURNS, "completions": [[{"role": "assistant", "content": "\u2028"}]] * 2, "ranks": None,
     "annotator": "p", "weight": 1.0},
]  # fmt: skip


def as_csv(table: list[dict[str, Any]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(table[0])
    for row in table:
        writer.writerow([value if isinstance(value, str) else _cell(value) for value in row.values()])
    return file.getvalue().encode()


def _cell(value: object) -> str:
    return "" if value is None else json.dumps(value)


def as_lines(table: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in table).encode()


def zstandard(content: bytes) -> bytes:
    packed: bytes = pyarrow.Codec("zstd").compress(content, asbytes=True)
    return packed


def mappings(source: object) -> list[Any]:
    return [row for _, row in rows(str(source))]


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def error_of(source: object, split: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        list(rows(str(source), split=split))
    return str(caught.value)


@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".GZ"])
@pytest.mark.parametrize(("kind", "write"), [(".jsonl", as_lines), (".csv", as_csv), (".json", as_lines)])
def test_every_kind_of_text_gives_the_same_rows(
    tmp_path: Path, kind: str, write: Callable[[list[dict[str, Any]]], bytes], packed: str
) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard}[packed.lower()]
    assert mappings(written(tmp_path / f"a{kind}{packed}", pack(write(ROWS)))) == ROWS


def test_parquet_gives_the_same_rows_and_reads_lists_that_stand_there_as_text(tmp_path: Path) -> None:
    table = [
        {"prompt": "[1]", "completions": '["b", "c"]', "ranks": [1, 2], "note": None},
        {"prompt": "[2]", "completions": "", "ranks": None, "note": "{"},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "a.parquet")
    found = list(rows(str(tmp_path / "a.parquet")))
    assert [row for _, row in found] == [
        {**table[0], "completions": ["b", "c"]},
        {**table[1], "completions": None},
    ]
    assert str(found[1][0]) == f"{tmp_path}/a.parquet: row 2"


def test_parquet_that_is_broken_or_holds_what_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = pyarrow.array([b"ok", b"caf\xe9", b"x" * 3000]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"prompt": bad}), tmp_path / "a.parquet")
    monkeypatch.setattr(lines, "ROW_LIMIT", 2000)
    monkeypatch.setattr(tables, "ROW_LIMIT", 2000)
    first, second, third = mappings(tmp_path / "a.parquet")
    assert first == {"prompt": "ok"}
    assert str(second) == f"{tmp_path}/a.parquet: row 2: not UTF-8 (byte 0xe9): save the file as UTF-8"
    assert third.finding == "too_large"
    assert "no Parquet file" in error_of(written(tmp_path / "b.parquet", b"PAR1 and nothing more"))
    twice = pyarrow.table([[1], [2]], names=["a", "a"])
    pyarrow.parquet.write_table(twice, tmp_path / "c.parquet")
    assert "column 'a' twice" in error_of(tmp_path / "c.parquet")


def test_csv_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    content = b'prompt,completions,ranks\n\n"a\nb",[],1\nc,[]\nd,"[1,",\ne,"[{""a"":1,""a"":2}]",\n'
    path = written(tmp_path / "a.csv", b"\xef\xbb\xbf" + content + b"caf\xe9,[],\nf,[],,\n")
    found = [str(row).removeprefix(str(path)).split(": drop")[0] for row in mappings(path)]
    assert found[1:] == [
        ":5: 2 cells for 3 columns",
        ":6: completions: not JSON (column 4): Expecting value",
        ":7: completions[0].a: duplicate key",
        ":8: not UTF-8 (column 4): byte 0xe9: save the file as UTF-8",
        ":9: 4 cells for 3 columns",
    ]
    assert mappings(path)[0] == {"prompt": "a\nb", "completions": [], "ranks": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('prompt,text\na,"b\nc', "a.csv:2: not CSV: unexpected end of data"),
        ('prompt,text\na,"b"c\n', "a.csv:2: not CSV: ',' expected after '\"'"),
        ("prompt,prompt\na,b\n", "a.csv:1: column 'prompt' twice"),
        ("," * 100_000, "a.csv:1: column '' twice"),
        ("prompt,caf\xe9\na,b\n", "a.csv:1: not UTF-8 (column 11): byte 0xe9"),
    ],
)
def test_csv_that_is_none_is_refused_as_a_whole(tmp_path: Path, content: str, message: str) -> None:
    assert message in error_of(written(tmp_path / "a.csv", content.encode("latin-1")))


def test_csv_row_without_end_is_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_LIMIT", 1000)
    path = written(tmp_path / "a.csv", b'prompt\n"' + b"line\n" * 500)
    assert "a row of more than 0 MB, or a quote without its end" in error_of(path)


def test_cells_of_numbers_and_truths(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"prompt,label,margin,id,weight\nx,True,0.5,7,\ny,false,much,,2\n")
    assert mappings(path) == [
        {"prompt": "x", "label": True, "margin": 0.5, "id": "7", "weight": None},
        {"prompt": "y", "label": False, "margin": "much", "id": None, "weight": 2},
    ]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_cells_stand_apart_as_the_header_says(tmp_path: Path, mark: str) -> None:
    text = mark.join(("prompt", "text")) + "\r\n" + mark.join(('"a, b"', f'"c{mark}""d"""')) + "\r\n"
    path = written(tmp_path / "a.csv", b"\xef\xbb\xbf" + text.encode())
    assert mappings(path) == [{"prompt": "a, b", "text": f'c{mark}"d"'}]


def test_a_text_that_begins_like_json_stays_text(tmp_path: Path) -> None:
    texts = ["[INST] hello", "{}", "[]", "[1, 2]", '{"name": "x"}', '["role"]', "[[1]]"]
    path = written(tmp_path / "a.csv", as_csv([{"prompt": text, "text": text} for text in texts]))
    assert [row["prompt"] for row in mappings(path)] == texts


LINE = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.jsonl"):
        written(tmp_path / "data" / name, LINE * 2)
    written(tmp_path / "data" / "c.json", b"[" + LINE + b"," + LINE + b"]")
    for name in (".hidden.jsonl", "README.md", "more/d.jsonl"):
        written(tmp_path / "data" / name, LINE)
    return tmp_path / "data"


def test_folder_gives_its_files_in_order_and_says_what_it_left_out(folder: Path) -> None:
    report = DataReport()
    groups = list(read_groups(folder, report=report))
    assert [group.id for group in groups] == [
        "a.jsonl:1", "a.jsonl:2", "b.jsonl:1", "b.jsonl:2", "c.json:1", "c.json:2",
    ]  # fmt: skip
    assert str(groups[2].source) == f"{folder}/b.jsonl:1"
    (note,) = report.notes
    assert note == "left out, hidden, of another kind or there already: .hidden.jsonl, README.md, more (3 in all)"
    assert files_of(folder) == [str(folder / name) for name in ("a.jsonl", "b.jsonl", "c.json")]


def test_globs(folder: Path) -> None:
    assert [group.id for group in read_groups(folder / "*.jsonl")][::2] == ["a.jsonl:1", "b.jsonl:1"]
    assert len(mappings(folder / "**" / "[bd].jsonl")) == 3
    assert [row["prompt"] for row in mappings(folder / "a.*")] == ["a", "a"]
    assert "no such file" in error_of(folder / "x*.jsonl")
    assert "holds no file that can be read" in error_of(folder / "READ*")


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    assert len(mappings(written(tmp_path / "a[1].jsonl", LINE))) == 1


def test_one_file_in_a_folder_keeps_its_ids(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", LINE)
    assert [group.id for group in read_groups(tmp_path)] == ["1"]


def test_folders_that_hold_no_data_or_several_splits(tmp_path: Path) -> None:
    assert "holds no file that can be read" in error_of(tmp_path)
    for name in ("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"):
        written(tmp_path / name, LINE)
    assert len(mappings(tmp_path)) == 2
    written(tmp_path / "test-00000-of-00001.jsonl", LINE)
    assert "files of several splits: test, train: name one, as" in error_of(tmp_path)
    assert len(mappings(tmp_path / "*train*")) == 2


def test_saved_data_set(tmp_path: Path) -> None:
    table = datasets.Dataset.from_list([{"prompt": "a", "completion": "b"}])
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=table, test=table).save_to_disk(tmp_path / "two")
    assert mappings(tmp_path / "one") == [{"prompt": "a", "completion": "b"}]
    assert [str(origin) for origin, _ in rows(str(tmp_path / "two"), split="test")] == [f"{tmp_path}/two: row 1"]
    assert "neither a file nor a data set that can be loaded" in error_of(tmp_path / "two", split="dev")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard])
def test_packed_files_that_are_cut_short_or_damaged(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    ending = ".gz" if pack is gzip.compress else ".zst"
    whole = pack(LINE * 500)
    for name, content in {"cut": whole[:-9], "no": b"plain text", "none": whole[:5]}.items():
        assert "cannot be read" in error_of(written(tmp_path / f"{name}.jsonl{ending}", content)), name


def test_several_packed_parts_in_one_file_are_all_read(tmp_path: Path) -> None:
    for ending, pack in ((".gz", gzip.compress), (".zst", zstandard)):
        assert len(mappings(written(tmp_path / f"a.jsonl{ending}", pack(LINE) + pack(LINE)))) == 2


def test_a_line_of_many_blocks(tmp_path: Path) -> None:
    text = "".join(chr(0x100 + i % 500) for i in range(lines.BLOCK))
    path = written(tmp_path / "a.jsonl", as_lines([{"text": text}, {"text": "b"}]))
    assert [row["text"] for row in mappings(path)] == [text, "b"]


def blocks(total: int) -> Iterator[bytes]:
    for _ in range(0, total, lines.BLOCK):
        yield bytes(lines.BLOCK)


def test_a_row_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SKIP_LIMIT", 2**20)
    monkeypatch.setattr(lines, "ROW_LIMIT", 2**19)
    with pytest.raises(InputError, match=r"bomb\.jsonl: a row of more than"):
        list(lines.line_rows(blocks(2**22), "bomb.jsonl"))


@pytest.mark.parametrize("name", ["a\nb.jsonl", "\x1b[31m.jsonl", "\udcff.jsonl"])
def test_a_name_that_no_message_could_hold_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    for source in (str(path), str(tmp_path)):
        with pytest.raises(InputError, match="stand in the name: rename the file") as caught:
            list(read_groups(source))
        assert str(caught.value).isprintable()


def test_other_names_are_names(tmp_path: Path) -> None:
    for name in ("--x.jsonl", "[red]x.jsonl", "\u3000\u00e9.jsonl", "a b*.jsonl"):
        path = tmp_path / name
        path.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
        (group,) = read_groups(path)
        assert group.source == (str(path), 1)


def test_calls_of_tools_have_the_arguments_that_they_were_given(tmp_path: Path) -> None:
    """Arrow gives every object the keys of all others, as null."""

    def row(name: str, arguments: dict[str, str]) -> dict[str, Any]:
        call = {"function": {"name": name, "arguments": arguments}}
        answer = {"role": "assistant", "content": "", "tool_calls": [call]}
        tool = {"name": name, "parameters": {"properties": {key: {"type": "string"} for key in arguments}}}
        return {"messages": [{"role": "user", "content": "a"}, answer], "tools": [tool]}

    table = [row("look", {"city": "Rome"}), row("call", {"number": "1"})]
    made = datasets.Dataset.from_list(table)
    made.to_parquet(tmp_path / "a.parquet")
    made.save_to_disk(tmp_path / "saved")
    for source in (tmp_path / "a.parquet", tmp_path / "saved"):
        groups = list(read_groups(source))
        assert [group.completions[0].content[0].plain() for group in groups] == [one["messages"][1] for one in table]
        assert [list(group.tools) for group in groups] == [one["tools"] for one in table]


def test_a_file_to_which_several_links_lead_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a"}) + "\n")
    (tmp_path / "b.jsonl").symlink_to("a.jsonl")
    (tmp_path / "again").symlink_to(".")
    for source in (tmp_path, tmp_path / "**" / "*.jsonl"):
        report = DataReport()
        (group,) = read_groups(source, report=report)
        assert group.source.file == str(tmp_path / "a.jsonl") and report.notes


def test_names_of_columns_cannot_reach_for_the_terminal() -> None:
    report = DataReport()
    list(read_groups([{"text": "a", "\x1b[31m": 1}], report=report))
    assert report.summary().endswith("ignored columns: '\\x1b[31m'")
    with pytest.raises(InputError) as caught:
        list(read_groups([{"\x1b[31m": 1}]))
    assert str(caught.value).isprintable()
