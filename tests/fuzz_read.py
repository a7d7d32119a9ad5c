"""The reader against what nobody meant to write: `make fuzz`, for a minute, or `make fuzz SECONDS=3600`.

Files of every kind and format, damaged in their bytes, and rows damaged in their values. Whatever comes, the reader
gives sound groups or an InputError; it never stops with anything else, hangs, or fills the memory.
"""

import copy
import csv
import gzip
import io
import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from format_examples import EXAMPLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.data.lines import Raw, line_rows
from accord.data.lists import list_rows
from accord.data.read import read_groups
from accord.data.report import DataReport
from accord.errors import InputError
from accord.records import ROLES, Group, Message

SLOW = 5.0  # seconds for one small file
GROWTH = 600  # MB of memory over the whole time
TABLES = [list(example.rows) for example in EXAMPLES.values()]


def as_csv(table: list[dict[str, Any]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, dict.fromkeys(key for row in table for key in row))
    writer.writeheader()
    for row in table:
        writer.writerow({key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()})
    return file.getvalue().encode("utf-8", "surrogatepass")


def as_parquet(table: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    try:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), file)
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError):  # columns of several types, half characters
        texts = [{key: json.dumps(value) for key, value in row.items()} for row in table]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(texts), file)
    return file.getvalue()


def as_lines(table: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in table)


def as_list(table: list[Any]) -> bytes:
    return json.dumps(table, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")


def zstandard(content: bytes) -> bytes:
    packed: bytes = pyarrow.Codec("zstd").compress(content, asbytes=True)
    return packed


WRITERS: dict[str, Callable[[list[Any]], bytes]] = {
    ".jsonl": as_lines, ".json": as_list, ".csv": as_csv, ".parquet": as_parquet,
}  # fmt: skip
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": lambda content: gzip.compress(content, 1), ".zst": zstandard,
}  # fmt: skip

ODD_BYTES = st.sampled_from(
    [b"", b'"', b"\\", b"\n", b"\r", b"\x00", b"[", b"]" * 9, b"{" * 200, b",", b":", b"\xff", b"\xed\xa0\x80",
     b"\\ud83d", b"\xef\xbb\xbf", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"null", b'"prompt"', b'""',
     b"\xe2\x80\xa8", b"<|im_end|>"]
)  # fmt: skip
ODD_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from('\x00\r\n\u2028\ud83d"[{,'), max_size=8)
ODD_LEAVES = [None, True, 0, -1, 10**400, 1e308, math.nan, -math.inf, "", " ", "[]", "[{", '{"role": 1}', *ROLES]
ODD_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(ODD_LEAVES) | ODD_TEXT | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT | st.sampled_from(ROLES), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes are left out, doubled, or replaced."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 30)))
        new = draw(ODD_BYTES | st.binary(max_size=4) | st.just(content[start:end] * 2))
        content = content[:start] + new + content[end:]
    return content


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything within."""
    for key, inner in enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ():
        yield value, key
        yield from places(inner)


@st.composite
def damaged_rows(draw: st.DrawFn) -> list[Any]:
    """Rows of a format, in which some values are odd ones or gone, and some columns are those of another format."""
    table = copy.deepcopy(draw(st.sampled_from(TABLES)))
    for _ in range(draw(st.integers(0, 4))):
        container, key = draw(st.sampled_from(list(places(table))))
        if draw(st.booleans()):
            container[key] = copy.deepcopy(draw(ODD_VALUES))
        elif isinstance(container, dict) and draw(st.booleans()):
            container.update(copy.deepcopy(draw(st.sampled_from(draw(st.sampled_from(TABLES))))))
        elif isinstance(container, dict) or len(container) > 1:
            del container[key]
            if not table:
                break
    return table


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """(ending, content) of a file that may be damaged in its rows, in its bytes, and once more when it is packed."""
    ending, packed = draw(st.sampled_from(list(WRITERS))), draw(st.sampled_from(list(PACKERS)))
    rows = draw(damaged_rows())
    whole = all(isinstance(row, dict) for row in rows)
    kind = ending if whole else ".jsonl"
    content = draw(damaged_bytes(WRITERS[kind](rows)))
    if ending == ".parquet":
        return ending, content
    content = PACKERS[packed](content)
    return ending + packed, draw(damaged_bytes(content)) if packed and draw(st.booleans()) else content


def check_sound(group: Group) -> None:
    """What every later stage takes for granted."""
    texts = [group.prompt, *(completion.content for completion in group.completions)]
    for text in texts:
        contents = [text] if isinstance(text, str) else [turn.content for turn in text]
        assert all(isinstance(content, str) for content in contents)
        assert isinstance(text, str) or all(isinstance(turn, Message) and turn.role in ROLES for turn in text)
        "".join(contents).encode()  # no half characters
    assert group.id and math.isfinite(group.weight) and group.weight > 0
    for judgement in group.judgements:
        for values in (judgement.ranks, judgement.ratings, judgement.labels, *judgement.aspects.values()):
            assert values is None or (len(values) == len(group.completions) and all(map(math.isfinite, values)))
        for named in (judgement.classes, *judgement.flags.values()):
            assert named is None or len(named) == len(group.completions)


def read(ending: str, content: bytes, on_bad_row: str, implicit_prompt: bool) -> None:
    """Reads the file, and checks what comes."""
    report = DataReport()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a" + ending)
        path.write_bytes(content)
        began = time.monotonic()
        try:
            for group in read_groups(path, on_bad_row=on_bad_row, report=report, implicit_prompt=implicit_prompt):
                check_sound(group)
        except InputError as error:
            assert str(path) in str(error)
        assert time.monotonic() - began < SLOW
    json.dumps(report.to_json())


def anything(content: bytes, ending: str) -> None:
    read(ending, content, "drop", False)


def damaged(file: tuple[str, bytes], on_bad_row: str, implicit_prompt: bool) -> None:
    read(*file, on_bad_row, implicit_prompt)


def chunked(file: tuple[str, bytes], size: int) -> None:
    """The same rows and the same error, wherever the blocks are cut."""
    content = file[1]
    reader = list_rows if content.lstrip()[:1] == b"[" else line_rows
    cut = [content[start : start + size] for start in range(0, len(content), size)]
    assert outcome(reader(cut, "a")) == outcome(reader([content], "a"))


def outcome(raws: Iterator[Raw]) -> list[str]:
    found = []
    try:
        found += [f"{origin} {row!s}" for origin, row in raws]
    except InputError as error:
        found.append(str(error))
    return found


ENDINGS = st.sampled_from([".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.zst"])
TARGETS: dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "damaged": (damaged, (files(), st.sampled_from(["drop", "error"]), st.booleans())),
    "anything": (anything, (st.binary(max_size=200), ENDINGS)),
    "chunked": (chunked, (files(), st.integers(1, 50))),
}


def main(seconds: float) -> None:
    """Each target in turn, until the time is over. Hypothesis shows the smallest input that fails."""
    bounds = settings(
        max_examples=300, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    start, until = memory(), time.monotonic() + seconds
    counts = dict.fromkeys(TARGETS, 0)
    while time.monotonic() < until:
        for name, (target, strategies) in TARGETS.items():
            bounds(given(*strategies)(target))()
            counts[name] += bounds.max_examples
    grown = memory() - start
    assert grown < GROWTH, f"{grown} MB of memory"
    print(", ".join(f"{name} {count:,}" for name, count in counts.items()), f"without a fault; memory grew {grown} MB")


def memory() -> int:
    """MB: the most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(float(sys.argv[1]))
