"""A run that a signal stops finishes its step, saves, and goes on to the same bits; a second signal ends it at once.

FAULTS test 40.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_resume import assert_same

import accord
from accord.cli import main
from accord.stages import evaluation, intake
from accord.training.optimizer import Weights
from accord.training.stop import Left, Stop

ROOT = Path(__file__).resolve().parents[1]
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stop")
    tiny.write_model(path / "model")
    rows = tiny.comparisons(16)
    (path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def options(home: Path, output: Path) -> dict[str, Any]:
    """A run of 8 steps that is evaluated before, after 3, after 6, and at the end."""
    return {
        "model": home / "model", "data": home / "pairs.jsonl", "output_dir": output, "samples": 1, "sample_tokens": 4,
        "report_to": "none", "batch_size": 4, "learning_rate": 3e-3, "warmup_steps": 2, "save_steps": 100,
        "max_steps": 8, "logging_steps": 2, "validation": 0.2, "eval_steps": 3, "seed": 3,
    }  # fmt: skip


def words(given: dict[str, Any]) -> list[str]:
    return ["dpo", *(f"--{key}={value}" for key, value in given.items())]


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    """The run that nothing stopped."""
    assert main(words(options(home, home / "whole"))) == 0
    return home / "whole"


def after(count: int, call: Callable[..., Any], do: Callable[[], object]) -> Callable[..., Any]:
    """`call`, and `do` within the `count`-th time that it is called."""
    times = []

    def counted(*given: Any, **more: Any) -> Any:
        times.append(1)
        if len(times) == count:
            do()
        return call(*given, **more)

    return counted


@pytest.mark.parametrize(
    ("number", "at", "saved"),
    [
        (signal.SIGTERM, "step 5", 5),
        (signal.SIGINT, "step 5", 5),
        (signal.SIGHUP, "step 5", 5),
        (signal.SIGTERM, "step 8", 8),  # all is done but the evaluation of what is saved: that one is left
        (signal.SIGTERM, "evaluation 1", 0),
        (signal.SIGINT, "evaluation 2", 3),
        (signal.SIGTERM, "evaluation 4", 8),
    ],
)
def test_a_stopped_run_saves_and_goes_on_to_the_same_bits(
    home: Path, whole: Path, tmp_path: Path, capsys: Any, number: signal.Signals, at: str, saved: int
) -> None:
    given = options(home, tmp_path / "run")
    kind, count = at.split()
    with pytest.MonkeyPatch.context() as patch:
        place: Any = (Weights, "step") if kind == "step" else (evaluation, "measure")
        stop = after(int(count), getattr(*place), lambda: os.kill(os.getpid(), number))
        patch.setattr(*place, stop)
        assert main(words(given)) == CODES[number]
    said = capsys.readouterr().err
    assert f"error[{CODES[number]}]" in said.splitlines()[-1]
    assert (f"after step {saved} of 8, which is saved" if saved else "before the first step") in said
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*"))
    assert kept == ([f"step-{saved:08d}"] if saved else [])
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert main([*words(given), "--resume"]) == 0
    assert_same(whole, tmp_path / "run")


def test_python_gets_an_error_of_its_own(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weights, "step", after(2, Weights.step, lambda: os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(accord.Stopped, match="SIGINT after step 2 of 8") as caught:
        accord.dpo(**options(home, tmp_path / "run"))
    assert caught.value.signal is signal.SIGINT


TWICE = """
import os, signal, sys
from accord.cli import main
from accord.training.optimizer import Weights

step, times = Weights.step, []

def stubborn(self, lr):
    times.append(lr)
    if len(times) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    step(self, lr)

Weights.step = stubborn
sys.exit(main(sys.argv[1:]))
"""


def test_a_second_signal_ends_it_at_once(home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWICE, *words(options(home, tmp_path / "run"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 143
    assert done.stderr.splitlines()[-1].startswith("error[143] SIGTERM again: left at once")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_sigterm_while_data_are_read_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stop = after(1, intake.Preparation.of, lambda: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(intake.Preparation, "of", stop)
    assert main(words(options(home, tmp_path / "run"))) == 143
    assert capsys.readouterr().err.splitlines()[-1].startswith("error[143] terminated: ")
    assert not (tmp_path / "run").exists()


def test_a_sweep_does_not_go_on_with_the_next_run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    given = options(home, tmp_path / "sweep") | {"beta": [0.1, 0.3]}
    lines = [f"{key}: {json.dumps(value, default=str)}" for key, value in given.items()]
    file = tmp_path / "sweep.yaml"
    file.write_text("\n".join(["command: dpo", *lines]) + "\n")
    monkeypatch.setattr(Weights, "step", after(2, Weights.step, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert main(["sweep", str(file)]) == 143
    begun = [path.parent.name for path in (tmp_path / "sweep").rglob("run.json")]
    assert len(begun) == 1


def test_an_ignored_signal_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_hears_nothing_and_may_train() -> None:
    found: list[object] = []

    def work() -> None:
        with Stop() as stop:
            found.extend(stop.passing([1, 2]))
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [1, 2, signal.getsignal(signal.SIGTERM)]


def test_what_is_left_in_the_middle() -> None:
    with Stop() as stop:
        items = stop.passing([1, 2, 3])
        assert next(items) == 1
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Left):
            next(items)


READER_LEFT = """
import os, sys
from accord.cli import main
from accord.training.optimizer import Weights
import test_stop
reader, writer = os.pipe()
os.dup2(writer, 2)
def leave():
    os.close(reader)  # as `tee` does, which Ctrl-C ends as well
    if int(sys.argv[1]):
        os.kill(os.getpid(), int(sys.argv[1]))
Weights.step = test_stop.after(5, Weights.step, leave)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number, code", [(0, 0), *CODES.items()])
def test_where_nobody_reads_what_it_says_any_more_it_goes_on_and_stops_all_the_same(
    home: Path, tmp_path: Path, number: int, code: int
) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-c", READER_LEFT, str(int(number)), *words({**options(home, tmp_path / "run")})]
    assert subprocess.run(command, cwd=ROOT, env=environment).returncode == code
    assert (tmp_path / "run" / "checkpoints" / f"step-0000000{5 if number else 8}").is_dir()


def test_a_session_that_is_closed_asks_once() -> None:
    """SIGTERM and SIGHUP come together then, in either order: neither is the second one that leaves at once."""
    for order in ((signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, signal.SIGTERM), (signal.SIGHUP, signal.SIGHUP)):
        with Stop() as stop:
            for number in order:
                os.kill(os.getpid(), number)
        assert stop.signal is order[0]
