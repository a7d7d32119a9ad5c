"""`accord winrate` on verdicts: its numbers by hand, its files, the baseline it takes, and what it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stage_runs import words, write_lines

import accord
from accord.cli import main
from accord.errors import InputError
from accord.evaluate.verdicts import Answer, Matched, Verdict, verdicts_of
from accord.evaluate.winrate import WinRates
from accord.maths.statistics import wilson

KEYS = [
    "model", "baseline", "n", "win_rate", "standard_error", "interval", "ties", "failed",
    "length_controlled_win_rate", "avg_length",
]  # fmt: skip
Row = dict[str, Any]


def votes(a: str, b: str, wins: int, ties: int, losses: int, **more: object) -> list[Row]:
    said = ["model_a"] * wins + ["tie"] * ties + ["model_b"] * losses
    return [{"model_a": a, "model_b": b, "winner": one, "prompt": f"p{i}", **more} for i, one in enumerate(said)]


def preference(instruction: str, model: str, value: float | None, length: int = 4, **more: object) -> Row:
    texts = {"output_1": "base", "output_2": "x" * length}
    row = {"instruction": instruction, "generator_1": "base", "generator_2": model, "preference": value}
    return {**row, **texts, **more}


def winrates(data: Any, **options: Any) -> WinRates:
    found = accord.winrate(data=data, **options)
    assert isinstance(found, WinRates)
    return found


def only(data: Any, **options: Any) -> Row:
    (row,) = winrates(data, **options).rows()
    return row


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The last line of a command that ends with 2."""
    assert main(["winrate", *arguments]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_row_by_hand(tmp_path: Path) -> None:
    data, out = write_lines(tmp_path / "votes.jsonl", votes("x", "y", 6, 2, 2)), tmp_path / "table.json"
    assert main(["winrate", str(data), "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert list(row)[:10] == KEYS
    assert (row["model"], row["baseline"], row["n"], row["ties"], row["failed"]) == ("x", "y", 10, 2, 0)
    assert row["win_rate"] == pytest.approx(0.7)
    # Squares about 0.7: 6 x 0.09 + 2 x 0.04 + 2 x 0.49 = 1.6; over 9, over 10.
    assert row["standard_error"] == pytest.approx(math.sqrt(1.6 / 90))
    assert (row["won_rate"], row["tied_rate"], row["lost_rate"]) == pytest.approx((0.6, 0.2, 0.2))
    assert row["interval_method"] == "bootstrap" and row["interval"] == [0.4, 1.0]
    assert row["p_value"] == pytest.approx(74 / 256)  # 6 to 2: 2 (C(8,0) + C(8,1) + C(8,2)) / 2^8 = 2 x 37 / 256
    assert row["position"] is None  # x always stood left: that says nothing of the judge
    assert row["length_controlled_win_rate"] is None and row["avg_length"] is None
    assert row["length_controlled_why_not"] == "the data have no texts"
    assert len(row["data_sha256"]) == 64 and (row["seed"], row["rounds"]) == (0, 1000)


def test_without_ties_it_is_wilsons() -> None:
    row = only(votes("x", "y", 7, 0, 3))
    assert row["interval"] == pytest.approx(list(wilson(7, 10))) and row["interval_method"] == "wilson"
    wider = only(votes("x", "y", 7, 0, 3), level=0.99)
    assert wider["interval"] == pytest.approx(list(wilson(7, 10, 0.99)))


def test_the_interval_goes_by_the_verdicts() -> None:
    thrice = [row for _ in range(3) for row in votes("x", "y", 7, 0, 3)]
    row = only(thrice)
    assert (row["n"], row["prompts"], row["interval_method"]) == (30, 10, "cluster")
    assert row["interval"] == pytest.approx(list(wilson(7, 10)))  # the same verdict again says nothing new
    assert row["standard_error"] == pytest.approx(only(votes("x", "y", 7, 0, 3))["standard_error"])
    with pytest.raises(InputError, match="30 verdicts on 10 prompts depend on each other"):
        winrates(thrice, interval="wilson")
    assert only(votes("x", "y", 0, 5, 0))["interval_method"] == "cluster"  # resamples of equals would be a point
    by_name = [only(votes("x", "y", 60, 20, 20), interval=name)["interval"] for name in ("bootstrap", "bca", "cluster")]
    for low, high in by_name:
        assert (low, high) == pytest.approx((0.62, 0.78), abs=0.02)


@pytest.mark.parametrize("interval", ["auto", "bootstrap", "bca", "wilson", "cluster"])
def test_one_prompt_says_little(interval: str) -> None:
    row = only([preference("a", "x", 2.0)], interval=interval)
    assert row["win_rate"] == 1.0 and row["length_controlled_win_rate"] is None
    assert row["length_controlled_why_not"] == "one prompt says nothing of the effect of length"
    known = interval not in ("bootstrap", "bca")
    assert row["interval"] == (pytest.approx(wilson(1, 1)) if known else [None, None])


@pytest.mark.parametrize("value", [1.5, 2.0])
def test_equal_verdicts_are_no_certainty_at_equal_length(value: float) -> None:
    row = only([preference(f"q{i}", "x", value, length=1 + i % 5) for i in range(30)], rounds=50)
    expected = wilson(30 * (value - 1), 30)
    assert row["length_controlled_interval"] == pytest.approx(expected) == row["interval"]
    assert row["length_controlled_method"].startswith("the win rate's own, as all verdicts are equal")


def test_first_of_several_verdicts() -> None:
    rows = [*votes("x", "y", 2, 0, 0), *votes("x", "y", 0, 0, 3)]
    assert [only(rows, several=name)["win_rate"] for name in ("all", "first")] == pytest.approx([2 / 5, 2 / 3])
    assert only(rows, several="first")["interval_method"] == "wilson"


def test_what_fails_is_counted_and_never_scored() -> None:
    rows = [preference("a", "m", 2.0), preference("b", "m", None), preference("c", "m", 1.0), preference("d", "m", 1.5)]
    row = only(rows, length_control=False)
    assert (row["n"], row["failed"], row["ties"], row["missing"]) == (3, 1, 1, 0)
    assert row["win_rate"] == pytest.approx(0.5)
    none = only([preference("a", "m", None)], length_control=False)
    assert (none["n"], none["failed"], none["win_rate"], none["interval"]) == (0, 1, None, [None, None])


def test_alpacaevals_length_is_rounded_down_and_a_missing_answer_is_0(tmp_path: Path) -> None:
    rows = [
        preference("a", "m", 2.0, 3),
        preference("b", "m", 1.0, 4),
        preference("c", "m", None, 9) | {"output_2": None},
        *(preference(name, "other", 1.25, 5) for name in "abcd"),
    ]
    found = {row["model"]: row for row in winrates(rows, length_control=False).rows()}
    assert found["m"]["avg_length"] == 1  # (3 + 4) / 4 = 1.75
    assert (found["m"]["failed"], found["m"]["missing"]) == (1, 1)
    assert found["other"]["avg_length"] == 5 and found["other"]["win_rate"] == pytest.approx(0.25)
    arena = [row | {"response_a": "x" * 3, "response_b": "y"} for row in votes("x", "y", 1, 0, 1)]
    assert only([*arena, arena[0] | {"prompt": "q", "response_a": "xx"}])["avg_length"] == pytest.approx(8 / 3)


def test_the_baseline_that_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    star = [*votes("x", "hub", 3, 0, 1), *votes("hub", "y", 3, 0, 1)]
    assert [(row["model"], row["win_rate"]) for row in winrates(star).rows()] == [("x", 0.75), ("y", 0.25)]
    assert only(votes("x", "y", 3, 0, 1), against="x")["win_rate"] == 0.25
    assert only(votes("x", "y", 3, 0, 1), model="y")["model"] == "y"
    assert [row["model"] for row in winrates(star, model=["y"]).rows()] == ["y"]
    line = [*votes("x", "y", 1, 0, 0), *votes("y", "z", 1, 0, 0)]
    ring = [*line, *votes("z", "x", 1, 0, 0)]
    data = write_lines(tmp_path / "ring.jsonl", ring)
    assert "which is the baseline is not clear: --against, one of x, y, z" in refused(capsys, str(data))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"against": "w"}, "no model 'w'"),
        ({"against": "x", "model": ["v"]}, "no model 'v'"),
        ({"against": "x", "model": ["z"]}, "'z' was never compared with 'x'"),
        ({"against": "x", "model": "x"}, "also a model that is asked about"),
        ({"over": "t", "by": "category"}, "not together with by"),
        ({"difficulty": "d", "length_control": False}, "length control, which is off"),
        ({"difficulty": "nowhere.json"}, "no such file"),
        ({"plot": "x.txt"}, "no picture"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError) as caught:
        winrates([*votes("x", "y", 1, 0, 0), *votes("y", "z", 1, 0, 0)], **options)
    assert what in str(caught.value)


def test_nothing_to_read_and_nothing_lost(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = str(write_lines(tmp_path / "votes.jsonl", votes("x", "y", 1, 0, 1)))
    assert "is the data that is read" in refused(capsys, data, "--json", data)
    assert "data: not given" in refused(capsys)


def test_groups_with_verdicts() -> None:
    rows = [
        {"prompt": str(i), "completions": ["long answer", "no", "yes"], "models": ["a", "b", "c"], "ranks": ranks}
        for i, ranks in enumerate([(1, 2, 2), (2, 2, 1), (1, 3, 2), (1, 2, 3)])
    ]
    found = {row["model"]: row for row in winrates(rows, against="c", rounds=50).rows()}
    assert found["a"]["win_rate"] == 0.75 and found["b"]["win_rate"] == pytest.approx((0.5 + 0 + 0 + 1) / 4)
    assert found["a"]["avg_length"] == 11 and found["a"]["length_controlled_win_rate"] is not None


def test_samples_of_one_prompt_share_its_weight() -> None:
    two = {"prompt": "p", "completions": ["1", "2", "3"], "models": ["a", "a", "b"], "ranks": [1, 3, 2]}
    one = {"prompt": "q", "completions": ["1", "2"], "models": ["a", "b"], "ranks": [1, 2]}
    row = only([two, one], against="b", length_control=False)
    assert (row["n"], row["prompts"], row["win_rate"]) == (3, 2, 0.75)


def test_a_row_for_each_category(tmp_path: Path) -> None:
    rows = [*votes("x", "y", 9, 0, 3, category="maths"), *votes("x", "y", 3, 0, 9, category="art")]
    found = winrates(rows, by="category", markdown=str(tmp_path / "t.md"), plot=str(tmp_path / "t.png"))
    assert [(row["category"], row["win_rate"]) for row in found.rows()] == [("art", 0.25), ("maths", 0.75)]
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="no category is named"):
        winrates(votes("x", "y", 1, 0, 1), by="category")


def test_over_a_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*votes("x", "y", 9, 0, 3, temperature=0.0), *votes("x", "y", 6, 2, 4, temperature=1.0)]
    data = write_lines(tmp_path / "votes.jsonl", [row | {"annotator": "judge"} for row in rows])
    out, plot = tmp_path / "t.json", tmp_path / "t.png"
    assert main(words("winrate", {"data": data, "over": "temperature", "json": out, "plot": plot})) == 0
    found = json.loads(out.read_text())
    assert [(row["over"], row["level"], row["n"]) for row in found] == [
        ("temperature", 0.0, 12),
        ("temperature", 1.0, 12),
    ]
    assert "replaced" not in capsys.readouterr().err  # the same judge on the same prompt, but of another setting
    assert plot.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="heat: missing"):
        winrates(str(data), over="heat")
    group = {"prompt": "p", "completions": ["1", "2"], "models": ["x", "y"], "ranks": [1, 2]}
    with pytest.raises(InputError, match="groups have no column heat"):
        winrates([group], over="heat")


