"""Checkpoints: exact, whole or absent, verified, and what happens when the disk or the power fails."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.errors import IntegrityError, StorageError
from accord.models import manifest
from accord.training import checkpoint

ROOT = Path(__file__).resolve().parents[1]
STATE: dict[str, Any] = {"epoch": 1, "best": 0.1 + 0.2, "seen": [1, 2, 3], "note": None}


def tensors(fill: float = 1.0) -> dict[str, dict[str, Tensor]]:
    weights = {"w": torch.full((3, 4), float(fill)), "b": torch.tensor([1e-45, -0.0, float("inf")])}
    return {"weights": weights, "optimizer": {"step/w": torch.tensor(7.0), "m/w": torch.ones(3, 4).bfloat16()}}


def save(directory: Path, *steps: int, keep: int = 2) -> list[Path]:
    return [checkpoint.save(directory, step, tensors(step), STATE, run="r1", keep=keep) for step in steps]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_was_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    given = tensors(3.0)
    given["weights"]["t"] = torch.arange(6.0).reshape(2, 3).T  # not contiguous
    path = checkpoint.save(tmp_path / "run" / "checkpoints", 10, given, STATE, run="r1")
    assert path.name == "step-00000010"
    assert names(path) == ["MANIFEST.json", "optimizer.safetensors", "state.json", "weights.safetensors"]
    found = checkpoint.load(path)
    assert (found.step, found.run, found.state, found.files) == (10, "r1", STATE, ("optimizer", "weights"))
    for file, named in given.items():
        back = found.tensors(file)
        assert back.keys() == named.keys()
        for name, tensor in named.items():
            assert back[name].dtype == tensor.dtype
            assert torch.equal(back[name], tensor)
    assert found.tensors("weights")["b"][1].signbit()


def test_the_newest_is_that_of_the_highest_step(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "none") == (None, ())
    save(tmp_path, 99_999_999, 100_000_000)  # the second name is longer, and sorts first as text
    newest = checkpoint.newest(tmp_path).checkpoint
    assert newest is not None
    assert newest.step == 100_000_000


def test_the_newest_two_stay(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30, keep=1)
    assert names(tmp_path) == ["step-00000020", "step-00000030"]
    save(tmp_path, 40, keep=3)
    assert names(tmp_path) == ["step-00000020", "step-00000030", "step-00000040"]


def test_a_broken_checkpoint_is_not_counted_among_those_that_stay(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    (tmp_path / "step-00000020" / "weights.safetensors").unlink()
    save(tmp_path, 30)
    assert names(tmp_path) == ["step-00000010", "step-00000030"]


def test_a_run_that_went_back_drops_what_it_left(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30, keep=3)
    assert save(tmp_path, 20)[0].name == "step-00000020.1"  # nothing is overwritten
    assert names(tmp_path) == ["step-00000010", "step-00000020.1"]
    newest = checkpoint.newest(tmp_path).checkpoint
    assert newest is not None
    assert newest.step == 20
    assert save(tmp_path, 20)[0].name == "step-00000020.2"


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"])
@pytest.mark.parametrize("damage", ["flip", "zero", "cut", "missing", "empty"])
def test_damage_is_found_and_the_one_before_taken(tmp_path: Path, file: str, damage: str) -> None:
    older, newer = save(tmp_path, 10, 20)
    harm(newer / file, damage)
    newest, skipped = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest.path == older
    assert [path for path, _ in skipped] == [newer]
    assert str(newer / file) in skipped[0].reason
    harm(older / file, damage)
    with pytest.raises(IntegrityError, match="none of 2 checkpoints verifies"):
        checkpoint.newest(tmp_path)


def harm(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-1], "zero": bytes(len(data)), "empty": b""}.get(damage, data))
    if damage == "missing":
        path.unlink()


def test_every_bit_of_a_manifest_counts(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 10)
    manifest = path / "MANIFEST.json"
    exact = json.loads(manifest.read_text())
    for key, lie in {"step": 11, "run": "r2", "format": 2, "self": "0" * 64}.items():
        manifest.write_text(json.dumps({**exact, key: lie}))
        with pytest.raises(IntegrityError, match="manifest is not what was written"):
            checkpoint.load(path)


def test_files_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 10)
    (path / "extra.bin").write_text("")
    with pytest.raises(IntegrityError, match=r"extra.bin: not in the manifest"):
        checkpoint.load(path)
    (path / "extra.bin").unlink()
    shutil.move(path / "state.json", tmp_path / "state.json")
    (path / "state.json").symlink_to(tmp_path / "state.json")
    with pytest.raises(IntegrityError, match=r"state.json: not a plain file"):
        checkpoint.load(path)


def test_a_path_that_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("absent", "file"):
        with pytest.raises(IntegrityError, match="no whole checkpoint"):
            checkpoint.load(tmp_path / name)


@pytest.mark.parametrize("state", [{"t": (1, 2)}, {"n": {1: 2}}])
def test_state_that_json_would_change_is_our_mistake(tmp_path: Path, state: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="JSON does not give this state back"):
        checkpoint.save(tmp_path, 1, {}, state, run="r1")
    assert names(tmp_path) == []


# When the machine fails

KILLS = """
import os, signal, sys, pathlib, torch
torch.set_num_threads(1)
from accord.training import checkpoint
directory = pathlib.Path(sys.argv[1])

