"""Reference log-probabilities by token and by sum, and the key under which they are kept: same numbers, same key."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedModel

from accord.data.batches import arrange
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.models.adapters import bare
from accord.models.digest import PIECE, digest
from accord.models.identity import Unidentified, content, group_key, identity
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.reference import ReferenceLogprobs, reference_logprobs

GROUPS = [
    tiny.group(5, (3, 7), seed=1),
    tiny.group(9, (2, 2, 6), seed=2, loss=(((0, 1),), ((1, 2),), ((0, 2), (4, 6)))),
    tiny.group(0, (5, 4), seed=3),
    tiny.group(4, (3, 3), seed=4, loss=((), ((0, 3),))),
]


def stock_values(network: PreTrainedModel, group: TokenGroup) -> list[torch.Tensor]:
    """One completion at a time; nothing for one without loss."""
    alone = [TokenGroup(group.group, group.prompt, (one,)) for one in group.completions]
    return [tiny.stock_tokens(network, one)[0] if one.completions[0].loss else torch.zeros(0) for one in alone]


@pytest.mark.parametrize("layout", ["tree", "cache", "rows"])
def test_values_are_those_of_stock_in_the_order_of_the_batch(layout: Any) -> None:
    network = tiny.llama()
    found = reference_logprobs(LanguageModel(network, layout), GROUPS, max_tokens=30)
    order = (3, 0, 2, 1)
    batch = arrange([GROUPS[i] for i in order], layout, indices=order)
    with torch.no_grad():
        stock = [tokens for i in order for tokens in stock_values(network, GROUPS[i])]
    assert torch.allclose(found.tokens_of(batch), torch.cat(stock), atol=1e-4)
    assert torch.allclose(found.of(batch), torch.stack([tokens.sum() for tokens in stock]), atol=1e-4)
    assert torch.equal(batch.owner.bincount(minlength=9), torch.tensor([len(tokens) for tokens in stock]))


def test_sums_are_the_policys_to_the_bit() -> None:
    """The sum of 400 tokens depends on its order by more than the values do."""
    groups = [tiny.group(3, (400, 350), seed=7)]
    model = LanguageModel(tiny.llama())
    batch = arrange(groups, "tree")
    with torch.no_grad(), model.segmented():
        policy = logprobs(model, batch)
    found = ReferenceLogprobs.of_groups([tuple(policy.token.token.split(policy.length.tolist()))])
    assert torch.equal(found.of(batch), policy.sum)
    assert torch.equal(found.tokens_of(batch), policy.token.token)


def test_no_groups_have_no_values() -> None:
    found = reference_logprobs(LanguageModel(tiny.llama()), [], max_tokens=30)
    assert [len(part) for part in (found.token, found.end, found.sum, found.first)] == [0, 0, 0, 0]


def lora(network: Any = None, **options: Any) -> Any:
    targets = options.pop("target_modules", ["q_proj", "down_proj"])
    network = network or tiny.llama()
    return bare(get_peft_model(network, LoraConfig(task_type="CAUSAL_LM", target_modules=targets, **options)))


def up(network: nn.Module) -> torch.Tensor:
    """The weight B of one layer's adapter."""
    return next(parameter.data for name, parameter in network.named_parameters() if "lora_B" in name)


@pytest.mark.parametrize("kind", ["plain", "dora", "scaled", "output", "embedding", "bf16"])
def test_a_fresh_adapter_is_no_part_of_the_values_and_of_their_key(kind: str) -> None:
    options: dict[str, Any] = {
        "plain": {"r": 4},
        "dora": {"r": 2, "use_dora": True},
        "scaled": {"r": 8, "lora_alpha": 64, "use_rslora": True, "lora_dropout": 0.5},
        "output": {"r": 2, "target_modules": ["lm_head"]},
        "embedding": {"r": 2, "target_modules": ["embed_tokens", "v_proj"]},
        "bf16": {"r": 2, "use_dora": True},
    }[kind]
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    base, adapted = tiny.llama().to(dtype), lora(**options).to(dtype)
    assert content(base) == content(adapted)
    models = (LanguageModel(network, "rows", "stock") for network in (base, adapted))
    one, other = (reference_logprobs(model, GROUPS, max_tokens=99) for model in models)
    assert torch.equal(one.token, other.token)
    assert not any(layer.disable_adapters for layer in adapted.modules() if isinstance(layer, BaseTunerLayer))
    assert any(parameter.requires_grad for parameter in adapted.parameters())


