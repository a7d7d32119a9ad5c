"""The demo, very small: it runs through, says what is true, runs again, and touches nothing that is not its own."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM

from accord.demo import truth, world
from accord.demo.answers import Scored, finished, scored
from accord.demo.axes import WORLDS, worth
from accord.demo.chapters import PRIOR, Chapters
from accord.demo.frontier import bought
from accord.demo.judged import truly
from accord.demo.parts import COMMANDS, HAPPENS
from accord.demo.run import OWN, remove, run
from accord.demo.sizes import FULL, SECONDS, Sizes
from accord.errors import InputError
from accord.evaluate.verdicts import Answer, Matched
from accord.records import Completion, Group, Message
from accord.stages.config import DemoConfig
from accord.stages.resolve import load

TINY = Sizes(
    texts=400,
    demonstrations=240,
    ranked=16,
    held_out=8,
    evaluated=8,
    answers_each=3,
    best_of=6,
    longest=32,
    context=96,
    vocab_size=960,
    hidden_size=64,
    layers=1,
    pretrain_steps=60,
    sft_epochs=1.0,
    reward_epochs=1.0,
    dpo_epochs=1.0,
    ppo_rounds=2,
    ppo_samples=8,
)
MODELS = ["sft", "dpo", "ppo", "best of 6"]


class Ran(NamedTuple):
    """A demo that ran twice: its folder, both summaries, and what stood on the terminal at the end."""

    folder: Path
    first: dict[str, Any]
    summary: dict[str, Any]
    out: str


def config(folder: Path) -> DemoConfig:
    return load(DemoConfig, arguments={"output_dir": str(folder), "world": "polite"})


def demo(folder: Path) -> tuple[dict[str, Any], str]:
    with redirect_stdout(StringIO()) as out, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "160")
        run(config(folder), {}, TINY)
    return json.loads((folder / "summary.json").read_text()), out.getvalue()


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    first, _ = demo(folder)
    (folder / "mine.txt").write_text("mine")
    return Ran(folder, first, *demo(folder))


def test_the_summary_says_everything(ran: Ran) -> None:
    assert set(ran.summary) == {"sizes", "world", "seed", "judged", "bought", "measured", "seconds"}
    assert [one["model"] for one in ran.summary["measured"]["models"]] == MODELS
    assert list(ran.summary["seconds"]) == list(SECONDS) == list(HAPPENS) == list(COMMANDS)
    assert {path.name for path in ran.folder.iterdir()} >= {*OWN, "run.yaml", "run.json"}


def test_the_figures_keep_their_laws(ran: Ran) -> None:
    answered = ran.summary["measured"]["answered"]
    for place, one in enumerate(ran.summary["measured"]["models"]):
        worths = [row["worths"][place] for row in answered]
        assert one["worth"]["mean"] == pytest.approx(sum(worths) / len(worths))
        if place:
            first = ran.summary["measured"]["models"][0]["worth"]["mean"]
            assert one["gain"]["mean"] == pytest.approx(one["worth"]["mean"] - first)
        assert 0 <= one["grammatical"]["mean"] <= 1 <= one["words"]["mean"] <= TINY.longest
    sft, dpo, _, best = ran.summary["measured"]["models"]
    assert (sft["kl"], sft["gain"]) == (None, None)
    assert dpo["kl"]["mean"] >= -3 * dpo["kl"]["standard_error"]
    assert best["kl"] == pytest.approx(math.log(6) - 5 / 6)


def test_every_answer_has_its_exact_worth(ran: Ran) -> None:
    held_out = world.prompts(0)[TINY.demonstrations + TINY.ranked + TINY.held_out :]
    for row, prompt in zip(ran.summary["measured"]["answered"], held_out, strict=False):
        assert row["question"] == prompt.text
        assert row["worths"] == [worth(text, WORLDS["polite"]) for text in row["answers"]]


def test_the_best_of_n_is_the_one_that_the_reward_model_likes_best(ran: Ran) -> None:
    made = {row["prompt"][0]["content"]: row for row in rows(ran.folder / "data" / "best_of_n.jsonl")}
    for row in ran.summary["measured"]["answered"]:
        samples = made[row["question"]]
        texts = {
            turns[0]["content"]: rating
            for turns, rating in zip(samples["completions"], samples["ratings"], strict=True)
        }
        assert texts[row["answers"][MODELS.index("best of 6")]] == max(texts.values())


def test_the_matrix_is_that_of_the_worths(ran: Ran) -> None:
    found = ran.summary["measured"]["compared"]["win_rates"]["matrix"]
    worths = [row["worths"] for row in ran.summary["measured"]["answered"]]
    for i, model in enumerate(MODELS):
        for j, other in enumerate(MODELS):
            wins = [(1 + (row[i] > row[j]) - (row[i] < row[j])) / 2 for row in worths]
            assert (
                found[model][other] is None
                if i == j
                else found[model][other]["win_rate"] == pytest.approx(sum(wins) / len(wins))
            )


def test_the_table_shows_the_summary(ran: Ran) -> None:
    for one in ran.summary["measured"]["models"]:
        line = next(line for line in ran.out.splitlines() if line.startswith(f" {one['model']} "))
        found = [float(number) for number in re.findall(r"-?\d+\.\d+", line)]
        assert found[:3] == pytest.approx([one["worth"]["mean"], *one["worth"]["interval"].values()], abs=0.006)
    assert max(map(len, ran.out.splitlines())) <= 160


def test_the_page_is_whole_and_asks_for_nothing(ran: Ran) -> None:
    page = (ran.folder / "report.html").read_text()
    assert all(f'id="{name}"' in page for name in ("models", "said", "frontier", "world", "people", "reward", "curves"))
    assert ran.summary["measured"]["answered"][0]["question"] in page
    assert not re.search(r"<script|src=\"(?!data:)|href=\"(?!#)", page)


def test_no_question_serves_two_purposes(ran: Ran) -> None:
    names = ("demonstrations", "questions", "held_out_questions", "evaluation")
    asked = [{row["prompt"][0]["content"] for row in rows(ran.folder / "data" / f"{name}.jsonl")} for name in names]
    assert all(asked) and sum(map(len, asked)) == len(set.union(*asked))
    assert FULL.demonstrations + FULL.ranked + FULL.held_out + FULL.evaluated <= len(world.prompts(0))


def test_two_annotators_rank_every_question(ran: Ran) -> None:
    groups = rows(ran.folder / "data" / "comparisons.jsonl")
    for group in groups:
        k = len(group["completions"])
        said = group["judgements"]
        assert len({one["annotator"] for one in said}) == TINY.annotators_each == 2
        assert all(sorted(one["ranks"]) == sorted(one["shown"]) == list(range(1, k + 1)) for one in said)
    assert len(groups) > TINY.ranked // 2


def test_the_same_seed_gives_the_same_figures_and_foreign_files_stay(ran: Ran) -> None:
    def timeless(summary: dict[str, Any]) -> dict[str, Any]:
        return {**summary, "seconds": 0}

    assert timeless(ran.first) == timeless(ran.summary)
    assert (ran.folder / "mine.txt").read_text() == "mine"


def test_its_models_load_in_stock_transformers(ran: Ran) -> None:
    for name in ("tuned", "dpo", "ppo"):
        assert AutoModelForCausalLM.from_pretrained(ran.folder / name).num_parameters() > 0


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """A directory of somebody else's, which must be as it was after the test."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    yield tmp_path
    assert (tmp_path / "data" / "thesis.txt").read_text() == "years of work"


