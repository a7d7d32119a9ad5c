"""Tiny networks with random weights, comparisons as tokens and as rows, and what stock transformers says of them.

Nothing here is under test. The weights are far larger than a fresh model's, so that a wrong place, mask or branch
changes a log-probability by far more than rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.models.pocket import train_tokenizer
from accord.records import Completion, Group, Judgement, Origin

VOCAB = 90
SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.25,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def build(kind: type[PreTrainedModel], config: Any, seed: int = 0) -> Any:
    """A network in evaluation mode; its weights are a pure function of the arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).eval()


def llama(kind: type[LlamaForCausalLM] = LlamaForCausalLM, *, seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    return build(kind, LlamaConfig(**{**SHAPE, **changes}), seed)


def gpt2(kind: type[GPT2LMHeadModel] = GPT2LMHeadModel, *, seed: int = 0, **changes: Any) -> GPT2LMHeadModel:
    """With the dropout of 0.1 that GPT-2 has by default."""
    own = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.25}
    ends = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    return build(kind, GPT2Config(**{**own, **ends, **changes}), seed)


def qwen3() -> Qwen3ForCausalLM:
    return build(Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=8))


def gemma2() -> Gemma2ForCausalLM:
    """Soft-caps that bend, and a window of 8 in every other layer."""
    caps = {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0, "query_pre_attn_scalar": 8}
    return build(Gemma2ForCausalLM, Gemma2Config(**SHAPE, head_dim=8, sliding_window=8, **caps))


def mistral() -> MistralForCausalLM:
    """A window of 8 in every layer."""
    return build(MistralForCausalLM, MistralConfig(**SHAPE, head_dim=8, sliding_window=8))


def mixtral(**changes: Any) -> Any:
    """Four experts of which two are chosen, so unevenly that the balance loss is far from its least."""
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    return build(transformers.MixtralForCausalLM, transformers.MixtralConfig(**{**SHAPE, **experts, **changes}))


def t5(kind: Any = transformers.T5ForConditionalGeneration, **changes: Any) -> Any:
    own = {"vocab_size": VOCAB, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    ends = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2}
    network = build(kind, transformers.T5Config(**{**own, **ends, **changes}))
    if not network.config.tie_word_embeddings:
        torch.nn.init.normal_(network.lm_head.weight, std=0.25, generator=torch.Generator().manual_seed(1))
    return network


def bart(**changes: Any) -> Any:
    """Absolute places, a table of 64 of them, a bias beside the logits, the output tied to the embedding."""
    both = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}
    sides = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in both.items()}
    own = {"vocab_size": VOCAB, "d_model": 32, "max_position_embeddings": 64, "init_std": 0.25, **sides}
    ends = {"decoder_start_token_id": 2, "bos_token_id": 1, "pad_token_id": 0, "eos_token_id": 2}
    network = build(transformers.BartForConditionalGeneration, transformers.BartConfig(**{**own, **ends, **changes}))
    network.final_logits_bias.copy_(torch.linspace(-1, 1, network.config.vocab_size)[None])
    return network


NETWORKS: Mapping[str, Callable[[], PreTrainedModel]] = {
    "llama": llama,
    "llama-tied": lambda: llama(tie_word_embeddings=True),
    "qwen3": qwen3,
    "gpt2": gpt2,
    "gemma2": gemma2,
    "mistral": mistral,
}


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.int32)


