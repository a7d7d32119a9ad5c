"""Every family against stock: forward and gradients in the layouts that its attention allows, and which those are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers
from test_logprobs import GROUPS, assert_equal, engine, stock
from tiny import SHAPE, build
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

import accord
from accord.data.batches import arrange
from accord.errors import InputError
from accord.models.causality import check_causal
from accord.models.layout import settle
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.sample import Drawing, sample

GROUP = tiny.group(19, [12, 2, 9, 5], seed=3)


def family(name: str, /, **changes: Any) -> Callable[[], Any]:
    """name: of a causal language model's class without `ForCausalLM`, its config's where that is another after it."""
    kind, _, config = name.partition("/")

    def make() -> Any:
        settings = getattr(transformers, f"{config or kind}Config")(**{**SHAPE, **changes})
        return build(getattr(transformers, f"{kind}ForCausalLM"), settings)

    return make


WINDOW = {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FOUR = {"num_local_experts": 4, "num_experts_per_tok": 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_shared_experts": 1}
GROUPED = {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1}
LINEAR = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
PER_LAYER = {"vocab_size_per_layer_input": tiny.VOCAB, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
ALTUP = {"laurel_rank": 4, "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0, 0.0]}
STATES = {"mamba_d_state": 8, "mamba_n_groups": 1, "mamba_d_head": 8}

# Attention that takes segments: the tree, the prompt cache and rows are all exact.
ATTENTION = {
    "qwen2": family("Qwen2"),
    "gemma3": family("Gemma3/Gemma3Text", **WINDOW, query_pre_attn_scalar=8),
    "olmo2": family("Olmo2"),
    "phi3": family("Phi3"),
    "mixtral": tiny.mixtral,
    "qwen3-moe": family("Qwen3Moe", head_dim=8, **EXPERTS),
    "gpt-oss": family("GptOss", **WINDOW, **FOUR),  # attention sinks
    "granite": family("Granite", logits_scaling=3.0, attention_multiplier=0.2, embedding_multiplier=2.0),
    "cohere2": family("Cohere2", logit_scale=0.3, **WINDOW),
    "deepseek-v3": family("DeepseekV3", **LATENT, **ROUTED, **GROUPED),
    "gemma3n": family("Gemma3n/Gemma3nText", **WINDOW, **PER_LAYER, **ALTUP),
    "gemma4": family("Gemma4/Gemma4Text", **WINDOW, **PER_LAYER, global_head_dim=8),
}
# A state that runs on from token to token, in every layer or in some: rows.
RECURRENT = {
    "mamba": family("Mamba", state_size=4),
    "mamba2": family("Mamba2", num_heads=8, head_dim=8, state_size=8, n_groups=2, expand=2, chunk_size=16),
    "jamba": family("Jamba", attn_layer_period=2, attn_layer_offset=1, mamba_d_state=4, use_mamba_kernels=False),
    "falcon-h1": family("FalconH1", mamba_d_ssm=32, mamba_n_heads=4, mamba_chunk_size=16, head_dim=8, **STATES),
    "qwen3.5": family("Qwen3_5/Qwen3_5Text", **LINEAR),
}
# Attention of its own, which takes no segments but keeps keys and values.
OWN_ATTENTION = {"stablelm": family("StableLm"), "gptj": family("GPTJ", n_embd=32, n_layer=2, n_head=4, rotary_dim=4)}


@pytest.mark.parametrize("layout", ["tree", "cache", "rows"])
@pytest.mark.parametrize("name", ATTENTION)
def test_networks_of_attention_are_stock_in_every_layout(name: str, layout: Any) -> None:
    network = ATTENTION[name]()
    assert_equal(engine(LanguageModel(network, layout), arrange(GROUPS, layout)), stock(network, GROUPS))


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_networks_are_stock_in_rows(name: str) -> None:
    """Padding on the right comes after everything that is read."""
    network = RECURRENT[name]()
    assert_equal(engine(LanguageModel(network, "rows"), arrange(GROUPS, "rows")), stock(network, GROUPS))


@pytest.mark.parametrize("asked", ["tree", "cache"])
@pytest.mark.parametrize("name", [*ATTENTION, *RECURRENT, *OWN_ATTENTION])
def test_the_layouts_that_are_exact_are_found(name: str, asked: Any) -> None:
    """Nothing is taken on trust: what is not exact falls back to rows, with the output layer still gathered."""
    made = {**ATTENTION, **RECURRENT, **OWN_ATTENTION}[name]()
    model, failed = settle(LanguageModel(made), GROUP, asked=asked)
    exact = name in ATTENTION or (asked == "cache" and name in OWN_ATTENTION)
    assert (model.layout, model.head) == (asked if exact else "rows", "gathered")
    assert len(failed) == (0 if exact else 1)


def test_a_sink_takes_its_part_where_no_segments_are_given_too() -> None:
    """What sampling in the middle of a run computes with; stock's own attention here is spelled out in eager mode."""
    network = ATTENTION["gpt-oss"]()
    ids = torch.arange(3, 43).reshape(2, 20)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    with torch.no_grad():
        expected = network(ids, attention_mask=mask).logits
        with LanguageModel(network).segmented():
            found = network(ids, attention_mask=mask).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-4)


