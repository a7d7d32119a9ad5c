"""The command line: its spelling, its help, and the one line that ends every failure."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import accord
from accord.cli import main, spelled
from accord.errors import Diverged, InputError, IntegrityError, ServiceError, StorageError
from accord.records import Origin, RecordError
from accord.stages.collect_commands import GROUPS
from accord.stages.commands import COMMANDS
from accord.stages.leaves import leaves

SFT = ["sft", "--model", "m", "--data", "d", "--output_dir", "o"]


SHOWN = [*(name for name, row in COMMANDS.items() if not row.hidden and " " not in name), *GROUPS]


def plain(text: str) -> str:
    """Without colours, which some continuous integration services switch on."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A supervised stage that keeps the config it got, and does what `then` says."""
    seen = SimpleNamespace(config=None, then=lambda: None)
    module: Any = ModuleType("accord.stages.sft")

    def run(config: Any, given: dict[str, object]) -> object:
        assert given == {}
        seen.config = config
        return seen.then()

    module.run = run
    monkeypatch.setitem(sys.modules, "accord.stages.sft", module)
    return seen


def raising(error: BaseException) -> Any:
    def then() -> None:
        raise error

    return then


@pytest.mark.parametrize(
    "words",
    [
        ["--batch_size", "4", "--dry_run", "--learning_rate", "1e-3", "--shuffle", "false", "--resume"],
        ["--batch-size=4", "--dry-run=true", "--learning-rate=1e-3", "--shuffle=False", "--resume", "true"],
        ["--resume", "--dry_run", "true", "--shuffle", "false", "--learning_rate=0.001", "--batch_size", "4"],
    ],
)
def test_every_spelling_means_the_same(stage: SimpleNamespace, words: list[str]) -> None:
    assert main([*SFT, *words]) == 0
    config = stage.config
    assert (config.train.batch_size, config.train.learning_rate) == (4, 1e-3)
    assert (config.run.dry_run, config.data.shuffle, config.run.resume) == (True, False, True)


def test_resume_takes_a_path_and_a_value_may_begin_with_a_minus(stage: SimpleNamespace) -> None:
    assert main([*SFT, "--resume", "o/checkpoint-5", "--device=--odd", "--chat_template", "-"]) == 0
    assert (stage.config.run.resume, stage.config.model.device) == ("o/checkpoint-5", "--odd")
    assert stage.config.model.chat_template == "-"


