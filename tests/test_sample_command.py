"""accord sample: rows that every other command reads, scores that are accord score's, a best that is the best."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from score_runs import furnish_scorers
from stage_runs import lines, words, write_lines
from test_families import family
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import accord
import accord.stages.sample_made as sample_made
import accord.stages.sample_written as sample_written
from accord.cli import main
from accord.data.read import read_groups
from accord.errors import InputError
from accord.records import Message
from accord.stages import windows
from accord.stages.config import SampleConfig
from accord.stages.resolve import load

PROMPTS = [
    {"id": f"p{i}", "prompt": row["prompt"], "category": "ab"[i % 2]} for i, row in enumerate(tiny.comparisons(7))
]
CHATS = [{"id": row["id"], "prompt": [{"role": "user", "content": row["prompt"]}]} for row in PROMPTS]
QUICK = {"max_new_tokens": 9, "seed": 3}
Sample = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sampling")
    tiny.write_model(home / "model")
    tiny.write_model(home / "t5", tiny.t5(vocab_size=300))
    furnish_scorers(home)
    write_lines(home / "prompts.jsonl", PROMPTS)
    write_lines(home / "chats.jsonl", CHATS)
    return home


@pytest.fixture
def sample(home: Path, tmp_path: Path) -> Sample:
    """sample(data="prompts", n=4): the rows that accord sample writes."""

    def run(**options: Any) -> list[dict[str, Any]]:
        data, output = home / f"{options.pop('data', 'prompts')}.jsonl", tmp_path / "samples.jsonl"
        options = {"model": home / options.pop("model", "model"), "data": data, "output": output, **QUICK, **options}
        if "score" in options:
            options["score"] = home / options["score"]
        assert main(words("sample", options)) == 0
        assert not list(tmp_path.glob(".*"))  # nothing half-written
        return lines(output)

    return run


def greedy(home: Path, row: dict[str, Any], tokens: int) -> str:
    """What stock says behind a prompt, control tokens at its end left out."""
    network, tokenizer = (
        AutoModelForCausalLM.from_pretrained(home / "model"),
        AutoTokenizer.from_pretrained(home / "model"),
    )
    prompt = row["prompt"]
    text = (
        prompt
        if isinstance(prompt, str)
        else tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    )
    ids = torch.tensor([tokenizer(text).input_ids])
    wanted = GenerationConfig(do_sample=False, max_new_tokens=tokens, eos_token_id=2, pad_token_id=0)
    said = network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=wanted)[0, ids.shape[1] :]
    return str(tokenizer.decode(said[:-1] if said[-1] == 2 else said))


@pytest.mark.parametrize("data", ["prompts", "chats"])
def test_the_likeliest_texts_are_stocks(home: Path, sample: Sample, data: str) -> None:
    rows = sample(data=data, temperature=0)
    given = {"prompts": PROMPTS, "chats": CHATS}[data]
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in given]
    texts = [row["completion"] if data == "prompts" else row["completion"][0]["content"] for row in rows]
    assert texts == [greedy(home, row, 9) for row in given]
    assert {row["model"] for row in rows} == {str(home / "model")}


def test_rows_of_several_samples_are_groups(sample: Sample, tmp_path: Path) -> None:
    rows = sample(n=4)
    assert list(rows[0]) == ["id", "prompt", "completions", "models", "category", "ended", "tokens", "logprob"]
    assert [(row["id"], row["category"]) for row in rows] == [(row["id"], row["category"]) for row in PROMPTS]
    groups = list(read_groups(str(tmp_path / "samples.jsonl")))
    assert [[one.content for one in group.completions] for group in groups] == [row["completions"] for row in rows]
    assert not any(group.judgements for group in groups)
    assert len({text for row in rows for text in row["completions"]}) == 28  # no two alike
    for row in rows:
        for ended, tokens in zip(row["ended"], row["tokens"], strict=True):
            assert ended or tokens == 9


def test_ratings_are_the_scores_of_accord_score(home: Path, sample: Sample, tmp_path: Path) -> None:
    rows = sample(data="chats", n=3, score="reward")
    scored = accord.score(model=home / "reward", data=tmp_path / "samples.jsonl", output=tmp_path / "scores.jsonl")
    found = [rating for row in rows for rating in row["ratings"]]
    assert found == pytest.approx([row["score"] for row in scored], abs=1e-4)
    assert all(row["annotator"] == "reward" for row in rows)


def test_best_and_pairs_are_those_of_all(home: Path, sample: Sample, tmp_path: Path) -> None:
    every = sample(n=5, score="reward", max_new_tokens=6)
    best, pairs = (sample(n=5, score="reward", max_new_tokens=6, keep=keep) for keep in ("best", "pairs"))
    for row, good, pair in zip(every, best, pairs, strict=True):
        high, low = int(np.argmax(row["ratings"])), int(np.argmin(row["ratings"]))
        assert (good["completion"], good["score"]) == (row["completions"][high], pytest.approx(row["ratings"][high]))
        assert (pair["chosen"], pair["rejected"]) == (row["completions"][high], row["completions"][low])
        assert pair["margin"] == pytest.approx(row["ratings"][high] - row["ratings"][low])
        assert pair["chosen_ended"] == row["ended"][high] and pair["rejected_tokens"] == row["tokens"][low]
    (first, *_) = read_groups(str(tmp_path / "samples.jsonl"))
    assert first.judgements[0].margin == pytest.approx(pairs[0]["margin"])
    assert first.completions[0].model == str(home / "model")


def test_the_table_says_what_the_best_of_n_is_worth(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """n = 1 is the mean of all scores, n = N that of the greatest; in between by hand for one prompt of four."""
    scores = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0}
    marks = iter("abcd" * len(PROMPTS))

    def reward(groups: Any) -> list[float]:
        return [scores[next(marks)] for group in groups for _ in group.completions]

    made = accord.sample(
        model=home / "model", data=home / "prompts.jsonl", n=4, reward=reward, output=tmp_path / "out.jsonl",
        json=tmp_path / "table.json", **QUICK,
    )  # fmt: skip
    # Of the six pairs one has the best 2, two have 4 and three have 8.
    expected = [(1, 3.75, 0.0), (2, (2 + 2 * 4 + 3 * 8) / 6, np.log(2) - 0.5), (4, 8.0, np.log(4) - 0.75)]
    assert [(row["n"], row["score"], row["kl"]) for row in made.best_of] == [pytest.approx(row) for row in expected]
    assert json.loads((tmp_path / "table.json").read_text()) == list(made.best_of)
    assert "best of   expected score" in capsys.readouterr().out
    assert len(made) == 7 and [row["ratings"] for row in made] == [[1.0, 2.0, 4.0, 8.0]] * 7


def test_a_file_is_sampled_the_same_however_it_is_cut(
    home: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a prompt that comes again, in another window too, gets samples of its own."""
    write_lines(home / "twice.jsonl", [{**row, "id": f"{row['id']}-{i}"} for i in range(2) for row in PROMPTS])
    whole = sample(data="twice", n=2)
    monkeypatch.setattr(windows, "GROUPS", 3)
    monkeypatch.setattr(sample_written, "AT_ONCE", 4)
    cut = sample(data="twice", n=2, sample_rows=3)
    assert [row["completions"] for row in cut] == [row["completions"] for row in whole]
    assert len({text for row in whole for text in row["completions"]}) == 28
    four = sample(n=4)
    assert [row["completions"] for row in four] == [
        one["completions"] + other["completions"] for one, other in zip(whole[:7], whole[7:], strict=True)
    ]