def lethal(call, countdown):
    def wrapped(*arguments):
        countdown[0] -= 1
        if countdown[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)
    return wrapped

for kill in range(1000):
    pid = os.fork()
    if pid == 0:
        countdown = [kill]
        for module, name in ((checkpoint, "save_file"), (os, "fsync"), (os, "rename"), (pathlib.Path, "write_text")):
            setattr(module, name, lethal(getattr(module, name), countdown))
        checkpoint.save(directory, 20, {"weights": {"w": torch.full((3, 4), 20.0)}}, {}, run="r1")
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    newest = checkpoint.newest(directory)
    assert not newest.skipped
    print(newest.checkpoint.step, newest.checkpoint.tensors("weights")["w"][0, 0].item(), flush=True)
    if status == 0:
        break
    checkpoint.sweep(directory)
"""


def test_a_kill_at_any_point_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 10)
    seen = subprocess.run([sys.executable, "-c", KILLS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert seen.returncode == 0, seen.stderr
    lines = seen.stdout.splitlines()
    # before: tensors, state, their two fsyncs, manifest, its fsync, the folder's, the rename; after: fsync, rotation
    before, after = lines.count("10 10.0"), lines.count("20 20.0")
    assert (before, after) == (8, len(lines) - 8)
    assert lines == ["10 10.0"] * before + ["20 20.0"] * after
    assert after >= 2
    assert not list(tmp_path.glob(".tmp-*"))


FULL = """
import resource, sys, pathlib, torch
from accord.training import checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.save(pathlib.Path(sys.argv[1]), 20, {"weights": {"w": torch.zeros(50_000)}}, {}, run="r1")
except checkpoint.StorageError as error:
    print(error.code, error)
"""


def test_a_file_that_cannot_grow_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 10)
    seen = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert seen.stdout.startswith(f"4 {tmp_path}: cannot save a checkpoint: "), seen.stderr
    assert "File too large" in seen.stdout
    assert "200002 bytes needed, " in seen.stdout
    assert names(tmp_path) == ["step-00000010"]
    assert checkpoint.newest(tmp_path).checkpoint is not None


def test_a_disk_without_room_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(StorageError, match=r"No space left on device; \d+ bytes needed, 100 free"):
        save(tmp_path, 20)
    assert names(tmp_path) == ["step-00000010"]


class Usage:
    free = 100


def test_what_was_written_wrongly_never_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    exact = manifest.sha256
    seen: list[Path] = []

    def rotten(path: Path) -> str:
        """The bytes change once they have been hashed for the manifest."""
        digest = exact(path)
        if path.name == "weights.safetensors" and path not in seen:
            harm(path, "flip")
        seen.append(path)
        return digest

    monkeypatch.setattr(manifest, "sha256", rotten)
    with pytest.raises(IntegrityError, match=r"weights.safetensors: not the bytes that were written"):
        save(tmp_path, 20)
    assert names(tmp_path) == ["step-00000010"]


def test_sweep_takes_only_what_killed_saves_left(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (tmp_path / ".tmp-00000020-abc").mkdir()
    assert [path.name for path in checkpoint.sweep(tmp_path)] == [".tmp-00000020-abc"]
    assert names(tmp_path) == ["step-00000010"]
