"""`accord runs` says how every run stands, and what it says to type goes on with it."""

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

import accord
from accord.cli import main
from accord.errors import AccordError, Diverged, InputError, Stopped, Terminated, exit_code
from accord.stages import runs
from accord.training.ended import ending
from accord.training.lock import held_by
from accord.training.optimizer import Weights
from accord.training.run import RunFolder

ROOT = Path(__file__).resolve().parents[1]
OURS = {**os.environ, "PYTHONPATH": str(ROOT)}  # tests may run without the package being installed
BROKEN_OFF = object()  # a process that ended without a word


def begun(path: Path, *, ended: object = BROKEN_OFF, step: int = 3, total: int = 10) -> RunFolder:
    """A run of 10 steps that got to step 3, and how it ended; its lock is free, if it has ended."""
    folder = RunFolder(path)
    folder.claim("dpo")
    folder.start()
    folder.record(total=total)
    folder.write_text("run.yaml", f"model: m\noutput_dir: {json.dumps(str(path))}\n")
    folder.log(step, 0.3, {"loss": 0.5}, {"loss": 0.6})
    if ended is not BROKEN_OFF:
        assert ended is None or isinstance(ended, BaseException)
        folder.end(ended)
    folder.close()
    return folder


def row(path: Path) -> dict[str, Any]:
    (found,) = accord.runs(directory=path)
    return found


ENDS: list[tuple[str, object, tuple[object, ...]]] = [
    ("finished", None, ("finished", 0, None)),
    ("stopped", Stopped(signal.SIGTERM, "stopped by SIGTERM", where="r"), ("stopped", 143, "stopped by SIGTERM")),
    ("interrupted", KeyboardInterrupt(), ("stopped", 130, None)),
    ("terminated", Terminated(), ("stopped", 143, None)),
    ("diverged", Diverged("the loss is nan", where="step 3"), ("failed", 3, "step 3: the loss is nan")),
    ("unforeseen", ZeroDivisionError("by zero"), ("failed", 1, "ZeroDivisionError: by zero")),
]


@pytest.mark.parametrize(("error", "expected"), [pytest.param(*rest, id=name) for name, *rest in ENDS])
def test_run_json_says_how_the_process_ended(
    tmp_path: Path, error: BaseException | None, expected: tuple[object, ...]
) -> None:
    before = time.time()
    begun(tmp_path / "run", ended=error)
    ended = json.loads((tmp_path / "run" / "run.json").read_text())["ended"]
    assert (ended["state"], ended["code"], ended["error"]) == expected
    assert ended["step"] == 3 and before <= ended["time"] <= time.time()
    found = row(tmp_path)
    assert (found["state"], found["code"], found["why"]) == expected
    assert (found["step"], found["total"], found["loss"], found["eval_loss"]) == (3, 10, 0.5, 0.6)


def test_the_exit_code_of_every_error_is_recorded() -> None:
    for kind in AccordError.__subclasses__():
        error = Stopped(2, "x") if kind is Stopped else kind("x")
        assert ending(error, 0)["code"] == exit_code(error) == error.code


