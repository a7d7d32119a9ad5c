"""The start-up comparison: networks that break the tree or have an output layer of their own are found and said."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel, LlamaForCausalLM, T5ForConditionalGeneration
from transformers.models.llama import modeling_llama

import accord
from accord.cli import main
from accord.data.batches import arrange
from accord.errors import InputError
from accord.models import attention
from accord.models.layout import settle, share_saved, stock_logprobs
from accord.models.logprobs import LanguageModel, logprobs

GROUP = tiny.group(9, [7, 4, 5])


class DropsSegments(LlamaForCausalLM):
    """Its layers never hear of segments: plain causal attention over the whole row."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.model.layers:
            layer.register_forward_pre_hook(self._without, with_kwargs=True)

    @staticmethod
    def _without(layer: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return inputs, {**named, "segments": None, "attention_mask": None}


class FirstLayerOnly(LlamaForCausalLM):
    """One layer attends by segments, the other does not: that some did is not enough."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.layers[1].register_forward_pre_hook(DropsSegments._without, with_kwargs=True)


class OldFashioned(LlamaForCausalLM):
    """Its body has a closed list of arguments, `segments` not among them."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        forward = self.model.forward

        def closed(
            input_ids: Tensor | None = None,
            attention_mask: Tensor | None = None,
            position_ids: Tensor | None = None,
            past_key_values: Any = None,
            inputs_embeds: Tensor | None = None,
            use_cache: bool | None = None,
        ) -> Any:
            return forward(input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=use_cache)

        self.model.forward = closed


def absolute(body: Any) -> None:
    """The body counts places by itself, whatever position_ids it is given."""
    forward = body.forward

    def counting(input_ids: Tensor, position_ids: Tensor | None = None, **rest: Any) -> Any:
        return forward(input_ids, position_ids=torch.arange(input_ids.shape[1])[None], **rest)

    body.forward = counting


class AbsolutePlaces(LlamaForCausalLM):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        absolute(self.model)


class AbsoluteTable(GPT2LMHeadModel):
    """Its table of places has no more rows than its config says."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        absolute(self.transformer)


class IgnoresSegments(LlamaForCausalLM):
    """Its layers do not pass segments on to attention, and take everything else."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.model.layers:
            layer.self_attn.register_forward_pre_hook(self._without, with_kwargs=True)

    @staticmethod
    def _without(layer: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return inputs, {**named, "segments": None}


class Louder(LlamaForCausalLM):
    """Multiplies its logits by a factor that its config does not name."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * 1.5
        return output


def truth(network: Any) -> Tensor:
    with torch.no_grad():
        return torch.cat(tiny.stock_tokens(network, GROUP))


def computed(model: LanguageModel) -> Tensor:
    with torch.no_grad(), model.segmented():
        return logprobs(model, arrange([GROUP], model.layout)).token.token


@pytest.mark.parametrize("name", tiny.NETWORKS)
def test_healthy_networks_compute_the_tree(name: str) -> None:
    model, failed = settle(LanguageModel(tiny.NETWORKS[name]()), GROUP)
    assert (model.layout, model.head, failed) == ("tree", "gathered", [])


def test_stock_is_what_transformers_says() -> None:
    """A completion without loss adds nothing."""
    both, first = ([((0, 3), (7, 12)), second] for second in (((0, 1),), ()))
    group, full = (tiny.group(6, [12, 1], seed=4, loss=loss) for loss in (first, both))
    for name, network in ((name, build()) for name, build in tiny.NETWORKS.items()):
        with torch.no_grad():
            expected = tiny.stock_tokens(network, full)[0]
        torch.testing.assert_close(stock_logprobs(LanguageModel(network), group), expected, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", [DropsSegments, FirstLayerOnly, OldFashioned, AbsolutePlaces])
def test_a_network_that_breaks_tree_and_cache_computes_rows(kind: type[LlamaForCausalLM]) -> None:
    network = tiny.llama(kind)
    model, failed = settle(LanguageModel(network), GROUP)
    assert (model.layout, model.head) == ("rows", "gathered")
    assert [(trial.layout, trial.head) for trial in failed] == [("tree", "gathered"), ("cache", "gathered")]
    torch.testing.assert_close(computed(model), truth(network), rtol=0, atol=1e-4)


def test_what_failed_is_said_in_words() -> None:
    trial = settle(LanguageModel(tiny.llama(DropsSegments)), GROUP)[1][0]
    assert str(trial) == "tree layout, gathered output layer: its attention does not take segments"
    trial = settle(LanguageModel(tiny.llama(AbsolutePlaces)), GROUP)[1][0]
    assert str(trial).startswith("tree layout, gathered output layer: differs from stock by up to ")
    assert trial.largest > 0.01


def test_a_row_longer_than_the_table_of_places_is_no_crash() -> None:
    """16 places are enough for each completion (9 + 7), not for the tree (25)."""
    network = tiny.gpt2(AbsoluteTable, n_positions=16)
    model, _ = settle(LanguageModel(network), GROUP)
    assert (model.layout, model.head) == ("rows", "gathered")


@pytest.mark.parametrize("group", [tiny.group(9, [7]), tiny.group(0, [16])], ids=["demonstration", "document"])
@pytest.mark.parametrize("kind", ["places", "first layer only"])
def test_one_completion_is_enough_to_find_out(group: Any, kind: str) -> None:
    """Several groups share a row in training; a trial of one segment alone would not show that they disturb each other.

    Networks of this kind: a table of places counted along the row; attention beside recurrent layers (Jamba, Zamba).
    """
    network = tiny.gpt2(AbsoluteTable) if kind == "places" else tiny.llama(FirstLayerOnly)
    model, _ = settle(LanguageModel(network), group)
    both = [group, tiny.group(4, [6], seed=1)]
    with torch.no_grad(), model.segmented():
        found = logprobs(model, arrange(both, model.layout)).token.token
        expected = torch.cat([part for g in both for part in tiny.stock_tokens(network, g)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_special_output_layer_is_left_to_the_network() -> None:
    network = tiny.llama(Louder)
    model, failed = settle(LanguageModel(network), GROUP)
    assert (model.layout, model.head) == ("rows", "stock")
    assert [(trial.layout, trial.head) for trial in failed] == [(way, "gathered") for way in ("tree", "cache", "rows")]
    torch.testing.assert_close(computed(model), truth(network), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["logit_scale", "logits_scaling"])
def test_a_factor_that_the_config_names_is_applied(name: str) -> None:
    """Cohere multiplies by logit_scale, Granite divides by logits_scaling."""

    class Named(LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * (0.25 if name == "logit_scale" else 1 / 0.25)
            return output

    model, failed = settle(LanguageModel(tiny.llama(Named, **{name: 0.25})), GROUP)
    assert (model.layout, model.head, failed) == ("tree", "gathered", [])


@pytest.mark.parametrize("layout", ["tree", "cache", "rows"])
def test_the_layout_that_is_asked_for_is_computed(layout: Any) -> None:
    model, failed = settle(LanguageModel(tiny.llama()), GROUP, asked=layout)
    assert (model.layout, model.head, failed) == (layout, "gathered", [])


def test_a_network_whose_attention_takes_no_segments_keeps_its_prompts() -> None:
    network = tiny.llama(IgnoresSegments)
    model, failed = settle(LanguageModel(network), GROUP)
    assert (model.layout, [trial.layout for trial in failed]) == ("cache", ["tree"])
    torch.testing.assert_close(computed(model), truth(network), rtol=0, atol=1e-4)


def test_without_keys_and_values_the_cache_is_not_tried() -> None:
    """As with gradient checkpointing, of which a forward pass at the start knows nothing."""
    model, failed = settle(LanguageModel(tiny.llama(IgnoresSegments)), GROUP, keeps=False)
    assert (model.layout, [trial.layout for trial in failed]) == ("rows", ["tree"])


def test_the_cache_is_not_tried_where_no_prompt_is_shared() -> None:
    model, failed = settle(LanguageModel(tiny.llama(IgnoresSegments)), tiny.group(9, [7]))
    assert (model.layout, [trial.layout for trial in failed]) == ("rows", ["tree"])


def test_a_run_whose_longest_group_shares_nothing_tries_the_cache_on_one_that_does() -> None:
    """Padding on the left must be seen by the body; this one takes every prompt to begin at place 0 of its row."""

    class Unpadded(IgnoresSegments):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            forward = self.model.forward

            def seeing_all(attention_mask: Tensor | None = None, **rest: Any) -> Any:
                return forward(attention_mask=None if rest.get("use_cache") else attention_mask, **rest)

            self.model.forward = seeing_all

    alone, sharing = tiny.group(30, [9]), tiny.group(9, [7, 4])
    network = tiny.llama(Unpadded)
    model, failed = settle(LanguageModel(network), alone, groups=[sharing, alone])
    assert (model.layout, [trial.layout for trial in failed]) == ("rows", ["tree", "cache"])


def test_gradient_checkpointing_and_the_cache_contradict_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_dpo(tmp_path, "--layout=cache", "--gradient_checkpointing") == 2
    assert "layout: cache, and with gradient_checkpointing no keys and values are kept" in capsys.readouterr().err


def test_a_wrong_mask_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is real: let branches see each other in our own attention, and the tree is not used."""
    right = attention.Segments.tree_mask

    def wrong(self: attention.Segments, family: attention.Family, window: int | None) -> Tensor:
        return torch.ones_like(right(self, family, window)).tril()

    monkeypatch.setattr(attention.Segments, "tree_mask", wrong)
    model, failed = settle(LanguageModel(tiny.llama()), GROUP)
    assert (model.layout, len(failed)) == ("cache", 1)


def test_the_networks_attention_is_put_back_after_a_failed_trial() -> None:
    network = tiny.llama(OldFashioned)
    settle(LanguageModel(network), GROUP)
    assert network.config._attn_implementation == "sdpa"


def test_dropout_of_a_network_in_training_mode_does_not_spoil_the_comparison() -> None:
    """A network made in Python, and not loaded, is in training mode; GPT-2 has dropout by default."""
    network = tiny.gpt2().train()
    model, failed = settle(LanguageModel(network), GROUP)
    assert (model.layout, failed) == ("tree", [])
    assert network.training


def test_an_encoder_reads_each_prompt_once() -> None:
    network = tiny.t5()
    seen: list[int] = []
    network.encoder.register_forward_hook(lambda module, args, output: seen.append(len(output.last_hidden_state)))
    with torch.no_grad():
        logprobs(LanguageModel(network, "encoder"), arrange([GROUP, tiny.group(4, [6])], "encoder", start=0))
    assert seen == [2]  # not one for each of the four completions


def test_an_encoder_decoder_with_logits_of_its_own_keeps_them() -> None:
    class LouderT5(T5ForConditionalGeneration):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 1.5
            return output

    network = tiny.t5(LouderT5)
    model, failed = settle(LanguageModel(network), GROUP)
    assert (model.layout, model.head, [trial.layout for trial in failed]) == ("encoder", "stock", ["encoder"])
    with torch.no_grad():
        found = logprobs(model, arrange([GROUP], "encoder", start=0)).token.token
    torch.testing.assert_close(found, stock_logprobs(model, GROUP), rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", ["tree", "cache", "rows"])
def test_an_encoder_decoder_has_no_layout_of_decoders(layout: Any) -> None:
    with pytest.raises(InputError, match=f"layout: {layout}, and this model has an encoder"):
        settle(LanguageModel(tiny.t5()), GROUP, asked=layout)


def test_share_saved() -> None:
    """Prompt 9, completions 7 + 4 + 5: 25 tokens instead of 3 * 9 + 16 = 43."""
    assert share_saved([GROUP], "tree") == pytest.approx(18 / 43)
    assert share_saved([GROUP], "cache") == pytest.approx((43 - (8 + 3 + 16)) / 43)
    assert share_saved([GROUP], "encoder") == pytest.approx(18 / 46)  # each completion has a start token besides
    assert share_saved([tiny.group(9, [7])], "encoder") == 0.0
    assert share_saved([GROUP], "rows") == 0.0
    assert share_saved([], "tree") == 0.0


def run_dpo(directory: Path, *more: str, output: str = "run") -> int:
    data = directory / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny.comparisons(4)))
    words = {"model": directory / "model", "data": data, "output_dir": directory / output, "report_to": "none"}
    return main(["dpo", *(f"--{key}={value}" for key, value in words.items()), "--samples=0", *more])


def test_dpo_says_that_it_falls_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stock directory whose attention, for once, ignores segments."""
    tiny.write_model(tmp_path / "model")
    forward = modeling_llama.LlamaAttention.forward

    def ignoring(self: Any, *args: Any, segments: Any = None, **rest: Any) -> Any:
        return forward(self, *args, **rest)

    monkeypatch.setattr(modeling_llama.LlamaAttention, "forward", ignoring)
    assert run_dpo(tmp_path) == 0
    said = capsys.readouterr().err
    assert "note: not used, as the start-up comparison failed: tree layout" in said
    assert "computing with the cache layout and the gathered output layer" in said
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["layout"] == "cache"


def test_dpo_of_a_healthy_model_says_nothing_of_layouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_model(tmp_path / "model")
    assert run_dpo(tmp_path) == 0
    assert "layout" not in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["layout"] == "tree"


def test_dpo_through_the_stock_output_layer_is_the_same_dpo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A loaded object with logits of its own: the run falls back twice, and learns as the loss of stock logits says."""
    network = tiny.llama(Louder, vocab_size=300)
    result = accord.dpo(
        model=network, tokenizer=tiny.tokenizer(), data=tiny.comparisons(4), output_dir=tmp_path / "run",
        samples=0, report_to="none", max_steps=1, warmup_steps=0,
    )  # fmt: skip
    said = capsys.readouterr().err
    assert said.count("note: not used") == 3
    assert "computing with the rows layout and the stock output layer" in said
    assert result.metrics["loss"] == pytest.approx(0.693147, abs=1e-5)


def test_dpo_in_every_layout_is_the_same_dpo(tmp_path: Path) -> None:
    """Three steps at a high learning rate: a gradient that differs in one layout would show in the later losses."""
    tiny.write_model(tmp_path / "model")
    found = {}
    for layout in ("tree", "cache", "rows"):
        more = (f"--layout={layout}", "--max_steps=3", "--learning_rate=1e-3", "--warmup_steps=0")
        assert run_dpo(tmp_path, *more, "--logging_steps=1", "--batch_size=2", output=layout) == 0
        lines = (tmp_path / layout / "metrics.jsonl").read_text().splitlines()
        found[layout] = [(json.loads(line)["loss"], json.loads(line)["grad_norm"]) for line in lines]
        assert json.loads((tmp_path / layout / "summary.json").read_text())["layout"] == layout
    assert found["tree"][2][0] < 0.69
    for layout in ("cache", "rows"):
        for one, other in zip(found[layout], found["tree"], strict=True):
            assert one == pytest.approx(other, rel=1e-4)
