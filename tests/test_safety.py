"""`accord safety`: InstructGPT's table from flags, from scores, from classifiers, of files and of models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from score_runs import write_scorer
from stage_runs import ids_of, lines, words, write_lines
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import accord
from accord.cli import main
from accord.data.properties import Properties, Value
from accord.errors import InputError
from accord.evaluate.directions import KNOWN, better_of, place_of, title_of
from accord.evaluate.safety_table import table_of
from accord.maths.statistics import wilson
from accord.models.heads import MULTI, SINGLE, Head


def flagged(prompt: str, models: dict[str, dict[str, bool | None]], annotator: str = "ann") -> dict[str, object]:
    """One answer of each model, with the flags that one person gave."""
    names = list(next(iter(models.values())))
    flags = {name: [said[name] for said in models.values()] for name in names}
    texts = [f"{model} to {prompt}" for model in models]
    judgement = {"annotator": annotator, "flags": flags}
    return {"prompt": prompt, "completions": texts, "models": list(models), "judgements": [judgement]}


def toxic(prompts: int, base: int, better: int) -> list[dict[str, object]]:
    """The base is toxic in the first so many prompts, `aligned` in the first so many fewer."""

    def said(i: int, most: int) -> dict[str, bool | None]:
        return {"toxic": i < most, "truthful": i % 2 == 0}

    return [flagged(f"p{i}", {"base": said(i, base), "aligned": said(i, better)}) for i in range(prompts)]


def cell(found: Any, model: str, column: str) -> dict[str, Any]:
    (row,) = [row for row in found.rows() if row["model"] == model]
    return dict(row[column])


def test_the_table_of_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_lines(tmp_path / "flags.jsonl", toxic(40, 12, 2)), tmp_path / "all.json"
    files = {"json": out, "markdown": tmp_path / "t.md", "plot": tmp_path / "t.png"}
    assert main(words("safety", {"data": data, **files})) == 0
    found = json.loads(out.read_text())
    assert [(one["name"], one["better"]) for one in found["columns"]] == [("toxic", "lower"), ("truthful", "higher")]
    base, aligned = found["models"]
    assert (base["model"], aligned["model"], found["against"]) == ("base", "aligned", "base")
    assert base["toxic"]["mean"] == 12 / 40 and base["toxic"]["interval"] == pytest.approx(wilson(12, 40))
    assert "against" not in base["toxic"]
    against = aligned["toxic"]["against"]
    assert against["value"] == pytest.approx(-10 / 40) and against["prompts"] == 40 and against["paired"]
    # Ten prompts that only the base is toxic in, none the other way: p = 2 / 2^10; of two columns twice that.
    assert against["test"] == "McNemar" and against["p"] == pytest.approx(2 / 1024)
    assert against["p_holm"] == pytest.approx(4 / 1024) and against["verdict"] == "better"
    assert aligned["truthful"]["against"]["verdict"] is None and aligned["truthful"]["against"]["p"] == 1
    printed = capsys.readouterr().out
    assert "toxicity (lower)" in printed and "truthful (higher)" in printed
    # Newcombe's: Wilson's ends of 2 and 12 of 40, (0.0138, 0.1650) and (0.1807, 0.4543), and phi = (56 - 20) / 159.8.
    assert "-25.0 (-40.0 to -10.4) better*" in printed
    assert "McNemar (paired by prompt)" in printed and "Holm's rule for the 2 columns" in printed
    assert "| base | 30.0 % (18.1 to 45.4) |" in (tmp_path / "t.md").read_text()
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_several_people_and_what_was_not_said() -> None:
    """Two people on one answer are two values of one prompt; null is none."""
    said = {"base": {"toxic": True}}
    rows = [
        flagged("p", said, "ann"),
        flagged("p", {"base": {"toxic": False}}, "bob"),
        flagged("q", {"base": {"toxic": None}}),
    ]
    rows += [flagged(f"r{i}", {"base": {"toxic": False}}) for i in range(3)]
    toxicity = cell(accord.safety(data=rows), "base", "toxic")
    assert (toxicity["mean"], toxicity["n"], toxicity["prompts"]) == (1 / 5, 5, 4)


def test_the_direction_of_a_column_and_who_is_held_against_whom() -> None:
    rows = [
        flagged(f"p{i}", {"a": {"spam": True, "helpful": False}, "b": {"spam": False, "helpful": True}})
        for i in range(20)
    ]
    plain = accord.safety(data=rows, against="b")
    assert cell(plain, "a", "spam")["against"]["verdict"] == "different"
    assert cell(plain, "a", "helpful")["against"]["verdict"] == "worse"
    told = accord.safety(data=rows, better=["spam=lower"])
    assert cell(told, "b", "spam")["against"]["verdict"] == "better"
    assert "give --better NAME=lower" in "\n".join(plain.markdown().splitlines())


def test_scores_of_columns_of_aspects_and_of_plain_tables(tmp_path: Path) -> None:
    columns = [
        {"prompt": f"p{i}", "completion": "x", "model": model, "toxicity": value + i / 100}
        for i in range(10)
        for model, value in (("base", 0.5), ("aligned", 0.2))
    ]
    found = accord.safety(data=columns, scores=["toxicity"])
    assert cell(found, "base", "toxicity")["mean"] == pytest.approx(0.545)
    against = cell(found, "aligned", "toxicity")["against"]
    assert against["value"] == pytest.approx(-0.3) and against["paired"]
    # The same as a table without texts, as several completions of one row, and as AlpacaEval's outputs.
    table = [{"prompt_id": row["prompt"], "model": row["model"], "toxicity": row["toxicity"]} for row in columns]
    outputs = [
        {"instruction": row["prompt"], "output": "x", "generator": row["model"], "toxicity": row["toxicity"]}
        for row in columns
    ]
    both = [
        {
            "prompt": f"p{i}",
            "completions": ["x", "y"],
            "models": ["base", "aligned"],
            "toxicity": [0.5 + i / 100, 0.2 + i / 100],
        }
        for i in range(10)
    ]
    for rows in (table, outputs, both):
        again = accord.safety(data=rows, scores=["toxicity"])
        base = cell(again, "base", "toxicity")
        assert base["interval"] == pytest.approx(cell(found, "base", "toxicity")["interval"]) and base["n"] == 10
        assert cell(again, "aligned", "toxicity")["against"]["p"] == pytest.approx(against["p"])
    rated = [
        {"prompt": "p", "completions": ["x", "y"], "models": ["a", "b"],
         "judgements": [{"ratings": [3, 5], "aspects": {"truthfulness": [1, 4]}}]}
    ]  # fmt: skip
    found = accord.safety(data=rated, scores=["truthfulness", "ratings"])
    assert (cell(found, "b", "truthfulness")["mean"], cell(found, "a", "ratings")["mean"]) == (4, 3)
    assert cell(found, "b", "ratings")["standard_error"] is None


def test_a_score_that_is_called_as_a_flag_is_a_column_of_its_own() -> None:
    rows = [flagged(f"p{i}", {"base": {"toxic": i < 2}}) | {"toxic": 0.5} for i in range(8)]
    found = accord.safety(data=rows, scores=["toxic"])
    flag, score = cell(found, "base", "toxic"), cell(found, "base", "toxic (score)")
    assert (flag["mean"], flag["n"], score["mean"], score["n"]) == (0.25, 8, 0.5, 8)
    assert [head.better for head in found.table.heads] == ["lower", "lower"]


def test_a_column_that_is_an_aspect_counts_once() -> None:
    """HelpSteer's columns."""
    aspects = {"correctness": 1, "coherence": 2, "complexity": 1, "verbosity": 1}
    rows = [{"prompt": f"p{i}", "response": "r", "helpfulness": 3, **aspects} for i in range(6)]
    found = accord.safety(data=rows, scores=["correctness"])
    assert cell(found, "<memory>", "correctness")["n"] == 6


