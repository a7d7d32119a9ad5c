"""`accord leaderboard`: the table, its files, its errors; and the reference values of Tulu's human judgements."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stage_runs import words, write_lines

import accord
from accord.cli import main
from accord.errors import InputError, StorageError

KEYS = ["model", "strength", "standard_error", "interval", "rank", "elo", "n"]
Table = list[dict[str, Any]]


def votes(a: str, b: str, wins: int, ties: int, losses: int, **more: object) -> list[dict[str, object]]:
    said = ["model_a"] * wins + ["tie"] * ties + ["model_b"] * losses
    return [{"model_a": a, "model_b": b, "winner": one, "prompt": f"{a}{b}{i}", **more} for i, one in enumerate(said)]


# 3 to 1 and 3 to 1: 2 log 3 from x to z.
CHAIN = [*votes("x", "y", 9, 0, 3), *votes("y", "z", 9, 0, 3)]


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "chain.jsonl", CHAIN)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The last line of a command that ends with 2."""
    assert main(["leaderboard", *arguments]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_table_as_json(chain: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.json"
    assert main(["leaderboard", str(chain), "--anchor", "z", "--json", str(out)]) == 0
    table: Table = json.loads(out.read_text())
    assert [list(row) for row in table] == [KEYS] * 3
    assert [row["model"] for row in table] == ["x", "y", "z"]
    assert [row["strength"] for row in table] == pytest.approx([2 * math.log(3), math.log(3), 0])
    assert [row["elo"] for row in table] == pytest.approx([1381.697, 1190.849, 1000], abs=1e-3)
    assert [row["rank"] for row in table] == [1, 2, 3]
    assert [row["n"] for row in table] == [12, 24, 12]
    # 12 independent judgements: sum of squares 9/4, H = 9/4; 24/23 for the clusters.
    assert table[1]["standard_error"] == pytest.approx(math.sqrt(24 / 23 * 4 / 9))
    assert table[2]["interval"] == [0, 0]


def test_the_table_on_the_terminal_and_in_files(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"markdown": tmp_path / "t.md", "plot": tmp_path / "t.png", "report": tmp_path / "t.json"}
    assert main(words("leaderboard", {"data": chain, "anchor": "z", **files})) == 0
    printed = capsys.readouterr()
    assert "24 comparisons of 3 models; 0 ties" in printed.out
    assert "clustered by 24 prompts (sandwich)" in printed.out
    assert "data: 24 read, 24 kept, 0 dropped" in printed.err
    lines = files["markdown"].read_text().splitlines()
    assert lines[0] == "| rank | ranks | model | strength | standard error | 95 % interval | elo | n |"
    assert lines[2].startswith("| 1 | 1 to 2 | x | +2.197 |")
    assert files["plot"].read_bytes().startswith(b"\x89PNG")
    report = json.loads(files["report"].read_text())
    (board,) = report["leaderboards"]
    assert [row["rank_interval"] for row in board["models"]] == [[1, 2], [1, 3], [2, 3]]
    assert board["comparisons"] == board["clusters"] == 24
    assert list(report["files"]) == [str(chain)] and len(report["files"][str(chain)]) == 64


def test_json_alone_on_standard_output(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(chain), "--json", "-"]) == 0
    table: Table = json.loads(capsys.readouterr().out)
    assert sum(row["strength"] for row in table) == pytest.approx(0, abs=1e-12)


def test_several_files_and_python(chain: Path, tmp_path: Path) -> None:
    groups = [{"prompt": "xy0", "completions": ["1", "2"], "models": ["z", "y"], "ranks": [1, 2]}]
    more = write_lines(tmp_path / "more.jsonl", groups)
    both = [accord.leaderboard(data=data) for data in (f"{chain},{more}", [chain, more])]
    assert both[0].rows() == both[1].rows()
    assert [row["n"] for row in both[0].rows()] == [12, 25, 13]
    assert both[0].to_json()["leaderboards"][0]["clusters"] == 24  # the prompt is one of the chain's
    rows = accord.leaderboard(data=CHAIN, anchor="z").rows()
    assert both[0].to_json()["files"].keys() == {str(chain), str(more)} and "array" not in repr(both[0])
    assert rows == accord.leaderboard(data=str(chain), anchor="z").rows()


def test_rankings_as_pairs_and_as_a_whole(tmp_path: Path) -> None:
    orders = [(1, 2, 3), (1, 3, 2), (2, 1, 3), (3, 1, 2), (1, 2, 3), (2, 3, 1)]
    rows = [
        {"prompt": str(i), "completions": ["1", "2", "3"], "models": ["x", "y", "z"], "ranks": ranks}
        for i, ranks in enumerate(orders)
    ]
    data = str(write_lines(tmp_path / "rankings.jsonl", rows))
    pairs = accord.leaderboard(data=data).rows()
    whole = accord.leaderboard(data=data, rankings="plackett_luce").rows()
    assert [row["model"] for row in pairs] == [row["model"] for row in whole] == ["x", "y", "z"]
    assert [row["n"] for row in pairs] == [12] * 3 and [row["n"] for row in whole] == [6] * 3
    assert whole[0]["strength"] != pytest.approx(pairs[0]["strength"], rel=0.01)


def test_the_interval_of_the_number_of_ties_is_students() -> None:
    """Of 12 prompts: 2.201 standard errors, not 1.96."""
    winners = ["model_a", "model_b", "tie"] * 4
    rows = [{"prompt": str(i), "model_a": "x", "model_b": "y", "winner": winner} for i, winner in enumerate(winners)]
    theta = accord.leaderboard(data=rows, ties="davidson").to_json()["leaderboards"][0]["theta"]
    assert theta["interval"][1] - theta["value"] == pytest.approx(2.200985 * theta["standard_error"], rel=1e-6)


def test_a_table_for_each_category(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*votes("x", "y", 9, 0, 3, category="maths"), *votes("x", "y", 3, 0, 9, category="art")]
    data = write_lines(tmp_path / "votes.jsonl", [*rows, *votes("x", "y", 1, 0, 0)])
    out = tmp_path / "table.json"
    assert main(words("leaderboard", {"data": data, "by": "category", "json": out, "markdown": tmp_path / "t.md"})) == 0
    table: Table = json.loads(out.read_text())
    assert [(row["category"], row["model"]) for row in table] == [
        ("art", "y"),
        ("art", "x"),
        ("maths", "x"),
        ("maths", "y"),
    ]
    assert table[0]["strength"] == pytest.approx(math.log(3) / 2)
    assert "1 judgements name no category" in capsys.readouterr().err
    assert "## maths" in (tmp_path / "t.md").read_text()


@pytest.mark.parametrize("ties", ["davidson", "rao_kupper"])
def test_ties_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str], ties: str) -> None:
    data = write_lines(tmp_path / "votes.jsonl", votes("x", "y", 8, 8, 8))
    assert main(["leaderboard", str(data), "--ties", ties]) == 0
    # Between equals a third of all are ties: nu = 1, or sigma(-t) = 1/3, so kappa = e^t = 2.
    name, value = ("nu", "1.000") if ties == "davidson" else ("kappa", "2.000")
    assert f"{name} {value}" in (printed := capsys.readouterr().out)
    assert "equals tie in 33.3 %" in printed


