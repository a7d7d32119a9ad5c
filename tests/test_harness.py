"""`accord harness`: a task of our own, without a network, by lm-evaluation-harness and by stock transformers."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from stage_runs import lines, loaded, write_lines

import accord
from accord.cli import main
from accord.evaluate.harness import rows_of

HAS_LM_EVAL = importlib.util.find_spec("lm_eval") is not None
needs_lm_eval = pytest.mark.skipif(not HAS_LM_EVAL, reason="lm_eval is not installed: pip install 'lm_eval[hf]'")
QUESTIONS = [
    {
        "question": tiny.sentence(i, 5),
        "choices": [tiny.sentence(100 + 3 * i + k, 2 + k) for k in range(3)],
        "gold": i % 3,
    }
    for i in range(12)
]
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: gold
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the task cats, and one whose data are missing."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "tasks"
    place.mkdir()
    data = write_lines(tmp_path / "questions.jsonl", QUESTIONS)
    (place / "cats.yaml").write_text(TASK.format(name="cats", data=data))
    (place / "lost.yaml").write_text(TASK.format(name="lost", data=tmp_path / "none.jsonl"))
    return place


@torch.no_grad()
def right(network: Any, tokenizer: Any) -> list[bool]:
    """Of each question, whether stock finds the gold choice the most probable."""
    found = []
    for one in QUESTIONS:
        start = len(tokenizer(one["question"]).input_ids)
        sums = []
        for choice in one["choices"]:
            ids = tokenizer(f"{one['question']} {choice}").input_ids
            logp = network(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            sums.append(sum(float(logp[place - 1, ids[place]]) for place in range(start, len(ids))))
        found.append(int(np.argmax(sums)) == one["gold"])
    return found


def test_where_all_questions_score_alike_the_error_is_not_known() -> None:
    figures = {"alias": "t", "acc,none": 1.0, "acc_stderr,none": 0.0, "f1,none": 0.5, "f1_stderr,none": 0.1}
    sure, other = rows_of({"results": {"t": figures}, "n-samples": {"t": {"effective": 8}}}, "m", 0.95)
    assert (sure["value"], sure["n"], sure["interval"]) == (1.0, 8, None)
    assert other["interval"] == pytest.approx([0.5 - 0.1959964, 0.5 + 0.1959964])


@needs_lm_eval
def test_a_task_of_our_own_is_what_stock_says(workshop: Path, tasks: Path, tmp_path: Path, capsys: Any) -> None:
    files = {name: tmp_path / name for name in ("table.json", "all.json", "samples.jsonl", "table.md")}
    command = [
        "harness",
        "--model",
        workshop / "model",
        "--tasks",
        "cats",
        "--include_path",
        tasks,
        "--json",
        files["table.json"],
    ]
    command += ["--report", files["all.json"], "--samples", files["samples.jsonl"], "--markdown", files["table.md"]]
    assert main([*map(str, command)]) == 0
    (row,) = json.loads(files["table.json"].read_text())
    expected = right(*loaded(workshop / "model"))
    share = float(np.mean(expected))
    assert 0 < share < 1
    assert (row["task"], row["metric"], row["filter"], row["n"], row["num_fewshot"]) == ("cats", "acc", "none", 12, 0)
    assert row["value"] == pytest.approx(share) and row["higher_is_better"] is True and row["group"] is False
    assert row["stderr"] == pytest.approx((share * (1 - share) / 11) ** 0.5)
    assert row["interval"] == pytest.approx([share - 1.959964 * row["stderr"], share + 1.959964 * row["stderr"]])
    samples = lines(files["samples.jsonl"])
    assert [bool(one["acc"]) for one in sorted(samples, key=lambda one: one["doc_id"])] == expected
    report = json.loads(files["all.json"].read_text())
    assert report["versions"] == {"cats": 1.0} and "samples" not in report
    assert "| task | metric | value |" in files["table.md"].read_text()
    assert "acc" in capsys.readouterr().out


@needs_lm_eval
def test_a_part_of_the_questions_and_patterns(workshop: Path, tasks: Path, capsys: Any) -> None:
    words = [
        "harness",
        "--model",
        str(workshop / "model"),
        "--tasks",
        "ca?s",
        "--include_path",
        str(tasks),
        "--limit",
        "5",
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "numbers to try with" in printed and " cats " in printed


@needs_lm_eval
def test_python_passes_a_loaded_model(workshop: Path, tasks: Path) -> None:
    network, tokenizer = loaded(workshop / "other")
    found = accord.harness(model=network, tokenizer=tokenizer, tasks=["cats"], include_path=str(tasks))
    assert found.rows[0]["value"] == pytest.approx(float(np.mean(right(network, tokenizer))))


@needs_lm_eval
def test_tasks_that_cannot_be_had_are_one_line(workshop: Path, tasks: Path, capsys: Any) -> None:
    def refused(*words: str) -> str:
        assert main(["harness", "--model", str(workshop / "model"), "--include_path", str(tasks), *words]) == 2
        return str(capsys.readouterr().err.splitlines()[-1])

    assert "catz: no such task: did you mean 'cats'?" in refused("--tasks", "catz")
    assert "lost: cannot be run" in refused("--tasks", "lost")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "lm_eval" else find(name, *more)
    )
    assert main(["harness", "--model", "m", "--tasks", "mmlu"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "error[2] accord harness: lm_eval, the library of the tasks, is not installed: pip install 'lm_eval[hf]'"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "2.5"], "limit: 2.5 is neither a number of questions nor a share"),
        (["--batch_size", "0"], "batch_size: 0 is out of range"),
        (["--batch_size", "many"], "batch_size"),
        (["--system_instruction", "Be kind."], "system_instruction: a system turn, and questions are plain text"),
    ],
)
def test_bad_options_are_one_line(words: Sequence[str], said: str, capsys: Any) -> None:
    assert main(["harness", "--model", "m", "--tasks", "cats", *words]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
