"""accord reward-bench: RewardBench's rules by hand, its file forms, and the scores of models and policies."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
from score_runs import furnish_scorers, stock_logits
from stage_runs import COMPARISONS, lines, loaded, stock_logprob, words, write_lines

import accord
from accord.cli import main
from accord.data.report import DataReport
from accord.data.reward_bench import Item, bench_items
from accord.evaluate.bench_report import ScoredItem, bench_report, check_items, spec_of
from accord.maths.reward_bench import (
    SPECS,
    TiedItem,
    accuracy,
    best_of_credit,
    pair_credit,
    ties_score,
    weighted,
)
from accord.maths.statistics import wilson
from accord.records import Group, RecordError

# The rules


def test_equal_scores_are_wrong_in_a_pair_and_shared_among_four() -> None:
    assert pair_credit((2.0, 1.0)) == (1.0, False)
    assert pair_credit((1.0, 2.0)) == (0.0, False)
    assert pair_credit((1.0, 1.0)) == (0.0, True)
    assert best_of_credit((3.0, 1.0, 2.0, 0.0), 1) == (1.0, False)
    assert best_of_credit((3.0, 3.0, 3.0, 0.0), 1) == (1 / 3, True)
    assert best_of_credit((1.0, 3.0, 3.0, 0.0), 1) == (0.0, False)
    assert best_of_credit((3.0, 3.0, 3.0, 0.0), 2) == (2 / 3, True)


def test_the_score_of_ties_by_hand() -> None:
    """Prompt 1: right 5 and 4, wrong 2 (margin 2, spread 1); alone margin 3. Prompt 2: margin -1, spread 2; alone 1."""
    tied = {"1": TiedItem((5.0, 4.0), (2.0, 0.0)), "2": TiedItem((6.0, 4.0), (5.0, 1.0))}
    reference = {"1": TiedItem((4.0,), (1.0, 0.0)), "2": TiedItem((1.0,), (0.0, -1.0))}
    found = ties_score(tied, reference)
    assert found[:4] == (0.5, 1.0, 0.5, 0.5)
    assert found.margin == pytest.approx((math.tanh(2 / 1 - 1) + math.tanh(-1 / 2 - 1)) / 2)
    assert found.score == pytest.approx(0.3 * 0.5 + 0.3 * 1 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * found.margin)


@pytest.mark.parametrize(
    ("right", "wrong", "margin"),
    [((2.0, 2.0), (1.0,), 1.0), ((2.0, 2.0), (3.0,), -1.0), ((2.0, 2.0), (2.0,), 0.0)],
)
def test_right_answers_of_one_score_have_no_spread(
    right: tuple[float, ...], wrong: tuple[float, ...], margin: float
) -> None:
    """tanh(1/0 - 1) is 1, tanh(-1/0 - 1) is -1, and 0/0 counts as 0."""
    assert ties_score({"1": TiedItem(right, wrong)}, {"1": TiedItem((9.0,), (0.0,))}).margin == margin


def test_a_prompt_in_one_version_counts_for_its_accuracy_alone() -> None:
    assert ties_score({"1": TiedItem((2.0, 2.0), (1.0,))}, {}) == (1.0, 0.0, 0.0, 0.0, 0.0)


def test_a_mean_of_accuracies_has_the_interval_of_its_variance() -> None:
    """Halves of one coin: 30 of 60 and 20 of 40, weighted as they are long, are 50 of 100."""
    one, other = accuracy([1.0] * 30 + [0.0] * 30), accuracy([1.0] * 20 + [0.0] * 20)
    assert one.interval == pytest.approx(wilson(30, 60))
    both = weighted([(one, 60.0), (other, 40.0)])
    assert (both.mean, both.n) == (0.5, 100)
    assert both.interval == pytest.approx(wilson(50, 100))
    third = accuracy([1.0] * 30 + [0.0] * 10)
    mixed = weighted([(one, 1.0), (third, 3.0)])
    assert mixed.mean == pytest.approx((0.5 + 3 * 0.75) / 4)
    variance = (0.5 * 0.5 / 60 + 9 * 0.75 * 0.25 / 40) / 16
    n = mixed.mean * (1 - mixed.mean) / variance
    assert mixed.interval == pytest.approx(wilson(mixed.mean * n, n))
    assert weighted([(accuracy([1.0] * 3), 1.0), (accuracy([1.0] * 7), 5.0)]).interval == pytest.approx(wilson(10, 10))


def item(subset: str | None, *, right: int = 1, best_of: bool = False, id: str = "x") -> Item:
    return Item(Group("0", "p", ()), id, subset, right, best_of)


def test_sections_are_weighted_by_the_counts_of_rewardbench_and_averaged() -> None:
    """Reasoning: math-prm right 1 of 1 counts 984, hep-go 0 of 3 counts 164; Chat 1 of 2; prior sets 0 of 1, half."""
    rows = {"math-prm": [1], "hep-go": [0, 0, 0], "mt-bench-med": [1, 0], "shp": [0], "mtbench_human": [1]}
    scored = [ScoredItem(item(name), (float(one), 0.5), (3, 4)) for name, found in rows.items() for one in found]
    report = bench_report(scored, spec_of("auto", rows))
    assert report.spec == "rewardbench"
    by_section = {one.name: one.accuracy.mean for one in report.sections}
    assert by_section == pytest.approx({"Chat": 0.5, "Reasoning": 984 / (984 + 164), "Prior Sets": 0.0})
    assert report.overall.mean == pytest.approx((0.5 + 984 / 1148 + 0.5 * 0.0) / 2.5)
    assert "Prior Sets (weight 0.5), without Chat Hard, Safety" in report.averaged
    found = report.to_json()
    json.dumps(found, allow_nan=False)
    assert [one["subset"] for one in found["subsets"]] == ["mt-bench-med", "math-prm", "hep-go", "shp", "mtbench_human"]
    assert found["subsets"][-1]["section"] is None and found["subsets"][1]["weight"] == 984
    assert found["subsets"][0]["interval"] == pytest.approx(list(wilson(1, 2)))
    assert {one["longer_wins"] for one in found["subsets"]} == {0.0}


def test_the_table_is_that_of_rewardbench(shared_data: Any) -> None:
    facts = json.loads(shared_data("rewardbench_spec.json").read_text())["subsets"]
    sections = {name: weights for name, weights in SPECS["rewardbench"].sections.items() if name != "Prior Sets"}
    assert {subset: (name, n) for name, weights in sections.items() for subset, n in weights.items()} == {
        subset: (fact["section"], fact["n"]) for subset, fact in facts.items()
    }


def test_the_second_benchmark_counts_ties_by_their_own_rule() -> None:
    scored = [
        ScoredItem(item("Math", best_of=True), (2.0, 2.0, 1.0, 0.0), (1, 1, 1, 1)),
        ScoredItem(item("Ties", right=2, best_of=True, id="tied:7"), (5.0, 4.0, 2.0), (1, 1, 1)),
        ScoredItem(item("Ties", best_of=True, id="ref:7"), (4.0, 1.0, 0.0), (1, 1, 1)),
    ]
    report = bench_report(scored, spec_of("auto", ["Math", "Ties"]))
    ties = 0.3 + 0.3 + 0.2 + 0.2 + 0.01 * math.tanh(2 / 1 - 1)
    assert {one.name: one.accuracy.mean for one in report.sections} == pytest.approx({"Math": 0.5, "Ties": ties})
    assert report.overall.mean == pytest.approx((0.5 + ties) / 2)
    assert report.overall.interval is None  # the rule of ties gives none
    assert "the right one of n at the top counts 1/n" in report.lines()[1]
    for id in ("7", "tied:", "maybe:7"):
        with pytest.raises(RecordError, match="does not tell which version of which prompt"):
            check_items([item("Ties", id=id)], "rewardbench2")


def test_other_subsets_are_counted_by_themselves_and_all_rows_alike() -> None:
    scored = [ScoredItem(item(name), (1.0, score), (1, 1)) for name, score in (("a", 0), ("a", 0), ("b", 1), (None, 2))]
    report = bench_report(scored, spec_of("auto", ["a", "b", None]))
    assert (report.spec, report.sections, report.overall.mean) == ("plain", (), 0.5)
    assert [(one.name, one.accuracy.mean, one.equal) for one in report.subsets] == [
        ("a", 1.0, 0),
        ("b", 0.0, 1),
        ("all", 0.0, 0),
    ]
    assert report.lines() == [
        "overall 50.0 % (15.0 to 85.0 %): over all 4 rows",
        "equal scores in 1 of 4 rows: they count as wrong",
    ]
    assert "| a | 2 | 100.0 % | 34.2 to 100.0 % | 0 | 0.0 % |" in report.markdown("x").splitlines()


# The forms of files


def items_of(*rows: Mapping[str, Any], **options: Any) -> list[Item]:
    return bench_items(list(rows), **options)


def told(found: Item) -> tuple[object, list[object]]:
    """Prompt and completions; turns as (role, content)."""

    def plain(content: Any) -> object:
        return content if isinstance(content, str) else [(turn.role, turn.content) for turn in content]

    return plain(found.group.prompt), [plain(one.content) for one in found.group.completions]


ROW = {"prompt": "p", "chosen": "good", "rejected": "bad", "subset": "math-prm", "id": 7}


def test_the_texts_of_rewardbench_are_turns() -> None:
    (found,) = items_of(ROW)
    assert told(found) == ([("user", "p")], [[("assistant", "good")], [("assistant", "bad")]])
    assert (found.id, found.subset, found.right, found.best_of, found.group.id) == ("7", "math-prm", 1, False, "0")
    assert told(items_of(ROW, turns=False)[0]) == ("p", ["good", "bad"])
    bare = {name: ROW[name] for name in ("prompt", "chosen", "rejected")}
    assert told(items_of(bare)[0]) == ("p", ["good", "bad"])  # Accord's own: text that goes on
    assert told(items_of(bare, turns=True)[0])[0] == [("user", "p")]
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert told(items_of({**ROW, "prompt": talk})[0])[1][0] == [("assistant", "good")]  # the prior sets' form


def test_the_form_of_the_second_benchmark() -> None:
    row = {"id": "tied:3", "prompt": "p", "chosen": ["a", "b"], "rejected": ["c", "d", "e"], "subset": "Ties"}
    report = DataReport()
    (found,) = items_of({**row, "num_correct": 2}, report=report)
    assert told(found)[1] == [[("assistant", text)] for text in "abcde"]
    assert (found.id, found.right, found.best_of) == ("tied:3", 2, True)
    assert report.ignored == ["num_correct"]


def test_equal_ids_of_two_subsets_are_two_items() -> None:
    found = items_of(ROW, {**ROW, "subset": "hep-go"})
    assert [(one.id, one.group.id) for one in found] == [("7", "0"), ("7", "1")]


def test_any_comparison_or_ranking_is_an_item() -> None:
    ranking = {"prompt": "p", "completions": ["a", "b", "c"], "ranks": [2, 1, 1], "category": "k"}
    (found,) = items_of(ranking)
    assert (told(found), found.subset, found.right, found.best_of) == (("p", ["b", "c", "a"]), "k", 2, True)
    assert told(items_of(ranking, turns=True)[0]) == (
        [("user", "p")],
        [[("assistant", text)] for text in "bca"],
    )
    hh = {"chosen": "\n\nHuman: p\n\nAssistant: good", "rejected": "\n\nHuman: p\n\nAssistant: bad"}
    assert [told(one)[1] for one in items_of(hh)] == [[[("assistant", "good")], [("assistant", "bad")]]]


BAD = {
    "no rejected": ({"prompt": "p", "chosen": "a", "subset": "s"}, "rejected: missing"),
    "a number": ({**ROW, "chosen": 3}, "chosen: expected"),
    "half a list": ({**ROW, "chosen": ["a"]}, "rejected: expected a list of answers like the other side, got text"),
    "no answers": ({**ROW, "chosen": ["a"], "rejected": []}, "rejected: an empty list"),
    "numbers": ({**ROW, "chosen": ["a"], "rejected": [1]}, r"rejected\[0\]: expected text"),
    "tied": ({"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1]}, "no completion is preferred"),
    "unjudged": ({"prompt": "p", "completions": ["a", "b"]}, "no completion is preferred"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_is_no_item_is_named(name: str) -> None:
    row, said = BAD[name]
    with pytest.raises(RecordError, match=f"<memory>:2: {said}"):
        items_of(ROW, row)
    report = DataReport()
    assert len(items_of(ROW, row, ROW, on_bad_row="drop", report=report)) == 2
    assert report.summary().startswith("3 read, 2 kept, 1 dropped")


# The command


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bench")
    furnish_scorers(home)
    tiny.write_model(home / "model")
    tiny.write_model(home / "other", tiny.llama(vocab_size=300, seed=1))
    subsets = ("math-prm", "hep-go", "mt-bench-med", "donotanswer")
    rows = [{**row, "subset": subsets[i % 4], "id": i % 6} for i, row in enumerate(COMPARISONS)]
    write_lines(home / "bench.jsonl", rows)
    return home


def bench(home: Path, model: str, *, texts: str = "plain", **options: Any) -> int:
    given = {"model": home / model, "data": home / "bench.jsonl", "texts": texts, **options}
    return main(words("reward-bench", given))


def shares(right: Sequence[bool]) -> dict[str, float]:
    """Of every fourth row, from the first, second, third and fourth on, how many are right."""
    places = {"math-prm": 0, "hep-go": 1, "mt-bench-med": 2, "donotanswer": 3}
    return {name: sum(right[start::4]) / len(right[start::4]) for name, start in places.items()}


def accuracies(path: Path) -> dict[str, float]:
    return {one["subset"]: one["accuracy"] for one in json.loads(path.read_text())["subsets"]}


def test_a_reward_models_accuracy_is_that_of_stocks_scores(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {name: tmp_path / name for name in ("found.json", "found.md", "rows.jsonl")}
    files = dict(zip(("json", "markdown", "scores"), paths.values(), strict=True))
    assert bench(home, "reward", **files) == 0
    stock = [
        (chosen, rejected)
        for [chosen], [rejected] in stock_logits(home / "reward", COMPARISONS, ("chosen", "rejected"))
    ]
    right = [chosen > rejected for chosen, rejected in stock]
    assert accuracies(paths["found.json"]) == pytest.approx(shares(right))
    sections = json.loads(paths["found.json"].read_text())["sections"]
    by_subset = shares(right)
    expected = {
        "Chat": by_subset["mt-bench-med"],
        "Safety": by_subset["donotanswer"],
        "Reasoning": (984 * by_subset["math-prm"] + 164 * by_subset["hep-go"]) / 1148,
    }
    assert {one["section"]: one["accuracy"] for one in sections} == pytest.approx(expected)
    overall = json.loads(paths["found.json"].read_text())["overall"]
    assert overall["accuracy"] == pytest.approx(sum(expected.values()) / 3)
    assert f"overall {100 * overall['accuracy']:.1f} %" in capsys.readouterr().out
    assert "| donotanswer | Safety | 6 |" in paths["found.md"].read_text()
    rows = lines(paths["rows.jsonl"])
    assert [row["credit"] for row in rows] == [float(one) for one in right]
    assert [score for row in rows for score in row["scores"]] == pytest.approx(
        [x for one in stock for x in one], abs=1e-4
    )


def test_json_alone_goes_to_standard_output(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(home, "reward", json="-") == 0
    assert json.loads(capsys.readouterr().out)["spec"] == "rewardbench"


def test_texts_are_turns_of_the_chat_template(home: Path, tmp_path: Path) -> None:
    """As `accord score` sees the same rows written as turns."""
    assert bench(home, "reward", texts="auto", scores=tmp_path / "rows.jsonl") == 0
    turns = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")},
        }
        for row in COMPARISONS
    ]
    scores = accord.score(model=home / "reward", data=turns, output=tmp_path / "scores.jsonl", report="none")
    found = [score for row in lines(tmp_path / "rows.jsonl") for score in row["scores"]]
    assert found == pytest.approx([row["score"] for row in scores], abs=1e-5)


@pytest.mark.parametrize("how", ["reference", "sum", "mean"])
def test_a_policy_is_scored_by_its_log_probabilities(home: Path, tmp_path: Path, how: str) -> None:
    options: dict[str, Any] = {"reference": home / "other"} if how == "reference" else {"reference_free": how}
    assert bench(home, "model", json=tmp_path / "found.json", **options) == 0
    networks = [loaded(home / name) for name in ("model", "other")]

    def score(row: Mapping[str, str], side: str) -> float:
        (own, tokens), (other, _) = (stock_logprob(*network, row, side) for network in networks)
        return own - other if how == "reference" else own / (tokens if how == "mean" else 1)

    right = [score(row, "chosen") > score(row, "rejected") for row in COMPARISONS]
    assert accuracies(tmp_path / "found.json") == pytest.approx(shares(right))


REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "a language model": (
        "model",
        {},
        ("its score head is missing from the weights", "accord reward", "--reference DIR", "--reference_free mean"),
    ),
    "a reward model as policy": ("reward", {"reference_free": "sum"}, ("has scores of its own",)),
    "both": ("model", {"reference": "m", "reference_free": "sum"}, ("not together with reference",)),
    "a policy's label": ("model", {"reference": "m", "label": "a"}, ("label: a policy has none",)),
    "a classifier": ("kinds", {}, ("label: a classifier has a score for each label", "a, b, c")),
    "another benchmark": ("reward", {"spec": "rewardbench2"}, ("'math-prm' is no subset of rewardbench2",)),
    "no file of rows": ("reward", {"scores": "x.csv"}, ("a name ending in .jsonl",)),
    "a model that is not there": ("nowhere", {}, ("nowhere",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(home: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    model, options, said = REFUSED[name]
    assert bench(home, model, **options) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error[2] ")
    assert all(one in line for one in said), line


def test_objects_from_python(home: Path) -> None:
    network, tokenizer = loaded(home / "model")
    other, _ = loaded(home / "other")
    report = accord.reward_bench(model=network, tokenizer=tokenizer, reference=other, data=COMPARISONS)
    assert (report.spec, report.overall.n) == ("plain", 24)


def test_a_name_that_is_nearly_right_is_suggested(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "bench.jsonl", [{**COMPARISONS[0], "subset": "math_prm"}])
    assert bench(home, "reward", data=data, spec="rewardbench") == 2
    assert "'math_prm' is no subset of rewardbench: did you mean 'math-prm'?" in capsys.readouterr().err