def test_a_row_that_is_dropped_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{i}", "completion": "x", "model": "m", "one": 1.0, "other": "much" if i else 2} for i in range(3)
    ]
    data = write_lines(tmp_path / "d.jsonl", rows)
    found = accord.safety(data=str(data), scores=["one", "other"], on_bad_row="drop")
    assert cell(found, "m", "one")["n"] == cell(found, "m", "other")["n"] == 1


def test_rare_flags_of_different_prompts() -> None:
    """4 of 30 against none of 30 may be chance, 40 of 40 against none of 40 is not, and 0 of 5 says little."""

    def against(yes: int, of: int, *, shared: bool = False) -> dict[str, Any]:
        rows = [
            {"prompt": f"p{i}" if shared else f"{model}{i}", "model": model, "toxic": model == "a" and i < yes}
            for model in "ab"
            for i in range(of)
        ]
        return dict(cell(accord.safety(data=rows, scores=["toxic"]), "b", "toxic")["against"])

    assert against(4, 30)["test"] == "Fisher" and against(4, 30)["verdict"] is None
    assert against(40, 40)["verdict"] == "better"
    assert against(0, 5, shared=True)["interval"] == pytest.approx([-wilson(0, 5)[1], wilson(0, 5)[1]])


def test_models_of_different_prompts_are_not_paired() -> None:
    rows = [
        {"prompt": f"{model}{i}", "completion": "x", "model": model, "score": value + (i % 5) / 10}
        for model, value in (("a", 0.0), ("b", 1.0))
        for i in range(20)
    ]
    against = cell(accord.safety(data=rows, scores=["score"], better=["score=higher"]), "b", "score")["against"]
    assert (against["test"], against["paired"], against["verdict"]) == ("Welch", False, "better")


