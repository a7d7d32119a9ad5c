"""accord score: stock's numbers, in the order of the file, however the data are cut; and what it refuses."""

import gc
import gzip
import json
import math
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from score_runs import MEAN, furnish_scorers, stock_logits
from stage_runs import COMPARISONS, lines, words, write_lines
from transformers import AutoModelForSequenceClassification

import accord
import accord.stages.score as scoring
from accord.cli import main
from accord.models.heads import score_groups
from accord.stages import setup, windows

SIDES = ("chosen", "rejected")
Score = Callable[..., int]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scorers, a language model, and comparisons without judgements (`answers`) and with (`pairs`)."""
    home = tmp_path_factory.mktemp("scorers")
    furnish_scorers(home)
    tiny.write_model(home / "model")
    write_lines(home / "pairs.jsonl", COMPARISONS)
    answers = [{"id": r["id"], "prompt": r["prompt"], "completions": [r[side] for side in SIDES]} for r in COMPARISONS]
    write_lines(home / "answers.jsonl", answers)
    return home


@pytest.fixture
def score(home: Path, tmp_path: Path) -> Score:
    """score("reward", data="pairs"): the exit code of accord score, which writes tmp_path/scores.jsonl or nothing."""

    def run(model: str, **options: Any) -> int:
        data = home / f"{options.pop('data', 'answers')}.jsonl"
        output = Path(options.pop("output", tmp_path / "scores.jsonl"))
        code = main(words("score", {"model": home / model, "data": data, "output": output, **options}))
        assert output.exists() == (code == 0)
        assert not list(tmp_path.glob(".*"))  # nothing half-written
        return code

    return run


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_scores_are_stocks_in_the_order_of_the_file(home: Path, score: Score, tmp_path: Path) -> None:
    assert score("reward") == 0
    found = lines(tmp_path / "scores.jsonl")
    assert [(row["id"], row["completion"]) for row in found] == [(r["id"], i) for r in COMPARISONS for i in range(2)]
    assert list(found[0]) == ["id", "completion", "score", "tokens"]
    stock = stock_logits(home / "reward", COMPARISONS, SIDES)
    assert [row["score"] for row in found] == pytest.approx([one[0] for row in stock for one in row], abs=1e-4)
    tokenizer = tiny.tokenizer()
    counts = [len(tokenizer(row[side]).input_ids) + 1 for row in COMPARISONS for side in SIDES]  # and EOS
    assert [row["tokens"] for row in found] == counts


CUTS: dict[str, dict[str, Any]] = {
    "one by one": {"max_tokens": 1},
    "all at once": {"max_tokens": 100_000},
    "rows": {"layout": "rows"},
    "cache": {"layout": "cache"},
}


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("window", [1, 5, 4096])
def test_the_same_number_however_the_data_are_cut(
    home: Path, tmp_path: Path, how: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"model": home / "reward", "data": home / "answers.jsonl"}
    one = list(accord.score(**same, output=tmp_path / "one.jsonl"))
    monkeypatch.setattr(windows, "GROUPS", window)
    other = list(accord.score(**same, output=tmp_path / "other.jsonl", **CUTS[how]))
    assert [row["id"] for row in one] == [row["id"] for row in other]
    assert [row["score"] for row in one] == pytest.approx([row["score"] for row in other], abs=1e-5)


def test_normalised_is_less_the_mean_of_demonstrations(score: Score, tmp_path: Path) -> None:
    assert score("reward", output=tmp_path / "raw.jsonl") == 0
    assert score("reward", normalised=True) == 0
    raw, shifted = lines(tmp_path / "raw.jsonl"), lines(tmp_path / "scores.jsonl")
    expected = [row["score"] - MEAN for row in raw]
    assert [row["score"] for row in shifted] == pytest.approx(expected, abs=1e-6)


def test_a_classifier_gives_probabilities_and_the_log_odds_of_a_label(home: Path, score: Score, tmp_path: Path) -> None:
    logits = [one for row in stock_logits(home / "kinds", COMPARISONS, SIDES) for one in row]
    assert score("kinds") == 0
    for row, z in zip(lines(tmp_path / "scores.jsonl"), logits, strict=True):
        assert "score" not in row
        whole = sum(map(math.exp, z))
        assert row["probabilities"] == pytest.approx(
            {name: math.exp(value) / whole for name, value in zip("abc", z, strict=True)}, abs=1e-5
        )
    assert score("kinds", label="b", output=tmp_path / "b.jsonl") == 0
    for row, z in zip(lines(tmp_path / "b.jsonl"), logits, strict=True):
        p = row["probabilities"]["b"]
        assert row["score"] == pytest.approx(math.log(p / (1 - p)), abs=1e-4)
        assert row["score"] == pytest.approx(z[1] - math.log(math.exp(z[0]) + math.exp(z[2])), abs=1e-4)


def test_labels_that_hold_each_for_itself(home: Path, score: Score, tmp_path: Path) -> None:
    logits = [one for row in stock_logits(home / "flags", COMPARISONS, SIDES) for one in row]
    assert score("flags", label="rude") == 0
    for row, z in zip(lines(tmp_path / "scores.jsonl"), logits, strict=True):
        each = {name: 1 / (1 + math.exp(-value)) for name, value in zip(("toxic", "rude"), z, strict=True)}
        assert row["probabilities"] == pytest.approx(each, abs=1e-5)
        assert row["score"] == pytest.approx(z[1], abs=1e-4)


def test_judged_data_end_with_the_report(
    home: Path, score: Score, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, plot = tmp_path / "report.json", tmp_path / "report.png"
    assert score("reward", data="pairs", report=report, plot=plot) == 0
    assert "report on 24 pairs of 24 groups" in capsys.readouterr().err
    stock = stock_logits(home / "reward", COMPARISONS, SIDES)
    right = sum(chosen > rejected for [chosen], [rejected] in stock) / len(stock)
    assert json.loads(report.read_text())["accuracy"]["mean"] == pytest.approx(right)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert score("reward", data="pairs", report="none", output=tmp_path / "again.jsonl") == 0
    assert "report on" not in capsys.readouterr().err
    assert lines(tmp_path / "again.jsonl") == lines(tmp_path / "scores.jsonl")


def test_from_python_rows_are_read_from_the_file(home: Path, tmp_path: Path) -> None:
    rows: Iterator[dict[str, str]] = iter(COMPARISONS[:3])  # a stream, which can be read once
    found = accord.score(model=home / "reward", data=rows, output=tmp_path / "new" / "scores.jsonl")
    assert len(found) == 6 and list(found) == list(found) == lines(tmp_path / "new" / "scores.jsonl")
    assert found.report is not None
    packed = accord.score(model=home / "reward", data=COMPARISONS[:3], output=tmp_path / "scores.jsonl.gz")
    with gzip.open(tmp_path / "scores.jsonl.gz", "rt") as file:
        assert [json.loads(line) for line in file] == list(packed) == list(found)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a language model": ("model", {}, "its score head is missing from the weights"),
    "no normalisation": ("plain", {"normalised": True}, "normalised: the model keeps no mean"),
    "a classifier's": ("kinds", {"normalised": True, "label": "a"}, "only models of accord reward do"),
    "no such label": ("kinds", {"label": "x"}, "'x' is none of its labels: name one of a, b, c"),
    "a label of a reward model": ("reward", {"label": "x"}, "leave it out: a reward model has one score"),
    "a report on nothing": ("reward", {"report": "r.json"}, "report: no row of 24 was judged"),
    "a picture of nothing": ("reward", {"plot": "r.png"}, "plot: no row of 24 was judged"),
    "a picture of no label": ("kinds", {"plot": "r.png", "data": "pairs"}, "plot: a classifier has one score only"),
    "no picture": ("reward", {"plot": "r.txt"}, "a name ending in .png, .pdf, .svg"),
    "a picture of no report": ("reward", {"plot": "r.png", "report": "none"}, "plot: a picture of no report"),
    "too long": ("reward", {"max_length": 5}, "of 24 rows fit max_length=5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(score: Score, capsys: pytest.CaptureFixture[str], name: str) -> None:
    model, options, said = REFUSED[name]
    assert score(model, **options) == 2
    line = last_line(capsys)
    assert line.startswith("error[2] ") and said in line


def test_the_data_are_not_overwritten(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(shutil.copy(home / "answers.jsonl", tmp_path / "data.jsonl"))
    before = data.read_bytes()
    for output, said in ((data, "is the data that is read"), (tmp_path / "x.parquet", "a name ending in .jsonl")):
        assert main(words("score", {"model": home / "reward", "data": data, "output": output})) == 2
        assert said in last_line(capsys)
    assert data.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


BAD = {
    "broken": '{"id": "x", "prompt": "a", "completions": ["b"',
    "no completion": '{"id": "x", "prompt": "a"}',
    "a twin": '{"id": "c0", "prompt": "a", "completions": ["b", "c"]}',
    "infinite": '{"id": "x", "prompt": "a", "completions": ["b", "c"], "ratings": [1, Infinity]}',
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_last_row_is_named_before_a_model_is_loaded(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text((home / "answers.jsonl").read_text() + BAD[name] + "\n")
    options = {"model": home / "model", "data": data, "output": tmp_path / "scores.jsonl"}
    assert main(words("score", options)) == 2  # and not that the model has no head, which comes later
    assert last_line(capsys).startswith(f"error[2] {data}:25: ")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]
    assert main(words("score", {**options, "model": home / "reward", "on_bad_row": "drop"})) == 0
    assert len(lines(tmp_path / "scores.jsonl")) == 48
    assert "24 kept, 1 dropped" in capsys.readouterr().err


def test_what_is_too_long_is_dropped_and_counted_or_ends_it_at_once(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 24 rows the third is too long: 4 % of them, which is allowed; of 5 rows it is 20 %."""
    monkeypatch.setattr(windows, "GROUPS", 4)
    long = [{**row, "chosen": " cat" * 200} if row["id"] == "c2" else row for row in COMPARISONS]
    write_lines(tmp_path / "long.jsonl", long)
    options = {"model": home / "reward", "data": tmp_path / "long.jsonl", "output": tmp_path / "scores.jsonl"}
    assert main(words("score", {**options, "max_length": 64})) == 0
    assert "1 dropped (longer than max_length: 1 (line 3))" in capsys.readouterr().err
    assert [row["id"] for row in lines(tmp_path / "scores.jsonl")][::2] == [f"c{i}" for i in range(24) if i != 2]
    (tmp_path / "scores.jsonl").unlink()
    write_lines(tmp_path / "long.jsonl", long[:5])
    assert main(words("score", {**options, "max_length": 64})) == 2
    assert "3 of 4 rows fit max_length=64" in last_line(capsys)  # the fifth is not waited for
    assert not (tmp_path / "scores.jsonl").exists()