def test_a_killed_run_left_no_end_and_its_process_is_named(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    found = row(tmp_path)
    assert found["state"] == "killed" and f"process {os.getpid()}" in found["why"]


def test_what_an_earlier_process_left_is_not_said_of_the_next(tmp_path: Path) -> None:
    """Resumed, then killed: the record that it was stopped is gone."""
    begun(tmp_path / "run", ended=KeyboardInterrupt())
    with RunFolder(tmp_path / "run") as folder:
        assert folder.claim("dpo", resume=True)
        assert row(tmp_path)["state"] == "running"
        folder.start()
    assert row(tmp_path)["state"] == "killed"


def test_paths_are_those_of_where_the_last_process_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    begun(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "other")
    with RunFolder("../run") as folder:
        assert folder.claim("dpo", resume=True)
        folder.start()
        folder.write_text("run.yaml", "output_dir: ../run\n")
    assert row(Path("..")) == row(tmp_path) | {
        "run": "../run",
        "resume": "accord dpo --config ../run/run.yaml --resume",
    }
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "run" / "run.yaml"
    assert row(Path())["resume"] == f"cd {tmp_path}/other && accord dpo --config {config} --resume"


def test_a_refused_attempt_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    begun(tmp_path / "run", ended=KeyboardInterrupt())
    with pytest.raises(InputError), RunFolder(tmp_path / "run") as folder:
        folder.claim("sft", resume=True)
    folder.end(ValueError("not started"))
    assert row(tmp_path)["state"] == "stopped"


def test_a_record_that_cannot_be_written_hides_no_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim("dpo")
    folder.start()
    shutil.rmtree(tmp_path / "run")
    folder.end(ValueError("the error"))
    folder.close()


def test_a_run_that_goes_on_is_running_and_looking_does_not_disturb_it(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.claim("dpo")
        assert held_by(tmp_path / "run") == (tmp_path / "run" / "run.lock").read_text().strip()
        found = row(tmp_path)
        assert found["state"] == "running" and str(os.getpid()) in found["why"] and found["resume"] is None
    assert held_by(tmp_path / "run") is None
    again = RunFolder(tmp_path / "run")
    again.claim("dpo")
    again.close()


DAMAGES = {"no JSON": b"{", "a list": b"[]", "empty": b"", "no text": b"\xff\xfe\x00", "another's": b'{"command": "x"}'}


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_json_is_a_row(tmp_path: Path, content: bytes) -> None:
    begun(tmp_path / "other", ended=None)
    begun(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_bytes(content)
    damaged, whole = accord.runs(directory=tmp_path)
    assert (damaged["state"], whole["state"]) == ("damaged", "finished") and "run.json" in damaged["why"]


ODD = {"started": "yesterday", "total": [], "ended": 3, "directory": 7}


@pytest.mark.parametrize("key", ODD)
def test_odd_values_in_run_json_are_no_crash(tmp_path: Path, key: str, capsys: Any) -> None:
    begun(tmp_path / "run", ended=KeyboardInterrupt()).record(**{key: ODD[key]})
    assert main(["runs", str(tmp_path)]) == 0
    assert "dpo" in capsys.readouterr().out


def test_runs_are_found_below_but_not_behind_links_nor_in_hidden_or_too_deep_places(tmp_path: Path) -> None:
    for place in ("a", "b/c", ".hidden", "1/2/3/4/5", "1/2/3/4/5/6", "a/checkpoints/x"):
        begun(tmp_path / "in" / place)
    begun(tmp_path / "out")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    found = {os.path.relpath(one["run"], tmp_path / "in") for one in accord.runs(directory=tmp_path / "in")}
    assert found == {"a", "b/c", "1/2/3/4/5"}
    assert [one["run"] for one in accord.runs(directory=tmp_path / "in" / "a")] == [str(tmp_path / "in" / "a")]


def test_where_no_run_is_the_exit_code_is_2(tmp_path: Path, capsys: Any) -> None:
    assert main(["runs", str(tmp_path)]) == 2
    assert main(["runs", str(tmp_path / "none")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["no run here or below", "no such directory"]


def test_the_table_and_json(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begun(tmp_path / "one", ended=Diverged("the loss is nan", where="step 3"))
    begun(tmp_path / "two", ended=None, step=10)
    assert main(["runs", "--json", "rows.json"]) == 0
    out = capsys.readouterr().out
    table = [line.split() for line in out.splitlines()]
    assert ["one", "dpo", "failed", "(3)", "3/10", "0.5000", "0.6000"] in [words[:7] for words in table]
    assert ["two", "dpo", "finished", "10/10", "0.5000", "0.6000"] in [words[:6] for words in table]
    assert "one: failed: step 3: the loss is nan" in out and "--allow_change" in out
    assert "  accord dpo --config one/run.yaml --resume\n" in out
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [one["run"] for one in rows] == ["one", "two"] and rows[0]["resume"].startswith("accord dpo")
    sizes = [sum(file.stat().st_size for file in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert [one["bytes"] for one in rows] == sizes
    assert main(["runs", "--json", "-"]) == 0
    assert [one["state"] for one in json.loads(capsys.readouterr().out)] == ["failed", "finished"]


def test_a_pipe_gets_a_run_a_line_and_a_terminal_no_short_word_in_two(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "sweep/lr=1e-05,beta=0.3,loss_type=sigmoid"
    begun(tmp_path / long, ended=Stopped(signal.SIGTERM, "stopped", where="", fix=""))
    assert main(["runs"]) == 0
    assert any(line.split()[:4] == [long, "dpo", "stopped", "(143)"] for line in capsys.readouterr().out.splitlines())
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["runs"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if " dpo " in line and not line.startswith("  ")]
    assert len(table) == 1 and len(table[0]) <= 80
    assert table[0].split()[1:5] == ["dpo", "stopped", "(143)", "3/10"]


LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=12)


@given(LINES, st.binary(max_size=5).map(lambda rest: rest.replace(b"\n", b"")), st.integers(1, 40))
def test_lines_are_read_backwards_without_the_half_one(lines: list[bytes], rest: bytes, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "BLOCK", block)
        path = Path(os.environ["ACCORD_CACHE"], "backwards")
        path.write_bytes(b"".join(line + b"\n" for line in lines) + rest)
        assert list(runs._backwards(path)) == lines[::-1]


def test_the_last_figures_are_those_last_logged(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", step=1)
    folder.log(2, 0.2, {"loss": math.nan, "rewards/margins": 0.1})
    folder.log(3, 0.3, {}, {"loss": 0.7})
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"loss": damaged}\n{"step": 9, "loss": 0.1')
    found = row(tmp_path)
    assert (found["step"], found["loss"], found["eval_loss"]) == (3, None, 0.7)


def test_no_torch_is_needed(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    code = "import sys; from accord.cli import main; assert main(['runs']) == 0; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=OURS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_a_run_of_python_objects_is_continued_from_python(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.write_text("run.yaml", "model: <object>\ndata: x.jsonl\noutput_dir: run\n")
    found = row(tmp_path)
    assert found["resume"] is None and "objects (model): call accord.dpo with the same" in found["note"]


def test_paths_of_a_directory_that_is_gone_are_said(tmp_path: Path) -> None:
    begun(tmp_path / "run").record(directory=str(tmp_path / "gone"))
    found = row(tmp_path)
    assert found["resume"] is None and str(tmp_path / "gone") in found["note"]


def typed(line: str) -> str:
    """What a shell prints on standard error."""
    shell = f'accord() {{ "{sys.executable}" -m accord "$@"; }}; {line}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=OURS)
    assert done.returncode == 0, done.stderr
    return done.stderr


def called(line: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """The same without a shell and a new process, which take longer."""
    words = shlex.split(line)
    if words[0] == "cd":
        monkeypatch.chdir(words[1])
        words = words[3:]
    assert words[0] == "accord" and main(words[1:]) == 0
    return str(capsys.readouterr().err)


@pytest.mark.parametrize("where", ["there", "elsewhere", "moved"])
def test_what_is_printed_goes_on_with_the_run(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Names with blanks and quotes; paths are relative to where the run began."""
    home, other = tmp_path / "it's here", tmp_path / "other place"
    home.mkdir()
    other.mkdir()
    tiny.write_model(home / "model")
    (home / "data.jsonl").write_text("".join(json.dumps(one) + "\n" for one in tiny.comparisons(8)))
    monkeypatch.chdir(home)
    options = {"model": "model", "data": "data.jsonl", "output_dir": "runs/a run", "report_to": "none", "samples": 0}
    step = Weights.step

    def failing(self: Weights, lr: float) -> None:
        if (home / "runs/a run/checkpoints/step-00000002").exists():
            raise MemoryError("no more")
        step(self, lr)

    with monkeypatch.context() as patch:
        patch.setattr(Weights, "step", failing)
        with pytest.raises(MemoryError):
            accord.sft(**options, batch_size=2, max_steps=4, save_steps=2)
    folder = home / "runs" / "a run"
    if where != "there":
        monkeypatch.chdir(other)
    if where == "moved":
        folder = folder.rename(other / "runs $HOME")
    found = row(Path() if where == "there" else folder)
    assert (found["state"], found["step"], found["total"]) == ("failed", 2, 4)
    assert found["why"] == "MemoryError: no more"
    said = typed(found["resume"]) if where == "moved" else called(found["resume"], monkeypatch, capsys)
    assert "resuming after step 2" in said
    found = row(folder)
    assert (found["state"], found["step"]) == ("finished", 4) and (folder / "model.safetensors").exists()
