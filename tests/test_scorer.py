"""Reward models as stock transformers and peft have them: the same scores, files, heads, and what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from accord.data.batches import Layout, arrange
from accord.data.dialogue import TokenGroup
from accord.errors import InputError
from accord.models.adapters import Lora, add_adapter, make_trainable
from accord.models.heads import MULTI, SCORES, SINGLE, Head, head_of, score_groups, scores, write_beside
from accord.models.layout import settle
from accord.models.load import load_network, save
from accord.models.logprobs import LanguageModel
from accord.models.scorer import (
    Normalisation,
    as_reward,
    is_scorer,
    load_scorer,
    new_scorer,
    normalisation_of,
    normalise,
    pad_apart,
    with_new_head,
)

HEAD = Head(("reward",), seed=3)
LAYOUTS: list[Layout] = ["tree", "cache", "rows"]
GROUPS = [tiny.group(9, (7, 12, 3)), tiny.group(2, (5, 5), seed=1), tiny.group(14, (1, 20), seed=2)]


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    return tiny.write_model(tmp_path / "model")


def stock(network: torch.nn.Module, groups: Sequence[TokenGroup]) -> Tensor:
    """(C,) by stock alone, one unpadded row a completion."""
    rows = [np.concatenate([g.prompt, c.ids]).astype(np.int64) for g in groups for c in g.completions]
    return torch.cat([network(input_ids=torch.from_numpy(row)[None]).logits[0] for row in rows])


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", list(tiny.NETWORKS))
def test_scores_are_those_of_stock_in_every_layout(name: str, layout: Layout) -> None:
    network = with_new_head(tiny.NETWORKS[name](), HEAD).eval()
    truth = stock(network, GROUPS)
    model = LanguageModel(network, layout)
    with model.segmented():
        found = scores(model, arrange(GROUPS, layout))
    torch.testing.assert_close(found.score[:, 0], truth, atol=1e-4, rtol=1e-4)
    assert found.length.tolist() == [7, 12, 3, 5, 5, 1, 20]
    assert truth.std() > 0.1  # numbers that differ, so that a wrong place would show


def test_gradients_are_those_of_stock() -> None:
    network = with_new_head(tiny.llama(), HEAD).eval()
    weights = torch.arange(7.0) - 3
    truth = tiny.gradients(network, (stock(network, GROUPS) * weights).sum())
    for layout in LAYOUTS:
        model = LanguageModel(network, layout)
        with model.segmented():
            loss = (scores(model, arrange(GROUPS, layout)).score[:, 0] * weights).sum()
            assert tiny.distance(tiny.gradients(network, loss), truth) < 1e-5


def test_a_score_does_not_depend_on_its_micro_batch() -> None:
    model, _ = settle(LanguageModel(with_new_head(tiny.llama(), HEAD)), GROUPS[0], groups=GROUPS, reading=SCORES)
    small, large = (score_groups(model, GROUPS, max_tokens=size) for size in (1, 10_000))
    assert [len(one) for one in small] == [3, 2, 2]
    torch.testing.assert_close(torch.cat(small), torch.cat(large), atol=1e-5, rtol=1e-5)


def test_a_network_that_no_layout_fits_is_scored_by_stock_itself() -> None:
    network = with_new_head(tiny.llama(), HEAD).eval()
    head = head_of(network)
    head.register_forward_hook(lambda module, inputs, output: output + 1)  # which only a call of the layer shows
    model, failed = settle(LanguageModel(network), GROUPS[0], groups=GROUPS, reading=SCORES)
    assert model.head == "stock" and "of its score" in str(failed[0])
    truth = stock(network, GROUPS)
    torch.testing.assert_close(torch.cat(score_groups(model, GROUPS, max_tokens=100))[:, 0], truth)


def test_a_new_head_has_a_spread_of_one_over_the_root_of_its_inputs(tmp_path: Path) -> None:
    place = tiny.write_model(tmp_path / "wide", tiny.llama(vocab_size=300, hidden_size=1024, num_hidden_layers=1))
    one, again, other = (
        head_of(new_scorer(str(place), HEAD._replace(seed=seed))).weight.detach() for seed in (1, 1, 2)
    )
    assert one.shape == (1, 1024) and torch.equal(one, again) and not torch.equal(one, other)
    assert abs(one.std().item() * 1025**0.5 - 1) < 0.1 and abs(one.mean().item()) < 0.005


def test_what_is_written_is_what_stock_loads(language_model: Path, tmp_path: Path) -> None:
    network, tokenizer = new_scorer(str(language_model), HEAD), tiny.tokenizer()
    assert pad_apart(network, tokenizer, {5, 9}) is None
    normalise(network, Normalisation(0.25, 1.5))
    save(network, tokenizer, tmp_path / "reward")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    config = json.loads((tmp_path / "reward" / "config.json").read_text())
    assert loaded.num_labels == 1 and config["id2label"] == {"0": "reward"}
    assert (config["reward_mean"], config["reward_std"]) == (0.25, 1.5)
    assert torch.equal(loaded.score.weight, head_of(network).weight)
    again = load_scorer(str(tmp_path / "reward"))
    assert normalisation_of(again) == Normalisation(0.25, 1.5) and is_scorer(str(tmp_path / "reward"))
    torch.testing.assert_close(stock(again, GROUPS), stock(network, GROUPS))


@torch.no_grad()
@pytest.mark.parametrize("pad", [None, "eos", "own"])
def test_stock_finds_the_same_token_in_padded_rows(language_model: Path, pad: str | None) -> None:
    network, tokenizer = new_scorer(str(language_model), HEAD).eval(), tiny.tokenizer()
    if pad != "own":
        tokenizer.pad_token = tokenizer.eos_token if pad == "eos" else None
    told = pad_apart(network, tokenizer, set())
    assert (told is None) == (pad == "own")
    assert tokenizer.pad_token_id == network.config.pad_token_id != tokenizer.eos_token_id
    texts = ["the cat sat" + tokenizer.eos_token, "a dog" + tokenizer.eos_token]
    rows = tokenizer(texts, padding=True, return_tensors="pt")
    alone = [network(**tokenizer(text, return_tensors="pt")).logits[0, 0] for text in texts]
    torch.testing.assert_close(network(**rows).logits[:, 0], torch.stack(alone), atol=1e-5, rtol=1e-5)


def test_a_new_pad_token_takes_no_text_apart(language_model: Path, tmp_path: Path) -> None:
    """As with GPT-2, whose only special token is EOS: its first token, "!", must not become one."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    text = "Stop!! What a day!! Wow !! So good!!!"
    trainer = trainers.BpeTrainer(vocab_size=299, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator([text] * 20, trainer)
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, bos_token=end, unk_token=end)
    before, network = tokenizer(text).input_ids, new_scorer(str(language_model), HEAD)
    assert pad_apart(network, tokenizer, set()) is not None
    save(network, tokenizer, tmp_path / "reward")
    again = AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert again(text).input_ids == before and again.decode(before) == text
    assert again.pad_token_id == network.config.pad_token_id != again.eos_token_id