def test_the_command_line_wins_over_the_file(stage: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text("model: m\ndata: d\noutput_dir: o\nbatch_size: 4\nseed: 5\nchat_template: x\n")
    assert main(["sft", "--config", str(file), "--batch_size", "2", "--chat_template", "none"]) == 0
    assert (stage.config.train.batch_size, stage.config.train.seed, stage.config.model.chat_template) == (2, 5, None)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([*SFT, "--batch_size", "-1"], "--batch_size: -1 is out of range: batch_size must be at least 1"),
        ([*SFT, "--bath-size", "1"], "--bath_size: unknown option: did you mean --batch_size?"),
        ([*SFT, "--beta", "1"], "--beta: unknown option: `accord COMMAND --help` lists the options"),
        ([*SFT, "--seed"], "--seed: has no value: give a whole number, after = if it begins with --"),
        ([*SFT, "--seed", "--dry_run"], "--seed: has no value: give a whole number, after = if it begins with --"),
        ([*SFT[:1], *SFT[3:], "--model="], "--model: empty: give a value, or leave it out"),
        (
            [*SFT, "extra"],
            "extra: not an option: every value needs its option before it, as --data FILE; a pattern is put in quotes",
        ),
        ([*SFT, "--seed", "1", "--seed=2"], "--seed: given twice: keep one of the two"),
        ([*SFT, "--config"], "--config: has no value: give a YAML file, after = if it begins with --"),
        ([*SFT, "--config", "no.yaml"], "no.yaml: cannot be read (No such file or directory): give a YAML file"),
        (["stf"], "accord: unknown command 'stf': did you mean 'sft'?"),
        (["xyzzy"], "accord: unknown command 'xyzzy': the commands are " + ", ".join(SHOWN)),
        (["collect", "imprt"], "accord collect: unknown command 'imprt': did you mean 'import'?"),
        (["collect", "serve", "--prt", "1"], "--prt: unknown option: did you mean --port?"),
        (["--verson"], "--verson: unknown option: did you mean --version?"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(words: list[str], line: str, capsys: Any) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"error[2] {line}\n")


def test_further_mistakes_stand_above_the_last_line(stage: SimpleNamespace, capsys: Any) -> None:
    assert main(["sft", "--model", "m"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["--output_dir", "error[2] --data"]
    error = RecordError("expected string, got null", origin=Origin("prefs.jsonl", 4), field="chosen")
    error.others = ["prefs.jsonl:6: not JSON (col 61)"]  # type: ignore[attr-defined]
    stage.then = raising(error)
    assert main(SFT) == 2
    assert capsys.readouterr().err == (
        "prefs.jsonl:6: not JSON (col 61)\nerror[2] prefs.jsonl:4: chosen: expected string, got null\n"
    )


@pytest.mark.parametrize(
    ("kind", "code"), [(InputError, 2), (Diverged, 3), (StorageError, 4), (ServiceError, 5), (IntegrityError, 6)]
)
def test_each_failure_has_its_exit_code(stage: SimpleNamespace, capsys: Any, kind: Any, code: int) -> None:
    stage.then = raising(kind("loss is nan\nat once", where="step 3", fix="lower it"))
    assert main(SFT) == code
    assert capsys.readouterr().err == f"error[{code}] step 3: loss is nan\\nat once: lower it\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "no memory was left (MemoryError)"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "(OutOfMemoryError: CUDA out of"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), "(RuntimeError: [enforce"),
        (RuntimeError("could not create a primitive"), "(RuntimeError: could not create a primitive)"),
    ],
)
def test_no_memory_is_exit_4_wherever_it_is_lacking(
    stage: SimpleNamespace, capsys: Any, error: Exception, said: str
) -> None:
    stage.then = raising(error)
    assert main(SFT) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error[4] no memory was left") and said in line and "--max_tokens" in line


def test_what_nobody_foresaw_says_how_to_see_more(stage: SimpleNamespace, capsys: Any) -> None:
    error = ValueError("odd")
    error.code = 404  # type: ignore[attr-defined]  # as urllib's errors have; it is no exit code
    stage.then = raising(error)
    assert main(SFT) == 1
    assert capsys.readouterr().err == "error[1] ValueError: odd: unexpected: repeat with --debug to see where\n"


@pytest.mark.parametrize("words", [[*SFT, "--debug"], ["--debug", *SFT]])
def test_debug_shows_the_traceback_above_the_line(stage: SimpleNamespace, capsys: Any, words: list[str]) -> None:
    stage.then = raising(InputError("no"))
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and lines[-1] == "error[2] no"


def test_an_interrupt_is_one_line_and_130(stage: SimpleNamespace, capsys: Any) -> None:
    stage.then = raising(KeyboardInterrupt())
    assert main(SFT) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error[130] interrupted: nothing is left half-written: ")


def test_a_result_may_have_an_exit_code(stage: SimpleNamespace) -> None:
    stage.then = lambda: SimpleNamespace(exit_code=7)
    assert main(SFT) == 7
    stage.then = lambda: 9  # a result without one is no exit code, whatever it is
    assert main(SFT) == 0


def test_a_stage_may_leave_by_itself(stage: SimpleNamespace) -> None:
    stage.then = raising(SystemExit(143))
    with pytest.raises(SystemExit, match="143"):
        main(SFT)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_accord_alone_shows_the_stages_in_order(capsys: Any, words: list[str]) -> None:
    assert main(words) == 0
    text = plain(capsys.readouterr().out)
    places = [text.index(f"│ {name} ") for name in SHOWN]
    assert places == sorted(places) and "│ simpo " not in text


@pytest.mark.parametrize("words", [["collect"], ["collect", "--help"], ["collect", "-h"]])
def test_a_group_shows_its_commands(capsys: Any, words: list[str]) -> None:
    assert main(words) == 0
    text = plain(capsys.readouterr().out)
    inside = [name.split()[1] for name in COMMANDS if name.startswith("collect ")]
    assert inside and all(f"│ {name} " in text for name in inside)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_with_its_panel(name: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*name.split(), "--help"]) == 0
    text = plain(capsys.readouterr().out)
    assert COMMANDS[name].example in text
    for leaf in leaves(COMMANDS[name].config).values():
        assert f"--{leaf.key} " in text and f"─ {leaf.panel} ─" in text


def test_help_shows_defaults_and_ranges(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["dpo", "--help"])
    text = plain(capsys.readouterr().out)
    assert "[default 1024, at least 2]" in text and "[default 1e-06, greater than 0]" in text
    assert "One of drop, error, truncate_prompt. [default drop]" in text and "[required]" in text


def test_help_has_what_is_of_this_stage_before_what_all_have(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["reward", "--help"])
    text = plain(capsys.readouterr().out)
    panels = re.findall(r"╭─ (.+?) ─", text)
    assert panels[1:] == ["Model", "Data", "Length", "Reward", "Training", "Adapter", "Run", "Best step"]
    assert "[default tensorboard]" in text and "[default []" not in text


def test_a_loss_that_is_a_way_with_ties_says_so(capsys: Any) -> None:
    assert main(["reward", "--model", "m", "--data", "d", "--output_dir", "o", "--loss_type", "davidson"]) == 2
    assert "--loss_type: davidson is what becomes of ties" in capsys.readouterr().err


def test_who_reads_a_part_of_the_output_only_gets_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "accord", "losses", "--json", "-"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE and done.stderr == ""


def test_a_word_alone_is_the_option_that_the_command_declares(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spelled(["sweep", "a.yaml", "--dry_run"]) == ["sweep", "--file=a.yaml", "--dry_run=true"]
    assert spelled(["merge", "--output-dir", "o", "adapter"]) == ["merge", "--output_dir=o", "--adapter=adapter"]
    assert main(["sweep", "a.yaml", "b.yaml"]) == 2
    assert "error[2] b.yaml: not an option" in capsys.readouterr().err
    monkeypatch.setenv("COLUMNS", "200")
    main(["merge", "--help"])
    assert "accord merge ADAPTER [OPTIONS]" in plain(capsys.readouterr().out)


def test_a_word_that_may_be_left_out_stands_in_brackets(capsys: Any) -> None:
    for name, usage in (("runs", "accord runs [DIRECTORY] [OPTIONS]"), ("verify", "accord verify DIRECTORY [OPTIONS]")):
        assert main([*name.split(), "--help"]) == 0
        assert f"Usage: {usage}" in capsys.readouterr().out


def test_a_list_may_be_several_words(stage: SimpleNamespace) -> None:
    words = ["--lora_r", "4", "--lora_target_modules", "q_proj", "v_proj", "--report_to", "tensorboard", "wandb"]
    assert main([*SFT, *words]) == 0
    assert stage.config.adapter.lora_target_modules == ["q_proj", "v_proj"]
    assert stage.config.run.report_to == ["tensorboard", "wandb"]


def test_words_alone_are_a_list_where_the_command_takes_one() -> None:
    assert spelled(["scaling", "a", "b,c", "--at", "1e9"]) == ["scaling", '--runs=["a", "b,c"]', "--at=1e9"]
    assert spelled(["leaderboard", "a.jsonl"]) == ["leaderboard", "--data=a.jsonl"]


def test_the_command_line_of_trl_works(stage: SimpleNamespace, capsys: Any) -> None:
    words = (
        "--model_name_or_path m --dataset_name d --output_dir o --per_device_train_batch_size 2 "
        "--gradient-accumulation-steps=4 --bf16 --use_peft --no_disable_dropout --dataloader_num_workers 3"
    )
    assert main(["sft", *words.split()]) == 0
    config = stage.config
    assert (config.model.model, config.data.data, config.train.batch_size) == ("m", "d", 8)
    assert (config.model.dtype, config.adapter.lora_r, config.train.dropout) == ("bf16", 16, True)
    assert capsys.readouterr().err.startswith("note: --dataloader_num_workers: not needed here: no loader processes")
    assert main(["sft", *words.split(), "--batch_size", "4"]) == 2
    line = "error[2] --batch_size: the same option as --per_device_train_batch_size: keep one of the two\n"
    assert capsys.readouterr().err == line
    assert main(["sft", *words.split(), "--deepspeed", "z.json"]) == 2
    assert capsys.readouterr().err.endswith(
        "z.json has no counterpart, as Accord trains without accelerate and DeepSpeed: leave it out\n"
    )
    assert main(["sft", *words.split(), "--max_length"]) == 2
    assert "--max_length: has no value" in capsys.readouterr().err


def test_help_ends_with_a_word_on_trl_where_its_names_work(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for name, works in (("dpo", True), ("init", False)):
        main([name, "--help"])
        text = plain(capsys.readouterr().out)
        assert ("from_trl.md" in text) is works and "per_device" not in text and "--trl" not in text


def test_version(capsys: Any) -> None:
    assert main(["--version"]) == 0 and main(["--version", *SFT]) == 0
    assert capsys.readouterr().out == f"accord {accord.__version__}\n" * 2


def test_examples_in_the_table_are_spelt_right() -> None:
    for name, row in COMMANDS.items():
        program, *words = row.example.split()
        own = name.split()
        assert program == "accord" and words[: len(own)] == own
        required = {leaf.key for leaf in leaves(row.config).values() if leaf.required}
        spelt = spelled(words)[len(own) :]
        assert required <= {word.removeprefix("--").partition("=")[0] for word in spelt}


def test_the_module_runs_and_needs_no_torch() -> None:
    script = (
        "import runpy, sys\n"
        "sys.argv = ['accord', 'dpo', '--beta']\n"
        "try: runpy.run_module('accord', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 2, end.code\n"
        "assert not {'torch', 'transformers', 'accord.stages.prefer'} & set(sys.modules)\n"
    )
    root = Path(accord.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert result.stderr == "error[2] --beta: has no value: give a number, after = if it begins with --\n"
