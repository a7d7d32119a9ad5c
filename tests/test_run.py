"""The run folder keeps what it is given and refuses what is not its own; a person sees where the run is."""

import io
import json
import math
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from accord.errors import InputError, StorageError
from accord.training import curves
from accord.training.progress import Progress
from accord.training.run import OF_ITS_START, Held, RunFolder

PNG = b"\x89PNG\r\n\x1a\n"


def lines(path: Path, name: str = "metrics.jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in (path / name).read_text().splitlines()]


def begun(path: Path, command: str = "dpo") -> str:
    """A run that was stopped after its first step; its id."""
    with RunFolder(path) as folder:
        assert folder.claim(command) is False
        folder.log(1, 0.1, {"loss": 0.7})
        return folder.id


def test_a_line_has_step_epoch_time_and_metrics(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "new" / "run") as folder:
        folder.claim("dpo")
        folder.log(10, 0.5, {"loss": 0.69, "rewards/margins": math.nan}, {"loss": 0.7, "rewards/margins": math.inf})
    (line,) = lines(folder.path)
    seconds = line.pop("time")
    assert isinstance(seconds, float) and 1.7e9 < seconds < 1e10
    assert line == {
        "step": 10,
        "epoch": 0.5,
        "loss": 0.69,
        "rewards/margins": None,
        "eval_loss": 0.7,
        "eval_rewards/margins": None,
    }


def test_json_files_are_whole_and_without_nan(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("summary.json", {"loss": math.nan, "lists": [1.5, (-math.inf, "ü")]})
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"loss": None, "lists": [1.5, [None, "ü"]]} and "ü" in text
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_a_folder_of_another_run_is_refused_and_told_how_to_go_on(tmp_path: Path) -> None:
    begun(tmp_path)
    with RunFolder(tmp_path) as folder, pytest.raises(InputError, match=r"--resume .* another --output_dir") as refusal:
        folder.claim("dpo")
    assert str(refusal.value).startswith(f"{tmp_path}: holds a run of `accord dpo` started 20")
    assert refusal.value.code == 2


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for resume in (False, True):
        with RunFolder(tmp_path) as folder, pytest.raises(InputError, match="no run of Accord"):
            folder.claim("dpo", resume=resume)
    (tmp_path / "run.json").write_text("[1, 2]")
    with RunFolder(tmp_path) as folder, pytest.raises(InputError, match=r"run\.json: not Accord's"):
        folder.claim("dpo", resume=True)


def test_resuming_keeps_the_id_and_needs_the_same_command(tmp_path: Path) -> None:
    identity = begun(tmp_path)
    with RunFolder(tmp_path) as folder:
        assert folder.claim("dpo", resume=True) is True
        assert folder.id == identity
    with RunFolder(tmp_path) as folder, pytest.raises(InputError, match="`accord dpo`, which `accord sft` cannot"):
        folder.claim("sft", resume=True)


def test_resuming_where_nothing_is_begins(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        assert folder.claim("dpo", resume=True) is False
        assert json.loads((folder.path / "run.json").read_text())["id"] == folder.id


def test_a_look_makes_nothing_where_no_run_is(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    for resume in (False, True):
        with RunFolder(tmp_path / "new" / "run") as folder:
            assert folder.look("dpo", resume=resume) is None
        with RunFolder(tmp_path / "thesis") as folder, pytest.raises(InputError, match="no run of Accord"):
            folder.look("dpo", resume=resume)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["thesis", "thesis.tex"]


def test_a_look_at_a_run_holds_it_and_says_what_it_is(tmp_path: Path) -> None:
    clock = datetime(2026, 3, 1, 23, 59, 59)
    change = {"step": 3, "key": "beta", "was": 0.1, "is": 0.3, "time": 1.7e9}
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo", clock=clock)
        folder.record(changes=[change])
        folder.log(1, 0.1, {"loss": 0.7})
        identity = folder.id
    with RunFolder(tmp_path) as folder:
        assert folder.look("dpo", resume=True) == Held(identity, "dpo", clock, [change])
        with pytest.raises(StorageError, match="in use by another run"):
            RunFolder(tmp_path).look("dpo", resume=True)
    with RunFolder(tmp_path) as folder, pytest.raises(InputError, match="started 2026-03-01 23:59: add --resume"):
        folder.look("dpo")


def test_a_directory_that_cannot_be_written_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/run"):
        with RunFolder(tmp_path / place) as folder, pytest.raises(StorageError, match="Not a directory"):
            folder.look("dpo")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with RunFolder(tmp_path / "new" / "run") as folder, pytest.raises(StorageError, match="Permission denied"):
        folder.look("dpo")


def test_a_run_that_failed_before_its_first_step_is_not_in_the_way(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo")
        folder.write_text("run.yaml", "beta: 0.1\n")
        folder.write_json("data_report.json", {})
        folder.add_samples(0, [{"prompt": "Hi", "completion": "ho"}])
        folder.report(["tensorboard"])
        folder.log(0, 0.0, {}, {"loss": 0.7})
        for name in ("reference.safetensors", "diverged.json"):
            folder.write_text(name, "")
        first = folder.id
    with RunFolder(tmp_path) as folder:
        assert folder.claim("dpo") is False
        assert folder.id != first and {path.name for path in tmp_path.iterdir()} <= OF_ITS_START


def test_a_run_that_has_made_a_step_is_not_begun_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo")
        folder.log(1, 0.1, {"loss": 0.7})
    with RunFolder(tmp_path) as folder, pytest.raises(InputError, match="add --resume"):
        folder.claim("dpo")
    (tmp_path / "metrics.jsonl").write_text("damaged\n")
    with RunFolder(tmp_path) as folder, pytest.raises(InputError, match="add --resume"):
        folder.claim("dpo")
    assert (tmp_path / "metrics.jsonl").read_text() == "damaged\n"


def test_a_process_that_was_killed_while_it_wrote_its_first_file_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run.lock").touch()
    (tmp_path / ".run.json.tmp").write_text("{")
    for resume in (False, True):
        with RunFolder(tmp_path) as folder:
            assert folder.look("dpo", resume=resume) is None
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo")
        (tmp_path / ".0123456789abcdef.tmp").write_text("half of a reference")
        folder.start()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.lock"]


def test_one_process_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    program = f"""
import time
from accord.training.run import RunFolder
folder = RunFolder({str(tmp_path)!r})
folder.claim("dpo")
print("claimed", flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "claimed\n"
    with RunFolder(tmp_path) as folder, pytest.raises(StorageError, match=f"in use .*process {holder.pid} on "):
        folder.claim("dpo")
    holder.kill()
    holder.communicate()
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo", resume=True)


def test_no_line_stands_twice_after_resuming(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo")
        for step in (10, 20, 30):
            folder.log(step, 0.0, {"loss": float(step)})
            folder.add_samples(step, [{"completion": "a\u2028b"}])
            if step == 20:
                marks = folder.marks()
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write('{"step": 40, "ü'.encode()[:-1])  # killed in the middle of a character
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo", resume=True)
        folder.take_back(marks)
        folder.log(30, 0.0, {"loss": 31.0})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(10, 10.0), (20, 20.0), (30, 31.0)]
    assert (tmp_path / "samples.jsonl").read_text(encoding="utf-8").count("a\u2028b") == 2


def test_tensorboard_has_training_and_held_out_scalars_apart(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo")
        folder.log(1, 0.0, {"loss": 0.8})
        assert not (tmp_path / "tensorboard").exists()
        folder.report(["tensorboard"])
        folder.log(2, 0.0, {"loss": 0.7}, {"loss": 0.75})
        folder.log(3, 0.0, {"loss": 0.1})
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo", resume=True)
        folder.report(["tensorboard"], 2)
        folder.log(3, 0.0, {"loss": 0.6})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("train/loss")] == [(2, 0.7), (3, 0.6)]
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("eval/loss")] == [(2, 0.75)]


def test_curves_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.claim("dpo")
        folder.log(1, 0.0, {"logps/chosen": -3.0})
        folder.draw_curves("dpo")
        assert not (tmp_path / "curves.png").exists()
        held_out = {"rewards/accuracies": 0.6, "rewards/accuracies_low": 0.5, "rewards/accuracies_high": 0.7}
        folder.log(2, 0.0, {"loss": 0.7, "grad_norm": math.nan}, held_out)
        folder.draw_curves("dpo")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    assert not list(tmp_path.glob(".*"))


def test_a_panel_has_both_lines_and_the_interval() -> None:
    from matplotlib.figure import Figure

    axes: Any = Figure().subplots()
    held_out = {"eval_loss": 5.0, "eval_loss_low": 4.0, "eval_loss_high": 6.0}
    curves._draw_panel(
        axes, curves.Panel("loss", "loss"), [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, **held_out}]
    )
    train, evaluated = axes.get_lines()
    assert train.get_xydata().tolist() == [[1.0, 3.0], [2.0, 2.0]]
    assert evaluated.get_xydata().tolist() == [[2.0, 5.0]]
    assert axes.collections[0].get_segments()[0].tolist() == [[2.0, 4.0], [2.0, 6.0]]


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with RunFolder(tmp_path / "file") as folder, pytest.raises(StorageError, match="cannot be written"):
        folder.claim("dpo")


class Clock:
    """Stands still until it is moved (seconds)."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_and_time_left_come_from_the_last_steps() -> None:
    clock, screen = Clock(), io.StringIO()
    progress = Progress("dpo", 200, start=100, console=Console(file=screen, width=120), clock=clock)
    for step in range(101, 161):
        # The first steps are slow; the last 50 take 2 seconds, 8 groups and 1,000 tokens each.
        clock.now += 30.0 if step <= 110 else 2.0
        progress.advance(step, step / 400, 0.5 if step == 101 else None, groups=8, tokens=1000)
    assert progress.rates() == (4.0, 500.0)
    progress.log()
    assert screen.getvalue() == "dpo step 160/200  epoch 0.40  loss 0.5000  4.0 groups/s  500 tok/s  1:20 left\n"


def test_what_is_shown_takes_the_place_of_the_loss() -> None:
    screen = io.StringIO()
    progress = Progress("ppo", 4, console=Console(file=screen, width=120))
    progress.advance(1, None, 0.5, 1, 10, "score 0.843  KL 4.61")
    progress.log()
    assert screen.getvalue().startswith("ppo step 1/4  score 0.843  KL 4.61  ")
    assert "loss" not in screen.getvalue()


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    with Progress("dpo", 2, console=Console(file=screen, force_terminal=True, width=120)) as progress:
        progress.advance(1, 0.5, 0.7, 1, 10)
        progress.log()
        progress.advance(2, 1.0, 0.6, 1, 10)
        progress.print("saved [here]")
    assert "━" in screen.getvalue() and "2/2" in screen.getvalue() and "saved [here]" in screen.getvalue()
    assert "dpo step" not in screen.getvalue()


def test_ci_has_lines_even_where_it_says_it_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    screen = io.StringIO()
    with Progress("dpo", 2, console=Console(file=screen, force_terminal=True, width=120)) as progress:
        progress.advance(1, 0.5, 0.7, 1, 10)
        progress.log()
    assert screen.getvalue().startswith("dpo step 1/2  epoch 0.50  loss 0.7000")


def test_the_module_is_light() -> None:
    program = (
        "import sys, accord.training.run, accord.training.progress; print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
