"""`accord verify` finds every kind of damage to what Accord wrote, says where, and takes nothing whole for damaged."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny
from test_table import PAIR, table_of

import accord
from accord.cli import main
from accord.data.token_cache import TokenCache
from accord.stages import things, verify
from accord.training.run import RunFolder


class Home(NamedTuple):
    path: Path

    def file(self, pattern: str) -> Path:
        """The one file of this pattern."""
        (found,) = self.path.glob(pattern)
        return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with two checkpoints, two best steps' weights, and what it keeps for others."""
    path = tmp_path_factory.mktemp("verify")
    tiny.write_model(path / "model")
    (path / "pairs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in tiny.comparisons(16)))
    accord.dpo(
        model=path / "model", data=path / "pairs.jsonl", output_dir=path / "run", batch_size=4, max_steps=4,
        save_steps=2, eval_steps=2, validation=0.2, samples=1, sample_tokens=4, learning_rate=1e-3, report_to=["none"],
        load_best_model_at_end=True, reference_cache=path / "cache", token_cache=path / "cache",
    )  # fmt: skip
    return path


@pytest.fixture
def home(written: Path, tmp_path: Path) -> Home:
    """A copy of it."""
    shutil.copytree(written, tmp_path / "home")
    return Home(tmp_path / "home")


def damage_of(found: Any) -> dict[str, list[str]]:
    """Path of a thing -> what is wrong with it; only of what is damaged."""
    return {Path(thing["path"]).name: thing["damage"] for thing in found.things if thing["damage"]}


def test_all_that_a_run_writes_is_verified_and_whole(home: Home, capsys: Any) -> None:
    assert main(["verify", str(home.path)]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    kinds = [line[1] for line in lines if line[0] == "ok"]
    assert {kind: kinds.count(kind) for kind in set(kinds) - {"best"}} == {
        "run": 1, "model": 1, "checkpoint": 2, "reference": 1, "kept": 1,
    }  # fmt: skip
    assert f"--resume in {home.path / 'run'} takes step-00000004" in out
    assert f"{len(lines) - 2} verified, 0 damaged" in out and err == ""


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


MUTATIONS: dict[str, Callable[[Path], None]] = {"flip": flip, "zero": zero, "cut": cut, "empty": empty}
LAST = "run/checkpoints/step-00000004"
HASHED = [
    f"{LAST}/weights.safetensors", f"{LAST}/state.json", f"{LAST}/MANIFEST.json", "run/model.safetensors",
    "run/config.json", "run/tokenizer.json", "run/MANIFEST.json", "run/reference.safetensors",
    "cache/reference/*/*.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("file", HASHED)
@pytest.mark.parametrize("how", MUTATIONS)
def test_any_damage_to_what_is_hashed_is_found_and_named(home: Home, file: str, how: str, capsys: Any) -> None:
    path = home.file(file)
    MUTATIONS[how](path)
    assert main(["verify", str(home.path)]) == 6
    out, err = capsys.readouterr()
    damaged = [line for line in out.splitlines() if line.startswith("damaged")]
    assert len(damaged) == 1 and any(path.name in line for line in out.splitlines()[1:])
    assert err.startswith(f"error[6] {home.path}: 1 of ") and err.count("\n") == 1
    ((name, reasons),) = damage_of(accord.verify(directory=home.path)).items()
    assert name in (path.parent.name, path.name) and len(reasons) == 1 and path.name in reasons[0]


@pytest.mark.parametrize("file", HASHED)
def test_a_missing_file_is_found(home: Home, file: str) -> None:
    path = home.file(file)
    whole = len(accord.verify(directory=home.path).things)
    path.unlink()
    found = accord.verify(directory=home.path)
    if path.parent.parent.name == "reference" or path.name == "reference.safetensors":
        assert found.exit_code == 0 and len(found.things) == whole - 1  # nothing says that it was there
        return
    assert found.exit_code == 6 and damage_of(found) == {path.parent.name: [f"{path.name}: missing"]}


LOOSE = {
    "run/metrics.jsonl": b'{"step": 1}\n{"step"\n', "run/samples.jsonl": b"\xff\n", "run/run.json": b"{",
    "run/summary.json": b"", "run/data_report.json": b"[", "run/run.yaml": b"a: [",
}  # fmt: skip


@pytest.mark.parametrize("file", LOOSE)
def test_what_has_no_hash_must_at_least_be_readable(home: Home, file: str) -> None:
    (home.path / file).write_bytes(LOOSE[file])
    found = accord.verify(directory=home.path / "run")
    (reason,) = damage_of(found)["run"]
    assert reason.startswith(f"{Path(file).name}: not what was written")


def test_half_a_last_line_is_what_a_kill_leaves_and_no_damage(home: Home) -> None:
    with (home.path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 5, "lo')
    assert accord.verify(directory=home.path).exit_code == 0


def test_every_damaged_file_is_named_and_the_checkpoint_before_is_the_one_to_resume_from(
    home: Home, capsys: Any
) -> None:
    last = home.path / LAST
    flip(last / "weights.safetensors")
    cut(last / "state.json")
    (last / "more.txt").write_text("x")
    found = accord.verify(directory=home.path / "run")
    reasons = damage_of(found)[last.name]
    assert sorted(reason.split(":")[0] for reason in reasons) == ["more.txt", "state.json", "weights.safetensors"]
    assert "resume: it goes on from the newest one that is whole" in capsys.readouterr().err
    (resume,) = found.resumes
    assert resume == {"run": str(home.path / "run"), "checkpoint": str(last.with_name("step-00000002"))}
    cut(last.with_name("step-00000002") / "state.json")
    assert accord.verify(directory=home.path / "run").resumes[0]["checkpoint"] is None
    assert "bring back a copy" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "reference.safetensors"])
def test_what_resuming_makes_again_is_no_reason_to_train_anew(home: Home, capsys: Any, name: str) -> None:
    flip(home.path / "run" / name)
    accord.verify(directory=home.path / "run")
    assert "resume: a whole checkpoint is there, and what is damaged is made again" in capsys.readouterr().err
    for place in (home.path / "run" / "checkpoints").glob("step-*"):
        cut(place / "state.json")
    accord.verify(directory=home.path / "run")
    assert "bring back a copy" in capsys.readouterr().err


def test_a_revision_comes_after_its_step(home: Home) -> None:
    shutil.copytree(home.path / LAST, home.path / f"{LAST}.1")
    shutil.copytree(home.path / LAST, home.path / f"{LAST}.10")
    assert accord.verify(directory=home.path / "run").resumes[0]["checkpoint"] == str(home.path / f"{LAST}.10")


def test_a_checkpoint_of_another_run_is_damage(home: Home) -> None:
    path = home.path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id": "other"}))
    found = damage_of(accord.verify(directory=home.path / "run"))
    assert found["step-00000002"] == found["step-00000004"] == ["MANIFEST.json: of another run"]


@pytest.mark.parametrize("file", ["ids.bin", "said.bin", "columns.npz", "about.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "missing"])
def test_kept_tokens_are_verified(tmp_path: Path, file: str, how: str) -> None:
    assert TokenCache(tmp_path, 10**9, print).keep("a" * 64, table_of(PAIR), {"data": "x"})
    assert accord.verify(directory=tmp_path).exit_code == 0
    path = tmp_path / "tokens" / ("a" * 64) / file
    path.unlink() if how == "missing" else MUTATIONS[how](path)
    assert file in " ".join(damage_of(accord.verify(directory=tmp_path))["a" * 64])


def test_the_model_of_a_run_that_goes_on_is_left_out_as_it_is_being_written(home: Home) -> None:
    flip(home.path / "run" / "model.safetensors")
    with RunFolder(home.path / "run") as folder:
        folder.claim("dpo", resume=True)
        assert accord.verify(directory=home.path / "run").exit_code == 0
    assert accord.verify(directory=home.path / "run").exit_code == 6


def test_what_is_rotated_away_meanwhile_is_no_damage(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    found = things.things

    def rotated(directory: Path) -> Iterator[things.Thing]:
        held = list(found(directory))
        shutil.rmtree(home.path / "run" / "checkpoints" / "step-00000002")
        return iter(held)

    monkeypatch.setattr(verify, "things", rotated)
    result = accord.verify(directory=home.path / "run")
    assert result.exit_code == 0 and all("checkpoints/step-00000002" not in thing["path"] for thing in result.things)


def test_from_inside_a_checkpoint_and_as_json(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(home.path / LAST)
    flip(Path("state.json"))
    assert main(["verify", ".", "--json", "-"]) == 6
    held = json.loads(capsys.readouterr().out)
    (thing,) = held["things"]
    assert (thing["kind"], thing["path"], held["damaged"], held["exit_code"]) == ("checkpoint", ".", 1, 6)
    assert thing["damage"] == ["state.json: not the bytes that were written (sha256)"]
    assert (
        thing["bytes"] == held["bytes"] == sum(file.stat().st_size for file in Path().iterdir()) - size("MANIFEST.json")
    )


def size(name: str) -> int:
    return Path(name).stat().st_size


def test_where_nothing_can_be_verified_the_exit_code_is_2(home: Home, capsys: Any) -> None:
    """The model directory of stock transformers has no hashes."""
    for path in (home.path / "model", home.path / "none", home.path / "pairs.jsonl"):
        assert main(["verify", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "nothing here or below that Accord wrote with hashes", "no such directory", "is a file",
    ]  # fmt: skip


def test_nothing_is_written(home: Home) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.path.rglob("*")}
    accord.verify(directory=home.path)
    assert {path: path.stat().st_mtime_ns for path in home.path.rglob("*")} == before