def test_holm_keeps_chance_from_looking_like_a_finding() -> None:
    """Twelve flags that have nothing to do with the model: in 5 % of such tables at most one is marked."""
    generator = np.random.default_rng(0)
    marked = by_itself = 0
    names = [f"flag{i}" for i in range(12)]
    for _ in range(100):
        said = generator.random((60, 2, 12)) < 0.3
        found = Properties()
        for (prompt, model, flag), value in np.ndenumerate(said):
            found.add(Value(names[flag], "ab"[model], bool(value)), prompt)
        cells = table_of(found, base="a", directions={}, level=0.95).rows["b"]
        verdicts = [one.against for one in cells if one is not None and one.against is not None]
        by_itself += any(one.difference.p < 0.05 for one in verdicts)
        marked += any(one.verdict for one in verdicts)
    assert by_itself > 20 and marked <= 10


def test_a_classifier_of_the_answers(tmp_path: Path) -> None:
    """The probabilities are those of stock transformers."""
    classifier = write_scorer(tmp_path / "flags", Head(("toxic", "rude"), MULTI, seed=5))
    pairs = tiny.comparisons(6)
    rows = [
        {"prompt": row["prompt"], "completions": [row["chosen"], row["rejected"]], "models": ["a", "b"]}
        for row in pairs
    ]
    data = write_lines(tmp_path / "answers.jsonl", rows)
    network, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(classifier),
        AutoTokenizer.from_pretrained(classifier),
    )
    with torch.no_grad():
        stock = [
            network(torch.tensor([ids_of(tokenizer, row, "chosen")[0]])).logits[0].sigmoid().tolist() for row in pairs
        ]
    found = accord.safety(data=str(data), classifier=[str(classifier)])
    toxicity = [row[0] for row in stock]
    assert cell(found, "a", "toxic")["mean"] == pytest.approx(sum(toxicity) / 6, abs=1e-5)
    assert [head.name for head in found.table.heads] == ["toxic"]  # nobody knows which way rude is better
    both = accord.safety(data=str(data), classifier=[str(classifier)], label=["toxic", "rude"], threshold=0.5)
    assert cell(both, "a", "rude")["mean"] == sum(row[1] >= 0.5 for row in stock) / 6


def test_two_columns_of_one_meaning_stay_two(tmp_path: Path) -> None:
    """A flag of people and a classifier's label of the same name; a score of another name for the same."""
    classifier = write_scorer(tmp_path / "flags", Head(("toxic", "rude"), MULTI, seed=5))
    rows = [
        {"prompt": f"the cat {i}", "completion": " sat", "labels": {"toxic": True}, "toxicity": 0.25, "model": "a"}
        for i in range(3)
    ]
    found = accord.safety(data=rows, classifier=[str(classifier)], scores=["toxicity"])
    titles = {head.name: (head.title, head.better) for head in found.table.heads}
    assert titles == {
        "toxic": ("toxicity [toxic]", "lower"),
        "toxicity": ("toxicity [toxicity]", "lower"),
        "toxic (flags)": ("toxicity (flags)", "lower"),
    }
    assert (cell(found, "a", "toxic")["mean"], cell(found, "a", "toxicity")["mean"]) == (1, 0.25)


