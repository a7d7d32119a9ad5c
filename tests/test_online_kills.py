"""Killed while it samples, judges, learns or asks people, accord online-dpo ends as if it had been left alone."""

import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from killed_runs import files, words
from online_runs import assert_same, furnish, judge, killed_at, options, run

from accord.errors import Stopped
from accord.stages import rl_rollouts

USUAL: dict[str, Any] = {
    "num_mini_batches": 2, "num_epochs": 2, "max_steps": 6, "save_steps": 1, "logging_steps": 3, "validation": 0.2,
    "eval_steps": 3, "sample_steps": 2, "samples": 1, "sample_tokens": 2,
}  # fmt: skip


class Killed(NamedTuple):
    """A run of two rounds, of four steps and of two, where it is killed, and what it goes on from."""

    where: str
    after: int
    options: dict[str, Any]


KILLED = {
    "sampling": Killed(
        "sampling 18", 4, {"loss_type": "kto"}
    ),  # behind 8 prompts of the first round, and 3 held-out ones twice
    "judging": Killed("drawing 2", 4, {"draw_ranks": True, "pairs": "all"}),
    "judged, before a step": Killed("judged 12", 4, {"reference_each_round": True}),
    "learning": Killed("step 3", 2, {"reference_each_round": True, "temperature": 0.8, "lora_r": 2}),
    "learning, far from a checkpoint": Killed("step 6", 3, {"save_steps": 3, "missing_eos": "subtract"}),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("killed")
    furnish(found)
    return found


@pytest.fixture(scope="module")
def killed(place: Path) -> None:
    """All of them, dead: the runs in a folder each, and one that waited to be judged."""
    jobs = [
        (one.where, words("online-dpo", options(place, place / "killed" / name, **{**USUAL, **one.options})))
        for name, one in KILLED.items()
    ]
    people = options(place, place / "killed" / "asking", **{**USUAL, "judge": "file"})
    killed_at([*jobs, ("asking 1", words("online-dpo", people))])


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.training.curves.draw", lambda *given, **more: False)


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_ends_as_if_it_had_been_left_alone(
    place: Path, killed: None, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, given = place / "killed" / name, {**USUAL, **KILLED[name].options}
    assert run(place, place / "whole" / name, **given) == 0
    assert not (output / "summary.json").exists()
    assert run(place, output, resume=True, **given) == 0
    assert f"resuming after step {KILLED[name].after} (" in capsys.readouterr().err
    assert_same(place / "whole" / name, output)


def test_a_run_that_was_killed_before_it_had_asked_asks_the_same(place: Path, killed: None, tmp_path: Path) -> None:
    output, given = place / "killed" / "asking", {**USUAL, "judge": "file"}
    assert not (output / "to_judge").exists() and (output / "checkpoints" / "step-00000000").exists()
    assert run(place, tmp_path / "whole", **given) == 0
    assert run(place, output, resume=True, **given) == 0
    for folder in (output, tmp_path / "whole"):
        judge(folder, 1)
        assert run(place, folder, resume=True, **given) == 0
        judge(folder, 2)
        assert run(place, folder, resume=True, **given) == 0
    of = [
        {name: text for name, text in files(folder).items() if "judge" in name}
        for folder in (output, tmp_path / "whole")
    ]
    assert of[0] == of[1] and len(of[0]) == 4
    assert_same(tmp_path / "whole", output)


def _asked(folder: Path) -> dict[str, bytes]:
    return {name: text for name, text in files(folder).items() if "judge" in name}


def test_a_run_that_is_to_stop_leaves_its_sampling_and_saves(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**USUAL, "eval_steps": None, "save_steps": None}
    assert run(place, tmp_path / "whole", **given) == 0
    sample, rounds = rl_rollouts.sample, []

    def stopped(*samples: Any, **more: Any) -> Any:
        rounds.append(1)
        if len(rounds) == 3:  # held-out prompts before the first step, the first round, and this
            signal.raise_signal(signal.SIGTERM)
        return sample(*samples, **more)

    with monkeypatch.context() as patch, pytest.raises(Stopped, match="after step 4 of 6, which is saved"):
        patch.setattr(rl_rollouts, "sample", stopped)
        run(place, tmp_path / "stopped", **given)
    assert (tmp_path / "stopped" / "checkpoints" / "step-00000004").exists()
    assert run(place, tmp_path / "stopped", resume=True, **given) == 0
    assert_same(tmp_path / "whole", tmp_path / "stopped")