def test_the_files_and_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [preference(str(i), model, 1 + ((i * k) % 7) / 6, 3 + (i * k) % 5, shown_first=1 + i % 2)
            for k, model in ((2, "m"), (3, "n"), (5, "o")) for i in range(40)]  # fmt: skip
    data = write_lines(tmp_path / "rows.jsonl", rows)
    files = {"markdown": tmp_path / "t.md", "report": tmp_path / "t.json", "plot": tmp_path / "t.png"}
    assert main(words("winrate", {"data": data, "rounds": 60, **files})) == 0
    printed = capsys.readouterr()
    assert "win rates against base, in percent" in printed.out and "data: 120 read" in printed.err
    for line in ("intervals (bootstrap)", "at equal length: AlpacaEval 2's", "position: what was shown first won",
                 "length: the longer answer won", "paired: ", "sample size: 40 prompts tell"):  # fmt: skip
        assert line in printed.out
    assert files["markdown"].read_text().startswith("| model | win rate | 95 % interval |")
    report = json.loads(files["report"].read_text())
    assert len(report["win_rates"]) == 3 and len(report["pairs"]) == 3
    assert list(report["files"]) == [str(data)] and report["win_rates"][0]["data_sha256"] == report["files"][str(data)]
    assert len(report["instruction_difficulty"]) == 40
    again = winrates(str(data), rounds=60, difficulty=str(files["report"]))
    for one, other in zip(again.rows(), report["win_rates"], strict=True):
        assert one["length_controlled_win_rate"] == pytest.approx(other["length_controlled_win_rate"], abs=1e-6)
        assert one["position"]["win_rate_shown_first"] == other["position"]["win_rate_shown_first"]


