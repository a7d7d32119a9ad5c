"""`accord agreement`: reference values of Tulu's human judgements; people and models; files, errors, small cases."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stage_runs import words, write_lines

import accord
from accord.cli import main
from accord.errors import InputError, StorageError
from accord.stages.tables import markdown_table

Rows = list[dict[str, Any]]


def rows_of(found: Any, question: str, between: str = "human-human") -> dict[str, Any]:
    (row,) = [row for row in found.rows() if (row["question"], row["between"]) == (question, between)]
    return dict(row)


def vote(prompt: str, winner: str, annotator: str, **more: object) -> dict[str, object]:
    return {"prompt": prompt, "model_a": "x", "model_b": "y", "winner": winner, "annotator": annotator, **more}


def test_the_reference_values_of_tulu(shared_data: Callable[[str], Path]) -> None:
    expected = json.loads(shared_data("stats_expected.json").read_text())["tulu1"]["agreement"]
    data = str(shared_data("tulu1_human_annotations.jsonl.gz"))
    whole = accord.agreement(data=data, rounds=50)
    two = accord.agreement(data=data, rounds=50, per_item=2)
    verdicts, levels, acceptable = (rows_of(whole, name) for name in ("verdicts", "levels", "acceptable"))
    first_two = rows_of(two, "verdicts")
    assert first_two["items"] == verdicts["items"] == expected["n_items_with_2plus"]
    found = {
        "percent_agreement_3way": first_two["same"],
        "percent_agreement_nontie": first_two["agreeing_pairs"],
        "krippendorff_alpha_nominal_3way": verdicts["nominal_alpha"],
        "krippendorff_alpha_ordinal_5level": levels["ordinal_alpha"],
        "krippendorff_alpha_interval_5level": levels["interval_alpha"],
        "fleiss_kappa_3way_first_two": first_two["fleiss_kappa"],
        "krippendorff_alpha_nominal_acceptable": acceptable["nominal_alpha"],
    }
    assert {name: one["value"] for name, one in found.items()} == pytest.approx(
        {name: expected[name] for name in found}, abs=1e-6
    )
    shown, position = whole.shown, expected["position"]
    assert (shown.wins, shown.losses, shown.ties) == tuple(position[key] for key in ("a_better", "b_better", "tie"))
    assert shown.p == pytest.approx(position["binom_p"], abs=1e-6)
    assert shown.interval == pytest.approx(position["wilson95"], abs=1e-6)
    assert whole.replaced == 1150 - json.loads(shared_data("stats_expected.json").read_text())["tulu1"]["dedup_rows"]


def test_ties_of_tulu_as_published(shared_data: Callable[[str], Path]) -> None:
    """Half for a tie against a decision is what the authors call relaxed."""
    pairs = json.loads(shared_data("stats_expected.json").read_text())["tulu1"]["pairs"]
    data = str(shared_data("tulu1_human_annotations.jsonl.gz"))
    found = rows_of(accord.agreement(data=data, rounds=50, per_item=2, ties="half"), "verdicts")
    counts = {name: pair["n_double"] for name, pair in pairs.items()}
    total = sum(counts.values())
    relaxed = sum(count * pairs[name]["relaxed_comparison_agreement"] for name, count in counts.items()) / total
    assert found["agreeing_pairs"]["value"] == pytest.approx(relaxed, abs=1e-6)


def test_people_and_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two people agree on three of four items, the model agrees with the first on all and with the second on three."""
    people = [("model_a", "model_a"), ("model_b", "model_b"), ("tie", "tie"), ("model_a", "model_b")]
    rows = [
        vote(f"p{i}", said, name)
        for i, (ann, bob) in enumerate(people)
        for name, said in (("ann", ann), ("bob", bob), ("gpt-4-turbo", ann))
    ]
    data, out = write_lines(tmp_path / "votes.jsonl", rows), tmp_path / "all.json"
    options = {"models": "gpt-*", "json": out, "markdown": tmp_path / "t.md", "plot": tmp_path / "t.png", "least": 4}
    assert main(words("agreement", {"data": data, **options, "rounds": 100})) == 0
    found = json.loads(out.read_text())
    assert [row["between"] for row in found["agreement"]] == ["human-human", "human-model"]
    human, mixed = found["agreement"]
    assert (human["items"], human["raters"], human["couples"]) == (4, 2, 4)
    assert human["same"]["value"] == 3 / 4
    # ann: 2 a, 1 b, 1 tie; bob: 1 a, 2 b, 1 tie. P_e = (2 + 2 + 1) / 16.
    assert human["cohen_kappa"]["value"] == pytest.approx((3 / 4 - 5 / 16) / (1 - 5 / 16))
    assert mixed["couples"] == 8 and mixed["same"]["value"] == 7 / 8
    assert mixed["agreeing_pairs"]["value"] == 5 / 6
    assert {tuple(pair["annotators"]): pair["same"]["value"] for pair in found["pairs"]} == {
        ("ann", "bob"): 3 / 4,
        ("ann", "gpt-4-turbo"): 1,
        ("bob", "gpt-4-turbo"): 3 / 4,
    }
    kinds = {one["name"]: one["kind"] for one in found["annotators"]}
    assert kinds == {"ann": "human", "bob": "human", "gpt-4-turbo": "model"}
    assert found["shown_first"]["wins"] == 5
    printed = capsys.readouterr().out
    assert "verdicts, human-model: 4 items of 4 prompts, 3 annotators, 8 couples of judgements" in printed
    assert "what was shown first wins" in printed and "Wilson's, clustered by prompts" in printed
    assert (tmp_path / "t.md").read_text().startswith("## verdicts, human-human")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_all_equal_is_undefined_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # else a reason may be folded
    data = write_lines(tmp_path / "votes.jsonl", [vote(f"p{i}", "model_a", who) for i in range(3) for who in "ab"])
    row = rows_of(accord.agreement(data=str(data), rounds=50), "verdicts")
    assert "all 6 judgements are equal, so that chance alone would agree always" in capsys.readouterr().out
    for name in ("cohen_kappa", "fleiss_kappa", "nominal_alpha"):
        assert row[name]["value"] is None and "equal" in row[name]["reason"]
    assert row["same"]["value"] == 1 and row["same"]["interval"][0] < 0.5


