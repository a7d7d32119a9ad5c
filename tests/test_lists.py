"""JSON lists, read element by element: what the whole list is by json.loads, wherever the blocks are cut."""

import json
import tracemalloc
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data import lines, lists
from accord.data.lists import list_rows
from accord.errors import InputError
from accord.records import RecordError

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\[]{},:\n\u2028\x85\x00😀'), max_size=12)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[i : i + size] for i in range(0, len(content), size)]


def read(content: bytes, size: int = 2**18) -> list[Any]:
    """The rows, without the ids that count them."""
    rows = [row for _, row in list_rows(cut(content, size), "a.json")]
    return [{key: item for key, item in row.items() if key != "id"} if isinstance(row, dict) else row for row in rows]


def error_of(content: bytes, size: int = 2**18) -> str:
    with pytest.raises(InputError) as caught:
        read(content, size)
    return str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, max_size=4), st.integers(1, 40), st.booleans(), st.sampled_from([None, 0, 2]))
def test_a_list_is_its_elements_however_the_blocks_are_cut(
    values: list[Any], size: int, ascii: bool, indent: int | None
) -> None:
    content = b" \n" + json.dumps(values, ensure_ascii=ascii, indent=indent).encode() + b"\n "
    without_ids = [
        {key: item for key, item in value.items() if key != "id"} if isinstance(value, dict) else value
        for value in values
    ]
    assert read(content, size) == without_ids


def test_origins_are_lines_where_lines_tell_rows_apart_and_rows_where_not() -> None:
    content = b'[\n{"a": 1},\n {"a":\n2}, {"a": 3}\n,\n\n{"a": 4}]'
    found = [(str(origin), row["id"]) for origin, row in list_rows(cut(content, 5), "a.json") if isinstance(row, dict)]
    assert found == [("a.json:2", "1"), ("a.json:3", "2"), ("a.json:4", "3"), ("a.json:7", "4")]
    found = [(str(origin), row["id"]) for origin, row in list_rows([b'[{"a": 1}, {"a": 2}]'], "a.json")]
    assert found == [("a.json:1", "1"), ("a.json: row 2", "2")]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1},]', "a.json:1: not JSON (column 11): Expecting value"),
        (b'[\n,{"a": 1}]', "a.json:2: not JSON (column 1): Expecting value"),
        (b'[{"a": 1}\n {"a": 2}]', "a.json:2: not JSON (column 2): Extra data"),
        (b'[{"a": 1}]\n x', "a.json:2: not JSON (column 2): Extra data"),
        (b'[{"a": 1}, {"a"', "a.json:1: not JSON (column 16): Expecting ':' delimiter"),
        (b'[\n {"a": "x}]', "a.json:2: not JSON (column 8): Unterminated string starting at"),
        (b'[{"a": 1},\n{"a": 2}', "a.json:2: the list has no end"),
        (b'["\xc3\xa9", {"a": 1]', "a.json:1: not JSON (column 14): Expecting ',' delimiter"),
        (b'[{"a": 1}}, 2]', "a.json:1: not JSON (column 10): Extra data"),
        (b'[{"a":\n1, }]', "a.json:2: not JSON (column 4): Expecting property name enclosed in double quotes"),
        (b"[1, 2", "a.json:1: the list has no end"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line_and_column(content: bytes, message: str, size: int) -> None:
    assert error_of(content, size).removesuffix(": mend the file") == message


def test_a_flaw_within_an_element_is_that_rows_alone() -> None:
    content = b'[{"a": 1},\n{"a": 1, "a": 2}, {"b": "\\ud83d"},\n{"a": "\xe9"}, {"a": 5}]'
    _, twice, half, bytes_, last = read(content)
    assert [str(error).split(": drop")[0] for error in (twice, half)] == [
        "a.json:2: a: duplicate key",
        r"a.json: row 3: b: lone surrogate \ud83d (half a character)",
    ]
    assert str(bytes_) == "a.json:3: not UTF-8 (column 8): byte 0xe9: save the file as UTF-8"
    assert last == {"a": 5}


def test_an_element_that_is_too_large_is_skipped_without_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "ROW_LIMIT", 100)
    long = b'{"a": ["' + b'\\"]},' * 60 + b'"]}'
    scan = lists._Scan("a.json")
    held = 0
    for block in cut(b"[" + long + b', {"a": 2}]', 7):
        for _ in scan.elements(block):
            pass
        held = max(held, sum(map(len, scan.held.pieces)))
    assert held <= 100
    first, second = read(b"[" + long + b', {"a": 2}]', 7)
    assert isinstance(first, RecordError) and first.finding == "too_large"
    assert second == {"a": 2}


def stream(count: int, between: bytes) -> Iterator[bytes]:
    """Blocks of a kilobyte or so: rows without end as far as the reader can tell."""
    row = json.dumps({"prompt": "x" * 1000}).encode()
    for number in range(count):
        yield row if not number else between + row


@pytest.mark.parametrize("kind", ["list", "lines"])
def test_memory_does_not_grow_with_the_file(kind: str) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            if kind == "list":
                found = list_rows(chain([b"["], stream(count, b","), [b"]"]), "a.json")
            else:
                found = lines.line_rows(stream(count, b"\n"), "a.jsonl")
            assert sum(1 for _ in found) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(3000) < peak(300) + 20_000