@torch.no_grad()
def test_an_adapter_with_its_head_is_what_stock_peft_loads(language_model: Path, tmp_path: Path) -> None:
    lora = Lora(2, 4, ("all-linear",), False, False)
    network = add_adapter(new_scorer(str(language_model), HEAD), lora, base=str(language_model), seed=0)
    make_trainable(network, dropout=0.0)
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    for parameter in trained.values():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    assert sum("score" in name for name in trained) == 1
    normalise(network, Normalisation(-1.0, 2.0))
    save(network, tiny.tokenizer(), tmp_path / "adapter")
    truth = stock(network.eval(), GROUPS)
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=1).eval()
    torch.testing.assert_close(stock(theirs, GROUPS), truth, atol=1e-5, rtol=1e-5)
    ours = load_scorer(str(tmp_path / "adapter"))
    torch.testing.assert_close(stock(ours, GROUPS), truth, atol=1e-5, rtol=1e-5)
    assert normalisation_of(ours) == Normalisation(-1.0, 2.0)
    model = LanguageModel(ours, "tree")
    torch.testing.assert_close(torch.cat(score_groups(model, GROUPS, max_tokens=99))[:, 0], truth, atol=1e-4, rtol=1e-4)


def test_language_models_and_their_adapters_are_refused(language_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="score head is missing from the weights"):
        load_scorer(str(language_model))
    lora = Lora(2, 4, ("all-linear",), False, False)
    adapted = add_adapter(load_network(str(language_model)), lora, base=str(language_model), seed=0)
    save(adapted, tiny.tokenizer(), tmp_path / "adapter")
    assert not is_scorer(str(tmp_path / "adapter")) and not is_scorer(str(language_model))
    with pytest.raises(InputError, match="score head is missing from the weights"):
        load_scorer(str(tmp_path / "adapter"))