def test_samples_that_were_cut_are_marked_or_left_out(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    kept = sample(n=12, max_new_tokens=40)
    said = capsys.readouterr().err
    cut = sum(not ended for row in kept for ended in row["ended"])
    assert 0 < cut < 7 * 12
    assert f"{1 - cut / 84:.1%} came to their end" in said
    left = sample(n=12, max_new_tokens=40, on_cut="drop")
    assert f"{cut} samples were cut and are left out" in capsys.readouterr().err
    texts = {row["id"]: row["completions"] if "completions" in row else [row["completion"]] for row in left}
    for row in kept:
        expected = [text for text, ended in zip(row["completions"], row["ended"], strict=True) if ended]
        assert texts.get(row["id"], []) == expected


def test_stop_strings_end_samples_and_are_no_part_of_them(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    """A sample that begins with one says nothing, and is no completion."""
    plain = {row["id"]: row["completions"] for row in sample(n=3)}
    letters = [text[4] for texts in plain.values() for text in texts if text[4:5].isascii() and text[4:5].isalpha()]
    stops = letters[:2]
    capsys.readouterr()
    rows = {row["id"]: row for row in sample(n=3, stop=json.dumps(stops))}
    silent = 0
    for name, texts in plain.items():
        cut = [text[: min([at for stop in stops if (at := text.find(stop)) >= 0], default=len(text))] for text in texts]
        silent += cut.count("")
        row = rows.get(name, {"completions": []})
        assert row.get("completions", [row.get("completion")]) == [text for text in cut if text]
    said = capsys.readouterr().err
    assert (f"{silent} samples say nothing and are left out" in said) == (silent > 0)


def test_beams_are_searched(sample: Sample) -> None:
    rows = sample(n=3, beams=4, length_penalty=0.0)
    again = sample(n=2, beams=4, length_penalty=0.0)
    likeliest = sample(temperature=0)
    for row, other, one in zip(rows, again, likeliest, strict=True):
        assert row["logprob"] == sorted(row["logprob"], reverse=True)
        assert other["completions"] == row["completions"][:2]
        assert row["logprob"][0] >= one["logprob"] - 1e-4 or not one["ended"]


def test_an_encoder_decoder_reads_prompts_of_its_own_length(sample: Sample) -> None:
    rows = sample(model="t5", n=2, max_length=40)
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in PROMPTS]
    assert all(len(row["completions"]) == 2 for row in rows)


def test_prompts_of_any_format(home: Path, tmp_path: Path) -> None:
    """The completions of the data are left aside."""
    write_lines(home / "pairs.jsonl", tiny.comparisons(3))
    made = accord.sample(model=home / "model", data=home / "pairs.jsonl", output=tmp_path / "out.jsonl", **QUICK)
    assert [row["prompt"] for row in made] == [row["prompt"] for row in tiny.comparisons(3)]
    groups = [accord.Group("g", (Message("user", "why ?"),), ())]
    model = AutoModelForCausalLM.from_pretrained(home / "model")
    made = accord.sample(model=model, data=groups, output=tmp_path / "out.jsonl", **QUICK)
    assert next(iter(made))["completion"][0]["role"] == "assistant"


def test_nothing_is_left_of_a_file_that_was_not_finished(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = []

    def failing(*given: Any, **options: Any) -> Any:
        parts.append(given)
        if len(parts) == 2:
            raise MemoryError
        return stock(*given, **options)

    stock = sample_made.sample
    monkeypatch.setattr(sample_made, "sample", failing)
    monkeypatch.setattr(sample_written, "AT_ONCE", 4)
    options = {"model": home / "model", "data": home / "prompts.jsonl", "output": tmp_path / "deep" / "out.jsonl"}
    assert main(words("sample", {**options, **QUICK})) == 4
    assert "no memory was left" in capsys.readouterr().err
    assert len(parts) == 2 and not list((tmp_path / "deep").iterdir())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "keep without scores": ({"keep": "best"}, "keep: nothing says which samples are good"),
    "a weight without scores": ({"reward_label": "a"}, "reward_label: without scores it would not be used"),
    "the likeliest twice": ({"n": 2, "temperature": 0.0}, "n: 2 samples that are all the likeliest"),
    "more than the beams": ({"n": 3, "beams": 2}, "n: 3 of 2 beams"),
    "beams that are drawn": ({"beams": 2, "top_p": 0.9}, "top_p: beams are searched"),
    "a penalty of no beams": ({"length_penalty": 2.0}, "length_penalty: without beams"),
    "the likeliest of some": ({"temperature": 0.0, "top_k": 3}, "top_k: temperature 0 takes"),
    "a pair of one": ({"keep": "pairs", "score": "reward"}, "n: a comparison is of two samples"),
    "two names": ({"score": "reward", "reward": "reward"}, "score: not together with reward"),
    "an empty stop": ({"stop": ["x", ""]}, "stop: an empty text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_contradict_each_other_are_refused(name: str) -> None:
    options, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        load(SampleConfig, arguments={"model": "m", "data": "d.jsonl", "output": "o.jsonl", **options}, where="")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "out.parquet"}, "out.parquet: another kind of file"),
        ({"max_new_tokens": 5000}, "max_new_tokens: 5000, which leaves no room"),
    ],
)
def test_what_cannot_be_done_is_refused(
    options: dict[str, Any], message: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"model": home / "model", "data": home / "prompts.jsonl", "output": tmp_path / "out.jsonl", **options}
    assert main(words("sample", given)) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_source_that_cannot_tell_makes_no_pairs(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = accord.sample(
        model=home / "model", data=home / "prompts.jsonl", n=3, keep="pairs", output=tmp_path / "out.jsonl",
        reward=lambda groups: [1.0] * sum(len(group.completions) for group in groups), **QUICK,
    )  # fmt: skip
    assert len(made) == 0
    assert "7 prompts have no row: no two samples with different scores" in capsys.readouterr().err


def test_a_model_that_takes_longer_is_named(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.write_model(tmp_path / "mamba", family("Mamba", vocab_size=300, state_size=4)())
    made = accord.sample(
        model=model, data=home / "prompts.jsonl", output=tmp_path / "out.jsonl", max_length=40, n=2, **QUICK
    )
    assert len(made) == 7
    assert "note: what this model carries along reads padding" in capsys.readouterr().err
