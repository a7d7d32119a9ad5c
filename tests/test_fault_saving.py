"""FAULTS tests 32 and 38: killed, or out of room, at every point of a save; and what is on the disk before what.

Kills and full disks happen in processes of their own, real ones: SIGKILL, a tmpfs of a megabyte, RLIMIT_FSIZE.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

from accord.cli import main
from accord.errors import Diverged, StorageError
from accord.models import load, sealed
from accord.training import checkpoint
from accord.training.run import RunFolder

ROOT = Path(__file__).resolve().parents[1]

# Every call that changes the disk is a place to be killed at: before it, and within each write. The n-th child is
# killed at the n-th place; the last one is not killed.
KILLS = """
import os, pathlib, shutil, signal, sys, torch
from accord.training import checkpoint, saving

torch.set_num_threads(1)
saving.SMALL = 0
home, beside = pathlib.Path(sys.argv[1]), sys.argv[2] == "beside"
report = os.open(home / "places", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
exact_write = os.write

def tensors(step):
    return {"weights": {"w": torch.full((3, 4), float(step))}, "optimizer": {"m": torch.ones(9), "n": torch.ones(4)}}

def arm(kill):
    places = []

    def die_at(name):
        places.append(name)
        if len(places) > kill:
            exact_write(report, (name + "\\n").encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def before(name, call):
        def wrapped(*args, **more):
            if name != "open" or args[1] & os.O_CREAT:
                die_at(name)
            return call(*args, **more)
        return wrapped

    def write(number, data):
        die_at("write")
        half = exact_write(number, data[:len(data) // 2])
        die_at("half")
        return half + exact_write(number, data[half:])

    for name in ("open", "mkdir", "fsync", "rename", "unlink", "rmdir"):
        setattr(os, name, before(name, getattr(os, name)))
    os.write = write

def child(directory, kill):
    arm(kill)
    with saving.Saver() as saver:
        saver.save(directory, 30, tensors(30), {"s": 30}, run="r1", counts_on=[directory / "metrics"], beside=beside)

def one(kill):
    directory = home / str(kill)
    for step in (10, 20):
        checkpoint.save(directory, step, tensors(step), {"s": step}, run="r1")
    (directory / "metrics").write_text("line")
    pid = os.fork()
    if pid == 0:
        try:
            child(directory, kill)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -9), status
    found, skipped = checkpoint.newest(directory)
    assert not skipped and found.state == {"s": found.step}
    assert all(torch.equal(found.tensors(file)[name], tensor)
               for file, named in tensors(found.step).items() for name, tensor in named.items())
    checkpoint.sweep(directory)
    again = checkpoint.save(directory, 40, tensors(40), {"s": 40}, run="r1")  # and saving works again
    assert checkpoint.newest(directory).checkpoint.path == again
    left = sorted(path.name for path in directory.iterdir())
    assert left == ["metrics", f"step-{found.step:08d}", again.name], left
    print(found.step, flush=True)
    shutil.rmtree(directory)
    return status == 0

kill = 0
while not one(kill):
    kill += 1
"""


def run(script: str, *words: object, before: tuple[str, ...] = ()) -> list[str]:
    """Lines of what it prints."""
    command = [*before, sys.executable, "-c", script, *map(str, words)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("where", ["beside", "in place"])
def test_a_kill_at_any_point_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path, where: str) -> None:
    steps = run(KILLS, tmp_path, where)
    places = (tmp_path / "places").read_text().split()
    seen = Counter(places)
    assert len(steps) == len(places) + 1
    # weights, optimizer, state, manifest; their headers and tensors; the checkpoint's place, the old one's; its files
    assert (seen["open"], seen["write"], seen["half"]) == (4, 7, 7)
    assert (seen["mkdir"], seen["rename"], seen["rmdir"], seen["unlink"]) == (1, 2, 1, 4)
    # four files, the folder they are in; what the checkpoint counts on and its folder; the folder of checkpoints
    assert seen["fsync"] == 8
    counts_from = places.index("rename") + 1
    assert steps == ["20"] * counts_from + ["30"] * (len(steps) - counts_from)


# A tmpfs with less and less room beside one checkpoint. The system's word on the free room is set aside, as if others
# had taken it after it was asked for.
FULL = """
import pathlib, shutil, subprocess, sys, torch
from types import SimpleNamespace
from accord.training import checkpoint, saving

saving.SMALL = 0
place, beside = pathlib.Path(sys.argv[1]), sys.argv[2] == "beside"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", place], check=True)
tensors = {"weights": {"w": torch.ones(5_000)}, "optimizer": {"m": torch.ones(10_000)}}
state = {"seen": list(range(3_000))}

def save(step):
    with saving.Saver() as saver:
        saver.save(place, step, tensors, state, run="r1", beside=beside)

save(10)
left = shutil.disk_usage(place).free
shutil.disk_usage = lambda path: SimpleNamespace(free=1 << 40)
for room in range(0, left, 4096):
    (place / "ballast").write_bytes(bytes(left - room))
    try:
        save(20)
        break
    except checkpoint.StorageError as error:
        print(error.code, error)
        assert not list(place.glob(".tmp-*"))
        assert checkpoint.newest(place).checkpoint.step == 10
(place / "ballast").unlink()
save(30)
assert checkpoint.newest(place).checkpoint.step == 30
print("saved with", room)
"""
ALONE = ("unshare", "--mount", "--map-root-user")  # its mounts end with it


@pytest.mark.parametrize("where", ["beside", "in place"])
def test_a_disk_that_fills_up_in_any_file_leaves_the_previous_checkpoint(tmp_path: Path, where: str) -> None:
    probe = [*ALONE, "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if sys.platform != "linux" or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    lines = run(FULL, tmp_path, where, before=ALONE)
    start, end = f"4 {tmp_path}: cannot save a checkpoint (", ": No space left on device): 76900 bytes needed, "
    assert all(line.startswith(start) and end in line for line in lines[:-1])
    files = {line.removeprefix(start).split(end)[0] for line in lines[:-1]}
    assert files == {"weights.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"}
    assert int(lines[-1].removeprefix("saved with ")) > 76_900


def named(number: int) -> str:
    return os.readlink(f"/proc/self/fd/{number}")


def a_checkpoint(path: Path) -> None:
    (path / "metrics.jsonl").write_text("{}\n")
    checkpoint.save(path / "all", 10, {"w": {"w": torch.ones(2)}}, {}, run="r1", counts_on=[path / "metrics.jsonl"])


def a_model(path: Path) -> None:
    load.save(tiny.llama(), tiny.tokenizer(), path)


def a_sealed_file(path: Path) -> None:
    sealed.write(path / "x.safetensors", {"w": torch.ones(2)}, {})


def a_file_of_the_run(path: Path) -> None:
    RunFolder(path).write_json("run.json", {"id": "r1"})


@pytest.mark.skipif(sys.platform != "linux", reason="file descriptors are named by /proc")
@pytest.mark.parametrize("put", [a_checkpoint, a_model, a_sealed_file, a_file_of_the_run])
def test_what_gets_its_name_is_on_the_disk_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path], None]
) -> None:
    """And its folder after. A kill does not show it: only a power cut would."""
    synced: set[str] = set()
    renamed: list[str] = []
    exact_sync, exact_rename, exact_replace = os.fsync, os.rename, os.replace

    def fsync(number: int) -> None:
        synced.add(named(number))
        exact_sync(number)

    def moving(exact: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def move(one: Any, other: Any) -> None:
            inside = [path for path in Path(one).rglob("*")] if Path(one).is_dir() else []
            assert {str(path) for path in (Path(one), *inside)} <= synced
            if put is a_checkpoint:
                assert {str(tmp_path / "metrics.jsonl"), str(tmp_path)} <= synced
            renamed.append(str(other))
            synced.discard(str(Path(other).parent))
            exact(one, other)

        return move

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", moving(exact_rename))
    monkeypatch.setattr(os, "replace", moving(exact_replace))
    put(tmp_path)
    assert renamed
    assert {str(Path(path).parent) for path in renamed} <= synced


def test_a_model_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    network = tiny.llama()
    load.save(network, tiny.tokenizer(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        network.model.norm.weight[3] = float("nan")
    with pytest.raises(Diverged, match=r"model.norm.weight has values that are not finite"):
        load.save(network, tiny.tokenizer(), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_model_without_room_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.llama()
    load.save(network, tiny.tokenizer(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    needed = sum(weight.nbytes for weight in network.parameters())
    with torch.no_grad():
        network.model.norm.weight[3] = 7.0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    what = rf"cannot be written \(No space left on device\): {needed} bytes needed, {needed} free"
    with pytest.raises(StorageError, match=what):
        load.save(network, tiny.tokenizer(), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# The run's second save may write files of a few bytes only, as where a quota is used up.
LIMITED = """
import json, resource, sys, torch
from accord.cli import main
from accord.training import checkpoint, saving

torch.set_num_threads(1)
words, saving.SMALL, exact = json.loads(sys.argv[1]), 0, checkpoint.save

def save(directory, step, *args, **more):
    if step == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    return exact(directory, step, *args, **more)

checkpoint.save = save
sys.exit(main(words))
"""


def test_a_run_whose_disk_fills_up_goes_on_once_there_is_room(tmp_path: Path) -> None:
    """FAULTS test 38, r_rlimit_fsize: exit 4 with bytes needed and free; the previous checkpoint; exact afterwards."""
    tiny.write_model(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tiny.comparisons(8)))

    def words(place: str) -> list[str]:
        options = {"model": "model", "data": "rows.jsonl", "output_dir": place}
        numbers = {
            "max_steps": 6,
            "save_steps": 2,
            "batch_size": 4,
            "logging_steps": 1,
            "samples": 0,
            "warmup_steps": 2,
        }
        paths = [f"--{name}={tmp_path / value}" for name, value in options.items()]
        return ["sft", *paths, *(f"--{name}={value}" for name, value in numbers.items()), "--report_to=none"]

    command = [sys.executable, "-c", LIMITED, json.dumps(words("full"))]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 4, ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("error["))
    assert line.startswith(
        f"error[4] {tmp_path}/full/checkpoints: cannot save a checkpoint (weights.safetensors: File too"
    )
    fix = (
        ": raise the limit on the size of a file (ulimit -f) and resume; the checkpoints before this one are untouched"
    )
    assert " bytes needed, " in line and line.endswith(fix)
    assert [path.name for path in (tmp_path / "full" / "checkpoints").iterdir()] == ["step-00000002"]
    assert main([*words("full"), "--resume"]) == 0
    assert main(words("whole")) == 0
    one, other = tmp_path / "full", tmp_path / "whole"
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert losses(one) == losses(other)


def losses(run: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines]