def group(
    prompt: int,
    completions: Sequence[int],
    *,
    seed: int = 0,
    ranks: Sequence[int] | None = None,
    weight: float = 1.0,
    loss: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> TokenGroup:
    """Random tokens of these lengths, all of a completion's with loss; ranks: 1, 2, ... unless given."""
    generator = np.random.default_rng((seed, prompt, *completions))

    def draw(count: int) -> np.ndarray:
        return generator.integers(3, VOCAB, count).astype(np.int32)

    k = len(completions)
    first = 0 if prompt else 1  # what has nothing before it cannot be predicted
    stretches = loss or [((first, length),) for length in completions]
    record = Group(
        f"g{seed}",
        "prompt",
        tuple(Completion(f"answer {i}") for i in range(k)),
        (Judgement(ranks=tuple(ranks or range(1, k + 1))),) if k > 1 else (),
        weight=weight,
        source=Origin("made.jsonl", seed + 1),
    )
    made = tuple(TokenCompletion(draw(n), tuple(spans)) for n, spans in zip(completions, stretches, strict=True))
    return TokenGroup(record, draw(prompt), made)


def stock_tokens(network: PreTrainedModel, group: TokenGroup) -> list[Tensor]:
    """Of each completion, (n,) log-probabilities of its tokens with loss: one plain row at a time, by stock alone."""
    found = []
    for completion in group.completions:
        row = torch.from_numpy(np.concatenate([group.prompt, completion.ids]).astype(np.int64))
        logp = network(input_ids=row[None], use_cache=False).logits[0].float().log_softmax(-1)
        places = [len(group.prompt) + i for start, end in completion.loss for i in range(start, end)]
        found.append(torch.stack([logp[place - 1, row[place]] for place in places if place > 0]))
    return found


def stock_sums(network: PreTrainedModel, groups: Sequence[TokenGroup]) -> list[list[Tensor]]:
    """Of each group, of each completion: () log P(y | x)."""
    return [[logp.sum() for logp in stock_tokens(network, group)] for group in groups]


def gradients(network: PreTrainedModel, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of every parameter, by name; those of the network are free again."""
    network.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return found


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The norm of the difference of two gradients over the norm of the second."""
    assert one.keys() == other.keys()
    gap = sum((one[name].double() - other[name].double()).square().sum() for name in one)
    return float((gap / sum(grad.double().square().sum() for grad in other.values())).sqrt())


WORDS = "the cat sat on a mat and dogs ran far in rain while birds sang well".split()


def sentence(seed: int, words: int) -> str:
    return " ".join(np.random.default_rng((7, seed)).choice(WORDS, words))


def comparisons(count: int, *, first: int = 0) -> list[dict[str, str]]:
    """Rows prompt / chosen / rejected of plain text, 2 to 7 words each."""
    return [
        {
            "id": f"c{i}",
            "prompt": sentence(3 * i, 2 + i % 5) + " ?",
            "chosen": " " + sentence(3 * i + 1, 2 + i % 4) + " yes",
            "rejected": " " + sentence(3 * i + 2, 3 + i % 3) + " no",
        }
        for i in range(first, first + count)
    ]


def rankings(count: int) -> list[dict[str, Any]]:
    """Rows prompt / completions / ranks of four plain texts each, the second and third tied."""
    return [
        {
            "id": f"r{i}",
            "prompt": sentence(3000 + i, 2 + i % 5) + " ?",
            "completions": [f" {sentence(4000 + 10 * i + k, 2 + (i + k) % 4)} {'abcd'[k]}" for k in range(4)],
            "ranks": [1, 2, 2, 4],
        }
        for i in range(count)
    ]


def texts(count: int) -> list[dict[str, str]]:
    return [{"text": sentence(100 + i, 5 + i % 9)} for i in range(count)]


def tokenizer(*, ends: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level, 300 words at most, EOS 2 and pad 0 as in the networks above. ends: every text gets EOS, as for T5."""
    rows = [*comparisons(40), *texts(10)]
    made: PreTrainedTokenizerFast = train_tokenizer((text for row in rows for text in row.values()), 300)
    if ends:
        end = f"{made.eos_token}"
        made.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {end}", special_tokens=[(end, 2)])
    return made


def write_model(directory: Path, network: PreTrainedModel | None = None) -> Path:
    """A model directory by stock transformers; a Llama unless a network is given."""
    network = network or llama(vocab_size=300)
    network.save_pretrained(directory)
    tokenizer(ends=network.config.is_encoder_decoder).save_pretrained(directory)
    return directory
