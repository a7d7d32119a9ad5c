"""LoRA: what is trained, that the engine computes it as stock does, how it is kept, continued and merged."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from accord.data.batches import arrange
from accord.errors import InputError
from accord.models.adapter_files import adapter_directory, base_of, load_adapter, write_adapter
from accord.models.adapters import (
    Lora,
    adapter_is_fresh,
    adapters_off,
    add_adapter,
    bare,
    make_trainable,
    merged,
)
from accord.models.layout import settle
from accord.models.load import load_network, load_tokenizer
from accord.models.logprobs import LanguageModel, logprobs
from accord.training.optimizer import Weights, recipe

PLAIN = Lora(4, 8, ("all-linear",), False, False)
KINDS = {
    "lora": PLAIN,
    "rslora": PLAIN._replace(rank_stabilised=True),
    "dora": PLAIN._replace(magnitudes=True),
    "two layers": PLAIN._replace(targets=("q_proj", "down_proj")),
}
GROUP = tiny.group(9, [5, 7], seed=4)


def adapted(network: PreTrainedModel, lora: Lora = PLAIN, *, dropout: float = 0.0) -> PreTrainedModel:
    """With a fresh adapter."""
    network = add_adapter(network, lora, base="", seed=1)
    make_trainable(network, dropout=dropout)
    return network


def trained(network: PreTrainedModel, size: float = 0.1) -> PreTrainedModel:
    """Its adapter moved far enough that ignoring a part of it would show."""
    generator = torch.Generator().manual_seed(5)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data += size * torch.randn(parameter.shape, generator=generator)
    return network


def values(model: LanguageModel) -> Tensor:
    with model.segmented():
        return logprobs(model, arrange([GROUP], model.layout)).sum


def stock(network: PreTrainedModel) -> Tensor:
    return torch.stack(tiny.stock_sums(network, [GROUP])[0])


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "lora") for name in tiny.NETWORKS), ("llama", "dora"), ("gpt2", "dora")]
)
def test_a_fresh_adapter_changes_nothing_and_alone_is_trained(name: str, kind: str) -> None:
    before = stock(tiny.NETWORKS[name]())
    network = adapted(tiny.NETWORKS[name](), KINDS[kind])
    torch.testing.assert_close(stock(network), before, rtol=0, atol=0 if kind == "lora" else 1e-5)
    assert adapter_is_fresh(network)
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert names and all("lora_" in name for name in names)
    assert not any("lm_head" in name for name in names)


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, kind) for name in ("llama-tied", "gemma2") for kind in KINDS), ("gpt2", "dora")]
)
def test_the_engine_computes_an_adapter_as_stock_does(name: str, kind: str) -> None:
    network = trained(adapted(tiny.NETWORKS[name](), KINDS[kind]))
    assert not adapter_is_fresh(network)
    model, failed = settle(LanguageModel(network), GROUP, asked="tree")
    assert (model.layout, model.head, failed) == ("tree", "gathered", [])
    torch.testing.assert_close(values(model), stock(network), rtol=0, atol=1e-4)
    weight = torch.tensor([1.0, -2.0])
    gradients = tiny.gradients(network, (weight * values(model)).sum())
    truth = tiny.gradients(network, (weight * stock(network)).sum())
    assert tiny.distance(gradients, truth) < 1e-5


def test_scales_are_those_of_the_papers() -> None:
    layer = tiny.llama(num_hidden_layers=1).model.layers[0].self_attn.q_proj
    weight = layer.weight.detach().clone()
    for lora, scale in ((PLAIN, 8 / 4), (PLAIN._replace(rank_stabilised=True), 8 / 2)):
        network: Any = trained(adapted(tiny.llama(num_hidden_layers=1), lora))
        own = network.model.layers[0].self_attn.q_proj
        a, b = own.lora_A["default"].weight, own.lora_B["default"].weight
        x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(own(x), x @ (weight + scale * b @ a).T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["adapter", "copy"])
@pytest.mark.parametrize("name", ["llama", "llama-tied"])
def test_a_changed_output_layer_is_not_left_out(name: str, how: str) -> None:
    """Fresh, it changes nothing, so the start-up comparison could not tell that it is ignored."""
    config = LoraConfig(
        r=4,
        target_modules=["q_proj", "lm_head"] if how == "adapter" else ["q_proj"],
        modules_to_save=["lm_head"] if how == "copy" else None,
        task_type="CAUSAL_LM",
    )
    network = bare(get_peft_model(tiny.NETWORKS[name](), config))
    model, _ = settle(LanguageModel(network), GROUP)
    before = stock(network).detach()
    trained(network)
    assert not torch.allclose(stock(network), before, atol=1e-2)
    assert model.head == "stock"
    torch.testing.assert_close(values(model), stock(network), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    network = trained(adapted(tiny.NETWORKS[name]()))
    rows = LanguageModel(network, "rows")
    truth = tiny.gradients(network, values(rows).sum())
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    network.gradient_checkpointing_enable({"use_reentrant": False})
    assert tiny.distance(tiny.gradients(network, values(rows).sum()), truth) < 1e-6


def test_in_bf16_the_adapter_alone_has_masters_and_the_base_stays_as_it_is() -> None:
    network = adapted(tiny.llama().to(torch.bfloat16))
    base = {name: p.detach().clone() for name, p in network.named_parameters() if not p.requires_grad}
    weights = Weights.of(network, recipe("adamw"), dtype=torch.bfloat16, widen_frozen=False)
    assert all("lora_" in name and master.dtype == torch.float32 for name, master in weights.masters.items())
    model = LanguageModel(network)
    for _ in range(3):
        values(model).sum().backward()
        weights.step(1e-2)
        weights.zero_grad()
    assert not adapter_is_fresh(network)
    weights.widen()
    now = dict(network.named_parameters())
    assert all(now[name].dtype == torch.bfloat16 and torch.equal(now[name], tensor) for name, tensor in base.items())
    assert set(weights.state_tensors()["weights"]) == set(now) - set(base)


def test_switched_off_the_network_is_its_base_and_then_trains_on() -> None:
    base = tiny.llama()
    for parameter in base.parameters():
        parameter.data = parameter.data.bfloat16()
    before = stock(base)
    network: Any = trained(adapted(tiny.llama(), PLAIN._replace(magnitudes=True)))
    network.model.layers[0].self_attn.q_proj.lora_A.requires_grad_(False)  # and is not to be trained afterwards either
    weights = Weights.of(network, recipe("sgd"), dtype=torch.bfloat16)
    changed = stock(network).detach()
    flags = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    with adapters_off(network):
        off = stock(network)
        torch.testing.assert_close(off, before, rtol=0, atol=0)
        assert not off.requires_grad
    assert not torch.allclose(changed, before, atol=0.5)
    torch.testing.assert_close(stock(network), changed, rtol=0, atol=0)
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == flags
    stock(network).sum().backward()
    assert weights.grad_norm() > 0  # the gradients still reach the masters


def test_switching_off_a_network_without_adapter_does_nothing() -> None:
    network = tiny.llama()
    with adapters_off(network):
        torch.testing.assert_close(stock(network), stock(tiny.llama()), rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_deep_copy_is_frozen_where_it_was() -> None:
    network = trained(adapted(tiny.llama()))
    twin = copy.deepcopy(network)
    before = stock(network).detach()
    trained(network)
    torch.testing.assert_close(stock(twin), before, rtol=0, atol=0)
    assert not torch.allclose(stock(network), before, atol=1e-2)


def test_the_seed_is_the_adapters_and_nothing_elses() -> None:
    torch.manual_seed(0)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    one, same = adapted(tiny.llama()).state_dict(), adapted(tiny.llama()).state_dict()
    assert torch.rand(1) == drawn
    network = add_adapter(tiny.llama(), PLAIN, base="", seed=2)
    targets: Any = network.peft_config["default"].target_modules
    assert len(targets) == 14 and targets == sorted(targets)  # a set would be written in another order every time
    other = network.state_dict()
    key = "model.layers.0.mlp.up_proj.lora_A.default.weight"
    assert torch.equal(one[key], same[key])
    assert not torch.equal(one[key], other[key])


@pytest.mark.parametrize(
    ("targets", "message"),
    [(("q_proj", "nose"), "no layer 'nose'"), (("norm",), "not supported"), (("k_pro",), "no layer 'k_pro'")],
)
def test_what_is_no_target_is_refused_with_what_there_is(targets: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        add_adapter(tiny.llama(), PLAIN._replace(targets=targets), base="", seed=0)
    assert "q_proj" in caught.value.fix
    assert caught.value.where == "lora_target_modules"


Kept = tuple[Path, Path, Tensor]


@pytest.fixture(params=["lora", "dora", "llama-tied"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """(base, adapter, its values): directories of a trained adapter and its base."""
    lora = KINDS.get(request.param, PLAIN)
    base = tiny.llama(vocab_size=300, tie_word_embeddings=request.param == "llama-tied")
    tiny.write_model(tmp_path / "base", base)
    network = add_adapter(base, lora, base=str(tmp_path / "base"), seed=1)
    write_adapter(trained(network), tmp_path / "adapter")
    return tmp_path / "base", tmp_path / "adapter", stock(network.eval()).detach()


def test_stock_peft_loads_what_was_written(kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, adapter, expected = kept
    monkeypatch.chdir(tmp_path / "base")  # from anywhere
    network = AutoPeftModelForCausalLM.from_pretrained(str(adapter))
    torch.testing.assert_close(stock(network.eval()), expected, rtol=0, atol=1e-5)
    assert sorted(file.name for file in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_what_stock_peft_wrote_is_loaded(tmp_path: Path) -> None:
    tiny.write_model(tmp_path / "base")
    config = LoraConfig(r=3, target_modules=["v_proj"], modules_to_save=["lm_head"], lora_dropout=0.1)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), config)
    trained(bare(wrapped))
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    network = load_network(str(tmp_path / "adapter"))
    torch.testing.assert_close(stock(network), stock(wrapped.eval()), rtol=0, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    make_trainable(network, dropout=0.0)
    names = {name.rpartition("layers.")[2] for name, p in network.named_parameters() if p.requires_grad}
    assert "lm_head.modules_to_save.default.weight" in names
    assert len(names) == 5  # A and B of two layers, and the copy of the output layer
    write_adapter(network, tmp_path / "again")
    again = load_network(str(tmp_path / "again"))
    torch.testing.assert_close(stock(again), stock(network), rtol=0, atol=0)


def test_an_adapter_is_loaded_whole(kept: Kept) -> None:
    base, adapter, expected = kept
    network = load_network(str(adapter))
    torch.testing.assert_close(stock(network), expected, rtol=0, atol=1e-5)
    assert adapter_directory(str(base)) is None
    assert len(load_tokenizer(str(adapter))) == len(load_tokenizer(str(base)))  # the base's, as it has none


def test_a_base_is_looked_for_here_then_beside_the_adapter(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter, _ = kept

    def names(value: object) -> None:
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": value}))

    names("../base")
    assert base_of(adapter) == str(base)
    names("base")
    monkeypatch.chdir(tmp_path)
    assert base_of(adapter) == str(base)
    names("someone/model")
    assert base_of(adapter) == "someone/model"
    assert base_of(adapter, str(base)) == str(base)
    for wrong, message in (("/nowhere/base", "is not there"), ("", "names no model"), (None, "names no model")):
        names(wrong)
        with pytest.raises(InputError, match=message) as caught:
            base_of(adapter)
        assert "--base_model" in caught.value.fix
    with pytest.raises(InputError, match="an adapter itself"):
        base_of(adapter, str(adapter))


Damage = Callable[[Path], None]


def other_base(adapter: Path) -> None:
    tiny.write_model(adapter.parent / "base", tiny.llama(vocab_size=300, num_hidden_layers=1))


def narrower_base(adapter: Path) -> None:
    tiny.write_model(adapter.parent / "base", tiny.llama(vocab_size=300, hidden_size=16))


def no_weights(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()


def pickled(adapter: Path) -> None:
    no_weights(adapter)
    (adapter / "adapter_model.bin").write_bytes(b"pickle")


def truncated(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def one_less(adapter: Path) -> None:
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, adapter / "adapter_model.safetensors")


def not_finite(adapter: Path) -> None:
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors[sorted(tensors)[0]][0, 0] = float("nan")
    save_file(tensors, adapter / "adapter_model.safetensors")


def other_kind(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3", "base_model_name_or_path": "../base"}))


def no_json(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_base, "belong nowhere in"),
        (narrower_base, "does not fit"),
        (no_weights, "no adapter_model.safetensors"),
        (pickled, "pickled weights"),
        (truncated, "cannot be read"),
        (one_less, "1 tensors are missing"),
        (not_finite, "not finite"),
        (other_kind, "peft_type is IA3"),
        (no_json, "cannot be read"),
    ],
)
def test_a_wrong_adapter_is_refused_by_name(tmp_path: Path, damage: Damage, message: str) -> None:
    base = tiny.llama(vocab_size=300)
    tiny.write_model(tmp_path / "base", base)
    write_adapter(add_adapter(base, PLAIN, base=str(tmp_path / "base"), seed=1), tmp_path / "adapter")
    damage(tmp_path / "adapter")
    with pytest.raises(InputError, match=message) as caught:
        load_network(str(tmp_path / "adapter"))
    assert str(tmp_path / "adapter") in caught.value.where
    assert caught.value.fix


TARGETS = {
    "linear": ["q_proj", "down_proj"],
    "output": ["q_proj", "lm_head"],
    "embedding": ["q_proj", "embed_tokens"],
    "both": ["embed_tokens", "lm_head"],
}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("targets", TARGETS)
def test_merged_it_is_the_same_and_stays_so_on_the_disk(tmp_path: Path, targets: str, tied: bool) -> None:
    """Merged into one of two tied layers, a change must not reach the other."""
    base = tiny.llama(vocab_size=300, tie_word_embeddings=tied)
    wrapped = get_peft_model(base, LoraConfig(r=4, target_modules=TARGETS[targets], task_type="CAUSAL_LM"))
    expected = stock(trained(bare(wrapped))).detach()
    network = merged(wrapped)
    torch.testing.assert_close(stock(network), expected, rtol=0, atol=1e-4)
    network.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(stock(again), expected, rtol=0, atol=1e-4)
    assert again.config.tie_word_embeddings is (tied and targets == "linear")


def test_a_merged_copy_of_the_output_layer_is_no_longer_tied(tmp_path: Path) -> None:
    base = tiny.llama(vocab_size=300, tie_word_embeddings=True)
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    wrapped = get_peft_model(base, config)
    expected = stock(trained(bare(wrapped))).detach()
    merged(wrapped).save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(stock(again), expected, rtol=0, atol=1e-4)


def test_an_adapter_that_trains_biases_is_not_trained_further(tmp_path: Path) -> None:
    base = tiny.write_model(tmp_path / "base", tiny.gpt2(vocab_size=300))
    config = LoraConfig(r=2, target_modules=["c_attn"], bias="all", task_type="CAUSAL_LM", fan_in_fan_out=True)
    wrapped: PeftModel = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    network = bare(load_adapter(load_network(str(base)), tmp_path / "adapter"))
    with pytest.raises(InputError, match="biases"):
        make_trainable(network, dropout=0.0)
    assert not adapter_is_fresh(network)
