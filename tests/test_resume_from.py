"""What a run goes on from: a checkpoint that is named or found, its own copy of the reference, and its own date."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tiny
from killed_runs import Home, assert_same, files, furnish, stop_at, weights, words
from safetensors.torch import load_file, save_file

import accord
from accord.cli import main
from accord.data.template import Template
from accord.errors import InputError, IntegrityError
from accord.models import sealed
from accord.stages import entering
from accord.stages.commands import COMMANDS
from accord.stages.intake import Preparation
from accord.stages.pretrain import INTAKE
from accord.stages.resolve import load


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return furnish(tmp_path_factory.mktemp("resume_from"))


@pytest.fixture(scope="module")
def whole(home: Home) -> dict[str, Any]:
    """The options of a run that was left alone."""
    options = {**home.options("dpo", "whole"), "reference_cache": "none"}
    accord.dpo(**options)
    return options


@pytest.fixture(scope="module")
def stopped(home: Home, whole: dict[str, Any]) -> dict[str, Any]:
    """The same, stopped by a fault in step 7, with checkpoints after 3 and 6; no test changes it."""
    options = {**whole, "output_dir": home.path / "stopped"}
    stop_at(7, lambda: accord.dpo(**options))
    return options


@pytest.fixture
def killed(stopped: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same of a copy; `resume` is on."""
    shutil.copytree(stopped["output_dir"], tmp_path / "run")
    return {**stopped, "output_dir": tmp_path / "run", "resume": True}


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place, after",
    [("checkpoints/step-00000003", 3), ("checkpoints/step-00000006", 6), ("checkpoints", 6), ("", 6)],
)
def test_a_checkpoint_or_a_folder_of_them_may_be_named(
    killed: dict[str, Any], whole: dict[str, Any], place: str, after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    accord.dpo(**{**killed, "resume": str(killed["output_dir"] / place)})
    assert f"resuming after step {after} " in capsys.readouterr().err
    assert_same(whole["output_dir"], killed["output_dir"])


def test_what_is_named_and_no_checkpoint_is_refused_with_what_may_be_named(
    killed: dict[str, Any], home: Home, tmp_path: Path
) -> None:
    before = files(killed["output_dir"])
    for path, message in ((tmp_path / "none", "no such directory"), (home.path / "model", "holds no checkpoint")):
        with pytest.raises(accord.InputError, match=f"{message}: a checkpoint, the folder of"):
            accord.dpo(**{**killed, "resume": str(path)})
    with pytest.raises(accord.InputError, match="holds no run, so none that"):
        accord.dpo(**{**killed, "resume": str(killed["output_dir"]), "output_dir": tmp_path / "other"})
    assert files(killed["output_dir"]) == before and not (tmp_path / "other").exists()


def test_a_checkpoint_of_another_run_is_refused(killed: dict[str, Any], whole: dict[str, Any]) -> None:
    before = files(killed["output_dir"])
    with pytest.raises(accord.InputError, match="is of another run than"):
        accord.dpo(**{**killed, "resume": str(whole["output_dir"])})
    assert files(killed["output_dir"]) == before


def test_the_weights_of_a_best_step_are_nothing_to_go_on_from(home: Home, tmp_path: Path) -> None:
    options = {**home.options("the best step", "unused"), "output_dir": tmp_path / "run"}
    stop_at(5, lambda: accord.sft(**options))
    (best,) = (tmp_path / "run" / "best").glob("step-*")
    with pytest.raises(accord.InputError, match="holds weights only"):
        accord.sft(**options, resume=str(best))


def test_with_nothing_there_it_starts_anew_and_says_so(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**home.options("dpo", "unused"), "output_dir": tmp_path / "run", "max_steps": 1, "resume": True}
    assert main(words("dpo", options)) == 0
    assert "starting anew" in capsys.readouterr().err


def test_another_command_or_a_folder_of_something_else_is_told_before_anything_is_read(
    killed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    options = {**killed, "data": tmp_path / "missing.jsonl"}
    assert main(words("sft", {key: options[key] for key in ("model", "data", "output_dir", "resume")})) == 2
    assert "a run of `accord dpo`, which `accord sft` cannot continue" in capsys.readouterr().err
    assert main(words("dpo", {**options, "output_dir": tmp_path / "thesis"})) == 2
    assert "not empty, and no run of Accord" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


def test_another_machine_is_said_loudly(
    killed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = entering.conditions
    monkeypatch.setattr(entering, "conditions", lambda place: {**found(place), "torch": "9.9", "threads": 96})
    accord.dpo(**killed)
    said = capsys.readouterr().err
    assert "warning: torch was 2." in said and "is 9.9; threads was 1, is 96: from here on, last bits may" in said


def test_a_checkpoint_says_what_it_was_made_by(killed: dict[str, Any]) -> None:
    manifest = json.loads((killed["output_dir"] / "checkpoints" / "step-00000006" / "MANIFEST.json").read_text())
    about = manifest["about"]
    report = json.loads((killed["output_dir"] / "data_report.json").read_text())
    assert about["data"] == report["fingerprint"]
    assert about["reference"] == sealed.read(killed["output_dir"] / "reference.safetensors").seal
    assert about["code"].startswith(f"accord {accord.__version__} ") and about["world"] == 1
    assert {"config", "torch", "transformers", "python", "device", "threads"} < about.keys()


# ---- the reference ---------------------------------------------------------------------------------------------------


def test_a_reference_that_is_gone_is_made_anew_to_the_bit(
    killed: dict[str, Any], whole: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = killed["output_dir"] / "reference.safetensors"
    before = file.read_bytes()
    file.unlink()
    accord.dpo(**killed)
    assert "the reference made anew is the same, to the bit" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert_same(whole["output_dir"], killed["output_dir"])


def test_another_reference_is_refused_or_allowed(killed: dict[str, Any], tmp_path: Path, home: Home) -> None:
    """The file is gone, and the model that it came from has been trained further."""
    model = shutil.copytree(home.path / "model", tmp_path / "model")
    options = {**killed, "model": model, "output_dir": tmp_path / "own"}
    stop_at(5, lambda: accord.dpo(**{**options, "resume": False}))
    tensors = load_file(model / "model.safetensors")
    next(iter(tensors.values())).mul_(1.5)
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    accord.dpo(**{**options, "max_steps": 8, "resume": str(tmp_path / "own")})  # its own copy is there
    shutil.rmtree(tmp_path / "own" / "checkpoints" / "step-00000008")
    (tmp_path / "own" / "reference.safetensors").unlink()
    with pytest.raises(accord.IntegrityError, match=r"made anew its values are not the same.*--allow_change reference"):
        accord.dpo(**options)
    assert not (tmp_path / "own" / "reference.safetensors").exists()
    accord.dpo(**options, allow_change=["reference"])
    (entry,) = json.loads((tmp_path / "own" / "run.json").read_text())["changes"]
    assert entry["key"] == "reference" and entry["step"] == 6
    accord.dpo(**options)


# ---- the date --------------------------------------------------------------------------------------------------------

DATED = (
    "{{ strftime_now('%d %b %Y') }} {% for m in messages %}"
    "{{ '<|im_start|>' + m.role + ' ' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{% endif %}"
)
YESTERYEAR = datetime(1969, 7, 20, 20, 17)


def test_a_template_is_told_the_clock_of_the_run_with_tools_and_without() -> None:
    tokenizer = tiny.tokenizer()
    template = Template(tokenizer, DATED, {}, YESTERYEAR)
    turns = [{"role": "user", "content": "the sky"}]
    for messages in (turns, [{**turns[0], "name": "Ann"}]):  # the quick way, and the stock one
        assert template.write(messages, None, generation=False).startswith("20 Jul 1969 ")
    assert template.write(turns, [{"name": "look"}], generation=False).startswith("20 Jul 1969 ")
    now = Template(tokenizer, DATED, {}).write(turns, None, generation=False)
    assert now.startswith(f"{datetime.now():%d %b %Y} ")


class Yesteryear(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return YESTERYEAR


def test_a_run_that_is_resumed_on_another_day_has_the_tokens_of_its_first(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dated.jinja").write_text(DATED)
    asked = {"role": "user", "content": "the sky"}
    rows = [
        {"prompt": [asked], "completion": [{"role": "assistant", "content": tiny.sentence(number, 3)}]}
        for number in range(16)
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {**home.options("dropout", "unused"), "data": tmp_path / "chats.jsonl", "output_dir": tmp_path / "run"}
    options["chat_template"] = tmp_path / "dated.jinja"
    with monkeypatch.context() as patch:
        patch.setattr(entering, "datetime", Yesteryear)
        stop_at(5, lambda: accord.sft(**options))
        accord.sft(**{**options, "output_dir": tmp_path / "whole"})
    capsys.readouterr()
    accord.sft(**options, resume=True)
    assert "1969-07-20, the day of the run's first start" in capsys.readouterr().err
    assert_same(tmp_path / "whole", tmp_path / "run")
    with pytest.raises(accord.InputError, match="was trained on other data"):  # those of today
        file = tmp_path / "run" / "run.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "clock": datetime.now().isoformat()}))
        accord.sft(**options, resume=True)


def test_tokens_of_a_day_are_kept_for_the_day_and_those_of_a_minute_for_no_one(home: Home) -> None:
    """As part of the key of the tokens that runs share."""

    def told(template: str) -> str:
        tokenizer: Any = tiny.tokenizer()
        tokenizer.chat_template = template
        config: Any = load(COMMANDS["sft"].config, arguments={"model": "m", "data": "d", "output_dir": "o"})
        return Preparation(tokenizer, config.model, config.data, INTAKE, clock=YESTERYEAR).told

    assert told("{%for m in messages%}{%-for c in m%}{{ c }}{% endfor %}{% endfor %}") == ""
    assert told(DATED.replace("{% for", "{%for")) == "1969-07-20"
    assert told("{{ strftime_now('%H:%M') }}") == told("{{ strftime_now('%-I') }}") == "1969-07-20 20:17:00"


# ---- what somebody did to the folder ---------------------------------------------------------------------------------


def copied(home: Home, stopped: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    shutil.copytree(stopped["output_dir"], tmp_path / "run")
    return {**stopped, "output_dir": tmp_path / "run", "resume": True}


def test_a_damaged_line_of_metrics_is_refused_with_its_place_and_without_a_change(
    home: Home, stopped: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = copied(home, stopped, tmp_path)
    metrics = options["output_dir"] / "metrics.jsonl"
    texts = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join([texts[0], "{broken\n", *texts[2:]]))
    before = files(options["output_dir"])
    assert main(words("dpo", options)) == 6
    assert f"{metrics}:2: not what was written" in capsys.readouterr().err
    assert files(options["output_dir"]) == before


def test_lines_that_are_gone_are_said(
    home: Home, stopped: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after going back to an earlier checkpoint, and then to the newest one again."""
    options = copied(home, stopped, tmp_path)
    metrics = options["output_dir"] / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:1]))
    assert main(words("dpo", options)) == 0
    assert f"lines that the checkpoint counts are gone from {metrics}" in capsys.readouterr().err


def test_what_a_power_cut_left_behind_the_lines_that_count_is_removed(
    home: Home, whole: dict[str, Any], stopped: dict[str, Any], tmp_path: Path
) -> None:
    options = copied(home, stopped, tmp_path)
    with (options["output_dir"] / "metrics.jsonl").open("ab") as file:
        file.write(bytes(40) + b"\n" + bytes(9))
    assert main(words("dpo", options)) == 0
    assert_same(whole["output_dir"], options["output_dir"])


def test_files_and_links_among_the_checkpoints_do_not_keep_from_going_on(
    home: Home, whole: dict[str, Any], stopped: dict[str, Any], tmp_path: Path
) -> None:
    options = {**copied(home, stopped, tmp_path), "save_total_limit": 2}
    place, kept = options["output_dir"] / "checkpoints", tmp_path / "kept"
    shutil.move(place / "step-00000003", kept)
    (place / "step-00000003").symlink_to(kept)  # on another disk
    (place / "step-00000001").write_text("mine")
    (place / ".tmp-link").symlink_to(kept)
    assert main(words("dpo", options)) == 0
    assert main(words("dpo", options)) == 0
    assert_same(whole["output_dir"], options["output_dir"])
    assert sorted(path.name for path in place.iterdir()) == ["step-00000006", "step-00000008"]
    assert (kept / "MANIFEST.json").exists()


@pytest.mark.parametrize("rate", [3e-3, 1e-3])
def test_going_back_and_forth_keeps_the_best_weights_that_a_later_checkpoint_speaks_of(
    home: Home, tmp_path: Path, rate: float
) -> None:
    """Step 4 is best, and is reached a second time from step 3, with the same rate or with another."""
    best = {"validation": 0.2, "eval_steps": 4, "load_best_model_at_end": True}
    best |= {"metric_for_best_model": "rewards/rejected", "greater_is_better": True}
    options = {**home.options("dpo", "unused"), **best, "output_dir": tmp_path / "run"}
    stop_at(8, lambda: accord.dpo(**options))
    earlier = {"resume": str(tmp_path / "run" / "checkpoints" / "step-00000003"), "learning_rate": rate}
    stop_at(3, lambda: accord.dpo(**{**options, **earlier, "allow_change": ["learning_rate"]}))
    accord.dpo(**options, resume=True)
    whole = {**options, "output_dir": tmp_path / "whole"}
    assert accord.dpo(**whole).summary["best"]["step"] == 4
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_damaged_weights_of_the_best_step_do_not_lose_the_last(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = {"validation": 0.2, "eval_steps": 2, "load_best_model_at_end": True}
    best["metric_for_best_model"] = "rewards/accuracies"  # is 1 soon, and not better any more
    options = {**home.options("dpo", "unused"), **best, "output_dir": tmp_path / "run", "learning_rate": 0.03}
    stop_at(8, lambda: accord.dpo(**options))
    (place,) = (tmp_path / "run" / "best").glob("step-*/weights.safetensors")
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    way = {"load_best_model_at_end": False, "allow_change": ["load_best_model_at_end"]}
    with pytest.raises(IntegrityError, match="--load_best_model_at_end false --allow_change load_best_model_at_end"):
        accord.dpo(**options, resume=True)
    accord.dpo(**{**options, **way}, resume=True)
    last = {**options, "load_best_model_at_end": False, "output_dir": tmp_path / "last"}
    accord.dpo(**last)
    assert weights(tmp_path / "run") == weights(tmp_path / "last")
    with pytest.raises(InputError, match="the best step's weights were not kept so far"):
        accord.dpo(**{**last, "load_best_model_at_end": True}, resume=True, allow_change=["load_best_model_at_end"])


def test_a_run_that_was_moved_is_not_begun_anew_where_it_was(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**home.options("dpo", "unused"), "output_dir": tmp_path / "run"}
    stop_at(5, lambda: accord.dpo(**options))
    (tmp_path / "run").rename(tmp_path / "moved")
    words = ["dpo", "--config", f"{tmp_path}/moved/run.yaml", "--resume"]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error[2] {tmp_path}/moved/run.yaml: the run in {tmp_path}/moved was moved: its output_dir, {tmp_path}/run, "
        f"holds no run: add --output_dir {tmp_path}/moved"
    )
    assert not (tmp_path / "run").exists()
    assert main([*words, "--output_dir", f"{tmp_path}/moved"]) == 0
    assert "resuming after step 3" in capsys.readouterr().err


def test_going_back_does_not_remove_best_weights_of_later_steps(home: Home, tmp_path: Path) -> None:
    best = {"validation": 0.2, "eval_steps": 2, "load_best_model_at_end": True}
    options = {**home.options("dpo", "unused"), **best, "output_dir": tmp_path / "run", "learning_rate": 0.03}
    stop_at(8, lambda: accord.dpo(**options))
    assert (tmp_path / "run" / "best" / "step-00000006").exists()
    stop_at(3, lambda: accord.dpo(**options, resume=str(tmp_path / "run" / "checkpoints" / "step-00000003")))
    kept = {path.name for path in (tmp_path / "run" / "best").iterdir()}
    assert {"step-00000004", "step-00000006"} <= kept
