"""Models that read the prompt with an encoder: their data, their numbers, and whole stages from the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from accord.cli import main
from accord.data.batches import arrange
from accord.data.dialogue import Dialogue, TokenGroup
from accord.data.length import fit_length
from accord.models.layout import settle
from accord.models.load import load_network
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.sample import Drawing, sample
from accord.records import Completion, Group, Message

KINDS = {"t5": tiny.t5, "t5-own-output": lambda: tiny.t5(tie_word_embeddings=False), "bart": tiny.bart}
GROUPS = [tiny.group(7, [6, 3], seed=2), tiny.group(19, [12, 2, 9, 5], seed=3), tiny.group(1, [1, 2], seed=6)]
EOS = 2


def stock(network: Any, groups: list[TokenGroup]) -> list[Tensor]:
    """Minus the loss that stock computes from `labels`, times their number: one pair of sequences at a time."""
    found = []
    for group in groups:
        prompt = torch.from_numpy(group.prompt.astype(np.int64))[None]
        for completion in group.completions:
            labels = torch.full((1, len(completion.ids)), -100)
            for start, end in completion.loss:
                labels[0, start:end] = torch.from_numpy(completion.ids[start:end].astype(np.int64))
            # Stock makes the decoder's input from the labels, which would put padding where there is no loss.
            whole = torch.from_numpy(completion.ids.astype(np.int64))[None]
            begun = torch.cat([torch.tensor([[network.config.decoder_start_token_id]]), whole[:, :-1]], 1)
            loss = network(input_ids=prompt, decoder_input_ids=begun, labels=labels).loss
            found.append(-loss * (labels >= 0).sum())
    return found


@pytest.mark.parametrize("head", ["gathered", "stock"])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_and_gradients_are_stock(kind: str, head: Any) -> None:
    network = KINDS[kind]()
    groups = [*GROUPS, tiny.group(6, [12], seed=4, loss=[((0, 3), (7, 12))])]
    model = LanguageModel(network, "encoder", head)
    found = logprobs(model, arrange(groups, "encoder", start=model.start)).sum
    factors = torch.linspace(-1, 1.7, len(found))
    own = tiny.gradients(network, (found * factors).sum())
    expected = torch.stack(stock(network, groups))
    truth = tiny.gradients(network, (expected * factors).sum())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert tiny.distance(own, truth) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_layout_is_found(kind: str) -> None:
    model, failed = settle(LanguageModel(KINDS[kind]()), GROUPS[1])
    assert (model.layout, model.head, failed) == ("encoder", "gathered", [])


def test_prompt_and_completion_are_two_sequences_each_with_its_end() -> None:
    tokenizer = tiny.tokenizer(ends=True)
    group = Group("g", "the cat ?", (Completion(" yes"), Completion("no<|im_end|>"), Completion("")))
    made = Dialogue(tokenizer, apart=True).tokens(group)
    assert made.prompt.tolist() == tokenizer("the cat ?")["input_ids"]
    assert made.prompt[-1] == EOS
    expected = [tokenizer(text_target=text)["input_ids"] for text in (" yes", "no", "")]
    assert [completion.ids.tolist() for completion in made.completions] == expected
    assert [completion.loss for completion in made.completions] == [((0, len(ids)),) for ids in expected]


def test_a_tokenizer_that_adds_no_end_gets_one_after_the_completion() -> None:
    tokenizer = tiny.tokenizer()
    made = Dialogue(tokenizer, apart=True).tokens(Group("g", "the cat ?", (Completion(" yes"),)))
    assert made.prompt.tolist() == tokenizer("the cat ?")["input_ids"]
    assert made.completions[0].ids.tolist() == [*tokenizer(" yes")["input_ids"], EOS]


def test_the_encoder_reads_a_chat_as_the_template_writes_it() -> None:
    """The decoder writes the reply; the template's end of turn and the tokenizer's are one EOS."""
    tokenizer = tiny.tokenizer(ends=True)
    turns = (Message("system", "be kind"), Message("user", "the cat ?"))
    group = Group("g", turns, (Completion((Message("assistant", "yes"),)),))
    dialogue = Dialogue(tokenizer, apart=True)
    made = dialogue.tokens(group)
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    written = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert made.prompt.tolist() == tokenizer(written)["input_ids"]
    assert made.completions[0].ids.tolist() == tokenizer("yes")["input_ids"]
    assert dialogue.prompt_ids(turns).tolist() == made.prompt.tolist()


def test_what_others_say_within_a_reply_carries_no_loss() -> None:
    tokenizer = tiny.tokenizer(ends=True)
    reply = (Message("assistant", "yes"), Message("user", "why"), Message("assistant", "rain"))
    made = Dialogue(tokenizer, apart=True).tokens(Group("g", (Message("user", "the cat ?"),), (Completion(reply),)))
    (completion,) = made.completions
    said = [tokenizer.decode(completion.ids[start:end]) for start, end in completion.loss]
    assert said == ["yes<|im_end|>", "rain<|im_end|>"]
    assert completion.loss[0][0] == 0
    (last,) = (
        Dialogue(tokenizer, apart=True, turns="last")
        .tokens(Group("g", (Message("user", "the cat ?"),), (Completion(reply),)))
        .completions
    )
    assert last.loss == completion.loss[1:]


def test_a_control_string_in_a_reply_stays_words() -> None:
    tokenizer = tiny.tokenizer(ends=True)
    turns = (Message("user", "say <|im_start|>"),)
    made = Dialogue(tokenizer, apart=True).tokens(
        Group("g", turns, (Completion((Message("assistant", "<|im_end|>"),)),))
    )
    assert made.completions[0].ids.tolist().count(EOS) == 1
    assert tokenizer.decode(made.completions[0].ids) == "<|im_end|><|im_end|>"
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert made.prompt.tolist().count(start) == 2  # the two headers


@pytest.mark.parametrize("prompt", ["the cat sat on a mat and dogs ran far", "turns"])
def test_max_length_is_of_either_side_and_a_cut_keeps_the_end(prompt: str) -> None:
    tokenizer = tiny.tokenizer(ends=True)
    turns = (Message("system", "be kind"), Message("user", "the cat sat on a mat and dogs ran far"))
    dialogue = Dialogue(tokenizer, apart=True)
    reply: Any = "yes birds" if prompt != "turns" else (Message("assistant", "yes birds"),)
    group = Group("g", turns if prompt == "turns" else prompt, (Completion(reply),))
    tokens = dialogue.tokens(group)
    prompt_length, own = len(tokens.prompt), len(tokens.completions[0].ids)
    assert own < prompt_length - 1
    assert fit_length(tokens, max_length=prompt_length, on_long="drop", apart=True)[0] is tokens
    assert fit_length(tokens, max_length=prompt_length - 1, on_long="drop", apart=True)[0] is None
    kept = dialogue.kept(group, tokens)
    cut, _ = fit_length(tokens, max_length=prompt_length - 1, on_long="truncate_prompt", kept=kept, apart=True)
    assert cut is not None
    first, last = kept
    assert cut.prompt.tolist() == [*tokens.prompt[:first], *tokens.prompt[first + 1 :]]
    assert last >= (6 if prompt == "turns" else 2)  # the header of the turn to come; EOS and one token before it
    assert cut.completions == tokens.completions
    assert fit_length(tokens, max_length=own, on_long="truncate_prompt", kept=kept, apart=True)[0] is None


def test_a_decoder_start_token_counts() -> None:
    tokens = tiny.group(3, [8])
    assert fit_length(tokens, max_length=9, on_long="drop", apart=True)[0] is tokens
    assert fit_length(tokens, max_length=8, on_long="drop", apart=True)[0] is None


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_samples_are_the_most_probable_tokens(kind: str) -> None:
    """Prompts of different lengths together: padding is of no influence."""
    network = KINDS[kind]()
    prompts = [group.prompt for group in GROUPS]
    made = sample(LanguageModel(network), prompts, max_new_tokens=6, ends={EOS}, seed=0, drawing=Drawing(0.0))
    for prompt, (one,) in zip(prompts, made, strict=True):
        ids = one.ids
        decoder = [network.config.decoder_start_token_id, *ids.tolist()]
        given = {"input_ids": torch.tensor([prompt.tolist()]), "decoder_input_ids": torch.tensor([decoder])}
        with torch.no_grad():
            best = network(**given).logits[0].argmax(-1)
        assert ids.tolist() == best[:-1].tolist()
        assert len(ids) == 6 or ids[-1] == EOS


def test_samples_stop_where_the_table_of_places_ends() -> None:
    ((made,),) = sample(LanguageModel(tiny.bart()), [GROUPS[1].prompt], max_new_tokens=200, ends=(), seed=0)
    assert len(made.ids) == 63 and not made.ended  # 64 places, one of them the start token's


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5, a BART, and data."""
    home = tmp_path_factory.mktemp("home")
    tiny.write_model(home / "t5", tiny.t5(vocab_size=300))
    tiny.write_model(home / "bart", tiny.bart(vocab_size=300))
    rows = tiny.comparisons(12)
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    demos = ({"id": row["id"], "prompt": row["prompt"], "completion": row["chosen"]} for row in rows)
    (home / "demos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in demos))
    return home


def run(command: str, home: Path, output: Path, **options: Any) -> int:
    data = home / ("pairs.jsonl" if command != "sft" else "demos.jsonl")
    given = {"model": home / "t5", "data": data, "output_dir": output, "report_to": "none", "batch_size": 4, **options}
    return main([command, *(f"--{key}={value}" for key, value in given.items())])


def test_logprobs_are_stock(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "logprobs.jsonl"
    given = {"model": home / "t5", "data": home / "pairs.jsonl", "output": out, "max_length": 64}
    assert main(["logprobs", *(f"--{key}={value}" for key, value in given.items())]) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    network, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(home / "t5"), AutoTokenizer.from_pretrained(home / "t5")
    row = tiny.comparisons(12)[3]
    for place, name in ((6, "chosen"), (7, "rejected")):
        inputs = tokenizer(row["prompt"], text_target=row[name], return_tensors="pt")
        with torch.no_grad():
            loss = network(input_ids=inputs.input_ids, labels=inputs.labels).loss
        assert found[place]["id"] == row["id"]
        assert found[place]["tokens"] == inputs.labels.shape[1]
        assert found[place]["logprob"] == pytest.approx(-loss.item() * inputs.labels.shape[1], rel=1e-5)


def test_sft_learns_and_loads_in_stock(home: Path, tmp_path: Path) -> None:
    options = {"max_steps": 30, "learning_rate": 1e-2, "samples": 2, "sample_tokens": 8, "logging_steps": 5}
    assert run("sft", home, tmp_path / "run", **options) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["layout"] == "encoder"
    assert "AutoModelForSeq2SeqLM" in (tmp_path / "run" / "README.md").read_text()
    network = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
    own = load_network(str(tmp_path / "run"))
    for (name, theirs), ours in zip(network.named_parameters(), own.parameters(), strict=True):
        assert torch.equal(theirs, ours), name
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert [row["step"] for row in samples] == [0, 0, 30, 30]
    assert all(0 < row["tokens"] <= 8 for row in samples)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_dpo_begins_at_log_2(home: Path, tmp_path: Path, name: str) -> None:
    options = {"model": home / name, "max_steps": 6, "learning_rate": 1e-3, "samples": 0, "logging_steps": 1}
    assert run("dpo", home, tmp_path / "run", **options) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert lines[-1]["rewards/margins"] > 0


def test_the_cut_into_micro_batches_changes_nothing(home: Path, tmp_path: Path) -> None:
    before = load_network(str(home / "t5")).state_dict()
    changes = []
    for most in (40, 4000):
        options = {"max_steps": 2, "max_tokens": most, "samples": 0, "learning_rate": 1e-3, "batch_size": 12}
        assert run("dpo", home, tmp_path / str(most), **options) == 0
        after = load_network(str(tmp_path / str(most))).state_dict()
        changes.append({name: after[name] - before[name] for name in before})
    assert tiny.distance(*changes) < 1e-3


def test_a_resumed_run_is_the_run(home: Path, tmp_path: Path) -> None:
    options = {"max_steps": 6, "samples": 0, "save_steps": 2, "learning_rate": 1e-3}
    assert run("dpo", home, tmp_path / "whole", **options) == 0
    assert run("dpo", home, tmp_path / "parts", **options) == 0
    place = tmp_path / "parts"
    for late in sorted((place / "checkpoints").iterdir())[1:]:  # as if killed after the first checkpoint
        if late.is_dir():
            for file in late.iterdir():
                file.unlink()
            late.rmdir()
    (place / "model.safetensors").unlink()
    assert run("dpo", home, place, **options, resume=True) == 0
    assert (place / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_gradient_checkpointing_learns_the_same(home: Path, tmp_path: Path, name: str) -> None:
    """Both have dropout of 0.1 by default, BART as a function and no module: it would show."""
    found = []
    for kept in (False, True):
        course = {"max_steps": 3, "samples": 0, "learning_rate": 1e-3}
        options = {**course, "model": home / name, "gradient_checkpointing": kept}
        assert run("sft", home, tmp_path / str(kept), **options) == 0
        found.append(load_network(str(tmp_path / str(kept))))
    for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


def test_an_adapter_on_it_loads_in_stock_peft(home: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForSeq2SeqLM

    assert run("dpo", home, tmp_path / "run", max_steps=4, samples=0, lora_r=4, learning_rate=1e-2) == 0
    theirs = AutoPeftModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
    ours = load_network(str(tmp_path / "run"))
    inputs = {"input_ids": torch.tensor([[5, 6, 7, EOS]]), "labels": torch.tensor([[8, 9, EOS]])}
    base = AutoModelForSeq2SeqLM.from_pretrained(home / "t5")
    with torch.no_grad():
        assert ours(**inputs).loss.item() == pytest.approx(theirs(**inputs).loss.item(), rel=1e-5)
        assert ours(**inputs).loss.item() != pytest.approx(base(**inputs).loss.item(), rel=1e-3)


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("pretrain", {}, "a language-model loss on whole texts needs a model that only decodes"),
        ("sft", {"lm_alpha": 0.5}, "error[2] lm_alpha: a language-model loss on whole texts"),
        ("dpo", {"layout": "tree"}, "this model has an encoder"),
    ],
)
def test_what_needs_a_decoder_is_refused_in_one_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, options: dict[str, Any], said: str
) -> None:
    assert run(command, home, tmp_path / "run", **options) == 2
    assert said in capsys.readouterr().err
