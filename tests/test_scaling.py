"""`accord scaling`: tables and run folders of our own, what is refused, what is foretold."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from stage_runs import Run, lines, loaded, write_lines

import accord
from accord.cli import main
from accord.maths.power_law import Law
from accord.training.seen import tokens_seen

ONE = Law(1.7, (400.0,), (0.34,))
BOTH = Law(1.69, (406.4, 410.7), (0.34, 0.28))
NOISE = [0.004, -0.003, 0.002, -0.005, 0.001, 0.003, -0.002, 0.004]  # of log L, near enough


def sizes_alone() -> list[dict[str, Any]]:
    return [
        {"name": f"r{i}", "params": 10**6 * 3**i, "d": 10**9, "eval_loss": float(ONE.loss((1e6 * 3**i,))) * (1 + off)}
        for i, off in enumerate(NOISE)
    ]


def both() -> list[dict[str, Any]]:
    return [
        {"parameters": n, "tokens": d, "loss": float(BOTH.loss((n, d)))}
        for n in (1e7, 1e8, 1e9)
        for d in (2e8, 2e9, 2e10)
    ]


def report(where: Path, *command: object) -> dict[str, Any]:
    """Runs `accord scaling` with these words and gives its JSON."""
    assert main(["scaling", *map(str, command), "--rounds", "60", "--json", str(where)]) == 0
    found: dict[str, Any] = json.loads(where.read_text())
    return found


def refused(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    assert main(["scaling", *map(str, command)]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_table_of_sizes(tmp_path: Path, capsys: Any) -> None:
    data = write_lines(tmp_path / "runs.jsonl", sizes_alone())
    files = ["--plot", tmp_path / "law.png", "--markdown", tmp_path / "law.md"]
    found = report(tmp_path / "law.json", data, "--at", "1e10,1e11", *files)
    assert found["against"] == ["parameters"] and found["law"].startswith("L = 1.")
    low, high = found["numbers"]["alpha"]["interval"]
    assert low < 0.34 < high and low < found["numbers"]["alpha"]["value"] < high
    told = found["at"][0]
    assert told["parameters"] == 1e10 and told["beyond"][0] == pytest.approx(1e10 / (1e6 * 3**7))
    assert told["loss"]["interval"][0] < 1.7 + 400 / 1e10**0.34 < told["loss"]["interval"][1]
    assert [row["name"] for row in found["runs"]] == [f"r{i}" for i in range(8)]
    assert found["runs"][2]["compute"] == pytest.approx(6 * 9e6 * 1e9)
    assert any("8 runs make a first guess" in note for note in found["notes"])
    assert (tmp_path / "law.png").read_bytes().startswith(b"\x89PNG")
    assert "| run | parameters |" in (tmp_path / "law.md").read_text()
    assert main(["scaling", str(data), "--rounds", "50"]) == 0
    printed = capsys.readouterr().out
    assert "fitted as Hoffmann et al. 2022" in printed and "5 degrees of freedom" in printed


def test_parameters_and_tokens_together(tmp_path: Path) -> None:
    """Chinchilla's law from nine runs without noise: the numbers of Hoffmann et al., and what follows from them."""
    data = tmp_path / "runs.csv"
    rows = both()
    data.write_text(
        "parameters,tokens,loss\n" + "".join(f"{r['parameters']},{r['tokens']},{r['loss']}\n" for r in rows)
    )
    found = report(
        tmp_path / "law.json", data, "--at", "70e9:1.4e12", "--compute", "5.88e23", "--plot", tmp_path / "p.svg"
    )
    assert found["against"] == ["parameters", "tokens"]
    assert found["numbers"]["alpha"]["value"] == pytest.approx(0.34, abs=2e-3)
    assert found["numbers"]["N_exponent"]["value"] == pytest.approx(0.28 / 0.62, abs=5e-3)
    assert found["at"][0]["loss"]["value"] == pytest.approx(1.9366, abs=2e-3)
    (best,) = found["compute_optimal"]
    assert best["parameters"]["value"] == pytest.approx(3.249e10, rel=0.05)
    assert best["tokens_per_parameter"]["value"] == pytest.approx(3.016e12 / 3.249e10, rel=0.1)