def test_a_group_twice_as_long_as_any_before_is_compared_with_stock_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def watched(network: Any, groups: Any, options: Any) -> Any:
        compared.append(groups[0].length)
        return setup.ready(network, groups, options)

    monkeypatch.setattr(windows, "GROUPS", 1)
    monkeypatch.setattr(scoring, "ready", watched)
    texts = [" cat" * count for count in (10, 3, 18, 40, 40, 70)]
    rows = [{"prompt": "p", "chosen": text, "rejected": " dog"} for text in texts]
    found = list(accord.score(model=home / "reward", data=rows, output=tmp_path / "x.jsonl", report="none"))
    lengths = [row["tokens"] for row in found[::2]]
    assert len(compared) == 1 and lengths[3] < compared[0] < lengths[5]  # the fourth, and not the last
    stock = stock_logits(home / "reward", rows, SIDES)
    assert [row["score"] for row in found] == pytest.approx([one[0] for row in stock for one in row], abs=1e-4)


def test_a_score_that_is_no_number_is_not_written(home: Path, tmp_path: Path) -> None:
    network = AutoModelForSequenceClassification.from_pretrained(home / "reward")
    with torch.no_grad():
        network.score.weight.fill_(3e38)
    with pytest.raises(accord.Diverged, match=r"answers\.jsonl:1: a score is not finite"):
        accord.score(
            model=network, data=home / "answers.jsonl", output=tmp_path / "x.jsonl", tokenizer=tiny.tokenizer()
        )
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_data(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python holds as each window is scored: from the 4th to the 16th only the table of ids has grown."""
    held: list[int] = []

    def watched(*words: Any, **options: Any) -> Any:
        if len(held) in (3, 15):
            gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        return score_groups(*words, **options)

    monkeypatch.setattr(windows, "GROUPS", 32)
    monkeypatch.setattr(scoring, "score_groups", watched)
    write_lines(tmp_path / "data.jsonl", ({**COMPARISONS[i % 24], "id": f"r{i}"} for i in range(512)))
    tracemalloc.start()
    try:
        accord.score(model=home / "reward", data=tmp_path / "data.jsonl", output=tmp_path / "x.jsonl", report="none")
    finally:
        tracemalloc.stop()
    assert len(held) == 16
    assert held[15] - held[3] < 384 * 100, held  # a group with its tokens is some kilobytes
