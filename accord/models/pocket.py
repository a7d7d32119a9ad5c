"""The built-in small model: a byte-level tokenizer and a Llama-like model with random weights, nothing to download.

Saved, both load in stock `AutoTokenizer` and `AutoModelForCausalLM`.
"""

from collections.abc import Iterable
from itertools import chain

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from transformers import PreTrainedTokenizerFast as FastTokenizer

from accord.errors import InputError

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
BYTES = 256

# ChatML, except that the line break stands before a turn and not after it: a rendered assistant turn then ends in
# the EOS token, as a sampled one does. `generation` marks what stock assistant masks take.
CHAT_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>tools' }}
    {%- for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor %}
    {{- '<|im_end|>' }}
{%- endif %}
{%- for message in messages %}
    {{- '' if loop.first and not tools else '\\n' }}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
            {{- message.content or '' }}
            {%- for call in message.tool_calls or [] %}{{ '\\n<tool_call>' + call | tojson }}{% endfor %}
            {{- '<|im_end|>' }}
        {%- endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '\\n<|im_start|>assistant\\n' }}
{%- endif %}
"""


def train_tokenizer(texts: Iterable[str], vocab_size: int, *, context: int = 2048) -> FastTokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` words: every text has ids, and they give the text back.

    Words seen once are not learnt, so little text gives fewer words. EOS is the end of a turn; there is no BOS.
    Raises InputError where vocab_size does not hold the bytes and the special tokens.
    """
    special = [PAD, START, END]
    if vocab_size < BYTES + len(special):
        raise InputError(
            f"{vocab_size} words cannot hold {BYTES} bytes and {len(special)} special tokens",
            where="vocab_size",
            fix=f"take at least {BYTES + len(special)}",
        )
    tokenizer = Tokenizer(models.BPE())
    # A line break is a token of its own, so no token reaches across the template's "assistant\n" into the words.
    line_break = pre_tokenizers.Split(Regex(r"\n"), "isolated")
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([line_break, words])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Every text counts as one exchange, so that the names of its turns become words.
    with_headers = chain.from_iterable((text, "user", "assistant") for text in texts)
    tokenizer.train_from_iterator(with_headers, trainer)
    return FastTokenizer(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def random_model(
    tokenizer: PreTrainedTokenizerBase,
    *,
    vocab_size: int,
    hidden_size: int,
    layers: int,
    heads: int,
    kv_heads: int,
    intermediate_size: int | None = None,
    context: int = 2048,
    seed: int = 0,
) -> LlamaForCausalLM:
    """A Llama-like model with random float32 weights, a pure function of its arguments.

    The embedding has exactly `vocab_size` rows and is tied to the output; intermediate_size is the multiple of 64
    nearest to 8/3 hidden_size unless given. Raises InputError where vocab_size has no room for the tokenizer.
    """
    if vocab_size < len(tokenizer):
        raise InputError(
            f"{vocab_size} rows cannot hold the tokenizer's {len(tokenizer)} words",
            where="vocab_size",
            fix=f"take at least {len(tokenizer)}",
        )
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size or max(64, round(hidden_size * 8 / 3 / 64) * 64),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        **ends,
    )
    # transformers draws from the global generator; its state is put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: LlamaForCausalLM = LlamaForCausalLM(config).eval()
    model.generation_config = GenerationConfig(**ends)
    return model