def test_what_the_law_is_of(tmp_path: Path, capsys: Any) -> None:
    grow = [{"n": 10.0 ** (6 + i), "d": 2 * 10.0 ** (7 + i), "loss": 2 + 3 / (1 + i)} for i in range(6)]
    along = write_lines(tmp_path / "along.jsonl", grow)
    found = report(tmp_path / "a.json", along)
    assert found["against"] == ["compute"] and "cannot be told apart" in found["notes"][0]
    tokens = [{"n": 1e8, "d": 1e7 * 4**i, "loss": 2.0 + 300 / (1e7 * 4**i) ** 0.3} for i in range(7)]
    data = write_lines(tmp_path / "tokens.jsonl", tokens)
    assert report(tmp_path / "b.json", data)["against"] == ["tokens"]
    assert report(tmp_path / "c.json", data, "--against", "compute")["against"] == ["compute"]
    flops = write_lines(tmp_path / "flops.jsonl", ({"c": 10.0 ** (15 + i), "l": 2 + 1 / (1 + i)} for i in range(6)))
    assert report(tmp_path / "d.json", flops, "--errors", "runs")["intervals"] == "60 resamples of the runs"
    assert "does not say its parameters" in refused(capsys, flops, "--against", "parameters")


@pytest.mark.parametrize(
    ("rows", "words", "said"),
    [
        (sizes_alone()[:3], [], "3 runs, and a law of 3 parameters needs 4 or more (a law of parameters)"),
        ([{"n": 1e6, "d": 1e7, "loss": 3.0}] * 5, [], "5 runs that do not vary"),
        (both(), ["--at", "1e9"], "at: a law of parameters and tokens is asked: parameters:tokens"),
        (sizes_alone(), ["--at", "1e9:1e9"], "at: a law of parameters is asked: parameters alone"),
        (sizes_alone(), ["--compute", "1e20"], "compute: asks how to spend a budget"),
        (sizes_alone(), ["--at", "big"], "'big' is no size"),
        ([{"n": 1e6, "d": 1e7}], [], "runs.jsonl:1: loss: missing"),
        ([{"n": "many", "loss": 2.0}], [], "runs.jsonl:1: n: 'many' is no size"),
        ([{"n": 1e6, "d": 1e7, "loss": -1.0}], [], "runs.jsonl:1: loss: -1.0 is no size"),
    ],
)
def test_bad_inputs_are_one_line(
    rows: Sequence[Any], words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, write_lines(tmp_path / "runs.jsonl", rows), *words)


def test_what_is_no_run_is_named(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "empty").mkdir()
    assert "no run here or below" in refused(capsys, tmp_path / "empty")
    assert "neither a directory nor a table" in refused(capsys, tmp_path / "none")


def test_python_passes_rows() -> None:
    found = accord.scaling(runs=sizes_alone(), rounds=50)
    assert found.axes == ("parameters",) and len(found.laws) == 50


def test_tokens_seen_by_hand() -> None:
    """Steps 1 to 10 of 500 tokens, a quarter of whose rows sharing saved; an evaluation; 11 and 12 of 300."""
    lines = [
        {"step": 0, "eval_loss": 5.0},
        {"step": 10, "tokens_per_second": 250.0, "seconds_per_step": 2.0, "tokens_saved": 0.25},
        {"step": 10, "eval_loss": 4.0},
        {"step": 12, "tokens_per_second": 600.0, "seconds_per_step": 0.5, "tokens_saved": 0.0},
    ]
    assert tokens_seen(lines) == round(10 * 500 / 0.75 + 2 * 300) and tokens_seen([]) == 0


def test_a_run_says_its_size(quick: Run, workshop: Path, tmp_path: Path) -> None:
    """Two epochs of the texts, EOS each; and a run of an older Accord, of which the same is found out."""
    assert (
        quick(
            "pretrain",
            num_train_epochs=2,
            logging_steps=2,
            max_length=64,
            eval_data=workshop / "texts.jsonl",
            allow_shared_prompts=True,
        )
        == 0
    )
    run = tmp_path / "run"
    summary = json.loads((run / "summary.json").read_text())
    network, tokenizer = loaded(run)
    tokens = sum(len(tokenizer(row["text"]).input_ids) + 1 for row in lines(workshop / "texts.jsonl"))
    table = network.get_input_embeddings().weight.numel() + network.lm_head.weight.numel()
    assert summary["parameters"] == sum(one.numel() for one in network.parameters())
    assert summary["embedding_parameters"] == table and summary["tokens"] == 2 * tokens

    from accord.evaluate.scaled_runs import gather

    for key in ("parameters", "embedding_parameters", "tokens"):
        del summary[key]
    told = gather([str(run)], embeddings=True).runs
    bare = gather([str(run)], embeddings=False).runs[0]
    (run / "summary.json").write_text(json.dumps(summary))
    assert gather([str(run)], embeddings=True).runs == told
    assert gather([str(tmp_path)], embeddings=False).runs == [bare]
    assert bare.parameters == told[0].parameters - table
    assert told[0].loss == summary["held_out"]["loss"]["after"]["mean"]


def test_runs_that_cannot_be_used(quick: Run, tmp_path: Path, capsys: Any) -> None:
    assert quick("pretrain", max_steps=2) == 0
    assert "no held-out loss" in refused(capsys, tmp_path / "run")