def test_a_foreign_directory_is_refused(foreign: Path) -> None:
    with pytest.raises(InputError, match="no run of Accord"):
        run(config(foreign), {}, TINY)


def test_a_run_of_another_command_is_refused(ran: Ran) -> None:
    with pytest.raises(InputError, match="holds a run of `accord sft`"):
        run(config(ran.folder / "tuned"), {}, TINY)
    assert (ran.folder / "tuned" / "model.safetensors").exists()


def test_a_link_is_removed_but_not_what_it_leads_to(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    earlier = tmp_path_factory.mktemp("earlier")
    (earlier / "data").symlink_to(foreign / "data")
    remove(earlier)
    assert list(earlier.iterdir()) == []


GOOD, FAIR, BROKEN = "The plot was gripping.", "The plot was funny.", "The plot was"  # 2/3, 1/3, -1


def turns(*texts: str) -> list[list[dict[str, str]]]:
    return [world.reply(text) for text in texts]


def group(*texts: str) -> Group:
    return Group("1", (Message("user", "?"),), tuple(Completion((Message("assistant", text),)) for text in texts))


def test_cut_and_empty_answers_reach_no_annotator() -> None:
    row = {"prompt": [{"role": "user", "content": "?"}], "completions": turns(GOOD, BROKEN, FAIR, " ")}
    found = finished({**row, "ended": [True, False, True, True]}, 1)
    assert [one.content[0].content for one in found.completions] == [GOOD, FAIR]  # type: ignore[union-attr]
    alone = finished({"prompt": row["prompt"], "completion": turns(GOOD)[0], "ended": True}, 1)
    assert len(alone.completions) == 1


def test_scores_and_worths_of_whole_rows() -> None:
    whole = {"completions": turns(GOOD, BROKEN), "ratings": [3.0, 4.0]}
    found = scored(
        [whole, {"completions": turns(GOOD), "ratings": [1.0]}, {"completion": turns(GOOD)[0]}], 2, WORLDS["sentiment"]
    )
    assert found.proxy.tolist() == [[3.0, 4.0]]
    assert found.worth.tolist() == [[pytest.approx(2 / 3), -1.0]]


def test_the_true_order_ties_what_is_worth_the_same() -> None:
    (judgement,) = truly(group(FAIR, GOOD, BROKEN, "The hero was funny."), WORLDS["sentiment"]).judgements
    assert judgement.ranks == (2, 1, 4, 2)


def test_the_judge_by_hand() -> None:
    def pair(first: str, second: str) -> Matched:
        return Matched("1", "?", Answer("a", first), Answer("b", second))

    judge = truth.judge(WORLDS["sentiment"])
    assert judge([pair(GOOD, FAIR), pair(BROKEN, FAIR), pair(FAIR, "The hero was funny.")]) == [1.0, 0.0, 0.5]
    assert truth.sentiment([group(GOOD), group(BROKEN)]) == [pytest.approx(2 / 3), -1.0]


def test_the_frontier_of_two_kinds_of_answers_is_known() -> None:
    # A tenth of the answers is worth 1, the others 0: at beta the optimum takes w = e / (e + 9), e = exp(1 / beta).
    worths = torch.zeros(100, 10, dtype=torch.float64)
    worths[:, 0] = 1.0
    found = bought(Scored(-worths, worths))
    assert found.frontier and found.apart and found.samples == 1000
    for edge in (*found.frontier, *found.apart):
        e = math.exp(1 / edge.beta)
        w = e / (e + 9)
        expected = w * math.log(w / 0.1) + 9 / (e + 9) * math.log(9 / (e + 9) / 0.9)
        assert (edge.worth, edge.kl) == (pytest.approx(w), pytest.approx(expected, abs=1e-12))
    # Effective samples: 1000 / (w^2 / 0.1 + (1 - w)^2 / 0.9), which is 100 at w = 1; that of ten is 1 there.
    assert min(edge.effective for edge in found.frontier) >= 100.0 - 1e-6
    assert min(edge.effective for edge in found.apart) >= 5.0


def test_the_best_by_a_reward_model_that_is_always_wrong() -> None:
    worths = torch.tensor([[0.0, 1.0]], dtype=torch.float64).repeat(5, 1)
    one, two = bought(Scored(-worths, worths)).best_of
    assert (one.n, one.kl, one.worth.mean, one.ideal.mean) == (1, 0.0, 0.5, 0.5)
    assert (two.n, two.worth.mean, two.proxy.mean, two.ideal.mean) == (2, 0.0, 0.0, 1.0)


def test_the_time_that_is_left_is_that_of_this_machine() -> None:
    times = iter([0.0, 3 * PRIOR])
    chapters = Chapters({"one": PRIOR, "two": 30.0}, clock=lambda: next(times))
    with chapters.chapter("one", ""):
        pass
    # It took three times as long as expected, and counts half: twice as slow.
    assert chapters.left() == pytest.approx(2 * 30.0)
