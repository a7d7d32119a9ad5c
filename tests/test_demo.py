"""The demo, very small: it runs through, says what is true, runs again, and touches nothing that is not its own."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from accord.data.dialogue import Dialogue
from accord.demo import world
from accord.demo.answers import Answer, answer_logprobs, answers
from accord.demo.figures import compared, judged
from accord.demo.run import FULL, Demo, Sizes, remove, run
from accord.errors import InputError
from accord.maths.statistics import Estimate, Interval
from accord.records import Message
from accord.stages.config import DemoConfig
from accord.stages.resolve import load

TINY = Sizes(
    texts=600,
    demonstrations=240,
    ranked=24,
    held_out=10,
    answers_each=3,
    longest=48,
    context=96,
    vocab_size=960,
    hidden_size=64,
    layers=1,
    pretrain_steps=150,
    sft_epochs=3.0,
    dpo_epochs=2.0,
    examples=2,
)
UNKNOWN = Estimate(0.5, math.nan, Interval(0.0, 1.0))


class Ran(NamedTuple):
    """A demo that ran twice: its folder, both summaries, and what stood on the terminal at the end."""

    folder: Path
    first: dict[str, Any]
    summary: dict[str, Any]
    out: str


def config(folder: Path) -> DemoConfig:
    return load(DemoConfig, arguments={"output_dir": str(folder)})


def demo(folder: Path) -> tuple[dict[str, Any], str]:
    with redirect_stdout(StringIO()) as out, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
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
    assert set(ran.summary) == {"sizes", "before", "after", "change", "ceiling", "examples", "counts", "seconds"}
    for side in ("before", "after"):
        assert set(ran.summary[side]["figures"]) == {"reward", "accuracy", "grammatical", "ended", "length"}
        assert ran.summary[side]["groups"] == TINY.held_out
    assert set(ran.summary["change"]["figures"]) == {"reward", "preferred", "kl"}
    assert list(ran.summary["seconds"]) == ["world", "init", "pretrain", "sft", "compare", "dpo", "measure"]


def test_the_figures_keep_their_laws(ran: Ran) -> None:
    before, after, change = (ran.summary[part]["figures"] for part in ("before", "after", "change"))
    for figures in (before, after):
        assert -1 <= figures["reward"]["mean"] <= 1 and 1 <= figures["length"]["mean"] <= TINY.longest
        assert all(0 <= figures[name]["mean"] <= 1 for name in ("accuracy", "grammatical", "ended"))
    assert change["kl"]["mean"] >= -3 * change["kl"]["standard_error"]
    assert change["reward"]["mean"] == pytest.approx(after["reward"]["mean"] - before["reward"]["mean"])
    assert before["accuracy"]["mean"] == 0.5 <= ran.summary["ceiling"] < 1


def test_the_table_shows_the_summary(ran: Ran) -> None:
    before, after, change = (ran.summary[part]["figures"] for part in ("before", "after", "change"))

    def shown(title: str) -> list[float]:
        (line,) = [line for line in ran.out.splitlines() if line.startswith(f" {title}")]
        return [float(found) for found in re.findall(r"[-+]?\d+\.\d+", line)]

    def parts(figure: dict[str, Any], unit: float = 1.0) -> list[float]:
        return [unit * value for value in (figure["mean"], *figure["interval"])]

    reward = [*parts(before["reward"]), *parts(after["reward"]), *parts(change["reward"])]
    assert shown("reward, -1 to 1") == pytest.approx(reward, abs=0.006)
    guessed = [*parts(after["accuracy"], 100), 100 * ran.summary["ceiling"]]
    assert shown("comparisons guessed") == pytest.approx(guessed, abs=0.06)
    kl = [*parts(change["kl"]), change["kl"]["standard_error"]]
    assert shown("KL from before, nats") == pytest.approx(kl, abs=0.006)
    assert max(map(len, ran.out.splitlines())) <= 100


def test_examples_are_the_first_questions_with_their_exact_reward(ran: Ran) -> None:
    held_out = world.prompts(0)[TINY.demonstrations + TINY.ranked :]
    assert len(ran.summary["examples"]) == TINY.examples
    for example, prompt in zip(ran.summary["examples"], held_out, strict=False):
        assert example["question"] == prompt.text
        assert example["reward_before"] == world.sentiment(example["before"])
        assert example["reward_after"] == world.sentiment(example["after"])


def test_no_question_serves_two_purposes(ran: Ran) -> None:
    asked = [
        {row["prompt"][0]["content"] for row in rows(ran.folder / "data" / f"{name}.jsonl")}
        for name in ("demonstrations", "comparisons", "held_out")
    ]
    assert all(asked) and sum(map(len, asked)) == len(set.union(*asked))
    assert FULL.demonstrations + FULL.ranked + FULL.held_out <= len(world.prompts(0))


def test_the_ceiling_is_that_of_the_held_out_comparisons(ran: Ran) -> None:
    held_out = rows(ran.folder / "data" / "held_out.jsonl")
    assert ran.summary["ceiling"] == pytest.approx(world.best_accuracy(held_out))


def test_the_same_seed_gives_the_same_figures_and_foreign_files_stay(ran: Ran) -> None:
    assert {**ran.first, "seconds": 0} == {**ran.summary, "seconds": 0}
    assert (ran.folder / "mine.txt").read_text() == "mine"


def test_its_models_load_in_stock_transformers(ran: Ran) -> None:
    for name in ("tuned", "aligned"):
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


def answer(text: str, *, ended: bool = True, tokens: int = 4) -> Answer:
    return Answer(np.arange(2, dtype=np.int32), np.arange(tokens, dtype=np.int32), text, ended)


GOOD, FAIR, BROKEN = "The plot was gripping.", "The plot was funny.", "The plot was"  # 2/3, 1/3, -1


def test_a_models_answers_judged_by_hand() -> None:
    given = [[answer(GOOD), answer(FAIR, tokens=6)], [answer(f"{FAIR} {BROKEN}", ended=False), answer("")]]
    found = judged(given, UNKNOWN).estimates
    # Rewards 2/3, 1/3, (1/3 - 1) / 2, -1. Of five sentences, the empty answer counted as one, three are grammatical.
    assert found["reward"].mean == pytest.approx((2 / 3 + 1 / 3 - 1 / 3 - 1) / 4)
    assert found["grammatical"].mean == pytest.approx(3 / 5)
    assert found["ended"].mean == pytest.approx(3 / 4)
    assert found["length"].mean == pytest.approx(4.5)
    # Means of the two questions: 1/2 and -2/3. Two clusters of equal size: the error is half their distance.
    assert found["reward"].standard_error == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_two_models_compared_by_hand() -> None:
    before, after = [[answer(FAIR)], [answer(GOOD)]], [[answer(GOOD)], [answer(GOOD)]]
    found = compared(before, after, torch.tensor([-3.0, -4.0]), torch.tensor([-5.0, -5.0])).estimates
    assert found["reward"].mean == pytest.approx((1 / 3 + 0) / 2)
    assert found["preferred"].mean == pytest.approx((world.preference(GOOD, FAIR) + 0.5) / 2)
    assert found["kl"].mean == pytest.approx((2 + 1) / 2)


def test_cut_and_empty_answers_reach_no_annotator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [[answer(GOOD), answer(f"{GOOD} {BROKEN}", ended=False), answer(FAIR), answer(" ")], [answer(GOOD)] * 4]
    monkeypatch.setattr(Demo, "answers", lambda *args: given)
    found: Any = Demo(config(tmp_path), TINY, tmp_path).rankings(None, world.prompts(0)[:2], "test")  # type: ignore[arg-type]
    assert [[turns[0]["content"] for turns in row["completions"]] for row in found] == [[GOOD, FAIR]]


def test_answers_and_their_log_probabilities_are_the_models_own(ran: Ran) -> None:
    network = AutoModelForCausalLM.from_pretrained(ran.folder / "tuned").eval()
    tokenizer = AutoTokenizer.from_pretrained(ran.folder / "tuned")
    asked = world.prompts(0)[-2:]
    made = answers(network, tokenizer, asked, each=2, longest=48, seed="x")
    flat = [one for given in made for one in given]
    for one, logp in zip(flat, answer_logprobs(network, flat).tolist(), strict=True):
        ids = torch.tensor([[*one.prompt, *one.ids]])
        with torch.no_grad():
            table = network(ids).logits[0].log_softmax(-1)
        places = range(len(one.prompt), ids.shape[1])
        assert logp == pytest.approx(sum(table[place - 1, ids[0, place]].item() for place in places), abs=1e-3)
        assert one.ended == (one.ids[-1] == tokenizer.eos_token_id) and "<|im_end|>" not in one.text
    expected = Dialogue(tokenizer).prompt_ids((Message("user", asked[1].text),))
    assert flat[2].prompt.tolist() == expected.tolist()
