"""FAULTS.md, test 45: a reward service that fails in the middle of a run. Three tries, a checkpoint, exit 5; gone on
with, the run ends as one that was left alone, as no reward was made up. Each fault by itself: test_reward_service.py.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny
from reward_service_double import Reply, Service, nobody, rewards_by, service
from stage_runs import lines, write_lines

import accord
from accord.cli import ending
from accord.training.run import RunFolder

PROMPTS = [{"id": row["id"], "prompt": row["prompt"]} for row in tiny.comparisons(24)]
QUICK: dict[str, Any] = {
    "max_new_tokens": 8,
    "max_steps": 4,
    "batch_size": 4,
    "logging_steps": 1,
    "sample_steps": 0,
    "samples": 0,
    "report_to": "none",
    "reward_backoff": 0.0,
    "reward_timeout": 0.5,
}
BY_LENGTH = rewards_by(lambda prompt, completion: len(completion) / 10)
FAULTS: dict[str, Reply] = {
    "500": Reply("", 500),
    "hangs": Reply(hangs=30.0),
    "NaN": Reply('{"rewards": [[NaN], [NaN], [NaN], [NaN]]}'),
}
Train = Callable[..., int]


def training(workshop: Path, place: Path) -> Train:
    """train("run", url, resume=True): accord reinforce into place/run; its exit code, and its last line is printed."""
    data = write_lines(place / "prompts.jsonl", PROMPTS)

    def run(folder: str, reward: str, **more: object) -> int:
        given = {"model": workshop / "model", "data": data, "output_dir": place / folder, "reward": reward}
        try:
            accord.reinforce(**given, **{**QUICK, **more})
        except accord.AccordError as error:
            print(ending(error), file=sys.stderr)
            return error.code
        return 0

    return run


@pytest.fixture(autouse=True, scope="module")
def without_curves() -> Iterator[None]:
    """They take most of the time of a run as short as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "draw_curves", lambda self, title, panels: None)
        yield


@pytest.fixture
def train(workshop: Path, tmp_path: Path) -> Train:
    return training(workshop, tmp_path)


class Whole(NamedTuple):
    """A run that was left alone, and what its service was asked."""

    folder: Path
    asked: list[str]


@pytest.fixture(scope="module")
def whole(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    place = tmp_path_factory.mktemp("whole")
    with service(BY_LENGTH) as found:
        assert training(workshop, place)("run", found.url) == 0
    return Whole(place / "run", asked(found))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def asked(found: Service) -> list[str]:
    return [json.dumps(one, sort_keys=True) for one in found.asked]


@pytest.mark.parametrize("fault", FAULTS)
def test_45_a_service_that_fails_in_the_middle(
    train: Train, whole: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    run = tmp_path / "run"
    with service(*[BY_LENGTH] * 3, *[FAULTS[fault]] * 3, BY_LENGTH) as found:
        assert train("run", found.url) == 5
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"error[5] {found.url}: no rewards after 3 tries: ")
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000003"]
        assert [row["step"] for row in lines(run / "metrics.jsonl")] == [1, 2, 3]
        assert not (run / "model.safetensors").exists()
        assert train("run", found.url, resume=True) == 0
    assert asked(found) == [*whole.asked[:3], *[whole.asked[3]] * 4]  # the same samples, also after resuming
    assert weights(run) == weights(whole.folder)
    mine, theirs = ([row["objective/scores"] for row in lines(one / "metrics.jsonl")] for one in (run, whole.folder))
    assert mine == theirs and len(mine) == 4


def test_45_a_service_that_fails_once_or_twice_changes_nothing(train: Train, whole: Whole, tmp_path: Path) -> None:
    with service(FAULTS["500"], BY_LENGTH, FAULTS["NaN"], Reply({"rewards": [[1.0]] * 3}), BY_LENGTH) as found:
        assert train("run", found.url) == 0
    assert len(found.asked) == 7 and weights(tmp_path / "run") == weights(whole.folder)


def test_45_a_service_that_is_not_there(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("run", nobody()) == 5
    assert "no rewards after 3 tries: Connection refused" in capsys.readouterr().err.splitlines()[-1]
    with service(BY_LENGTH) as found:
        assert train("run", found.url) == 0  # nothing that was left is in the way


NONE: dict[str, tuple[str, int, str]] = {
    "text": ("'one'", 2, "gave 'one' (str), not a list of 4 numbers"),
    "none": ("[None] * 4", 3, "gave None, which is no reward"),
    "inf": ("[0.0, 0.0, 0.0, float('inf')]", 3, "gave inf, which is no reward"),
}


@pytest.mark.parametrize("name", NONE)
def test_a_function_that_gives_no_rewards_in_the_middle(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Rows 32 to 34: at its third round, before anything is learnt from it."""
    given, code, said = NONE[name]
    file = tmp_path / "rewards.py"
    file.write_text(
        f"rounds = []\ndef f(groups):\n    rounds.append(0)\n    return {given} if len(rounds) > 2 else [1.0] * 4\n"
    )
    assert train("run", f"{file}:f") == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error[{code}] {file}:f: ") and said in last
    assert code == 2 or f"{tmp_path / 'prompts.jsonl'}:" in last  # which sample it was
    assert [row["step"] for row in lines(tmp_path / "run" / "metrics.jsonl")] == [1, 2]
