"""Saving while training goes on: what is copied, what is waited for, what fails and is told."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

import accord
from accord.errors import Diverged, StorageError
from accord.training import checkpoint, memory, saving
from accord.training.saving import Saver


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our checkpoints are too small to be worth a thread; here they get one."""
    monkeypatch.setattr(saving, "SMALL", 0)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written until it is set."""
    opened, exact = threading.Event(), checkpoint.save

    def held(*args: Any, **more: Any) -> Path:
        assert opened.wait(60)
        return exact(*args, **more)

    monkeypatch.setattr(checkpoint, "save", held)
    return opened


def weights(fill: float) -> dict[str, dict[str, Tensor]]:
    return {"weights": {"w": torch.full((2, 3), fill)}}


def put(saver: Saver, directory: Path, step: int, **more: Any) -> None:
    saver.save(directory, step, weights(float(step)), {"step": step}, run="r1", **more)


def newest(directory: Path) -> int | None:
    found = checkpoint.newest(directory).checkpoint
    return found and found.step


def test_training_goes_on_and_changes_nothing_of_what_is_saved(tmp_path: Path, gate: threading.Event) -> None:
    tensors, state = weights(1.0), {"lines": [1]}
    with Saver() as saver:
        saver.save(tmp_path, 10, tensors, state, run="r1")
        tensors["weights"]["w"].fill_(2.0)
        state["lines"].append(2)
        saver.check()
        assert newest(tmp_path) is None
        gate.set()
    found = checkpoint.newest(tmp_path).checkpoint
    assert found is not None
    assert found.tensors("weights")["w"].tolist() == [[1.0] * 3] * 2
    assert found.state == {"lines": [1]}


def test_the_save_before_is_waited_for(tmp_path: Path, gate: threading.Event) -> None:
    seen: list[int | None] = []
    with Saver() as saver:
        put(saver, tmp_path, 10, then=lambda: seen.append(newest(tmp_path)))
        threading.Timer(0.05, gate.set).start()
        put(saver, tmp_path, 20, beside=False)
        assert seen == [10]  # and what was to be done after it is done
        assert newest(tmp_path) == 20


def test_a_gap_in_memory_is_seen_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    put_in = threading.current_thread
    writers: list[threading.Thread] = []
    exact = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *args, **more: (writers.append(put_in()), exact(*args, **more))[1])
    with Saver(told.append) as saver:
        for step, left in ((1, 4 * 24), (2, 4 * 24 - 1), (3, 4 * 24 - 1), (4, None)):
            monkeypatch.setattr(memory, "available", lambda left=left: left)
            put(saver, tmp_path, step)
            saver.wait()
    assert [thread is threading.main_thread() for thread in writers] == [False, True, True, True]
    assert len(told) == 1
    assert "does not fit into a quarter of the memory that is left" in told[0]


def test_what_is_small_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "SMALL", 24)
    monkeypatch.setattr(saving, "snapshot", pytest.fail)
    with Saver(pytest.fail) as saver:
        put(saver, tmp_path, 10)
        assert newest(tmp_path) == 10


def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(directory: Path, *_: Any, **__: Any) -> Path:
        raise StorageError("full", where=str(directory))

    monkeypatch.setattr(checkpoint, "save", full)


CALLS: dict[str, Callable[[Saver, Path], None]] = {
    "check": lambda saver, path: saver.check(),
    "wait": lambda saver, path: saver.wait(),
    "save": lambda saver, path: put(saver, path, 20),
    "the end": lambda saver, path: None,
}


@pytest.mark.parametrize("call", CALLS)
def test_a_failure_is_raised_once_by_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    failing(monkeypatch)
    done: list[bool] = []
    saver = Saver(pytest.fail)
    with pytest.raises(StorageError, match="full"), saver:
        put(saver, tmp_path, 10, then=lambda: done.append(True))
        while call == "check" and saver._under_way is not None and not saver._under_way.done():
            pass
        CALLS[call](saver, tmp_path)
    saver.check()
    assert not done


def test_a_failure_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch)
    told: list[str] = []
    with pytest.raises(ZeroDivisionError), Saver(told.append) as saver:
        put(saver, tmp_path, 10)
        raise ZeroDivisionError
    assert told == [f"warning: {tmp_path}: full"]


def test_whatever_ends_a_run_its_last_save_is_finished(tmp_path: Path, gate: threading.Event) -> None:
    with pytest.raises(KeyboardInterrupt), Saver(pytest.fail) as saver:
        put(saver, tmp_path, 10)
        threading.Timer(0.05, gate.set).start()
        raise KeyboardInterrupt
    assert newest(tmp_path) == 10


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_not_finite_is_never_saved(tmp_path: Path, bad: float, beside: bool, dtype: torch.dtype) -> None:
    tensors = {"weights": {"a": torch.ones(3), "none": torch.ones(0), "n": torch.ones(2, dtype=torch.int64)}}
    tensors["optimizer"] = {"m/a": torch.ones(2, 3, dtype=dtype)}
    with Saver() as saver:
        saver.save(tmp_path, 10, tensors, {}, run="r1", beside=beside)
        tensors["optimizer"]["m/a"][1, 2] = bad
        with pytest.raises(Diverged, match="step 20: optimizer/m/a has values that are not finite"):
            saver.save(tmp_path, 20, tensors, {}, run="r1", beside=beside)
    assert newest(tmp_path) == 10


def test_the_best_weights_stay_as_long_as_a_checkpoint_under_way_speaks_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each checkpoint is slow, and after it a better step comes, whose weights take the place of the ones before."""
    tiny.write_model(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tiny.comparisons(16)))
    exact, spoken_of = checkpoint.save, []

    def slow(directory: Path, *args: Any, **more: Any) -> Path:
        if directory.name == "checkpoints":
            time.sleep(0.05)
        path = exact(directory, *args, **more)
        if directory.name == "checkpoints":
            best = checkpoint.load(path).state["best"]["step"]
            spoken_of.append(best)
            assert list((tmp_path / "run" / "best").glob(f"step-{best:08d}*"))
        return path

    monkeypatch.setattr(checkpoint, "save", slow)
    accord.sft(
        model=tmp_path / "model", data=tmp_path / "rows.jsonl", output_dir=tmp_path / "run", report_to="none",
        max_steps=6, batch_size=4, learning_rate=3e-3, validation=0.2, samples=0, save_total_limit=2,
        save_steps=2, eval_steps=1, load_best_model_at_end=True,
    )  # fmt: skip
    assert spoken_of == [2, 4, 5]  # better at every step; the last one is looked at once it is saved
    left = {path.name for path in (tmp_path / "run" / "best").iterdir()}
    assert left == {f"step-{step:08d}" for step in (4, 5, 6)}