def test_the_later_of_two_judgements_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [vote("p", "model_a", "ann"), vote("p", "model_b", "bob"), vote("p", "model_a", "bob")]
    rows += [vote("q", "model_b", "ann"), vote("q", "model_b", "bob")]
    data = write_lines(tmp_path / "votes.jsonl", rows)
    assert rows_of(accord.agreement(data=str(data), rounds=50), "verdicts")["same"]["value"] == 1
    assert "1 x judgements replaced by a later one" in capsys.readouterr().err


def test_models_that_stand_in_the_other_order_are_the_same_item() -> None:
    turned = {"prompt": "p", "model_a": "y", "model_b": "x", "winner": "model_b", "annotator": "bob"}
    rows = [vote("p", "model_a", "ann"), turned, vote("q", "model_b", "ann"), vote("q", "model_a", "bob")]
    row = rows_of(accord.agreement(data=rows, rounds=50), "verdicts")
    assert row["items"] == 2 and row["same"]["value"] == 0.5


def ranked(prompt: str, *orders: tuple[str, tuple[int, ...]]) -> dict[str, object]:
    judgements = [{"annotator": name, "ranks": list(ranks)} for name, ranks in orders]
    return {"prompt": prompt, "completions": ["1", "2", "3"], "models": ["x", "y", "z"], "judgements": judgements}


def test_rankings() -> None:
    rows = [ranked("p", ("ann", (1, 2, 3)), ("bob", (1, 3, 2))), ranked("q", ("ann", (1, 2, 2)), ("bob", (1, 2, 3)))]
    found = accord.agreement(data=rows, rounds=50, ties="half")
    row = rows_of(found, "rankings")
    # tau-b: (2 - 1) / 3, and 2 / sqrt(2 * 3). Pairs: 2 of 3; 2 and a half of 3.
    assert row["kendall_tau_b"]["value"] == pytest.approx((1 / 3 + 2 / math.sqrt(6)) / 2)
    assert row["agreeing_pairs"]["value"] == pytest.approx((2 + 2.5) / 6)
    verdicts = rows_of(found, "verdicts")
    assert (verdicts["items"], verdicts["prompts"]) == (6, 2)
    assert verdicts["same"]["value"] == pytest.approx(4 / 6)


