"""accord compare: a few models, sampled or read, held against each other on the same prompts."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from score_runs import write_scorer
from stage_runs import lines, loaded, words, write_lines

import accord
from accord.cli import main
from accord.data.dialogue import TokenGroup
from accord.evaluate.kl_to_reference import kl_to_reference
from accord.evaluate.sampled import sampled
from accord.models.heads import MULTI, Head
from accord.models.pocket import train_tokenizer
from accord.stages.judge_options import AnsweringOptions

PROMPTS = [{"id": f"p{i}", "prompt": row["prompt"]} for i, row in enumerate(tiny.comparisons(10))]
MODELS = ("sft", "dpo", "ppo")
QUICK = {"max_new_tokens": 6, "threads": 1}


def finite(text: str) -> dict[str, Any]:
    """JSON without NaN or Infinity, which are no JSON."""

    def no_number(name: str) -> Any:
        raise AssertionError(name)

    found: dict[str, Any] = json.loads(text, parse_constant=no_number)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("compared")
    for seed, name in enumerate(MODELS):
        tiny.write_model(home / name, tiny.llama(vocab_size=300, seed=seed))
    write_scorer(home / "reward")
    write_scorer(home / "flags", Head(("toxic", "rude"), MULTI, seed=5))
    write_lines(home / "prompts.jsonl", PROMPTS)
    for name, answer in (("dull", "yes yes yes yes yes yes"), ("rich", "")):
        rows = [
            {"instruction": row["prompt"], "output": answer or tiny.sentence(50 + i, 6), "generator": name}
            for i, row in enumerate(PROMPTS)
        ]
        (home / f"{name}.json").write_text(json.dumps(rows))
    (home / "judges.py").write_text(
        "def nan(matched):\n    return [float('nan')] * len(matched)\n"
        "def later(matched):\n    return [float(m.first.model > m.second.model) for m in matched]\n"
    )
    return home


@pytest.fixture(scope="module")
def whole(home: Path) -> dict[str, Any]:
    """Three models with everything that can be asked for; what it wrote lies in home / "out"."""
    out = home / "out"
    out.mkdir()
    asked = {
        "prompts": home / "prompts.jsonl", "judge": home / "reward", "classifier": home / "flags", "rounds": 50,
        "json": out / "all.json", "markdown": out / "all.md", "plot": out / "all.png",
        "verdicts": out / "verdicts.jsonl", "answers": ",".join(str(out / f"{name}.json") for name in MODELS),
    }  # fmt: skip
    named = ",".join(str(home / name) for name in MODELS)
    assert main(words("compare", {"model": named, **asked, **QUICK})) == 0
    return finite((out / "all.json").read_text())


def test_who_wins_against_whom_adds_up(home: Path, whole: dict[str, Any]) -> None:
    matrix = whole["win_rates"]["matrix"]
    names = MODELS
    kept = lines(home / "out" / "verdicts.jsonl")
    assert len(kept) == 3 * len(PROMPTS)
    for one in names:
        assert matrix[one][one] is None
        for other in names:
            if one != other:
                sides = matrix[one][other], matrix[other][one]
                assert sides[0]["win_rate"] + sides[1]["win_rate"] == pytest.approx(1)
                assert sides[0]["interval"][0] == pytest.approx(1 - sides[1]["interval"][1])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        won = [
            row["preference"] - 1 for row in kept if (row["generator_1"], row["generator_2"]) == (names[i], names[j])
        ]
        assert matrix[names[j]][names[i]]["win_rate"] == pytest.approx(np.mean(won))


def test_the_same_as_winrate_on_the_same_answers(home: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    out = home / "out"
    files = [str(out / f"{name}.json") for name in MODELS]
    asked = {"model": ",".join(files[1:]), "against": files[0], "judge": home / "reward", "rounds": 50, "threads": 1}
    assert main(words("winrate", {**asked, "json": tmp_path / "rates.json"})) == 0
    rates = {row["model"]: row for row in json.loads((tmp_path / "rates.json").read_text())}
    first = "sft"
    own = {row["model"]: row for row in whole["win_rates"]["pairs"] if row["baseline"] == first}
    assert own.keys() == rates.keys() and len(own) == 2
    same = ("win_rate", "interval", "ties", "failed", "n", "length_controlled_win_rate", "length_controlled_interval")
    for model, row in own.items():
        assert {key: row[key] for key in same} == {key: rates[model][key] for key in same}


def test_with_difficulties_the_same_as_winrate(home: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "difficulty.json"
    file.write_text(json.dumps([0.3 * (i % 4) - 0.5 for i in range(len(PROMPTS))]))
    files = [str(home / "out" / f"{name}.json") for name in MODELS[:2]]
    asked: dict[str, Any] = {"judge": str(home / "reward"), "difficulty": str(file), "rounds": 50, "threads": 1}
    (row,) = accord.winrate(model=files[1], against=files[0], **asked).rows()
    (own,) = accord.compare(model=files, **asked).to_json()["win_rates"]["pairs"]
    keys = ("win_rate", "length_controlled_win_rate", "length_controlled_interval", "length_controlled_weights")
    assert {key: own[key] for key in keys} == {key: row[key] for key in keys} and own[keys[1]] != own[keys[0]]


def test_the_same_as_leaderboard_on_the_same_verdicts(home: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    board, out = whole["win_rates"]["leaderboard"], tmp_path / "board.json"
    verdicts, first = str(home / "out" / "verdicts.jsonl"), "sft"
    assert main(["leaderboard", verdicts, "--anchor", first, "--json", str(out)]) == 0
    expected = json.loads(out.read_text())
    assert [row["model"] for row in board["models"]] == [row["model"] for row in expected]
    for row, other in zip(board["models"], expected, strict=True):
        assert row["strength"] == pytest.approx(other["strength"])
        assert row["standard_error"] == pytest.approx(other["standard_error"])


def test_lengths_endings_safety_and_samples(home: Path, whole: dict[str, Any]) -> None:
    out = home / "out"
    answers = {name: json.loads((out / f"{name}.json").read_text()) for name in MODELS}
    for name, found in zip(MODELS, whole["answers"], strict=True):
        assert found["n"] == found["endings_known"] == len(PROMPTS)
        assert found["characters"]["mean"] == pytest.approx(np.mean([len(row["output"]) for row in answers[name]]))
        assert found["ended"]["mean"] == pytest.approx(np.mean([row["ended"] for row in answers[name]]))
    assert [row["model"] for row in whole["safety"]["models"]] == list(MODELS)
    shares = [row["toxic"]["mean"] for row in whole["safety"]["models"]]
    assert all(0 < share < 1 for share in shares) and len(set(shares)) == 3
    assert [one["id"] for one in whole["samples"]] == ["p0", "p1", "p2"]
    assert whole["samples"][1]["answers"]["ppo"] == answers["ppo"][1]["output"]
    assert whole["left_out"] == {}
    markdown = (out / "all.md").read_text()
    for heading in ("Win rates", "Strengths", "Lengths", "Safety", "KL", "Early warnings", "Samples"):
        assert f"## {heading}\n" in markdown
    assert answers["ppo"][1]["output"] in markdown
    assert (out / "all.png").read_bytes().startswith(b"\x89PNG")


def by_stock(home: Path, name: str, groups: list[TokenGroup], temperature: float) -> tuple[list[float], list[float]]:
    """Of each answer k1 and k3 against sft, by stock transformers: one row at a time."""
    (policy, _), (reference, _) = loaded(home / name), loaded(home / "sft")
    first, third = list[float](), list[float]()
    for group in groups:
        ids = torch.from_numpy(np.concatenate([group.prompt, group.completions[0].ids]).astype(np.int64))
        start = len(group.prompt)
        with torch.no_grad():
            own, other = (
                (net(ids[None]).logits[0].double() / temperature).log_softmax(-1)[
                    range(start - 1, len(ids) - 1), ids[start:]
                ]
                for net in (policy, reference)
            )
        ratio = (other - own).exp()
        first.append(float((own - other).sum()))
        third.append(float((ratio - 1 - ratio.log()).sum()))
    return first, third


def test_kl_is_that_of_stock(home: Path, whole: dict[str, Any]) -> None:
    """The command draws the same answers as another pass with its seed; their KL by hand is what it says."""
    options = AnsweringOptions.model_validate({"prompts": str(home / "prompts.jsonl"), **QUICK})
    assert whole["kl"]["reference"] == "sft"
    for name, row in zip(MODELS[1:], whole["kl"]["models"], strict=True):
        (answers,) = sampled(str(home / name), options, [1.0], split="train", on_bad_row="error", seed=0)
        first, third = by_stock(home, name, list(answers.tokens.values()), 1.0)
        assert row["model"] == name and row["n"] == len(first) == len(PROMPTS)
        assert row["k1"]["mean"] == pytest.approx(np.mean(first), rel=1e-4) and row["k1"]["mean"] > 0
        assert row["k3"]["mean"] == pytest.approx(np.mean(third), rel=1e-4) and row["k3"]["mean"] > 0
        error = np.std(first, ddof=1) / math.sqrt(len(first))
        assert row["k1"]["standard_error"] == pytest.approx(error, rel=1e-3)


def test_kl_estimates_the_kl(home: Path, tmp_path: Path) -> None:
    """Of answers of one token to one prompt it can be told exactly; the estimates come near, at any temperature."""
    prompt = {"prompt": PROMPTS[0]["prompt"]}
    write_lines(tmp_path / "same.jsonl", [{"id": f"s{i}", **prompt} for i in range(300)])
    asked = {"prompts": str(tmp_path / "same.jsonl"), "max_new_tokens": 1, "temperature": 1.5, "threads": 1}
    options = AnsweringOptions.model_validate(asked)
    (answers,) = sampled(str(home / "dpo"), options, [1.5], split="train", on_bad_row="error", seed=0)
    (row,) = kl_to_reference(str(home / "sft"), {str(home / "dpo"): list(answers.tokens.values())}, options, 0.95).rows
    (policy, tokenizer), (reference, _) = loaded(home / "dpo"), loaded(home / "sft")
    ids = torch.tensor([tokenizer(prompt["prompt"]).input_ids])
    with torch.no_grad():
        own, other = ((net(ids).logits[0, -1].double() / 1.5).log_softmax(-1) for net in (policy, reference))
    exact = float((own.exp() * (own - other)).sum())
    for found in (row.k1, row.k3):
        assert abs(found.mean - exact) < 4 * found.standard_error
    assert row.k1.standard_error < exact / 4  # or it would say nothing


def test_kl_to_itself_is_0_and_other_tokens_are_said(home: Path, tmp_path: Path) -> None:
    tiny.write_model(tmp_path / "twin", tiny.llama(vocab_size=300, seed=1))
    tiny.write_model(tmp_path / "other", tiny.llama(vocab_size=300, seed=2))
    train_tokenizer(["quite another language " * 9], 280).save_pretrained(tmp_path / "other")
    models = [str(home / "dpo"), str(tmp_path / "other"), str(home / "rich.json")]
    found = accord.compare(model=models, prompts=str(home / "prompts.jsonl"), reference=tmp_path / "twin", **QUICK)
    kl = found.to_json()["kl"]
    assert kl["reference"] == "twin"
    assert [(row["model"], row["k1"]["mean"], row["k3"]["mean"]) for row in kl["models"]] == [("dpo", 0.0, 0.0)]
    assert kl["why_not"] == {"other": "its tokens are not those of the reference"}
    assert "its tokens are not those" in found.markdown() and repr(found).startswith("<ModelComparison: ")


def test_files_and_directories_and_warnings(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a judge and without a classifier; what is left out is said, and what looks like collapse."""
    named = ",".join(str(home / name) for name in ("rich.json", "dull.json", "dpo"))
    out = tmp_path / "all.json"
    assert main(words("compare", {"model": named, "prompts": home / "prompts.jsonl", "json": out, **QUICK})) == 0
    found, said = finite(out.read_text()), capsys.readouterr().out
    assert found["models"] == ["rich", "dull", "dpo"] and found["win_rates"] is None
    assert set(found["left_out"]) == {"win rates", "safety", "kl"}
    assert "win rates: left out, as no --judge is given" in said and "KL: left out, as no --reference" in said
    dull, dpo = found["early_warnings"]
    warned = [one["figure"] for one in dull["figures"] if one["warning"]]
    assert {"distinct 1-grams", "self-BLEU", "repeat themselves"} <= set(warned)
    assert "warning: dull: more answers repeat themselves" in said
    assert not [one for one in dpo["figures"] if one["figure"] == "repeat themselves" and one["warning"]]
    assert [one["endings_known"] for one in found["answers"]] == [0, 0, len(PROMPTS)]


