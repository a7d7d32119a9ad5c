"""Data that is wrong, through the command line: exit code 2, the row and its true cause in a line, nothing written."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pytest
import tiny

from accord.cli import main

ROOT = Path(__file__).resolve().parents[1]
GOOD: dict[str, Any] = {"prompt": "the cat", "chosen": " is here", "rejected": " is not here"}
DROP = ": drop the row, or run with --on_bad_row drop"
Line = str | bytes | dict[str, Any]


class Ended(NamedTuple):
    """How a command ended: its exit code, and what it said last, without the folder's name."""

    code: int
    lines: list[str]

    @property
    def last(self) -> str:
        return self.lines[-1]


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("home") / "model")


@pytest.fixture
def run(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """run("dpo", data, max_length=20): how that command ended. What fails leaves nothing behind."""

    def run(command: str, data: Path, **options: object) -> Ended:
        out = tmp_path / "out"
        usual = {"model": model, "data": data, "output_dir": out, "samples": 0, "report_to": "none", "max_steps": 1}
        words = [f"--{name}={value}" for name, value in {**usual, **options}.items()]
        code = main([command, *words])
        assert code == 0 or not out.exists()
        said = capsys.readouterr().err.replace(f"{tmp_path}/", "")
        return Ended(code, said.splitlines())

    return run


def prefs(folder: Path, *lines: Line, name: str = "prefs.jsonl") -> Path:
    """A file of these lines. Rows become JSON; text and bytes stand as they are."""
    packed = [json.dumps(line).encode() if isinstance(line, dict) else line for line in lines]
    content = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in packed)
    path = folder / name
    path.write_bytes(content)
    return path


COMMANDS = pytest.mark.parametrize("command", ["sft", "dpo"])


@COMMANDS
def test_1_broken_line(run: Run, tmp_path: Path, command: str) -> None:
    """d_broken_line: line 6 is cut. Line and column of it come first, then the other bad lines, up to ten."""
    row = json.dumps({**GOOD, "prompt": "the cat sat o"})
    cut = row[: row.index('"rejected"') + len('"rejected"')]
    assert len(cut) == 60
    ended = run(command, prefs(tmp_path, *[row] * 5, cut, row, *[cut] * 11))
    message = "not JSON (column 61): Expecting ':' delimiter" + DROP
    assert ended.code == 2
    assert ended.last == f"error[2] prefs.jsonl:6: {message}"
    assert ended.lines[-11:-2] == [f"prefs.jsonl:{line}: {message}" for line in range(8, 17)]
    assert ended.lines[-2] == "reading stopped at bad row 10; accord check names every one"


@COMMANDS
def test_2_bytes_that_are_not_utf8(run: Run, tmp_path: Path, command: str) -> None:
    """d_utf8."""
    ended = run(command, prefs(tmp_path, GOOD, json.dumps(GOOD).encode().replace(b"is here", b"caf\xe9")))
    message = "prefs.jsonl:2: not UTF-8 (column 38): byte 0xe9: save the file as UTF-8"
    assert (ended.code, ended.last) == (2, f"error[2] {message}")


@COMMANDS
def test_3_half_a_character(run: Run, tmp_path: Path, command: str) -> None:
    """d_surrogate."""
    ended = run(command, prefs(tmp_path, GOOD, json.dumps(GOOD).replace("is here", r"\ud83d")))
    assert ended.code == 2
    assert ended.last == r"error[2] prefs.jsonl:2: chosen: lone surrogate \ud83d (half a character)" + DROP


@COMMANDS
def test_4_a_key_twice(run: Run, tmp_path: Path, command: str) -> None:
    """d_dupkey."""
    ended = run(command, prefs(tmp_path, GOOD, json.dumps(GOOD)[:-1] + ', "chosen": "other"}'))
    assert (ended.code, ended.last) == (2, "error[2] prefs.jsonl:2: chosen: duplicate key" + DROP)


@COMMANDS
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "chosen: expected text, got null"),
        (7, "chosen: expected text, got a number"),
        (["a"], "chosen[0]: expected a message (an object with role and content), got text"),
    ],
)
def test_5_a_field_of_another_type(run: Run, tmp_path: Path, command: str, value: object, what: str) -> None:
    """d_null_field, d_int_field, d_list_field."""
    ended = run(command, prefs(tmp_path, *[GOOD] * 3, {**GOOD, "chosen": value}))
    assert (ended.code, ended.last) == (2, f"error[2] prefs.jsonl:4: {what}{DROP}")