@pytest.mark.parametrize("mean", ["x", [1], float("nan"), {}])
def test_a_normalisation_that_is_no_number_is_refused(language_model: Path, mean: object) -> None:
    network = new_scorer(str(language_model), HEAD)
    network.config.reward_mean, network.config.reward_std = mean, 1.0
    with pytest.raises(InputError, match="reward_mean and reward_std must be numbers, not "):
        normalisation_of(network)


@pytest.mark.parametrize("named", [["a"], "a", 3])
def test_labels_that_are_no_names_by_number_are_refused(language_model: Path, tmp_path: Path, named: object) -> None:
    lora = Lora(2, 4, ("all-linear",), False, False)
    network = add_adapter(new_scorer(str(language_model), HEAD), lora, base=str(language_model), seed=0)
    save(network, tiny.tokenizer(), tmp_path / "adapter")
    (tmp_path / "adapter" / "MANIFEST.json").unlink()
    (tmp_path / "adapter" / "score_head.json").write_text(json.dumps({"id2label": named}))
    with pytest.raises(InputError, match=r"score_head\.json: id2label must name a label"):
        load_scorer(str(tmp_path / "adapter"))


def test_a_pad_token_beyond_the_embedding_is_refused(language_model: Path) -> None:
    config = json.loads((language_model / "config.json").read_text())
    (language_model / "config.json").write_text(json.dumps(config | {"pad_token_id": 1_000_000}))
    with pytest.raises(InputError, match="cannot be loaded"):
        new_scorer(str(language_model), HEAD)


def test_a_scorer_is_no_language_model(language_model: Path, tmp_path: Path) -> None:
    save(new_scorer(str(language_model), HEAD), tiny.tokenizer(), tmp_path / "reward")
    with pytest.raises(InputError, match="gives scores and no text"):
        load_network(str(tmp_path / "reward"))


def test_a_model_with_an_encoder_is_refused(tmp_path: Path) -> None:
    place = tiny.write_model(tmp_path / "t5", tiny.t5(vocab_size=300))
    with pytest.raises(InputError, match="has an encoder"):
        new_scorer(str(place), HEAD)


def test_log_odds_of_a_label(tmp_path: Path) -> None:
    config = with_new_head(tiny.llama(), Head(("bad", "fine", "good"), SINGLE, 0)).config
    z = torch.tensor([[1.0, 2.0, 3.0]])
    # log(e^2 / (e^1 + e^3)) = 2 - log(2.71828 + 20.08554) = 2 - 3.12693
    torch.testing.assert_close(as_reward(z, config, "fine"), torch.tensor([-1.12693]), atol=1e-5, rtol=0)
    config.problem_type = MULTI
    assert as_reward(z, config, "good").tolist() == [3.0]
    with pytest.raises(InputError, match="name one of bad, fine, good"):
        as_reward(z, config, None)
    network = with_new_head(tiny.llama(), Head(("bad", "good"), MULTI, 0))
    write_beside(network, tmp_path)
    told = json.loads((tmp_path / "score_head.json").read_text())
    assert told["id2label"] == {"0": "bad", "1": "good"} and told["problem_type"] == MULTI


def test_the_load_of_experts_is_balanced_under_a_head_as_under_an_output_layer() -> None:
    """The same rows through the same routers: the balance loss does not depend on what stands behind them."""
    from accord.models.logprobs import logprobs

    network = tiny.mixtral(router_aux_loss_coef=0.02)
    batch = arrange(GROUPS, "rows")
    truth = logprobs(LanguageModel(network, "rows"), batch).routing
    found = scores(LanguageModel(with_new_head(network, HEAD), "rows"), batch).routing
    assert truth is not None and found is not None
    torch.testing.assert_close(found.balance(), truth.balance())


def test_a_bias_that_stock_leaves_out_is_named(
    language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(new_scorer(str(language_model), HEAD), tiny.tokenizer(), tmp_path / "made")
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "made").save_pretrained(tmp_path / "foreign")
    file = tmp_path / "foreign" / "model.safetensors"
    save_file({**load_file(file), "score.bias": torch.ones(1)}, file, metadata={"format": "pt"})
    capsys.readouterr()
    load_scorer(str(tmp_path / "foreign"))
    assert "score.bias" in capsys.readouterr().err