def test_ratings_flags_and_labels() -> None:
    def group(prompt: str, *said: tuple[str, float, bool | None]) -> dict[str, object]:
        judgements = [
            {"annotator": name, "ratings": [rating], "flags": {"toxic": [flag]}, "labels": [rating > 3]}
            for name, rating, flag in said
        ]
        return {"prompt": prompt, "completions": ["1"], "models": ["x"], "judgements": judgements}

    rows = [
        group("p", ("ann", 1, True), ("bob", 1, True), ("cleo", 2, None)),
        group("q", ("ann", 7, False), ("bob", 5, True)),
        group("r", ("ann", 6, False), ("cleo", 6, False)),
    ]
    found = accord.agreement(data=rows, rounds=50)
    ratings, toxic, labels = (rows_of(found, name) for name in ("ratings", "flag toxic", "labels"))
    assert ratings["items"] == 3 and ratings["interval_alpha"]["value"] > ratings["nominal_alpha"]["value"]
    assert toxic["items"] == 3 and toxic["same"]["value"] == pytest.approx(2 / 3)
    # n = 6, three of each; one unit of two that differ: 1 - 5 * 2 / (36 - 9 - 9).
    assert toxic["nominal_alpha"]["value"] == pytest.approx(1 - 5 * 2 / 18)
    assert labels["same"]["value"] == 1


def test_two_files_are_about_the_same_items(tmp_path: Path) -> None:
    """A row of votes, and a group whose completions name the same models; the prompt as text and as a turn."""
    votes = write_lines(tmp_path / "votes.jsonl", [vote(p, "model_a", "ann") for p in ("p", "q")])
    turns = [
        {
            "prompt": [{"role": "user", "content": p}],
            "completions": [[{"role": "assistant", "content": one}] for one in "12"],
            "models": ["y", "x"],
            "judgements": [{"annotator": "judge", "ranks": ranks}],
        }
        for p, ranks in (("p", [2, 1]), ("q", [1, 2]))
    ]
    groups = write_lines(tmp_path / "groups.jsonl", turns)
    row = rows_of(accord.agreement(data=[votes, groups], models=["judge"], rounds=50), "verdicts", "human-model")
    assert row["items"] == 2 and row["same"]["value"] == 0.5


def test_annotators_of_two_kinds_by_their_files() -> None:
    rows = [
        vote("p", "model_a", "ann", annotator_kind="human"),
        vote("p", "model_a", "judge", annotator_kind="model"),
        vote("q", "tie", "ann"),
        vote("q", "tie", "judge"),
    ]
    assert [row["between"] for row in accord.agreement(data=rows, rounds=50).rows()] == ["human-model"]


def test_a_model_without_a_name_is_a_model() -> None:
    rows = [row for i in range(3) for row in (
        vote(f"p{i}", "model_a", "ann"),
        {"prompt": f"p{i}", "model_a": "x", "model_b": "y", "winner": "model_a", "annotator_kind": "model"},
    )]  # fmt: skip
    assert [row["between"] for row in accord.agreement(data=rows, rounds=50).rows()] == ["human-model"]


def preferred(prompt: str, preference: float, judge: str) -> dict[str, object]:
    return {
        "instruction": prompt, "generator_1": "x", "generator_2": "y", "preference": preference, "annotator": judge
    }  # fmt: skip


def test_the_levels_of_a_judge_that_is_sometimes_sure() -> None:
    """1, quite sure, is a level as 1.1 is; of judges that are never anything else there is no such question."""
    rows = [preferred(f"p{i}", value, judge) for judge in ("a", "b") for i, value in enumerate((1.0, 1.1, 1.8, 2.0))]
    assert rows_of(accord.agreement(data=rows, rounds=50), "levels", "human-human")["items"] == 4
    sure = [row for row in rows if row["preference"] in (1.0, 2.0)]
    assert [row["question"] for row in accord.agreement(data=sure, rounds=50).rows()] == ["verdicts"]