def test_style_and_bootstrap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = [*votes("x", "y", 27, 0, 9), *votes("y", "z", 27, 0, 9)]
    rows = [row | {"response_a": "x" * (2 + i % 5), "response_b": "xxx"} for i, row in enumerate(long)]
    data = str(write_lines(tmp_path / "votes.jsonl", rows))
    how = ["--style", "length,position", "--errors", "bootstrap", "--rounds", "50"]
    assert main(["leaderboard", data, *how]) == 0
    printed = capsys.readouterr().out
    assert "50 resamples of 72 prompts" in printed
    assert "style: length" in printed and "for being shown first" in printed
    first, second = (accord.leaderboard(data=data, errors="bootstrap", rounds=50).rows() for _ in range(2))
    assert first == second
    assert first != accord.leaderboard(data=data, errors="bootstrap", rounds=50, seed=1).rows()


def test_without_a_finite_best_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = write_lines(tmp_path / "parts.jsonl", [*votes("u", "v", 2, 0, 1), *votes("x", "y", 12, 0, 9)])
    said = refused(capsys, str(parts))
    assert "2 parts that were never compared with each other: u, v; x, y" in said and "--ridge 0.01" in said
    unbeaten = write_lines(tmp_path / "unbeaten.jsonl", [*CHAIN, *votes("best", "x", 2, 0, 0)])
    assert "best never lost to or tied with any other model" in refused(capsys, str(unbeaten))
    accord.leaderboard(data=str(unbeaten), ridge=0.01)
    assert "only the ridge makes these strengths finite: best never lost" in capsys.readouterr().err
    with pytest.raises(InputError, match="there are no ties"):
        accord.leaderboard(data=str(unbeaten), ties="davidson", ridge=0.01)