class OddConfig(PreTrainedConfig):
    model_type = "odd"
    vocab_size: int = 300
    width: int = 24


class Odd(PreTrainedModel):
    """Reads a text as the running mean of its tokens. No body, no output layer, no arguments but its own two."""

    config_class = OddConfig
    base_model_prefix = ""

    def __init__(self, config: OddConfig) -> None:
        super().__init__(config)
        self.words = nn.Parameter(torch.randn(config.vocab_size, config.width))
        self.mix = nn.Parameter(torch.randn(2, config.width, config.width) / config.width**0.5)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> CausalLMOutput:
        read = self.words[input_ids]
        mean = read.cumsum(1) / torch.arange(1, input_ids.shape[1] + 1)[:, None]
        hidden = torch.tanh(mean @ self.mix[0] + read @ self.mix[1])
        return CausalLMOutput(logits=torch.einsum("btd,vd->btv", hidden, self.words.tanh()))

    def get_input_embeddings(self) -> nn.Module:
        return nn.Embedding.from_pretrained(self.words)


def odd() -> Any:
    return build(Odd, OddConfig())


def test_an_architecture_nobody_thought_of_is_computed_in_rows_by_its_own_logits() -> None:
    network = odd()
    model, failed = settle(LanguageModel(network), GROUP)
    assert (model.layout, model.head) == ("rows", "stock")
    assert failed
    assert_equal(engine(model, arrange(GROUPS, "rows")), stock_of_two_arguments(network))


def stock_of_two_arguments(network: Any) -> Any:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
            return self.inner(input_ids)

    sums, token, gradients = stock(Wrapped(), GROUPS)
    return sums, token, {name.removeprefix("inner."): gradient for name, gradient in gradients.items()}


def test_an_architecture_nobody_thought_of_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = odd()
    result = accord.dpo(
        model=network, tokenizer=tiny.tokenizer(), data=tiny.comparisons(8), output_dir=tmp_path / "run",
        max_steps=8, batch_size=8, learning_rate=1e-2, samples=0, report_to="none", logging_steps=1,
    )  # fmt: skip
    assert "computing with the rows layout and the stock output layer" in capsys.readouterr().err
    assert result.metrics["loss"] < 0.6
    assert result.metrics["rewards/margins"] > 0
    saved = Odd.from_pretrained(tmp_path / "run")
    for (name, own), theirs in zip(network.named_parameters(), saved.parameters(), strict=True):
        assert torch.equal(own, theirs), name


def bert() -> Any:
    """Loads as a causal language model, and is none: every token sees every other."""
    config = transformers.BertConfig(**{**SHAPE, "num_key_value_heads": None})
    return build(transformers.BertLMHeadModel, config)


def test_a_network_that_sees_what_it_predicts_is_refused() -> None:
    with pytest.raises(InputError, match=r"changes by .* nats with the tokens that come after it"):
        check_causal(LanguageModel(bert()), GROUP)


@pytest.mark.parametrize("name", ["qwen2", "gemma3", "mixtral", "mamba", "jamba", "gpt-oss"])
def test_networks_that_read_forwards_only_pass(name: str) -> None:
    check_causal(LanguageModel({**ATTENTION, **RECURRENT}[name]()), GROUP)
    check_causal(LanguageModel(tiny.llama().bfloat16()), GROUP)


def test_a_completion_of_one_token_says_nothing_of_causality() -> None:
    check_causal(LanguageModel(bert()), tiny.group(4, [1, 1]))


def test_samples_are_the_networks_whatever_its_generation_config_wishes() -> None:
    """transformers fills what is left open from it: greedy decoding would avoid what has been said."""
    network = tiny.llama()
    prompts = [GROUP.prompt]
    greedy = {"max_new_tokens": 12, "ends": (), "seed": 0, "drawing": Drawing(temperature=0.0)}
    ((plain,),) = sample(LanguageModel(network), prompts, **greedy)
    wishes = {"repetition_penalty": 50.0, "forced_eos_token_id": 7, "min_new_tokens": 3, "suppress_tokens": [9]}
    network.generation_config = transformers.GenerationConfig(**wishes)
    ((wished,),) = sample(LanguageModel(network), prompts, **greedy)
    assert wished.ids.tolist() == plain.ids.tolist()
    assert network.generation_config.repetition_penalty == 50.0
    with torch.no_grad():
        row = torch.tensor([[*GROUP.prompt.tolist(), *plain.ids.tolist()]])
        best = network(row).logits[0].argmax(-1)[len(GROUP.prompt) - 1 : -1]
    assert plain.ids.tolist() == best.tolist()


def test_a_loaded_model_with_the_cache_off_still_computes() -> None:
    """`use_cache: false` stays in the config of many models that were trained with checkpointing."""
    network = ATTENTION["qwen2"]()
    network.config.use_cache = False
    with torch.no_grad():
        found = logprobs(LanguageModel(network, "cache"), arrange([GROUP], "cache")).token.token
        truth = torch.cat(tiny.stock_tokens(network, GROUP))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-4)
