"""What a frontier makes of answers and scores that are written here by hand: comparisons, knees, curves, labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stage_runs import lines

from accord.errors import InputError
from accord.evaluate.frontier.analyse import Policies, analysed
from accord.evaluate.frontier.columns import Answered
from accord.evaluate.frontier.comparisons import write_comparisons
from accord.evaluate.frontier.drawn import Drawn
from accord.evaluate.frontier.labels import Box, placed
from accord.evaluate.frontier.plan import Files, planned
from accord.evaluate.frontier.result import Frontier
from accord.evaluate.frontier.show import notes_of, tables
from accord.records import Group
from accord.stages.evaluation_configs import FrontierConfig
from accord.stages.resolve import flat, load


def drawn(text: list[list[str]], ended: list[list[bool]] | None = None, kl: float = 0.0) -> Drawn:
    each = [[kl] * len(said) for said in text]
    length = [[len(one) for one in said] for said in text]
    return Drawn(
        [f"p{i}" for i in range(len(text))], text, length, ended or [[True] * len(s) for s in text], each, each
    )


PROMPTS = {f"p{i}": Group(f"p{i}", f"question {i}", ()) for i in range(4)}


def test_comparisons_are_ordered_by_score_without_what_nobody_would_be_shown(tmp_path: Path) -> None:
    answers = drawn(
        [["a", "b", "c"], ["d", "", "e"], ["f", "g", "h"], ["i", " ", "j"]],
        [[True, True, True], [True, True, True], [True, False, True], [True, True, False]],
    )
    score = [[1.0, 3.0, 2.0], [0.5, 9.0, 0.5], [0.0, 5.0, 1.0], [1.0, 2.0, 3.0]]
    counts = write_comparisons(PROMPTS, answers, score, Files(tmp_path), seed=None)
    rows = [(row["prompt"], row["completions"], row["ranks"]) for row in lines(tmp_path / "comparisons.jsonl")]
    assert rows == [
        ("question 0", ["a", "b", "c"], [3, 1, 2]),
        ("question 1", ["d", "e"], [1, 1]),
        ("question 2", ["f", "h"], [2, 1]),
    ]
    assert counts == {"rankings": 3, "answers": 7, "left out": 5}
    with pytest.raises(InputError, match="of no prompt two of 3 answers came to an end"):
        write_comparisons(PROMPTS, answers._replace(ended=[[False] * 3] * 4), score, Files(tmp_path), seed=None)


def test_drawn_orders_are_those_of_bradley_terry(tmp_path: Path) -> None:
    """A score that is higher by 1 wins 1 / (1 + e^-1) = 73 % of 2000 comparisons, give or take four errors of 1 %."""
    prompts = {f"p{i}": Group(f"p{i}", f"question {i}", ()) for i in range(2000)}
    answers = drawn([["good", "bad"]] * 2000)
    write_comparisons(prompts, answers, [[1.0, 0.0]] * 2000, Files(tmp_path), seed=5)
    won = np.mean([row["ranks"] == [1, 2] for row in lines(tmp_path / "comparisons.jsonl")])
    assert won == pytest.approx(0.731, abs=0.04)


G = 60  # prompts


def config(**changes: Any) -> FrontierConfig:
    given = {"model": "m", "reward": "r.py:f", "gold": "g.py:f", "data": "d", "output_dir": "o", "rounds": 100}
    usual = {"methods": "ppo,best_of_n", "betas": "0.1,0.3,1", "n": "1,2", "samples": 2}
    return load(FrontierConfig, arguments={**given, **usual, **changes})


def answered(proxy: float, gold: float, kl: float, seed: int) -> Answered:
    noise = 0.1 * np.random.default_rng(seed).standard_normal((2, G, 4))
    return Answered(drawn([["x"] * 4] * G, kl=kl), (proxy + noise[0]).tolist(), (gold + noise[1]).tolist())


@pytest.fixture(scope="module")
def found() -> Frontier:
    """PPO whose gold is 0.5 at a KL of 1, 1 at 4 and 0.4 at 9 while the proxy rises; one run that failed."""
    asked = config(betas="0.03,0.1,0.3,1")
    plan = planned(asked)
    trained = {
        "ppo,beta=1": answered(1.0, 0.5, 1.0, 1),
        "ppo,beta=0.3": answered(2.0, 1.0, 4.0, 2),
        "ppo,beta=0.1": answered(3.0, 0.4, 9.0, 3),
    }
    policies = Policies(answered(0.0, 0.0, 0.0, 0), trained, {"ppo,beta=0.03": "step 3: loss nan"})
    start, points, lines = analysed(plan, policies, asked)
    whole = Frontier("m", "r.py:f", "g.py:f", "k3", G, 0.95, start.point, points, lines, [], flat(asked), 3)
    return Frontier(**{**vars(whole), "notes": list(notes_of(whole, plan))})


def test_the_knee_is_where_gold_falls_while_the_proxy_rises(found: Frontier) -> None:
    ppo, best = found.lines
    assert ppo.knee is not None and ppo.knee.sure and ppo.knee_names == ("ppo,beta=0.3", "ppo,beta=0.1")
    assert ppo.knee.gold is not None and ppo.knee.gold.mean == pytest.approx(-0.6, abs=0.05)
    assert best.knee is not None and not best.knee.sure
    assert [one.name for one in found.of("ppo")] == ["ppo,beta=1", "ppo,beta=0.3", "ppo,beta=0.1"]  # by distance


def test_the_curve_is_that_of_the_gains(found: Frontier) -> None:
    """d (a - b ln d) through (1, 0.5), (2, 1), (3, 0.4), by numpy's least squares."""
    fit = found.lines[0].fit
    assert fit is not None and fit.points == 3
    d = np.array([1.0, 2.0, 3.0])
    expected = np.linalg.lstsq(np.stack([d, -d * np.log(d)], 1), np.array([0.5, 1.0, 0.4]), rcond=None)[0]
    assert (fit.curve.a, fit.curve.b) == pytest.approx(tuple(expected), abs=0.05)
    assert found.lines[1].why_no_fit.startswith("1 points away from the reference")


