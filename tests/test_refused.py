"""What the stages refuse, in one line, before anything is written."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from stage_runs import (
    COMPARISONS,
    QUICK,
    Run,
    lines,
    write_lines,
)

import accord
from accord.training.run import RunFolder


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


BAD = [
    ("dpo", {"prompt": "p", "chosen": "", "rejected": " b"}, "chosen"),
    ("dpo", {"prompt": "p", "chosen": " a", "rejected": " a"}, "same text"),
    ("dpo", {"prompt": "p", "chosen": " a"}, "rejected"),
    ("dpo", {"prompt": 3, "chosen": " a", "rejected": " b"}, "prompt"),
]


@pytest.mark.parametrize(("stage", "row", "field"), BAD)
def test_a_bad_row_is_named_and_nothing_is_written(
    quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, row: object, field: str
) -> None:
    data = write_lines(tmp_path / "bad.jsonl", [COMPARISONS[0], row, COMPARISONS[1]])
    assert quick(stage, data=data) == 2
    line = last_line(capsys)
    assert line.startswith(f"error[2] {data}:2: ") and field in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl"]


def test_every_bad_row_is_dropped_and_counted(quick: Run, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "bad.jsonl", [COMPARISONS[0], *(row for _, row, _ in BAD), COMPARISONS[1]])
    assert quick("dpo", data=data, on_bad_row="drop") == 0
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())["train"]
    assert (report["read"], report["kept"], report["groups"]) == (6, 2, 2)
    places = sorted(row["where"] for rows in report["dropped"].values() for row in rows)
    assert places == [f"{data}:{n}" for n in (2, 3, 4, 5)]


def test_a_file_without_preferences_is_not_for_dpo(
    quick: Run, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick("dpo", data=workshop / "chats.jsonl") == 2
    assert "chats.jsonl:1" in last_line(capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "/nowhere/model"}, "/nowhere/model: no such directory"),
        ({"data": "/nowhere/data.jsonl"}, "/nowhere/data.jsonl: no such file"),
        ({"reference": "/nowhere/model"}, "/nowhere/model: no such directory"),
        ({"beta": 0}, "beta"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": "nan"}, "learning_rate"),
        ({"max_length": 4}, "max_length"),
        ({"device": "toaster"}, "device"),
        ({"chat_template": "/nowhere/t.jinja"}, "/nowhere/t.jinja"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_in_one_line(
    quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, object], said: str
) -> None:
    assert quick("dpo", **options) == 2
    line = last_line(capsys)
    assert line.startswith("error[2] ") and said in line
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_vocabulary_too_small_is_refused_and_the_folder_stays_free(
    workshop: Path, quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also while the error is still held, as a notebook does: the next try may use the same folder."""
    tiny.write_model(tmp_path / "small", tiny.llama(vocab_size=200))
    options: dict[str, Any] = {
        "data": workshop / "pairs.jsonl",
        "output_dir": tmp_path / "run",
        "max_steps": 1,
        **QUICK,
    }
    with pytest.raises(accord.InputError, match="200 rows") as held:
        accord.dpo(model=tmp_path / "small", **options)
    assert held.tb is not None
    assert accord.dpo(model=workshop / "model", **options).metrics["loss"] > 0


def test_the_folder_of_another_run_is_left_alone(
    quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick("sft", max_steps=1) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir() if path.name != "run.lock"}
    for stage in ("sft", "dpo"):
        assert quick(stage) == 2
        assert "holds a run of `accord sft`" in last_line(capsys)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir() if path.name != "run.lock"}
    assert before == after


def test_a_folder_with_other_files_is_left_alone(
    quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years")
    assert quick("dpo") == 2
    assert "not empty" in last_line(capsys)


def test_a_folder_in_use_is_exit_4(quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.claim("dpo")
        assert quick("dpo") == 4
    assert "in use by another run" in last_line(capsys)


def test_divergence_is_exit_3_and_names_the_step(quick: Run, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"learning_rate": 1e30, "optimizer": "sgd", "max_grad_norm": 0, "warmup_steps": 0, "batch_size": 2}
    assert quick("sft", **options) == 3
    line = last_line(capsys)
    assert line.startswith("error[3] step 2: loss ") and "learning_rate" in line


def test_held_out_prompts_that_are_trained_on_are_refused(
    workshop: Path, quick: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick("dpo", eval_data=workshop / "pairs.jsonl") == 2
    assert "also trained on" in last_line(capsys)


@pytest.mark.parametrize("stage", ["pretrain", "sft", "dpo"])
def test_a_dry_run_says_it_all_and_writes_nothing(
    quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    assert quick(stage, dry_run=True, validation=0.3, max_length=64) == 0
    assert list(tmp_path.iterdir()) == []
    said = capsys.readouterr().err
    for what in ("groups", "tokens", "steps", "memory", "time", "data"):
        assert what in said


def test_longer_than_the_model_can_is_too_long(
    quick: Run, workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GPT-2 with a table of 64 places and a row of more than 100 tokens: the length policy has the last word."""
    row = {"id": "long", "prompt": "the cat " * 60, "chosen": " sat", "rejected": " ran"}
    data = write_lines(tmp_path / "long.jsonl", [*COMPARISONS, row])
    assert quick("dpo", model=workshop / "gpt2", data=data) == 0
    assert "64" in capsys.readouterr().err
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())["train"]
    assert [row["id"] for rows in report["dropped"].values() for row in rows] == ["long"]
    assert quick("dpo", model=workshop / "gpt2", data=data, on_long="error", output_dir=tmp_path / "strict") == 2
    assert f"{data}:25" in last_line(capsys)


def test_samples_stop_where_the_model_ends(quick: Run, workshop: Path, tmp_path: Path) -> None:
    """A prompt of 40 tokens, and 64 more asked for of a model with 64 places."""
    row = {"prompt": "the cat " * 18, "chosen": " sat", "rejected": " ran"}
    data = write_lines(tmp_path / "long.jsonl", [row, *COMPARISONS])
    assert (
        quick("dpo", model=workshop / "gpt2", data=data, max_length=64, samples=2, sample_tokens=64, max_steps=1) == 0
    )
    assert len(lines(tmp_path / "run" / "samples.jsonl")) == 4


def test_a_model_with_soft_caps_trains_with_samples(quick: Run, tmp_path: Path) -> None:
    network = tiny.gemma2()
    network.resize_token_embeddings(300)
    tiny.write_model(tmp_path / "gemma", network)
    assert quick("sft", model=tmp_path / "gemma", samples=2, sample_tokens=4, max_steps=1) == 0


def test_pretrain_has_no_length_policy_as_it_packs(quick: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick("pretrain", on_long="error") == 2
    assert "unknown option" in last_line(capsys)


def test_a_mix_needs_room_in_the_batch(quick: Run, workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick("sft", mix=workshop / "pairs.jsonl", mix_fraction=0.1, batch_size=1) == 2
    assert "batch_size" in last_line(capsys)
