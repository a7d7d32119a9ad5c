"""`accord classify` as a command: what it learns, writes, says and refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from killed_runs import assert_same, stop_at
from stage_runs import QUICK, lines, words, write_lines
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import accord
from accord.cli import main

ENDS = {"toxic": " dogs ran far", "fine": " birds sang well", "odd": " in the rain"}
OWN = {key: value for key, value in QUICK.items() if key != "samples"}  # a classifier writes no texts
Classify = Callable[..., int]


def rows(count: int, *names: str, **more: Any) -> list[dict[str, Any]]:
    """Texts whose last words tell the label."""
    made = [(i, names[(i * i + i // 3) % len(names)]) for i in range(count)]
    return [{"text": tiny.sentence(i, 3) + f" {i}" + ENDS[name], "label": name, **more} for i, name in made]


@pytest.fixture(scope="module")
def files(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """two.jsonl, three.jsonl: labelled texts; each.jsonl: lists and flags; tied: its embedding is its output layer."""
    place = tmp_path_factory.mktemp("classify")
    two, three = rows(64, "fine", "toxic"), rows(60, "fine", "odd", "toxic")
    lists: list[dict[str, Any]] = []
    for i, row in enumerate(three):
        name = row.pop("label")
        long = i % 2 == 0
        held = [name, "long"] if long else [name]
        said = held if i % 5 else {**dict.fromkeys(("fine", "odd", "toxic"), False), name: True}
        lists.append({"text": ("the cat sat " if long else "") + row["text"], "labels": said})
    tiny.write_model(place / "tied", tiny.llama(vocab_size=300, tie_word_embeddings=True))
    made = {"model": workshop / "model", "tied": place / "tied"}
    made["two"] = write_lines(place / "two.jsonl", two)
    made["three"] = write_lines(place / "three.jsonl", rows(60, "fine", "odd", "toxic"))
    made["each"] = write_lines(place / "each.jsonl", lists)
    return made


@pytest.fixture
def classify(files: dict[str, Path], tmp_path: Path) -> Classify:
    def run(data: str = "two", **options: Any) -> int:
        usual = {"model": files["model"], "data": files.get(data, data), "output_dir": tmp_path / "run", **OWN}
        learns = {"learning_rate": 3e-3, "num_train_epochs": 3, "validation": 0.3}
        return main(words("classify", {**usual, **learns, **options}))

    return run


def summary(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "run" / "summary.json").read_text())


def report_of(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "run" / "classify_report.json").read_text())


SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "two labels": ("two", {}),
    "three labels": ("three", {}),
    "hinge": ("two", {"loss_type": "hinge", "num_train_epochs": 6}),
    "several labels": ("each", {"num_train_epochs": 6}),
    "with the language model": ("two", {"lm_alpha": 0.5}),
    "an adapter": ("two", {"lora_r": 4, "learning_rate": 2e-2}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_learns_what_the_texts_say_and_stock_reads_it(name: str, classify: Classify, tmp_path: Path) -> None:
    data, options = SETTINGS[name]
    assert classify(data, **options) == 0
    found = report_of(tmp_path)
    assert found["accuracy"]["mean"] > 0.9 > found["majority"]["mean"]
    assert min(label["auc"]["mean"] for label in found["labels"]) > 0.9
    assert (tmp_path / "run" / "classify_report.png").stat().st_size > 10_000
    if "lora_r" in options:
        from peft import AutoPeftModelForSequenceClassification

        network: Any = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "run", num_labels=2)
    else:
        network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
        assert list(network.config.id2label.values()) == [label["label"] for label in found["labels"]]
        kind = "multi_label" if data == "each" else "single_label"
        assert network.config.problem_type == f"{kind}_classification"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    texts = ["a cat" + end for end in ENDS.values()][: 3 if data != "two" else 2]
    inputs = tokenizer([text + tokenizer.eos_token for text in texts], padding=True, return_tensors="pt")
    with torch.no_grad():
        z = network(**inputs).logits
    order = [label["label"] for label in found["labels"]]
    ends = [place for place, name in enumerate(order) if name != "long"]
    assert [order[ends[place]] for place in z[:, ends].argmax(-1).tolist()] == ["toxic", "fine", "odd"][: len(texts)]


def test_what_it_says(classify: Classify, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert classify("two", loss_type="logistic", class_weight="balanced") == 0
    said = capsys.readouterr().err
    assert "texts trained on: fine" in said and "one holds of a text" in said
    assert "logistic loss: +1 is toxic, -1 is fine" in said and "class weights: fine" in said
    assert "the most frequent label:" in said and "expected calibration error" in said
    assert summary(tmp_path)["labels"] == ["fine", "toxic"]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "AutoModelForSequenceClassification" in card and "| toxic |" in card
    evaluated = [row for row in lines(tmp_path / "run" / "metrics.jsonl") if "eval_accuracy" in row]
    assert evaluated and "eval_accuracy_low" in evaluated[-1]


def test_the_order_of_labels_can_be_said(classify: Classify, tmp_path: Path) -> None:
    assert classify("two", labels="toxic,fine,odd", max_steps=1) == 0
    assert summary(tmp_path)["labels"] == ["toxic", "fine", "odd"]


@pytest.mark.parametrize(("model", "says"), [("tied", "both terms train it"), ("model", "which stays as it is")])
def test_whose_output_layer_the_language_term_has(
    model: str, says: str, classify: Classify, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert classify("two", model=files[model], lm_alpha=0.5, max_steps=2, validation=0) == 0
    assert says in capsys.readouterr().err


def test_scores_of_the_result_are_those_of_stock(classify: Classify, files: dict[str, Path], tmp_path: Path) -> None:
    """The held-out loss that the run reports is stock's, text by text."""
    held = write_lines(tmp_path / "held.jsonl", rows(10, "toxic", "fine", id=None)[3:9])
    assert classify("two", eval_data=held, validation=0.0, max_steps=3) == 0
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    losses = []
    for row in lines(held):
        inputs = tokenizer(row["text"] + tokenizer.eos_token, return_tensors="pt")
        label = torch.tensor([network.config.label2id[row["label"]]])
        losses.append(network(**inputs, labels=label).loss.item())
    reported = summary(tmp_path)["held_out"]["loss"]["after"]["mean"]
    assert reported == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_a_stopped_run_goes_on_to_the_same_bits(files: dict[str, Path], tmp_path: Path) -> None:
    usual = {"model": files["tied"], "data": files["two"], **OWN, "max_steps": 7, "save_steps": 1, "lm_alpha": 0.3}
    options: dict[str, Any] = {**usual, "report_to": ["none"], "validation": 0.2, "class_weight": "balanced"}
    accord.classify(**options, output_dir=tmp_path / "whole")
    stop_at(3, lambda: accord.classify(**options, output_dir=tmp_path / "run"))
    accord.classify(**options, output_dir=tmp_path / "run", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_run_goes_on_with_the_labels_of_its_head(
    classify: Classify, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither another order nor other names of as many labels: the head's numbers would change their meaning."""
    assert classify("three", max_steps=2, save_steps=2) == 0
    more = {"max_steps": 4, "resume": True, "allow_change": "labels,max_steps,data"}
    assert classify("three", labels="toxic,odd,fine", **more) == 2
    said = "labels: the checkpoint's head is of fine, odd, toxic, and the labels are "
    assert f"{said}toxic, odd, fine now" in capsys.readouterr().err
    renamed = [row | {"label": row["label"].replace("toxic", "bad")} for row in lines(files["three"])]
    assert classify(str(write_lines(tmp_path / "renamed.jsonl", renamed)), **more) == 2
    assert f"{said}bad, fine, odd now" in capsys.readouterr().err
    assert classify("three", labels="fine,odd,toxic", **more) == 0


def test_a_classifier_is_trained_further_by_its_own_labels_only(
    classify: Classify, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert classify("two", max_steps=2) == 0
    more: dict[str, Any] = {"model": tmp_path / "run", "output_dir": tmp_path / "more", "max_steps": 1}
    assert classify("two", **more) == 0
    capsys.readouterr()
    other: dict[str, Any] = {**more, "output_dir": tmp_path / "other"}
    assert classify("two", **other, labels="toxic,fine") == 2
    assert (
        "the model's labels are fine, toxic, and those of the run toxic, fine: give --labels" in capsys.readouterr().err
    )
    assert classify("two", **other, lm_alpha=0.1) == 2
    assert "lm_alpha: the model is a classifier already" in capsys.readouterr().err


def test_thumbs_are_true_and_false(files: dict[str, Path], tmp_path: Path) -> None:
    thumbs = [
        {"prompt": tiny.sentence(i, 3), "completion": ENDS["fine" if i % 2 else "toxic"], "label": i % 2 == 1}
        for i in range(16)
    ]
    result = accord.classify(
        model=files["model"], data=thumbs, output_dir=tmp_path / "run", max_steps=2, report_to=["none"]
    )
    assert result.summary["labels"] == ["false", "true"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "three for hinge": (
        {"data": "three", "loss_type": "hinge"},
        "loss_type: hinge is a loss of two labels, and there are 3",
    ),
    "a label that is not named": ({"labels": "fine,odd"}, "two.jsonl:"),
    "named twice": ({"labels": "fine,fine"}, "labels: fine is named twice: name each label once"),
    "an unknown loss": ({"loss_type": "hing"}, "loss_type"),
    "a negative weight": ({"lm_alpha": -1}, "lm_alpha"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, classify: Classify, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, message = REFUSED[name]
    assert classify(options.pop("data", "two"), **options) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error[2] ") and message in last
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_comparisons_are_no_labelled_texts(
    workshop: Path, classify: Classify, capsys: pytest.CaptureFixture[str]
) -> None:
    assert classify(workshop / "pairs.jsonl") == 2
    assert "accord reward learns from these" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(classify: Classify, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert classify("two", dry_run=True, lm_alpha=0.5) == 0
    assert "dry run of accord classify" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_check_knows_labelled_texts(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(files["each"])]) == 0
    said = capsys.readouterr().out
    assert "checked for accord classify" in said and "60 texts with a label" in said
