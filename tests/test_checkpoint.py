"""Checkpoints: exact, whole or absent, verified, and what happens when the disk or the power fails."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.errors import IntegrityError, StorageError
from accord.models import manifest
from accord.training import checkpoint

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


def test_a_checkpoint_under_the_name_of_another_step_is_not_taken(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 10, 20)
    shutil.rmtree(newer)
    shutil.copytree(older, newer)
    newest, skipped = checkpoint.newest(tmp_path)
    assert newest is not None and newest.path == older
    assert "holds step 10, and not what its name says" in skipped[0].reason


def test_a_path_that_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("absent", "file"):
        with pytest.raises(IntegrityError, match="no whole checkpoint"):
            checkpoint.load(tmp_path / name)


@pytest.mark.parametrize("state", [{"t": (1, 2)}, {"n": {1: 2}}, {"x": {"y": (float("nan"),)}}])
def test_state_that_json_would_change_is_our_mistake(tmp_path: Path, state: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="JSON does not give this state back"):
        checkpoint.save(tmp_path, 1, {}, state, run="r1")
    assert names(tmp_path) == []


# When the machine fails


def test_a_disk_without_room_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    needed = checkpoint.size_of(tensors()) + len(json.dumps(STATE))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    monkeypatch.setattr(os, "open", pytest.fail)
    for Usage.free in (100, needed, needed + needed // 5 - 1):  # a fifth more is asked for
        with pytest.raises(StorageError, match=rf"No space left on device\): {needed} bytes needed, {Usage.free} free"):
            save(tmp_path, 20)
    assert names(tmp_path) == ["step-00000010"]
    monkeypatch.undo()
    save(tmp_path, 20)
    assert names(tmp_path) == ["step-00000010", "step-00000020"]


class Usage:
    free = 0


def test_the_manifest_says_what_it_is_told(tmp_path: Path) -> None:
    about = {"threads": 2, "versions": {"torch": "2.13"}}
    path = checkpoint.save(tmp_path, 10, tensors(), STATE, run="r1", about=about)
    assert checkpoint.load(path).about == about
    assert json.loads((path / "MANIFEST.json").read_text())["about"] == about
    (plain,) = save(tmp_path, 20)
    assert checkpoint.load(plain).about == {}


def test_a_figure_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 10, tensors(), {"latest": {"a": float("nan"), "b": -float("inf")}}, run="r1")
    assert repr(checkpoint.load(path).state) == "{'latest': {'a': nan, 'b': -inf}}"


def test_what_was_written_wrongly_never_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    exact = manifest.seal

    def rotten(directory: Path, *rest: Any) -> None:
        """A disk that takes all and keeps something else."""
        exact(directory, *rest)
        harm(directory / "weights.safetensors", "flip")

    monkeypatch.setattr(manifest, "seal", rotten)
    with pytest.raises(IntegrityError, match=r"weights.safetensors: not the bytes that were written"):
        save(tmp_path, 20)
    assert names(tmp_path) == ["step-00000010"]


def test_sweep_takes_only_what_killed_saves_left(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (tmp_path / ".tmp-00000020-abc").mkdir()
    assert [path.name for path in checkpoint.sweep(tmp_path)] == [".tmp-00000020-abc"]
    assert names(tmp_path) == ["step-00000010"]
