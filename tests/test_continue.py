"""What a run may be resumed with: refused with the difference and a clean folder, or allowed, said and recorded."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from killed_runs import Home, Stopped, assert_same, files, furnish, lines, stop_at, words
from safetensors.torch import load_file, save_file

import accord
from accord.cli import main
from accord.stages import conditions, training
from accord.stages.session import Session
from accord.stages.state import State, save_checkpoint
from accord.training import checkpoint
from accord.training.run import RunFolder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return furnish(tmp_path_factory.mktemp("continue"))


@pytest.fixture(scope="module")
def stopped(home: Home) -> dict[str, Any]:
    """The options of a run that a fault stopped in step 7, with checkpoints after 3 and 6; no test changes it."""
    options = {**home.options("dpo", "stopped"), "reference_cache": "none"}
    stop_at(7, lambda: accord.dpo(**options))
    return options


@pytest.fixture
def killed(stopped: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same of a copy; `resume` is on."""
    shutil.copytree(stopped["output_dir"], tmp_path / "run")
    return {**stopped, "output_dir": tmp_path / "run", "resume": True}


def entries(options: dict[str, Any]) -> list[dict[str, Any]]:
    """The changes in run.json, without their times."""
    found = json.loads((options["output_dir"] / "run.json").read_text()).get("changes", [])
    return [{key: value for key, value in entry.items() if key != "time"} for entry in found]


# ---- options ---------------------------------------------------------------------------------------------------------


