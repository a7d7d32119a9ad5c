"""Killed at random, runs end as if they had been left alone: a few of the kills of `make soak`, and its tools."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import killing
import pytest
import torch
from alike import differences, standing
from killing import Kill
from kills import BEGIN, END, Death, Trial, place_of, shown, table

from accord.models import manifest
from accord.training import checkpoint

ROOT = Path(__file__).resolve().parents[1]


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)


# Two of sft, of dpo, of pretrain, of reward and of rl.
def test_ten_kills_of_the_soak() -> None:
    numbers = ("0", "1", "4", "5", "8", "9", "12", "13", "16", "17")
    done = python("tests/soak.py", "--seed", "0", "--workers", "1", "--only", *numbers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 unusable, 0 lost a checkpoint, 0 different" in done.stdout


FAULTY = """
import sys
sys.path.insert(0, "tests")
import soak
from accord.training.optimizer import Weights

def off_by_little(self, files, load=Weights.load_state_tensors):
    load(self, files)
    for master in self.masters.values():
        master.data.mul_(1 + 1e-6)

Weights.load_state_tensors = off_by_little
sys.exit(soak.main(["--workers", "1", "--only", "0", "1"]))
"""


def test_the_soak_finds_a_resume_that_is_not_exact() -> None:
    done = python("-c", FAULTY)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"0 unusable, 0 lost a checkpoint, [12] different", done.stdout)
    assert "  different: the model: " in done.stdout
    again = re.search(r"again: python tests/soak.py --seed 0 --only \d; left in (.*)/\d", done.stdout)
    assert again
    shutil.rmtree(again[1])


def three_files(place: Path) -> int:
    for name in ("a", "b", "c"):
        with (place / name).open("wb") as file:
            file.write(bytes(10_000))
            os.fsync(file.fileno())
    return 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def test_a_process_that_is_left_alone_names_its_events(place: Path) -> None:
    ended = killing.run(lambda: three_files(place), place, place.with_suffix(".log"))
    assert (ended.code, ended.last) == (0, "fsync c")
    assert ended.events == ("open a", "fsync a", "open b", "fsync b", "open c", "fsync c")


def test_a_process_dies_before_the_event_that_is_named(place: Path) -> None:
    ended = killing.run(lambda: three_files(place), place, place.with_suffix(".log"), Kill("event", 5))
    assert (ended.code, ended.last) == (-signal.SIGKILL, "open c")
    assert {path.name: path.stat().st_size for path in place.iterdir()} == {"a": 10_000, "b": 10_000}


def test_a_process_dies_within_a_write(place: Path) -> None:
    ended = killing.run(lambda: three_files(place), place, place.with_suffix(".log"), Kill("cut", 3, size=777))
    assert (ended.code, ended.last) == (-signal.SIGXFSZ, "open b")
    assert {path.name: path.stat().st_size for path in place.iterdir()} == {"a": 10_000, "b": 777}


def test_a_process_dies_by_the_clock(place: Path) -> None:
    def wait() -> int:
        signal.pause()
        return 0

    ended = killing.run(wait, place, place.with_suffix(".log"), Kill("clock", 0.05, number=signal.SIGTERM))
    assert ended.code == -signal.SIGTERM


EVENTS = {
    "mkdir run/checkpoints/.tmp-00000003-*": "writing a checkpoint",
    "open run/checkpoints/.tmp-00000003-*/state.json": "writing a checkpoint",
    "fsync run/checkpoints/.tmp-00000003-*": "writing a checkpoint",
    "rename run/checkpoints/.tmp-00000003-* run/checkpoints/step-00000003": "its name given",
    "fsync run/checkpoints": "its name given",
    "rename run/checkpoints/step-00000003 run/checkpoints/.tmp-step-00000003-*": "old ones removed",
    "remove run/checkpoints/.tmp-step-00000003-*/state.json": "old ones removed",
    "open run/best/.tmp-00000003-*/MANIFEST.json": "the best step",
    "rename run/.model.tmp/config.json run/config.json": "the model",
    "open run/metrics.jsonl": "lines of metrics",
    "open cache/reference/*/*.tmp": "other files",
}


@pytest.mark.parametrize("event", EVENTS)
def test_the_place_of_an_event(event: str) -> None:
    assert place_of(event) == EVENTS[event]


def write_run(folder: Path) -> Path:
    """What `differences` looks at, of a run that has been done; two of them differ in what the clock says."""
    folder.mkdir()
    lines = [{"step": 1, "loss": 2.0, "time": id(folder)}, {"step": 2, "loss": 1.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "summary.json").write_text(json.dumps({"steps": 2, "seconds": id(folder), "metrics": {"loss": 1.0}}))
    for name in ("data_report.json", "model.safetensors"):
        (folder / name).write_text("{}")
    manifest.write(folder, ["model.safetensors"], {})
    for step in (1, 2):
        save(folder / "checkpoints", step)
    return folder


def save(directory: Path, step: int, fill: float = 1.0) -> Path:
    return checkpoint.save(directory, step, {"weights": {"w": torch.full((9,), fill)}}, {"seconds": fill}, run="r")


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    assert list(differences(write_run(tmp_path / "one"), write_run(tmp_path / "other"))) == []


HARM = {
    "metrics.jsonl:2": lambda run: (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n'),
    "metrics.jsonl:1": lambda run: (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n'),
    "samples.jsonl:1": lambda run: (run / "samples.jsonl").write_text("{}\n"),
    "summary.json": lambda run: (run / "summary.json").write_text('{"steps": 3, "metrics": {}}'),
    "data_report.json": lambda run: (run / "data_report.json").write_text("{ }"),
    "the model: model.safetensors": lambda run: (run / "model.safetensors").write_text("{ }"),
    "the checkpoint step-00000002: weights.safetensors": lambda run: save(run / "checkpoints", 2, 1.0 + 2**-20),
    ".model.tmp": lambda run: (run / ".model.tmp").mkdir(),
}


@pytest.mark.parametrize("name", HARM)
def test_what_differs_is_named(tmp_path: Path, name: str) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other")
    HARM[name](other)
    (found,) = differences(one, other)
    assert name in found


def test_a_lost_and_a_damaged_checkpoint_are_found(tmp_path: Path) -> None:
    save(tmp_path, 3)
    assert standing(tmp_path, 3) == 3
    with pytest.raises(AssertionError, match="lost: step 4 had been saved"):
        standing(tmp_path, 4)
    newer = save(tmp_path, 5)
    (newer / "weights.safetensors").write_bytes(b"")
    with pytest.raises(AssertionError, match=r"unusable: .*step-00000005"):
        standing(tmp_path, 3)


def test_the_table_counts_deaths_and_what_became_of_runs() -> None:
    died = (Death("training", "SIGKILL"), Death("SIGTERM", "SIGTERM"))
    trials = [Trial(0, "sft", died, ()), Trial(1, "dpo", died[:1], ("lost: step 3",)), Trial(2, "dpo", died[1:], ())]
    lines = [line.split() for line in table(trials).splitlines()]
    assert lines[0] == ["killed", "dpo", "sft"]
    assert ["training", "1", "1"] in lines and ["SIGTERM", "1", "1"] in lines and ["SIGINT", "0", "0"] in lines
    last = "3 runs, killed 4 times: 0 unusable, 1 lost a checkpoint, 0 different"
    assert table(trials).splitlines()[-1] == last


def test_the_table_takes_the_place_of_the_one_before_in_the_page() -> None:
    page = f"# Soak\n\n{BEGIN}\nold\n{END}\nmore\n"
    assert shown(page, "new") == f"# Soak\n\n{BEGIN}\n```\nnew\n```\n\n{END}\nmore\n"
    assert BEGIN in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
