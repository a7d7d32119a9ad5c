"""Killed with SIGKILL and resumed, a run ends in the same bits and the same numbers as one that was left alone."""

import json
import shutil
from pathlib import Path

import pytest
from killed_runs import KILLED, Home, assert_same, figures, furnish, killed_at, stop_at, weights, words

import accord
from accord.cli import main


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return furnish(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def left(home: Home) -> Home:
    """The same, and in `killed` what is left of every run of KILLED."""
    killed_at([(run.where, words(run.stage, home.options(name, "killed"))) for name, run in KILLED.items()])
    return home


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_ends_as_if_it_had_not_been(left: Home, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage, after = KILLED[name].stage, KILLED[name].after
    whole, killed = left.options(name, "whole"), left.options(name, "killed")
    assert not (killed["output_dir"] / "MANIFEST.json").exists()
    assert main(words(stage, whole)) == 0
    capsys.readouterr()
    assert main(words(stage, {**killed, "resume": True})) == 0
    said = capsys.readouterr().err
    assert (f"resuming after step {after}" if after else "no checkpoint yet") in said
    assert "warning" not in said
    assert_same(whole["output_dir"], killed["output_dir"])
    assert not list((killed["output_dir"] / "checkpoints").glob(".tmp-*"))


def test_the_best_step_was_one_before_the_kill(left: Home) -> None:
    """Else the test above would not see that its weights came through."""
    options = left.options("the best step", "alone")
    accord.sft(**options)
    assert 0 < figures(options["output_dir"])["best"]["step"] <= 3


def test_resuming_a_finished_run_changes_nothing(home: Home, tmp_path: Path) -> None:
    options = {**home.options("dpo", "unused"), "output_dir": tmp_path / "run", "max_steps": 3}
    accord.dpo(**options)
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    accord.dpo(**options, resume=True)
    assert_same(tmp_path / "before", tmp_path / "run")


def test_resumed_twice_it_is_exact_too(home: Home, tmp_path: Path) -> None:
    options = {**home.options("dropout", "unused"), "output_dir": tmp_path / "run"}
    stop_at(5, lambda: accord.sft(**options))
    stop_at(4, lambda: accord.sft(**options, resume=True))
    accord.sft(**options, resume=True)
    whole = {**options, "output_dir": tmp_path / "whole"}
    accord.sft(**whole)
    assert_same(whole["output_dir"], options["output_dir"])


def test_a_longer_constant_schedule_goes_on_as_if_it_had_been_that_long(home: Home, tmp_path: Path) -> None:
    """No rate of a step depends on how many there are."""
    options = {**home.options("dpo", "unused"), "lr_scheduler_type": "constant", "output_dir": tmp_path / "run"}
    accord.dpo(**{**options, "max_steps": 4})
    accord.dpo(**{**options, "max_steps": 6}, resume=True)
    whole = {**options, "max_steps": 6, "output_dir": tmp_path / "whole"}
    accord.dpo(**whole)
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert "changes" not in json.loads((tmp_path / "run" / "run.json").read_text())