def test_a_classifier_of_one_label_each_and_a_reward_model(tmp_path: Path) -> None:
    kinds = write_scorer(tmp_path / "kinds", Head(("fine", "bad"), SINGLE, seed=4))
    reward = write_scorer(tmp_path / "reward")
    rows = [{"prompt": row["prompt"], "completion": row["chosen"], "model": "a"} for row in tiny.comparisons(4)]
    found = accord.safety(data=rows, classifier=[str(kinds), str(reward)], better=["bad=lower", "reward=higher"])
    assert [head.name for head in found.table.heads] == ["bad", "reward"]
    with pytest.raises(InputError, match="has no label spam: some of fine, bad"):
        accord.safety(data=rows, classifier=[str(kinds)], label=["spam"])


def test_models_answer_and_are_classified(workshop: Path, tmp_path: Path) -> None:
    classifier = write_scorer(tmp_path / "flags", Head(("toxic", "rude"), MULTI, seed=5))
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"prompt": row["prompt"]} for row in tiny.comparisons(5)])
    one, other = str(workshop / "model"), str(workshop / "other")
    how = {"prompts": prompts, "classifier": classifier, "max_new_tokens": 6, "n": 2}
    kept, out = tmp_path / "answers", tmp_path / "all.json"
    assert main(words("safety", {"data": f"{one},{other}", **how, "answers": kept, "json": out})) == 0
    found = json.loads(out.read_text())
    assert [row["model"] for row in found["models"]] == [one, other]
    assert found["models"][1]["toxic"]["prompts"] == 5 and found["models"][1]["toxic"]["against"]["paired"]
    (file, _) = sorted(kept.iterdir())
    assert len(lines(file)) == 5
    with pytest.raises(InputError, match="a model answers prompts, and none are given"):
        accord.safety(data=one, classifier=[str(classifier)])


def test_an_answer_that_names_no_model_is_called_as_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_lines(tmp_path / "mine.jsonl", [{"prompt": "p", "completion": "x", "labels": {"toxic": True}}])
    assert [row["model"] for row in accord.safety(data=str(data)).rows()] == ["mine.jsonl"]
    assert "rows that name no model" in capsys.readouterr().err


def test_what_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = write_lines(tmp_path / "plain.jsonl", [{"prompt": "p", "completion": "x", "model": "a"}])
    assert main(["safety", str(plain)]) == 2
    assert "no answer has a flag, and neither scores nor a classifier are given" in capsys.readouterr().err
    for options, said in (
        ({"scores": ["toxicity"]}, "no row has the score toxicity"),
        ({"better": ["toxic"]}, "'toxic' is no direction"),
        ({"threshold": 0.5}, "is of a classifier, and none is given"),
    ):
        with pytest.raises(InputError, match=said):
            accord.safety(data=str(plain), **options)
    rows = toxic(4, 1, 0)
    with pytest.raises(InputError, match="no answers of 'nobody': one of base, aligned"):
        accord.safety(data=rows, against="nobody")
    with pytest.raises(InputError, match="there is no column 'spam': one of toxic, truthful"):
        accord.safety(data=rows, better=["spam=lower"])
    lists = [{"prompt": "p", "completions": ["x", "y"], "models": ["a", "b"], "toxicity": 0.5}]
    with pytest.raises(InputError, match="one number for 2 answers"):
        accord.safety(data=lists, scores=["toxicity"])


def test_instructgpts_names_have_directions() -> None:
    for written in (
        "Contains sexual content",
        "inappropriate for customer assistant",
        "Fails to follow the correct instruction / task",
        "Encourages or fails to discourage violence/abuse/terrorism/self-harm",
        "denigrates a protected class",
        "gives harmful advice",
        "Expresses moral judgment",
        "Hallucination",
    ):
        assert better_of(written, {}) == "lower"
    for written in ("Satisfies the constraint in the instruction", "truthful", "appropriate for customer assistant"):
        assert better_of(written, {}) == "higher"
    assert better_of("spam", {}) is None and better_of("spam", {"spam": "lower"}) == "lower"
    assert place_of("toxic") == 0 and place_of("spam") == len(KNOWN) and title_of("x_y") == "x y"
    names = [name for known in KNOWN for name in known.names]
    assert len(set(names)) == len(names)
