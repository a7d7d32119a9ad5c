"""Reading never loses or invents a character of a completion, and takes as JSON what json.loads takes, once."""

import codecs
import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accord.data.lines import line_rows
from accord.data.read import read_groups
from accord.data.strict_json import Flawed, value_of
from accord.records import RecordError

# What line readers, text decoders and CSV readers trip over, as often as everything else.
ODD = "\x00\x0b\x0c\r\n\t\x1c\x1e\x7f\x85\u2028\u2029\ufeff\ufffe\U0010ffff😀e\u0301\u200d\"'\\,;[]{}"
TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from(ODD), max_size=30)
QUICK = settings(max_examples=40, deadline=None)


def comparison(chosen: str, rejected: str) -> list[dict[str, Any]]:
    return [{"prompt": "p", "chosen": chosen, "rejected": rejected}, {"prompt": "", "chosen": "x", "rejected": "y"}]


def as_csv(table: list[dict[str, Any]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, table[0])
    writer.writeheader()
    writer.writerows(table)
    return file.getvalue().encode()


def as_parquet(table: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), file)
    return file.getvalue()


def escaped(table: list[dict[str, Any]]) -> bytes:
    return "\r\n".join(json.dumps(row) for row in table).encode()


def raw(table: list[dict[str, Any]]) -> bytes:
    return codecs.BOM_UTF8 + "\n".join(json.dumps(row, ensure_ascii=False) for row in table).encode()


def listed(table: list[dict[str, Any]]) -> bytes:
    return json.dumps(table, ensure_ascii=False, indent=1).encode()


def zstandard(content: bytes) -> bytes:
    packed: bytes = pyarrow.Codec("zstd").compress(content, asbytes=True)
    return packed


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "escaped.jsonl": escaped,
    "raw.jsonl": raw,
    "a.jsonl.gz": lambda table: gzip.compress(raw(table), 1),
    "a.jsonl.zst": lambda table: zstandard(escaped(table)),
    "list.json": listed,
    "a.csv": as_csv,
    "a.parquet": as_parquet,
}


@pytest.mark.parametrize("name", list(WRITERS))
@QUICK
@example(ODD, ODD[::-1])
@example("\r", "\r\n")
@given(TEXT, TEXT)
def test_no_character_of_a_completion_is_lost_or_invented(name: str, chosen: str, rejected: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(WRITERS[name](comparison(chosen, rejected)))
        first, second = read_groups(path)
    assert [completion.content for completion in first.completions] == [chosen, rejected]
    assert (second.prompt, second.completions[1].content) == ("", "y")


@pytest.mark.parametrize("name", ["raw.jsonl", "a.csv", "a.parquet"])
@QUICK
@given(st.lists(TEXT, min_size=1, max_size=3))
def test_no_character_of_a_turn_is_lost_or_invented(name: str, texts: list[str]) -> None:
    chosen, rejected = ([{"role": "assistant", "content": text} for text in side] for side in (texts, [*texts, "x"]))
    row = {"prompt": [{"role": "user", "content": texts[0]}], "chosen": chosen, "rejected": rejected}
    table = [{key: json.dumps(value) for key, value in row.items()}] if name == "a.csv" else [row]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(WRITERS[name](table))
        (group,) = read_groups(path)
    turns = group.completions[0].content
    assert not isinstance(turns, str) and [turn.content for turn in turns] == texts


@QUICK
@given(st.lists(st.binary(max_size=8), max_size=6), st.integers(1, 9), st.booleans())
def test_lines_are_those_between_line_feeds_however_the_blocks_are_cut(
    parts: list[bytes], size: int, ends: bool
) -> None:
    content = b"\n".join(json.dumps(part.hex()).encode() for part in parts) + b"\n" * ends
    blocks = [content[i : i + size] for i in range(0, len(content), size)]
    assert [row for _, row in line_rows(blocks, "a")] == [part.hex() for part in parts]


PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b'"a"', b'"b"', b":", b",", b" ", b"\t", b"1", b"-", b".5", b"e9", b"null", b"NaN",
     b"\\", b"\\u", b"d83d", b"\\ude00", b"\xc3\xa9", b"\xff", b"\xed\xa0\x80", b"\x00", b"\n"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14).map(b"".join))
def test_json_is_what_json_loads_takes_unless_it_says_one_thing_twice_or_half(data: bytes) -> None:
    try:
        expected, is_json = json.loads(data.decode()), True
    except ValueError:
        expected, is_json = None, False
    try:
        value = value_of(data)
    except Flawed as flaw:
        assert is_json == (flaw.finding in ("duplicate_key", "lone_surrogate"))
    else:
        assert is_json and repr(value) == repr(expected)  # repr: nan is not itself


@QUICK
@given(st.dictionaries(TEXT, TEXT, min_size=1, max_size=4), st.data())
def test_a_key_twice_is_found_at_any_depth_and_named(columns: dict[str, str], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(list(columns)))
    inner = json.dumps(columns)[:-1] + f", {json.dumps(key)}: 1}}"
    ((_, row),) = line_rows([f'{{"a": [0, {inner}]}}'.encode()], "a")
    assert isinstance(row, RecordError) and row.finding == "duplicate_key"
    assert row.field == ("a[1]." + key if key else "a[1]")