@COMMANDS
def test_6_a_column_that_is_missing(run: Run, tmp_path: Path, command: str) -> None:
    """d_missing_column: the column that was probably meant is named."""
    ended = run(command, prefs(tmp_path, {"prompt": "a", "Chosen": "b", "rejected": "c"}))
    assert ended.code == 2
    assert ended.last.startswith("error[2] prefs.jsonl:1: chosen: missing")
    assert "'Chosen'" in ended.last


@COMMANDS
def test_7_no_rows_or_none_that_is_left(run: Run, tmp_path: Path, command: str) -> None:
    """d_empty_file, d_zero_rows_after_filter: counts per reason."""
    assert run(command, prefs(tmp_path)) == (2, ["error[2] prefs.jsonl: no rows"])
    bad = prefs(tmp_path, "{", {**GOOD, "chosen": None}, {**GOOD, "chosen": 1}, "{,")
    ended = run(command, bad, on_bad_row="drop")
    assert ended.code == 2
    assert (
        "no usable row: 4 read, 0 kept, 4 dropped (not JSON: 2 (lines 1, 4), chosen: expected text, got null: 1 ("
        in ended.last
    )


@pytest.mark.parametrize("command", ["dpo"])
def test_15_numbers_that_are_not_finite(run: Run, tmp_path: Path, command: str) -> None:
    """d_nan_margin, d_inf_reward."""
    ended = run(command, prefs(tmp_path, GOOD, {**GOOD, "margin": float("nan")}))
    assert (ended.code, ended.last) == (2, "error[2] prefs.jsonl:2: margin: nan is not a finite number" + DROP)
    rated = {"prompt": "a", "completions": ["b", "c"], "ratings": [1.0, float("inf")]}
    ended = run(command, prefs(tmp_path, {**rated, "ratings": [1, 2]}, rated))
    assert (ended.code, ended.last) == (2, "error[2] prefs.jsonl:2: ratings[1]: inf is not a finite number" + DROP)


MEASURE = """
import sys
from pathlib import Path
from accord.cli import main

def peak():
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

model, out, small, *files = sys.argv[1:]
for number, data in enumerate([small, *files]):
    before = peak()
    code = main(["dpo", "--model", model, "--output_dir", out, "--data", data])
    print(code, peak() - before if number else 0, flush=True)
"""