def test_pairs_are_of_shared_prompts() -> None:
    rows = [preference(str(i), "m", 2.0) for i in range(8)] + [preference(str(i), "n", 1.0) for i in range(2, 10)]
    report = winrates(rows, length_control=False).to_json()
    (pair,) = report["pairs"]
    assert (pair["model"], pair["other"], pair["n"], pair["difference"]) == ("m", "n", 6, 1.0)
    assert (pair["test"], pair["p_value"]) == ("McNemar", pytest.approx(2 / 64))


def test_the_same_prompts_as_groups_and_as_rows() -> None:
    groups = [{"prompt": str(i), "completions": ["a" * (i + 1), "bb"], "models": ["m", "base"],
               "ranks": [1, 2] if i % 3 else [2, 1]} for i in range(12)]  # fmt: skip
    rows = [{"instruction": str(i), "generator_1": "base", "output_1": "bb", "generator_2": "m",
             "output_2": "a" * (i + 1), "preference": 2 if i % 3 else 1} for i in range(12)]  # fmt: skip
    one, other = only(groups, against="base", rounds=50), only(rows, rounds=50)
    for key in ("n", "win_rate", "interval", "length_controlled_win_rate", "length_controlled_interval"):
        assert one[key] == pytest.approx(other[key])
    assert (one["avg_length"], other["avg_length"]) == (6.5, 6)  # AlpacaEval's rule