def test_what_people_read(found: Frontier) -> None:
    (_, points), (_, knees), (_, curves) = tables(found)
    assert [row["beta or n"] for row in points] == [
        "", "beta 0.03", "beta 0.1", "beta 0.3", "beta 1", "n 1", "n 2",
    ]  # fmt: skip
    assert points[1]["KL"] == "failed" and points[6]["KL"] == "at most 0.193" and points[2]["KL"] == "9.000"
    assert knees[0]["over-optimised"] == "yes" and knees[1]["over-optimised"] == "not seen"
    assert [row["method"] for row in curves] == ["ppo"]
    assert "ppo,beta=0.03 failed: step 3: loss nan" in found.notes


def test_to_json_and_back_and_drawn(found: Frontier) -> None:
    again = Frontier.from_json(found.to_json())
    assert again == found and again.to_json() == found.to_json()
    drawn = found.picture()
    bare = [line._replace(knee=None, fit=None) for line in found.lines]
    assert drawn.startswith(b"\x89PNG") and drawn != Frontier(**{**vars(found), "lines": bare}).picture()


def test_without_gold_there_is_neither_knee_nor_curve() -> None:
    asked = config(gold="none")
    trained = {f"ppo,beta={b}": answered(1.0, 0.0, 1.0, 1)._replace(gold=None) for b in ("0.1", "0.3", "1")}
    start, points, lines = analysed(
        planned(asked), Policies(answered(0.0, 0.0, 0.0, 0)._replace(gold=None), trained, {}), asked
    )
    assert [(line.knee, line.fit, line.why_no_fit) for line in lines] == [(None, None, "no --gold is given")] * 2
    assert "gold" not in start.point.figures and "gold" not in points[0].figures


def test_policies_that_answered_other_prompts_are_not_compared() -> None:
    asked = config(methods="ppo", betas="0.1", n="1,2,4,8,16,32")
    fewer = Answered(drawn([["x"] * 2] * 5), [[0.0] * 2] * 5, [[0.0] * 2] * 5)
    with pytest.raises(InputError, match="it answered 5 prompts, and the model 60"):
        analysed(planned(asked), Policies(answered(0.0, 0.0, 0.0, 0), {"ppo,beta=0.1": fewer}, {}), asked)


def overlaps(one: Box, other: Box) -> bool:
    return one.overlap(other) > 0


def test_labels_cover_neither_points_nor_each_other() -> None:
    anchors = [(100.0, 100.0), (104.0, 102.0), (150.0, 100.0), (395.0, 295.0)]
    texts = ["0.1", "0.3", "0.03", "1 knee"]
    places = placed(texts, anchors, [anchors], Box(0, 0, 400, 300), 1.0)
    boxes = [Box(x, y, x + 6.8 * len(text), y + 12) for text, (x, y) in zip(texts, places, strict=True)]
    points = [Box(x - 3, y - 3, x + 3, y + 3) for x, y in anchors]
    assert not any(overlaps(one, other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert not any(overlaps(one, point) for one in boxes for point in points)
    assert boxes[3].right <= 400 and boxes[3].high <= 300  # it stands within the picture
    assert Box(0, 0, 2, 2).overlap(Box(1, 1, 4, 3)) == 1.0