def test_16_a_row_of_50_mb(model: Path, tmp_path: Path) -> None:
    """d_huge_row: refused by its size, with less than 100 MB of memory, also where it is packed."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc to measure memory by")
    row = json.dumps({**GOOD, "chosen": "x" * 50 * 2**20}).encode()
    content = b"\n".join([json.dumps(GOOD).encode(), row, b""])
    small = prefs(tmp_path, "{")
    packed = {"": content, ".gz": gzip.compress(content, 1), ".zst": pyarrow.compress(content, "zstd", asbytes=True)}
    for ending, data in packed.items():
        (tmp_path / f"huge.jsonl{ending}").write_bytes(data)
    words = [model, tmp_path / "out", small, *(tmp_path / f"huge.jsonl{ending}" for ending in packed)]
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [[int(word) for word in line.split()] for line in ended.stdout.splitlines()]
    assert [code for code, _ in found] == [2] * 4
    assert max(grown for _, grown in found) < 100
    refused = [line.split("huge.jsonl")[1] for line in ended.stderr.splitlines() if "huge.jsonl" in line]
    assert refused == [f"{ending}:2: a row of more than 32 MB{DROP}" for ending in packed]
    assert not (tmp_path / "out").exists()


def findings(folder: Path) -> dict[str, Any]:
    """What the data report of a finished run says of the data that were trained on."""
    report: dict[str, Any] = json.loads((folder / "out" / "data_report.json").read_text().replace(f"{folder}/", ""))
    return report["train"]


@COMMANDS
def test_8_an_empty_completion(run: Run, tmp_path: Path, command: str) -> None:
    """d_empty_completion: exit 2 with its line and field; dropped and counted where that is asked."""
    data = prefs(tmp_path, GOOD, {**GOOD, "prompt": "a", "chosen": " \n"}, {**GOOD, "prompt": "b"})
    ended = run(command, data)
    assert (ended.code, ended.last) == (2, "error[2] prefs.jsonl:2: chosen: empty text" + DROP)
    assert run(command, data, on_bad_row="drop").code == 0
    assert findings(tmp_path)["dropped"] == {
        "chosen: empty text": [{"where": "prefs.jsonl:2", "id": "2", "why": "empty text"}]
    }


@pytest.mark.parametrize("command", ["dpo"])
def test_9_equal_sides(run: Run, tmp_path: Path, command: str) -> None:
    """d_chosen_eq_rejected: exit 2; dropped and counted where that is asked."""
    data = prefs(tmp_path, GOOD, {**GOOD, "rejected": GOOD["chosen"]})
    what = "chosen and rejected are the same text; a tie is not a preference"
    ended = run(command, data)
    assert (ended.code, ended.last) == (2, f"error[2] prefs.jsonl:2: {what}: drop the row, or rank it as a tie")
    assert run(command, data, on_bad_row="drop").code == 0
    assert findings(tmp_path)["dropped"] == {what: [{"where": "prefs.jsonl:2", "id": "2", "why": what}]}


def test_10_a_contradiction(run: Run, tmp_path: Path) -> None:
    """d_contradiction: A > B and B > A are said with both ids, on the terminal and in the data report."""
    other = {"id": "second", "prompt": "the cat", "chosen": GOOD["rejected"], "rejected": GOOD["chosen"]}
    ended = run("dpo", prefs(tmp_path, {"id": "first", **GOOD}, {**GOOD, "prompt": "a dog"}, other))
    says = "prefs.jsonl:3: chosen wins against rejected here (id second), and loses in prefs.jsonl:1 (id first)"
    assert ended.code == 0
    assert [says in line for line in ended.lines].count(True) == 1
    assert findings(tmp_path)["findings"] == {"contradiction": {"count": 1, "first": [says]}}


def test_11_a_prompt_that_is_too_long(run: Run, tmp_path: Path) -> None:
    """d_prompt_too_long: one of 16 is dropped, counted and named; all 16 are an error."""
    rows = [{**GOOD, "prompt": tiny.sentence(number, 4)} for number in range(16)]
    rows[3]["prompt"] = tiny.sentence(3, 60)
    ended = run("dpo", prefs(tmp_path, *rows), max_length=40, max_dropped=0.1)
    assert ended.code == 0
    assert ended.lines[0] == "data: 16 read, 15 kept, 1 dropped (longer than max_length: 1 (line 4))"
    (dropped,) = findings(tmp_path)["dropped"]["longer than max_length"]
    assert dropped["where"] == "prefs.jsonl:4"
    assert dropped["why"].startswith("prompt ") and dropped["why"].endswith(" tokens > max_length 40")


def test_11_all_prompts_are_too_long(run: Run, tmp_path: Path) -> None:
    rows = [{**GOOD, "prompt": tiny.sentence(number, 60)} for number in range(16)]
    ended = run("dpo", prefs(tmp_path, *rows), max_length=40)
    assert ended.code == 2
    assert ended.last.startswith("error[2] 0 of 16 rows fit max_length=40 (shortest ")


@pytest.mark.parametrize("on_long", ["drop", "truncate_prompt"])
def test_12_a_pair_that_would_be_the_same_after_a_cut(run: Run, tmp_path: Path, on_long: str) -> None:
    """d_diff_after_cut: its two sides differ beyond max_length only. It is left out, never cut, and counted."""
    start = tiny.sentence(5, 60)
    rows = [{**GOOD, "prompt": tiny.sentence(number, 4)} for number in range(15)]
    alike = {"prompt": "the cat", "chosen": f" {start} sat", "rejected": f" {start} ran"}
    ended = run("dpo", prefs(tmp_path, *rows, alike), max_length=40, max_dropped=0.1, on_long=on_long)
    assert ended.code == 0
    (dropped,) = findings(tmp_path)["dropped"]["longer than max_length"]
    assert dropped["where"] == "prefs.jsonl:16"
    assert findings(tmp_path)["groups"] == 15


@COMMANDS
def test_17_a_prompt_on_both_sides(run: Run, tmp_path: Path, command: str) -> None:
    """d_split_leak: the same prompt in train and eval is exit 2, unless it is allowed."""
    train = prefs(tmp_path, {**GOOD, "prompt": "a"}, {**GOOD, "prompt": "b"})
    held = prefs(tmp_path, {**GOOD, "prompt": "c"}, {**GOOD, "prompt": "b", "chosen": " other"}, name="held.jsonl")
    ended = run(command, train, eval_data=held)
    assert ended.code == 2
    assert ended.last.startswith("error[2] eval_data: the prompt of held.jsonl:2 is also trained on (prefs.jsonl:2)")
    assert run(command, train, eval_data=held, allow_shared_prompts="true").code == 0