def test_errors_of_nothing_but_ties(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ties = write_lines(tmp_path / "ties.jsonl", votes("x", "y", 0, 9, 0))
    (first, second) = accord.leaderboard(data=str(ties)).rows()
    assert first["standard_error"] == second["standard_error"] == 0
    assert "every prompt says the same, so standard errors of 0 say nothing" in capsys.readouterr().err
    assert accord.leaderboard(data=str(ties), errors="fisher").rows()[0]["standard_error"] > 0
    assert "says the same" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"anchor": "w"}, "anchor: no model 'w' in"),
        ({"by": "category"}, "no category is named in the data"),
        ({"cluster": "annotator"}, "cluster: some judgements name no annotator"),
        ({"style": ["length"]}, "response_a: missing"),
        ({"style": "length,length"}, "style: names one thing twice"),
        ({"rankings": "plackett_luce"}, "a verdict between two, and no ranking"),
        ({"rankings": "plackett_luce", "ties": "davidson"}, "ties: belongs to pairs"),
        ({"rankings": "plackett_luce", "style": "length"}, "style: belongs to pairs"),
        ({"rounds": 100}, "rounds: belongs to the bootstrap"),
        ({"errors": "fisher", "cluster": "none"}, "cluster: errors fisher takes every comparison for itself"),
        ({"style_ridge": 1.0}, "style_ridge: pulls nothing"),
        ({"ridge": -1.0}, "ridge: "),
        ({"plot": "table.gif"}, "plot: 'table.gif' is no picture"),
    ],
)
def test_what_makes_no_sense_is_refused(chain: Path, options: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=re.escape(what)):
        accord.leaderboard(data=str(chain), **options)


def test_data_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = write_lines(tmp_path / "texts.jsonl", [{"prompt": "p", "completion": "c"}])
    assert "no comparison of two models" in refused(capsys, str(nobody))
    pairs = [{"prompt": str(i), "chosen": "a", "rejected": "b"} for i in range(12)]
    nameless = write_lines(tmp_path / "pairs.jsonl", pairs)
    assert main(["leaderboard", str(nameless)]) == 2
    said = capsys.readouterr().err
    assert "reading stopped at bad row 10" in said and "names no model" in said and "accord check" not in said
    one = write_lines(tmp_path / "one.jsonl", [row | {"prompt": "p"} for row in CHAIN])
    assert "one prompt alone" in refused(capsys, str(one))
    accord.leaderboard(data=str(one), cluster="none")
    alike = [row | {"response_a": "x", "response_b": "y"} for row in CHAIN]
    same = write_lines(tmp_path / "same.jsonl", alike)
    with pytest.raises(InputError, match="no two texts differ in bold"):
        accord.leaderboard(data=str(same), style="bold")
    before = one.read_bytes()
    assert "is the data that is read" in refused(capsys, str(one), "--cluster", "none", "--markdown", str(one))
    assert one.read_bytes() == before
    with pytest.raises(StorageError):
        accord.leaderboard(data=str(one), cluster="none", markdown=tmp_path / "no" / "t.md")


def test_torch_is_not_needed(chain: Path) -> None:
    program = (
        "import sys, accord; accord.leaderboard(data=sys.argv[1], json='-')\n"
        "print({'torch', 'transformers'} & set(sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(chain)], capture_output=True, text=True, check=True)
    assert ended.stderr.endswith("set()\n")


def test_the_reference_values_of_tulu(shared_data: Callable[[str], Path]) -> None:
    """FastChat, choix and statsmodels on the same 1,141 judgements: strengths to 1e-5, errors to 1e-3."""
    expected = json.loads(shared_data("stats_expected.json").read_text())["tulu1_bt"]
    data = str(shared_data("tulu1_human_annotations.jsonl.gz"))

    def column(name: str, **options: object) -> dict[str, float]:
        rows = accord.leaderboard(data=data, anchor=expected["anchor"], **options).rows()
        return {row["model"]: row[name] for row in rows}

    def given(name: str) -> dict[str, float]:
        return {model: row[name] for model, row in expected["models"].items()}

    assert column("strength") == pytest.approx(given("bt_logit"), abs=1e-5)
    assert column("elo") == pytest.approx(given("elo"), abs=2e-3)
    assert column("strength", ties="davidson") == pytest.approx(given("davidson_logit"), abs=1e-5)
    # Theirs are of single judgements; by prompt they differ (below, computed apart from this package).
    assert column("standard_error", cluster="none") == pytest.approx(given("se_sandwich"), abs=1e-3)
    assert column("standard_error", errors="fisher") == pytest.approx(given("se_fisher"), abs=1e-3)
    by_prompt = {"chatgpt": 0.110463, "tulu_65B": 0.085200, "tulu_human_only_65B": 0.117045, "tulu_7B": 0}
    assert column("standard_error") == pytest.approx(by_prompt, abs=1e-3)
    interval = column("interval", errors="bootstrap", cluster="none")
    for model, ends in given("boot95").items():
        assert interval[model] == pytest.approx(ends, abs=0.04)
    board = accord.leaderboard(data=data, ties="davidson").to_json()["leaderboards"][0]
    assert board["theta"]["value"] == pytest.approx(expected["davidson_log_nu"], abs=1e-5)
    assert board["loss"] == pytest.approx(expected["davidson_nll"], abs=1e-5)
    assert (board["comparisons"], board["ties"]) == (expected["n_comparisons"], expected["n_ties"])