def test_difficulty_by_row(tmp_path: Path) -> None:
    rows = [preference(str(i), "m", 1 + (i % 3) / 2, 3 + i % 4) for i in range(30)]
    numbers = tmp_path / "d.json"
    numbers.write_text(json.dumps([i / 10 - 1.5 for i in range(30)]))
    row = only(rows, difficulty=str(numbers), rounds=50)
    assert row["length_controlled_weights"]["psi"] != 0
    numbers.write_text(json.dumps([0.5] * 29))
    with pytest.raises(InputError, match="29 numbers, and m has verdicts on 30 instructions"):
        winrates(rows, difficulty=str(numbers))
    numbers.write_text(json.dumps([0.5] * 31))
    with pytest.raises(InputError, match="do not say which ones they are"):
        winrates(rows, difficulty=str(numbers))
    known = [row | {"idx": i} for i, row in enumerate(rows)]
    assert only(known[5:], difficulty=str(numbers), rounds=50)["n"] == 25
    assert only(known[::-1], difficulty=str(numbers), rounds=50)["n"] == 30
    two = [*rows[:29], *(row | {"generator_2": "n"} for row in rows[::-1])]
    with pytest.raises(InputError, match="in another order"):
        winrates(two, difficulty=str(numbers))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[1, 2", "cannot be read as JSON"),
        ("7", "the list: expected a list of numbers, got a number"),
        ("[1, true]", "the list[1]: expected a number, got True"),
        ("[1, NaN]", "expected a number, got nan"),
        ("{}", "instruction_difficulty: expected a list of numbers, got null"),
        ('{"instruction_difficulty": [1], "gamed_rows": {"index": [1], "tanh_std_delta_len": [0], "preference": [1]}}',
         "gamed_rows.index: not all are rows 0 to 0"),
        ('{"instruction_difficulty": [1], "gamed_rows": {"index": [0], "tanh_std_delta_len": [0], "preference": [2]}}',
         "outside of 0..1"),
        ('{"instruction_difficulty": [1], "gamed_rows": {"index": [0], "tanh_std_delta_len": [], "preference": [1]}}',
         "gamed_rows.tanh_std_delta_len"),
    ],
)  # fmt: skip
def test_difficulties_that_are_none(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "d.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        winrates([preference("a", "m", 2.0)], difficulty=str(file))
    assert what in str(caught.value)


def test_verdicts_of_a_judge() -> None:
    def pair(id: str, first: str, second: str) -> Matched:
        return Matched(id, f"prompt {id}", Answer("m", first), Answer("base", second), "maths" if id == "a" else None)

    matched = [pair("a", "four", "two"), pair("b", "1", "22"), pair("c", "", "x")]
    said = [Verdict(1.0, orders=(1.0, 1.0)), Verdict(0.5, orders=(1.0, 0.0)), Verdict(None, "no JSON")]
    found = verdicts_of(matched, said, ["c", "a", "b"])
    assert (found.model, found.baseline, found.failed, len(found)) == ("m", "base", 1, 2)
    assert found.cluster.tolist() == [1, 2]
    assert (found.length.tolist(), found.baseline_length.tolist()) == ([4, 1], [3, 2])
    assert found.category.tolist() == [0, -1] and found.categories == ("maths",)
    assert found.orders.tolist() == [[1.0, 1.0], [1.0, 0.0]] and np.isnan(found.level).all()
    assert found.answer_length == pytest.approx(5 / 3)
    with pytest.raises(ValueError, match="2 verdicts on 3 pairs"):
        verdicts_of(matched, said[:2])