@pytest.mark.parametrize("options", [{"r": 2}, {"r": 2, "use_dora": True}])
def test_an_adapter_that_adds_something_is(options: dict[str, Any]) -> None:
    adapted = lora(**options)
    base = content(adapted)
    up(adapted)[0, 0] = 1e-3
    trained = content(adapted)
    assert trained != base
    up(adapted)[0, 0] = 2e-3
    assert content(adapted) not in (base, trained)
    values, plain = (reference_logprobs(LanguageModel(n), GROUPS, max_tokens=99) for n in (adapted, tiny.llama()))
    assert not torch.equal(values.token, plain.token)


def test_an_adapter_of_an_embedding_that_adds_something_is() -> None:
    adapted = lora(r=2, target_modules=["embed_tokens"])
    base = content(adapted)
    next(p.data for name, p in adapted.named_parameters() if "lora_embedding_A" in name)[0, 5] = 1e-3
    assert content(adapted) != base


def test_a_magnitude_that_was_trained_is_an_adapter_that_adds_something() -> None:
    adapted = lora(r=2, use_dora=True)
    base = content(adapted)
    next(p.data for name, p in adapted.named_parameters() if "magnitude" in name)[0] *= 1.01
    assert content(adapted) != base


def test_the_scale_of_a_trained_adapter_counts_and_its_name_and_dropout_do_not() -> None:
    def trained(name: str = "default", **options: Any) -> str:
        torch.manual_seed(0)
        network = tiny.llama()
        config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], **options)
        adapted = bare(get_peft_model(network, config, adapter_name=name))
        up(adapted)[:] = 0.5
        down = next(parameter.data for key, parameter in adapted.named_parameters() if "lora_A" in key)
        down[:] = 0.1
        for parameter in adapted.parameters():
            parameter.data = parameter.data.round(decimals=3)
        return content(adapted)

    assert trained() == trained("other") == trained(lora_dropout=0.3)
    assert trained() != trained(lora_alpha=16)


def one_weight(network: Any) -> None:
    weight = network.model.layers[1].mlp.down_proj.weight
    weight.data[3, 5] = torch.nextafter(weight.data[3, 5], torch.tensor(9.0))


def frequencies(network: Any) -> None:
    """What rope turns by is no parameter and is not saved."""
    network.model.rotary_emb.inv_freq[1] *= 1.001


def config_value(key: str, value: object) -> Callable[[Any], None]:
    def change(network: Any) -> None:
        assert getattr(network.config, key) != value
        setattr(network.config, key, value)

    return change


def activation(network: Any) -> None:
    network.model.layers[0].mlp.act_fn = nn.GELU()


CHANGES: dict[str, Callable[[Any], object]] = {
    "one weight by one bit": one_weight,
    "rope's base": config_value("rope_parameters", {"rope_theta": 20_000.0, "rope_type": "default"}),
    "rope's frequencies": frequencies,
    "the window": config_value("sliding_window", 4),
    "a cap": config_value("final_logit_softcapping", 30.0),
    "epsilon": config_value("rms_norm_eps", 1e-5),
    "quantisation": config_value("quantization_config", {"load_in_4bit": True}),
    "number type": lambda network: network.to(torch.bfloat16),
    "number type of one tensor": lambda network: network.model.norm.to(torch.float64),
    "a module's class": activation,
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_a_number_changes_the_key(what: str) -> None:
    network = tiny.mistral()
    network.config.final_logit_softcapping = None
    network.config.quantization_config = None
    before = content(network)
    changed = copy.deepcopy(network)
    assert content(changed) == before
    CHANGES[what](changed)
    assert content(changed) != before


class Quantised(nn.Linear):
    """As layers of bitsandbytes are: what turns stored into real weights is neither parameter nor buffer."""

    absmax = 1.0

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight.absmax"] = torch.tensor(self.absmax)


def test_constants_of_quantised_layers_are_part_of_the_key() -> None:
    network = tiny.llama()
    layer = Quantised(32, 32, bias=False)
    layer.weight.data = network.model.layers[0].self_attn.q_proj.weight.data
    network.model.layers[0].self_attn.q_proj = layer
    before = content(network)
    assert before == content(lora(network, r=2))
    layer.absmax = 2.0
    assert content(network) != before


def test_the_class_is_part_of_the_key_and_code_of_others_with_it(tmp_path: Path) -> None:
    class Bent(LlamaForCausalLM):
        pass

    assert content(tiny.llama(Bent)) != content(tiny.llama())
    nowhere = type("Nowhere", (LlamaForCausalLM,), {"__module__": "__main__x"})
    with pytest.raises(Unidentified, match="Nowhere"):
        content(tiny.llama(nowhere))


def test_names_paths_and_versions_of_the_config_do_not_count(tmp_path: Path) -> None:
    network = tiny.llama()
    network.save_pretrained(tmp_path / "one")
    text = (tmp_path / "one" / "config.json").read_text()
    (tmp_path / "one").rename(tmp_path / "two")
    assert '"transformers_version": "' in text
    (tmp_path / "two" / "config.json").write_text(
        text.replace('"transformers_version": "', '"transformers_version": "0.')
    )
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tmp_path / "two", dtype=torch.float32)
    assert loaded.config.transformers_version != network.config.transformers_version or loaded.name_or_path
    assert content(loaded) == content(network)


