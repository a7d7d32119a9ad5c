"""The models of accord winrate and accord compare: how they are called, and what is looked at before they answer."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from score_runs import furnish_scorers
from stage_runs import words, write_lines

import accord
from accord.cli import main
from accord.errors import InputError
from accord.evaluate.answers import short_names

PROMPTS = [{"id": f"p{i}", "prompt": row["prompt"]} for i, row in enumerate(tiny.comparisons(4))]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    tiny.write_model(home / "sft")
    furnish_scorers(home)
    write_lines(home / "prompts.jsonl", PROMPTS)
    write_lines(home / "people.jsonl", [{**row, "completion": "x"} for row in PROMPTS])
    return home


def test_models_are_called_by_the_end_that_tells_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/one/final", "a/two/final", "b/one/final", "a/sft", "reference"):
        Path(name).mkdir(parents=True)
    assert short_names(["a/one/final", "a/two/final", "a/sft"]) == {
        "a/one/final": "one/final", "a/two/final": "two/final", "a/sft": "sft",
    }  # fmt: skip
    assert short_names(["a/one/final", "b/one/final/"]) == {"a/one/final": "a/one/final", "b/one/final/": "b/one/final"}
    assert short_names(["a/sft", "org/sft", "a.json"]) == {"a/sft": "sft", "org/sft": "org/sft", "a.json": "a.json"}
    assert short_names(["a/sft", "sft"]) == {"a/sft": "a/sft", "sft": "sft"}
    assert short_names(["./reference", "reference.jsonl"])["./reference"] == f"{tmp_path.name}/reference"
    monkeypatch.chdir("a/sft")
    assert short_names(["."]) == {".": "sft"}


# The options, and what is said before anything is sampled.
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "a language model judges": (
        {"judge": "sft"},
        "sft: its score head is missing from the weights: it is a language model",
    ),
    "a classifier without its label": ({"judge": "kinds"}, "judge_label: a classifier has a score for each label"),
    "a label of its own": ({"judge": "reward", "judge_label": "x"}, "judge_label: 'x' is none of its labels"),
    "no such judge": ({"judge": "nothing/at/all"}, "nothing/at/all: no such directory"),
    "a reward model answers": ({"judge": "reward", "against": "reward"}, "reward: is a reward model or classifier"),
    "no such model": ({"judge": "reward", "against": "not/at/home"}, "not/at/home: no such directory"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_before_models_answer(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(home)
    options, said = WRONG[name]
    asked = {"model": "sft", "against": "people.jsonl", "prompts": "prompts.jsonl", "threads": 1, **options}
    assert main(words("winrate", asked)) == 2
    seen = capsys.readouterr().err
    assert said in seen.splitlines()[-1] and "sample" not in seen
    asked["model"] = f"{asked['model']},{asked.pop('against')}"
    assert main(words("compare", asked)) == 2
    seen = capsys.readouterr().err
    assert said in seen.splitlines()[-1] and "sample" not in seen


def test_a_language_model_classifies_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    asked = {"model": "sft,people.jsonl", "prompts": "prompts.jsonl", "classifier": "sft", "threads": 1}
    assert main(words("compare", asked)) == 2
    seen = capsys.readouterr().err
    assert "sft: its score head is missing from the weights: it is a language model" in seen and "sample" not in seen


def test_a_model_whose_config_names_no_context(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    tiny.write_model(home / "t5", tiny.t5(vocab_size=300))
    asked: dict[str, Any] = {"against": "people.jsonl", "prompts": "prompts.jsonl"}
    asked |= {"judge": lambda pairs: [1] * len(pairs), "max_new_tokens": 4, "threads": 1, "length_control": False}
    with pytest.raises(InputError, match="max_length: not given, and the model's config names no context"):
        accord.winrate(model="t5", **asked)
    found = accord.winrate(model="t5", max_length=64, **asked)
    assert found is not None and found.rows()[0]["n"] == 4
