"""Published numbers again: AlpacaEval 2's leaderboard and Tulu's human evaluation. Skipped where their data are not."""

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accord
from accord.maths.length_control import Weights, controlled_win_rate
from accord.maths.position import first_shown

SharedData = Callable[[str], Path]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(shared_data: SharedData) -> dict[str, Row]:
    """What `accord winrate` says of AlpacaEval's judgements, by model."""
    data, difficulty = shared_data("alpacaeval_pairs.jsonl.gz"), shared_data("alpacaeval_lc_aux.json.gz")
    found = accord.winrate(data=str(data), difficulty=str(difficulty), rounds=200)
    return {row["model"]: row for row in found.rows()}


@pytest.fixture(scope="module")
def expected(shared_data: SharedData) -> dict[str, Row]:
    models: dict[str, Row] = json.loads(shared_data("alpacaeval_expected.json").read_text())["models"]
    return models


def test_the_published_leaderboard(rows: dict[str, Row], expected: dict[str, Row]) -> None:
    assert rows.keys() == expected.keys() and len(rows) == 8
    for model, said in expected.items():
        row, published = rows[model], said["published"]
        assert 100 * row["win_rate"] == pytest.approx(published["win_rate"], abs=1e-8)
        assert 100 * row["standard_error"] == pytest.approx(published["standard_error"], abs=1e-8)
        assert 100 * row["discrete_win_rate"] == pytest.approx(published["discrete_win_rate"], abs=1e-8)
        assert row["avg_length"] == published["avg_length"]
        counts = [published[name] for name in ("n_wins", "n_draws", "n_wins_base", "n_total")]
        assert [row["wins"], row["ties"], row["losses"], row["n"]] == counts
        if model == row["baseline"]:
            assert row["interval"] == row["length_controlled_interval"] == [0.5, 0.5]
        assert (row["failed"], row["missing"], row["baseline"]) == (0, 0, "gpt4_1106_preview")


def test_length_controlled_refitted(rows: dict[str, Row], expected: dict[str, Row]) -> None:
    for model, said in expected.items():
        found = 100 * rows[model]["length_controlled_win_rate"]
        assert found == pytest.approx(said["published"]["length_controlled_winrate"], abs=0.2)
        refit = said["reproduced"].get("lc_refit", 50.0)
        assert found == pytest.approx(refit, abs=0.01)  # another implementation of the same regression
        error = said["reproduced"].get("lc_bootstrap_standard_error")
        if error is not None:  # 200 refits here, so about 5 % of it
            assert 100 * rows[model]["length_controlled_standard_error"] == pytest.approx(error, rel=0.2)


def test_length_controlled_from_published_weights(shared_data: SharedData) -> None:
    aux = json.loads(gzip.decompress(shared_data("alpacaeval_lc_aux.json.gz").read_bytes()))
    gamma = np.array(aux["instruction_difficulty"])
    assert len(aux["published"]) == 198
    for said in aux["published"].values():
        found = controlled_win_rate(Weights(said["theta"], said["phi"], said["psi"]), gamma)
        assert 100 * found == pytest.approx(said["length_controlled_winrate"], abs=0.2)


def test_who_was_shown_first_matters_to_the_judge(rows: dict[str, Row]) -> None:
    position = rows["FuseChat-Gemma-2-9B-Instruct"]["position"]
    assert 100 * position["win_rate_shown_first"] == pytest.approx(60.1, abs=0.05)
    assert 100 * position["win_rate_shown_second"] == pytest.approx(81.0, abs=0.05)
    low, high = position["difference_interval"]
    assert (100 * low, 100 * high) == pytest.approx((-20.9 - 5.1, -20.9 + 5.1), abs=0.15)


def test_tulus_win_rates(shared_data: SharedData) -> None:
    data = shared_data("tulu1_human_annotations.jsonl.gz")
    pairs = json.loads(shared_data("stats_expected.json").read_text())["tulu1"]["pairs"]
    for names, said in pairs.items():
        first, second = names.split("|")
        found = accord.winrate(data=str(data), model=first, against=second, several="first")
        (row,) = found.rows()
        assert row["n"] == said["n_instances"]
        rates = [row["won_rate"], row["lost_rate"], row["tied_rate"], row["win_rate"], row["standard_error"]]
        wanted = [said[name] for name in ("wins_first", "wins_second", "ties", "score_first", "se_first")]
        assert rates == pytest.approx(wanted, abs=1e-6)


def test_tulus_annotators_prefer_the_left(shared_data: SharedData) -> None:
    path = shared_data("tulu1_human_annotations.jsonl.gz")
    said = json.loads(shared_data("stats_expected.json").read_text())["tulu1"]["agreement"]["position"]
    levels = [json.loads(line)["preference"] for line in gzip.open(path)]
    outcome = np.array([1.0 if one.startswith("a") else 0.0 if one.startswith("b") else 0.5 for one in levels])
    found = first_shown(outcome, np.ones(len(outcome), dtype=np.int64))
    assert (found.wins, found.losses, found.ties) == (said["a_better"], said["b_better"], said["tie"])
    assert found.p == pytest.approx(said["binom_p"], abs=1e-9)
    assert found.interval == pytest.approx(said["wilson95"], abs=1e-9)
    assert not math.isnan(found.share)
