"""Faults around resuming, each through the command line: what is said, the exit code, and what the run ends with."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killed_runs import Home, assert_same, files, furnish, killed_at, lines, stop_at, weights, words

import accord
from accord.cli import main
from accord.stages import conditions
from accord.training import checkpoint

EDGE = 4  # steps of an epoch


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return furnish(tmp_path_factory.mktemp("faults"))


def options_in(home: Home, place: str, **more: object) -> dict[str, Any]:
    """Two epochs with dropout, saved after every second step."""
    options = {**home.options("dropout", "unused"), "num_train_epochs": 2, "save_steps": 2, "logging_steps": 1, **more}
    return {**{key: value for key, value in options.items() if key != "max_steps"}, "output_dir": home.path / place}


@pytest.fixture(scope="module")
def whole(home: Home) -> Path:
    """A run that was left alone."""
    options = options_in(home, "whole")
    assert main(words("sft", options)) == 0
    return Path(options["output_dir"])


# ---- FAULTS.md, test 31 ----------------------------------------------------------------------------------------------

EDGES = [f"{kind} {step}" for step in (EDGE, 2 * EDGE) for kind in ("step", "saving", "saved")]


@pytest.fixture(scope="module")
def edges(home: Home) -> Home:
    """Killed just before the save at an epoch's end and at the last step, within it, and just after."""
    killed_at([(where, words("sft", options_in(home, where.replace(" ", "-")))) for where in EDGES])
    return home


@pytest.mark.parametrize("where", EDGES)
def test_31_killed_at_an_epochs_edge_no_epoch_is_skipped_and_no_step_added(
    edges: Home, whole: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = options_in(edges, where.replace(" ", "-"))
    assert main(words("sft", {**options, "resume": True})) == 0
    kind, step = where.split()
    assert f"resuming after step {int(step) - 2 * (kind != 'saved')} " in capsys.readouterr().err
    logged = lines(options["output_dir"] / "metrics.jsonl")
    assert [(line["step"], line["epoch"]) for line in logged] == [(n, n / EDGE) for n in range(1, 2 * EDGE + 1)]
    assert_same(whole, options["output_dir"])


# ---- 34 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(home: Home, tmp_path: Path) -> dict[str, Any]:
    """The options of a run that a fault stopped in step 5, with checkpoints after 2 and 4; `resume` is on."""
    kept = home.path / "stopped"
    if not kept.exists():
        stop_at(5, lambda: accord.sft(**options_in(home, "stopped")))
    shutil.copytree(kept, tmp_path / "run")
    return {**options_in(home, "unused"), "output_dir": tmp_path / "run", "resume": True}


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


DAMAGE: dict[str, Callable[[Path], None]] = {"flipped": flip, "zeroed": zero, "missing": Path.unlink}


DAMAGED = [
    ("weights.safetensors", "flipped"),
    ("weights.safetensors", "zeroed"),
    ("optimizer.safetensors", "flipped"),
    ("optimizer.safetensors", "missing"),
    ("state.json", "missing"),
]


@pytest.mark.parametrize("file, how", DAMAGED)
def test_34_a_damaged_checkpoint_is_said_and_the_one_before_taken(
    stopped: dict[str, Any], whole: Path, file: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """state.json has what schedule and randomness need: the step, and nothing else of them is kept anywhere."""
    DAMAGE[how](stopped["output_dir"] / "checkpoints" / "step-00000004" / file)
    assert main(words("sft", stopped)) == 0
    said = capsys.readouterr().err
    assert "warning: step-00000004 is damaged" in said and file in said
    assert "resuming after step 2 " in said
    assert weights(stopped["output_dir"]) == weights(whole)


def test_34_where_no_checkpoint_is_whole_it_ends_with_6(
    stopped: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    flip(stopped["output_dir"] / "checkpoints" / "step-00000004" / "weights.safetensors")
    zero(stopped["output_dir"] / "checkpoints" / "step-00000002" / "optimizer.safetensors")
    before = files(stopped["output_dir"])
    assert main(words("sft", stopped)) == 6
    assert capsys.readouterr().err.splitlines()[-1].startswith("error[6] ")
    assert files(stopped["output_dir"]) == before


# ---- 35 --------------------------------------------------------------------------------------------------------------


def changed(options: dict[str, Any], what: str, place: Path) -> dict[str, Any]:
    """The same run with other data, seed or learning rate."""
    if what != "data":
        return {**options, what: {"seed": 4, "learning_rate": 1e-3}[what]}
    other = place / "other.jsonl"
    other.write_text("".join(reversed(Path(options["data"]).read_text().splitlines(keepends=True))))
    return {**options, "data": other}


DIFFERENCE = {
    "data": "data was {was}, is {now}",
    "seed": "seed was 3, is 4",
    "learning_rate": "learning_rate was 0.003, is 0.001",
}


@pytest.mark.parametrize("what", DIFFERENCE)
def test_35_a_changed_run_is_refused_with_the_difference_or_allowed_and_recorded(
    stopped: dict[str, Any], tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options, before = changed(stopped, what, tmp_path), files(stopped["output_dir"])
    assert main(words("sft", options)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error[2] ") and f"--allow_change {what}" in line
    assert DIFFERENCE[what].format(was=stopped["data"], now=options["data"]) in line
    assert files(stopped["output_dir"]) == before
    assert main(words("sft", {**options, "allow_change": what})) == 0
    recorded = json.loads((stopped["output_dir"] / "run.json").read_text())["changes"]
    assert {(entry["step"], entry["key"]) for entry in recorded} == {(4, what)}


def test_35_another_number_of_processes_is_refused(
    stopped: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conditions, "WORLD", 2)
    assert main(words("sft", stopped)) == 2
    assert "world was 1, is 2" in capsys.readouterr().err.splitlines()[-1]


# ---- 36, 37 ----------------------------------------------------------------------------------------------------------


def test_36_the_folder_of_another_run_is_refused(
    stopped: dict[str, Any], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint of another run's, of a later step, lies where the newest is looked for: it is not taken."""
    before = files(stopped["output_dir"])
    assert main(words("sft", {key: value for key, value in stopped.items() if key != "resume"})) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "holds a run of `accord sft`" in line and "add --resume to continue it" in line
    assert files(stopped["output_dir"]) == before
    stale = checkpoint.newest(whole / "checkpoints").checkpoint
    assert stale is not None and stale.step == 2 * EDGE
    shutil.copytree(stale.path, stopped["output_dir"] / "checkpoints" / stale.path.name)
    assert main(words("sft", stopped)) == 2
    assert "is of another run" in capsys.readouterr().err.splitlines()[-1]


HOLDER = """
import sys, time
from accord.training.run import RunFolder
folder = RunFolder(sys.argv[1])
folder.look("sft", resume=True)
print("held", flush=True)
time.sleep(60)
"""


def test_37_a_second_process_is_told_who_has_the_folder(
    stopped: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", HOLDER, str(stopped["output_dir"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        before = files(stopped["output_dir"])
        assert main(words("sft", {**stopped, "data": "missing.jsonl"})) == 4  # told before anything is read
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("error[4] ") and f"process {holder.pid} on " in line and ", boot " in line
        assert files(stopped["output_dir"]) == before
        holder.kill()
    assert main(words("sft", stopped)) == 0