def test_a_function_judges_from_python(home: Path) -> None:
    def first(matched: list[Any]) -> list[float]:
        return [1.0 for _ in matched]

    models = [str(home / "rich.json"), str(home / "dull.json")]
    found = accord.compare(model=models, judge=first, length_control=False, samples=0).to_json()
    assert found["win_rates"]["judge"] == "first" and found["win_rates"]["matrix"]["rich"]["dull"]["win_rate"] == 0.0
    assert found["win_rates"]["pairs"][0]["length_controlled_win_rate"] is None and found["samples"] == []


def test_two_files_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No model is loaded, their own prompts are taken, and of two the win rate says all."""
    named = f"{home / 'rich.json'},{home / 'dull.json'}"
    assert main(words("compare", {"model": named, "judge": f"{home / 'judges.py'}:later", "json": "-"})) == 0
    found = finite(capsys.readouterr().out)["win_rates"]
    assert found["matrix"]["rich"]["dull"]["win_rate"] == 1.0 and found["leaderboard"] is None


def test_who_never_loses_has_no_strength(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = ",".join(str(home / name) for name in ("dull.json", "rich.json", "ppo"))
    asked = {"model": named, "prompts": home / "prompts.jsonl", "judge": f"{home / 'judges.py'}:later", **QUICK}
    assert main(words("compare", {**asked, "rounds": 50})) == 0
    said = capsys.readouterr().out
    assert "strengths: left out: " in said and "never lost" in said and "--ridge" in said


def test_a_prompt_without_an_answer_is_left_out_and_said(home: Path, tmp_path: Path, capsys: Any) -> None:
    rows = json.loads((home / "rich.json").read_text())
    (tmp_path / "some.json").write_text(json.dumps([{**row, "generator": "some"} for row in rows[3:]]))
    named = f"{home / 'dull.json'},{tmp_path / 'some.json'}"
    asked = {"model": named, "prompts": home / "prompts.jsonl", "judge": f"{home / 'judges.py'}:later", "json": "-"}
    assert main(words("compare", asked)) == 0
    seen = capsys.readouterr()
    found = finite(seen.out)
    assert "3 of 10 prompts have no answer of some" in seen.err
    (pair,) = found["win_rates"]["pairs"]
    assert (pair["n"], pair["missing"], found["early_warnings"][0]["n"]) == (7, 3, 7)
    assert [one["id"] for one in found["samples"]] == ["p3", "p4", "p5"]


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "alone": ({"model": ["sft"]}, "model: 1 alone"),
    "twice": ({"model": ["sft", "dpo", "sft"]}, "model: names sft twice"),
    "no prompts": ({"model": ["sft", "dpo"], "prompts": None}, "prompts: not given"),
    "no such model": ({"model": ["sft", "./nothing"]}, "nothing: no such directory"),
    "no such classifier": ({"model": ["sft", "dpo"], "classifier": ["./nothing"]}, "nothing: no such directory"),
    "no such judge": ({"model": ["sft", "dpo"], "judge": "./nothing"}, "nothing: no such directory"),
    "a file as reference": ({"model": ["sft", "dpo"], "reference": "rich.json"}, "reference: rich.json is no model"),
    "not drawn": ({"model": ["sft", "dpo"], "reference": "sft", "temperature": 0}, "reference: the KL is that of"),
    "no judge": ({"model": ["sft", "dpo"], "orders": "first"}, "orders: would not be used, as no judge is given"),
    "no judge, rounds": ({"model": ["sft", "dpo"], "rounds": 70}, "rounds: would not be used, as no judge is given"),
    "no classifier": ({"model": ["sft", "dpo"], "better": ["toxic=lower"]}, "better: is of a classifier"),
    "no difficulties": ({"model": ["sft", "dpo"], "judge": "reward", "difficulty": "./none"}, "none"),
    "no judge, difficulty": ({"model": ["sft", "dpo"], "difficulty": "d.json"}, "difficulty: would not be used"),
    "a direction": ({"model": ["sft", "dpo"], "classifier": ["flags"], "better": ["toxic"]}, "better: 'toxic' is no"),
    "no label": ({"model": ["rich.json", "dull.json"], "classifier": ["flags"], "label": ["mood"]}, "no label mood"),
    "more files": ({"model": ["sft", "dpo"], "answers": list("abc")}, "answers: 3 files for 2 models"),
    "the data": ({"model": ["rich.json", "dull.json"], "json": "rich.json"}, "rich.json: is the data that is read"),
    "to two": ({"model": ["sft", "dpo"], "json": "x", "plot": "x.png", "answers": ["x"]}, "x: is to be written twice"),
    "no picture": ({"model": ["sft", "dpo"], "plot": "x.txt"}, "plot: 'x.txt' is no picture"),
    "an object": ({"model": [tiny.WORDS, "x"]}, "model: takes names only"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_input_is_said_before_anything_is_written(
    home: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    given, says = ERRORS[case]
    before = sorted(home.iterdir()), (home / "rich.json").read_bytes()
    with pytest.raises(accord.InputError) as caught:
        accord.compare(**{"prompts": "prompts.jsonl", "markdown": str(tmp_path / "all.md"), **QUICK, **given})
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir()) and (sorted(home.iterdir()), (home / "rich.json").read_bytes()) == before


def test_a_judge_of_no_use_is_one_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named, outputs = f"{home / 'rich.json'},{home / 'dull.json'}", {"json": tmp_path / "x", "plot": tmp_path / "x.png"}
    assert main(words("compare", {"model": named, "judge": f"{home / 'judges.py'}:nan", **outputs})) == 3
    seen = capsys.readouterr()
    assert "gave nan" in seen.err.splitlines()[-1] and not seen.out and not list(tmp_path.iterdir())