def test_ties_alone_say_nothing_of_who_is_shown_first(tmp_path: Path) -> None:
    rows = [vote(f"p{i}", "tie", annotator) for i in range(3) for annotator in "ab"]
    found = accord.agreement(data=rows, rounds=50)
    assert found.shown is None and "nan" not in "\n".join(found.lines()).lower()


def test_what_cannot_be_drawn_leaves_nothing_behind(tmp_path: Path) -> None:
    both = [vote("p", "model_a", "ann"), vote("p", "model_a", "bob")]
    with pytest.raises(InputError, match="no two annotators have 10 items in common"):
        accord.agreement(data=both, plot=str(tmp_path / "t.png"), markdown=str(tmp_path / "t.md"), rounds=50)
    with pytest.raises(InputError, match="is to be written twice"):
        accord.agreement(data=both, json=str(tmp_path / "t.md"), markdown=str(tmp_path / "t.md"), rounds=50)
    with pytest.raises(StorageError, match="its folder is not there"):
        accord.agreement(data=both, json=str(tmp_path / "no" / "t.md"), rounds=50)
    assert not list(tmp_path.iterdir())


def test_names_in_a_table_of_markdown() -> None:
    assert list(markdown_table([{"the_model ": "a|b\nc\x1b[31m"}])) == [
        "| the model |", "|---|", r"| a\|b\nc\x1b[31m |"
    ]  # fmt: skip


def test_what_cannot_be_agreed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = write_lines(tmp_path / "alone.jsonl", [vote("p", "model_a", "ann"), vote("q", "model_a", "bob")])
    assert main(["agreement", str(alone)]) == 2
    assert "no item was judged by two raters (verdicts)" in capsys.readouterr().err
    both = [vote("p", "model_a", "ann"), vote("p", "model_a", "bob")]
    with pytest.raises(InputError, match="no annotator is named gpt"):
        accord.agreement(data=both, models=["gpt"])
    with pytest.raises(InputError, match="no two annotators have 10 items in common"):
        accord.agreement(data=both, plot=str(tmp_path / "t.png"), rounds=50)
    with pytest.raises(InputError, match="is the data that is read"):
        accord.agreement(data=str(alone), json=str(alone))
    bad = write_lines(tmp_path / "bad.jsonl", [vote("p", "model_a", "ann", annotator_kind="robot")])
    with pytest.raises(InputError, match="'robot' is no kind of annotator: human or model"):
        accord.agreement(data=str(bad))


def seen(annotator: str, ranks: list[int], shown: list[int] | None = None) -> dict[str, object]:
    place = {} if shown is None else {"shown": shown}
    return {"annotator": annotator, "ranks": ranks, **place}


def test_the_order_in_which_completions_were_shown(tmp_path: Path) -> None:
    # Ann saw c, a, b and put c before b = a: of c a, c b, a b the first won two, and one is a tie. Ben saw a, b, c and
    # ranked the other way round: the first lost all three. Of Cy nothing is known.
    said = [seen("Ann", [2, 2, 1], [2, 3, 1]), seen("Ben", [3, 2, 1], [1, 2, 3]), seen("Cy", [1, 2, 3])]
    data = tmp_path / "ranked.jsonl"
    write_lines(data, [{"prompt": "p", "completions": [" a", " b", " c"], "judgements": said}])
    shown = accord.agreement(data=str(data), rounds=50).shown
    assert (shown.wins, shown.losses, shown.ties) == (2, 3, 1)


@pytest.mark.parametrize("shown", [[1, 1, 2], [0, 1, 2], [1, 2, 4]])
def test_an_order_that_is_none(tmp_path: Path, shown: list[int]) -> None:
    data = tmp_path / "ranked.jsonl"
    row = {"prompt": "p", "completions": [" a", " b", " c"], "judgements": [seen("Ann", [1, 2, 3], shown)]}
    write_lines(data, [row])
    with pytest.raises(InputError, match=r"ranked.jsonl:1: judgements\[0\].shown: no order in which they were shown"):
        accord.agreement(data=str(data))