def test_other_options_are_refused_with_all_differences_and_what_to_type(
    killed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(killed["output_dir"])
    assert main(words("dpo", {**killed, "learning_rate": 1e-4, "beta": 0.5})) == 2
    said = capsys.readouterr().err
    line = said.splitlines()[-1]
    assert "learning_rate was 0.003, is 0.0001" in line and "beta was not given, is 0.5" in line
    assert "--allow_change learning_rate,beta" in line
    assert "data: " not in said  # nothing was read for this
    assert files(killed["output_dir"]) == before


def test_what_changes_no_number_may_differ(killed: dict[str, Any]) -> None:
    free = {"logging_steps": 1, "samples": 0, "save_steps": 100, "token_cache": "none"}
    assert accord.dpo(**{**killed, **free}).summary["steps"] == 8


def test_an_option_that_came_with_a_later_version_has_had_its_default(
    killed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = checkpoint.load

    def of_before(path: Path) -> checkpoint.Checkpoint:
        found = load(path)
        del found.state["config"]["max_grad_norm"]
        return found

    monkeypatch.setattr(checkpoint, "load", of_before)
    with pytest.raises(accord.InputError, match=r"max_grad_norm was 1.0, is 2.0"):
        accord.dpo(**killed, max_grad_norm=2.0)
    accord.dpo(**killed)


def test_an_allowed_change_is_said_recorded_and_survives(
    killed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {**killed, "learning_rate": 1e-4, "save_steps": 1}
    stop_at(2, lambda: accord.dpo(**changed, allow_change=["learning_rate"]))
    assert "changed after step 6: learning_rate was 0.003, is 0.0001" in capsys.readouterr().err
    recorded = [{"step": 6, "key": "learning_rate", "was": 0.003, "is": 0.0001}]
    assert entries(killed) == recorded
    accord.dpo(**changed)  # the checkpoint after step 7 was made with it
    assert entries(killed) == recorded
    logged = lines(killed["output_dir"] / "metrics.jsonl")
    rates = {line["step"]: line["learning_rate"] for line in logged if "learning_rate" in line}
    assert rates[6] > 3e-4 > 1e-4 > rates[8]
    assert "- after step 6: `learning_rate` was 0.003, is 0.0001" in (killed["output_dir"] / "README.md").read_text()
    with pytest.raises(accord.InputError, match=r"learning_rate was 0\.0001, is 0\.003"):
        accord.dpo(**killed)


def test_a_change_that_was_allowed_is_so_still_where_the_run_died_before_it_saved(killed: dict[str, Any]) -> None:
    changed = {**killed, "learning_rate": 1e-4}
    stop_at(1, lambda: accord.dpo(**changed, allow_change=["learning_rate"]))
    config = killed["output_dir"] / "run.yaml"
    assert main(["dpo", f"--config={config}", "--resume"]) == 0  # as `accord runs` says it
    assert [entry["is"] for entry in entries(killed)] == [0.0001]


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_stopped_between_the_writes_of_a_changed_start_it_still_goes_on(
    killed: dict[str, Any], write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what run.yaml says then: the options of before, or those of now."""
    write_text, written = RunFolder.write_text, []

    def counted(self: RunFolder, name: str, text: str) -> None:
        written.append(name)
        if len(written) == write:
            raise Stopped
        write_text(self, name, text)

    monkeypatch.setattr(RunFolder, "write_text", counted)
    with pytest.raises(Stopped):
        accord.dpo(**{**killed, "learning_rate": 1e-4}, allow_change=["learning_rate"])
    monkeypatch.undo()
    assert written[write - 1] == ["run.json", "run.json", "run.yaml", "data_report.json"][write - 1]
    place = killed["output_dir"]  # in run.yaml it may still be that which this one is a copy of
    assert main(["dpo", f"--config={place / 'run.yaml'}", f"--output_dir={place}", "--resume"]) == 0
    assert [entry["is"] for entry in entries(killed)] == [0.0001] * (write == 4)


def test_without_the_change_it_ends_as_if_it_had_not_been_tried(
    killed: dict[str, Any], stopped: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(1, lambda: accord.dpo(**{**killed, "learning_rate": 1e-4}, allow_change=["learning_rate"]))
    capsys.readouterr()
    accord.dpo(**killed)
    assert "note: learning_rate is 0.003 again" in capsys.readouterr().err
    assert entries(killed) == []
    whole = {**stopped, "output_dir": tmp_path / "whole"}
    accord.dpo(**whole)
    assert_same(whole["output_dir"], killed["output_dir"])


def test_run_yaml_repeats_the_run_and_not_its_resuming(killed: dict[str, Any]) -> None:
    accord.dpo(**{**killed, "beta": 0.3}, allow_change=["beta"])
    held = yaml.safe_load((killed["output_dir"] / "run.yaml").read_text())
    assert held["beta"] == 0.3 and not {"resume", "allow_change"} & held.keys()


REFUSED = {
    "unknown": ({"allow_change": ["learning_rat"]}, r"did you mean 'learning_rate'"),
    "without resume": ({"allow_change": ["beta"], "resume": False}, r"only for a run that is resumed: add --resume"),
    "optimizer": (
        {"optimizer": "sgd", "allow_change": ["optimizer"]},
        r"optimizer was adamw, is sgd: the checkpoint holds the state of the other one",
    ),
    "rank": ({"lora_r": 2, "allow_change": ["lora_r"]}, r"lora_r was not given, is 2: the checkpoint holds other"),
    "one of two": ({"beta": 0.3, "learning_rate": 1e-4, "allow_change": ["beta"]}, r": learning_rate was[^;]*$"),
    "fewer steps than are done": ({"max_steps": 4}, r"6 steps are done, and max_steps is 4: resume with more"),
    "just what is done": ({"max_steps": 6, "allow_change": ["max_steps"]}, r"6 steps are done, .* has 6"),
    "a longer linear schedule": ({"max_steps": 12}, r"max_steps was 8, is 12 .*rates .* follow .* linear"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_and_leaves_the_folder_as_it_was(killed: dict[str, Any], name: str) -> None:
    options, message = REFUSED[name]
    before = files(killed["output_dir"])
    with pytest.raises(accord.InputError, match=message):
        accord.dpo(**{**killed, **options})
    assert files(killed["output_dir"]) == before


def test_a_batch_twice_as_large_is_not_done_at_once(home: Home, tmp_path: Path) -> None:
    """As the most used trainer is: its run of 8 small steps has only 4 large ones, and 6 are done."""
    options = {**home.options("dropout", "unused"), "num_train_epochs": 2, "output_dir": tmp_path / "run"}
    del options["max_steps"]
    stop_at(7, lambda: accord.sft(**options))
    before = files(tmp_path / "run")
    with pytest.raises(accord.InputError, match="6 steps are done, and with these options the run has 4"):
        accord.sft(**{**options, "batch_size": 8}, resume=True, allow_change=["batch_size"])
    assert files(tmp_path / "run") == before


def test_a_smaller_batch_goes_on_and_says_what_that_does_to_the_order(
    killed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    accord.dpo(**{**killed, "batch_size": 2}, allow_change=["batch_size", "seed", "save_steps"])
    said = capsys.readouterr().err
    assert "groups may come again, or be left out" in said
    assert "note: seed does not differ: --allow_change seed does nothing here" in said
    assert "note: save_steps may always differ" in said


@pytest.mark.parametrize("warmup, is_free", [(2, True), (0, True), (0.25, False)])
def test_a_constant_schedule_may_be_longer_where_no_rate_depends_on_it(
    home: Home, tmp_path: Path, warmup: float, is_free: bool
) -> None:
    options = {**home.options("dropout", "unused"), "lr_scheduler_type": "constant", "warmup_steps": warmup}
    options |= {"max_steps": 4, "output_dir": tmp_path / "run"}
    accord.sft(**options)
    longer = {**options, "max_steps": 5, "resume": True}
    if is_free:
        assert accord.sft(**longer).summary["steps"] == 5
    else:
        with pytest.raises(accord.InputError, match=r"max_steps was 4, is 5 .*warmup_steps 0\.25"):
            accord.sft(**longer)


def test_a_longer_run_makes_up_for_the_evaluation_that_its_end_had_put_off(home: Home, tmp_path: Path) -> None:
    """At step 4 the shorter run ends, and is evaluated after its last checkpoint; a longer one has that at step 4."""
    how = {"validation": 0.2, "eval_steps": 2, "save_steps": 2, "load_best_model_at_end": True, "samples": 0}
    how |= {"lr_scheduler_type": "constant", "logging_steps": 1}
    short = {**home.options("dpo", "unused"), **how, "output_dir": tmp_path / "run", "max_steps": 4}
    accord.dpo(**short)
    accord.dpo(**{**short, "max_steps": 8}, resume=True)
    accord.dpo(**{**short, "max_steps": 8, "output_dir": tmp_path / "whole"})
    found = [
        {line["step"]: line["eval_loss"] for line in lines(tmp_path / name / "metrics.jsonl") if "eval_loss" in line}
        for name in ("run", "whole")
    ]
    assert found[0] == found[1] and list(found[0]) == [0, 2, 4, 6, 8]
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_a_checkpoint_of_another_version_is_said_to_be_one(
    killed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "STATE", conditions.STATE + 1)
    before = files(killed["output_dir"])
    with pytest.raises(accord.InputError, match=r"was written by accord .* cannot read: resume with that version"):
        accord.dpo(**killed)
    assert files(killed["output_dir"]) == before


# ---- data ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def moved(home: Home, tmp_path: Path) -> dict[str, Any]:
    """A stopped run of a file of its own, whose rows have been turned round since; `resume` is on."""
    data = tmp_path / "pairs.jsonl"
    data.write_text((home.path / "sft.jsonl").read_text())
    options = {**home.options("dropout", "unused"), "data": data, "output_dir": tmp_path / "run"}
    stop_at(5, lambda: accord.sft(**options))
    data.write_text("\n".join(reversed(data.read_text().splitlines())) + "\n")
    return {**options, "resume": True}


def test_other_content_under_the_same_name_is_refused(moved: dict[str, Any]) -> None:
    before = files(moved["output_dir"])
    with pytest.raises(accord.InputError, match=r"other data: the files, .* have changed since: .*--allow_change data"):
        accord.sft(**moved)
    assert files(moved["output_dir"]) == before


def test_other_content_may_be_allowed(moved: dict[str, Any]) -> None:
    accord.sft(**moved, allow_change=["data"])
    (entry,) = entries(moved)
    assert entry["key"] == "data" and entry["step"] == 3 and entry["was"] != entry["is"]
    accord.sft(**moved)


def test_a_larger_held_out_share_makes_other_data_and_is_one_permission(killed: dict[str, Any]) -> None:
    accord.dpo(**{**killed, "validation": 0.4}, allow_change=["validation"])
    assert [entry["key"] for entry in entries(killed)] == ["validation", "data", "reference"]


def test_another_base_under_an_adapter_is_refused(home: Home, tmp_path: Path) -> None:
    """The same name and shapes, and one frozen number that is another: the adapter was trained on the old one."""
    model = shutil.copytree(home.path / "model", tmp_path / "model")
    options = {**home.options("average", "unused"), "model": model, "output_dir": tmp_path / "run", "lora_r": 2}
    stop_at(5, lambda: accord.sft(**options))
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    before = files(tmp_path / "run")
    with pytest.raises(accord.InputError, match=r"another base: .*--allow_change model"):
        accord.sft(**options, resume=True)
    assert files(tmp_path / "run") == before
    accord.sft(**options, resume=True, allow_change=["model"])
    assert [entry["key"] for entry in entries(options)] == ["model"]


def test_other_texts_that_are_mixed_in_are_refused(home: Home, tmp_path: Path) -> None:
    mix = tmp_path / "texts.jsonl"
    mix.write_text((home.path / "pretrain.jsonl").read_text())
    options = {**home.options("texts mixed in", "unused"), "mix": mix, "output_dir": tmp_path / "run"}
    stop_at(5, lambda: accord.sft(**options))
    mix.write_text("".join(mix.read_text().splitlines(keepends=True)[1:]))
    before = files(tmp_path / "run")
    with pytest.raises(accord.InputError, match="was trained on other data"):
        accord.sft(**options, resume=True)
    assert files(tmp_path / "run") == before


def test_a_reference_of_other_data_is_not_used(home: Home, tmp_path: Path) -> None:
    """Stopped before the first checkpoint, its data changed, resumed: the run starts anew, and so does the reference.

    With the old file's values a policy that equals its reference would not begin at log 2.
    """
    data = tmp_path / "pairs.jsonl"
    rows = (home.path / "dpo.jsonl").read_text().splitlines()
    data.write_text("\n".join(rows) + "\n")
    options = {**home.options("before the first checkpoint", "unused"), "data": data, "output_dir": tmp_path / "run"}
    stop_at(2, lambda: accord.dpo(**options))
    data.write_text("\n".join(reversed(rows)) + "\n")
    accord.dpo(**options, resume=True)
    first = lines(tmp_path / "run" / "metrics.jsonl")[0]
    assert first["eval_loss"] == pytest.approx(0.693147, abs=1e-5)


def test_bad_data_leave_no_folder_behind(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a"\n')
    options = {**home.options("dpo", "unused"), "data": tmp_path / "bad.jsonl", "output_dir": tmp_path / "run"}
    for resume in (False, True):
        with pytest.raises(accord.InputError):
            accord.dpo(**options, resume=resume)
        assert not (tmp_path / "run").exists()


def test_a_change_that_a_checkpoint_of_the_same_step_was_saved_with_is_made(
    killed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a run that SIGTERM stops before the first step after it was resumed with a change."""
    changed = {**killed, "learning_rate": 1e-4}

    def stopped(session: Session, state: State) -> None:
        save_checkpoint(session, state)
        raise Stopped

    monkeypatch.setattr(training, "_steps", stopped)
    with pytest.raises(Stopped):
        accord.dpo(**changed, allow_change=["learning_rate"])
    monkeypatch.undo()
    capsys.readouterr()
    accord.dpo(**changed)
    said = capsys.readouterr().err
    assert "step-00000006.1)" in said and "again" not in said
    assert [entry["step"] for entry in entries(killed)] == [6]