# How much memory is left

MEMINFO = "MemTotal:  1000 kB\nMemAvailable:  800 kB\nHugePages_Total: 0\n"
STAT = "anon 5\ninactive_file 2000\ntotal_inactive_file 1000\n"


def machine(path: Path, cgroup: str, groups: dict[str, str]) -> tuple[Path, Path]:
    (path / "proc" / "self").mkdir(parents=True)
    (path / "proc" / "meminfo").write_text(MEMINFO)
    (path / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, text in groups.items():
        file = path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path / "proc", path / "groups"


def of_group(place: str, limit: str, used: str) -> dict[str, str]:
    return {f"{place}memory.max": limit, f"{place}memory.current": used, f"{place}memory.stat": STAT}


OLD = {"memory/job/memory.limit_in_bytes": "90000", "memory/job/memory.usage_in_bytes": "50000"}
MACHINES: dict[str, tuple[str, dict[str, str], int]] = {
    "no group": ("0::/\n", {}, 800 * 1024),
    "a group without a limit": ("0::/job\n", of_group("job/", "max\n", "5000\n"), 800 * 1024),
    "a limit": ("0::/job\n", of_group("job/", "100000\n", "60000\n"), 42_000),  # 100000 - (60000 - 2000)
    "a limit above": ("0::/a/b\n", of_group("a/", "100000", "60000") | of_group("a/b/", "max", "1"), 42_000),
    "mounted as the root": ("0::/../elsewhere\n", of_group("", "100000", "60000"), 42_000),
    "more than the machine has": ("0::/job\n", of_group("job/", "9000000", "1"), 800 * 1024),
    "used up": ("0::/job\n", of_group("job/", "100000", "200000"), 0),
    "version 1": ("3:cpu:/x\n4:memory:/job\n", OLD | {"memory/job/memory.stat": STAT}, 41_000),
}


@pytest.mark.parametrize("name", MACHINES)
def test_the_memory_that_is_left(tmp_path: Path, name: str) -> None:
    cgroup, groups, left = MACHINES[name]
    assert memory.available(*machine(tmp_path, cgroup, groups)) == left


def test_a_system_that_does_not_say_what_is_left(tmp_path: Path) -> None:
    assert memory.available(tmp_path, tmp_path) is None