def test_training_mode_gradients_and_ties_do_not_count() -> None:
    network = tiny.llama(tie_word_embeddings=True)
    before = content(network)
    network.train().requires_grad_(False)
    assert content(network) == before
    assert network.lm_head.weight is network.model.embed_tokens.weight


def test_the_way_of_computing_is_kept_apart_from_the_content() -> None:
    model = LanguageModel(tiny.llama())
    one, rows = identity(model), identity(LanguageModel(model.network, "rows"))
    assert one == rows and len(one.key) == 64
    model.network.set_attn_implementation("eager")
    other = identity(model)
    assert other.content == one.content and other.key != one.key


BASE = tiny.group(4, (3, 2), seed=9)


def replaced(**changes: Any) -> TokenGroup:
    prompt, completions = changes.get("prompt", BASE.prompt), changes.get("completions", BASE.completions)
    return TokenGroup(changes.get("group", BASE.group), prompt, completions)


def with_first(ids: np.ndarray, loss: tuple[tuple[int, int], ...]) -> TokenGroup:
    return replaced(completions=(TokenCompletion(ids, loss), BASE.completions[1]))


FIRST = BASE.completions[0].ids


@pytest.mark.parametrize(
    "other",
    [
        replaced(prompt=np.where(np.arange(4) == 2, 7, BASE.prompt)),
        with_first(np.where(np.arange(3) == 2, 7, FIRST), ((0, 3),)),
        with_first(FIRST, ((0, 2),)),
        with_first(FIRST, ()),
        with_first(FIRST[:2], ((0, 2),)),
        with_first(np.concatenate([BASE.prompt[3:], FIRST]), ((0, 4),)),
        TokenGroup(
            BASE.group, BASE.prompt[:3], with_first(np.concatenate([BASE.prompt[3:], FIRST]), ((1, 4),)).completions
        ),
        replaced(completions=BASE.completions[::-1]),
        replaced(completions=BASE.completions[:1]),
    ],
)
def test_another_token_or_mask_is_another_group(other: TokenGroup) -> None:
    assert group_key(other) != group_key(BASE)


def test_the_same_tokens_and_mask_are_the_same_group() -> None:
    """Whoever judged it, however its mask is written, and in whatever integers."""
    assert group_key(replaced(group=tiny.group(1, (1, 1)).group)) == group_key(BASE)
    assert group_key(with_first(FIRST.astype(np.int64), ((0, 1), (1, 3)))) == group_key(BASE)


def test_the_digest_reads_every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PIECE > 1000
    monkeypatch.setattr("accord.models.digest.PIECE", 8)
    tensor = torch.arange(11, dtype=torch.int32)
    found = {digest([("a", tensor)])}
    for place in range(11):
        changed = tensor.clone()
        changed[place] += 1
        found.add(digest([("a", changed)]))
    assert len(found) == 12
    assert digest([("a", tensor)]) == digest([("a", torch.arange(22, dtype=torch.int32)[:11])])
    views = [torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(6), torch.zeros(6, dtype=torch.int32), torch.zeros(0)]
    assert len({digest([("a", view)]) for view in views}) == 5
    assert digest([("a", tensor)], text="x") != digest([("a", tensor)], text="y") != digest([("b", tensor)], text="y")
    assert digest([("a", torch.eye(3)[:, 1])]) == digest([("a", torch.tensor([0.0, 1.0, 0.0]))])
