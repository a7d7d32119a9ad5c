"""The built-in model: stock transformers load it, and its template keeps the border of a completion exact."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

import accord
from accord.errors import InputError
from accord.models import pocket
from accord.models.load import save

TEXTS = ["The cat sat on the mat.\n\nWhere did the cat sit?", "A mat is not a cat, said the cat."] * 20
SIZES: dict[str, Any] = {"hidden_size": 32, "layers": 1, "heads": 4, "kv_heads": 2}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(lambda text: "<|" not in text)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return pocket.train_tokenizer(TEXTS, 320)


def turns(*contents: str) -> list[dict[str, str]]:
    roles = ["system", "user", "assistant", "tool", "assistant"]
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]


def test_what_is_written_is_what_stock_transformers_reads(tmp_path: Path, tokenizer: Any) -> None:
    model: Any = pocket.random_model(tokenizer, vocab_size=320, **SIZES)
    save(model, tokenizer, tmp_path)
    model_again: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer_again: Any = AutoTokenizer.from_pretrained(tmp_path)
    text = "Le chat 猫 🐈 sat\r\n\t<|im_end|>\n\n on it"
    assert tokenizer_again(text).input_ids == tokenizer(text).input_ids
    chat = turns("Be kind.", "Where?", "On the mat.")
    assert tokenizer_again.apply_chat_template(chat).input_ids == tokenizer.apply_chat_template(chat).input_ids
    for token in ("bos_token_id", "eos_token_id", "pad_token_id"):
        expected = getattr(tokenizer, token)
        assert getattr(tokenizer_again, token) == expected
        assert getattr(model_again.config, token) == getattr(model_again.generation_config, token) == expected
    ids = torch.tensor([tokenizer(text).input_ids])
    with torch.no_grad():
        assert torch.equal(model_again(ids).logits, model(ids).logits)


def test_the_special_tokens_are_three_and_none_is_a_bos(tokenizer: Any) -> None:
    assert tokenizer.convert_tokens_to_ids(["<|pad|>", "<|im_start|>", "<|im_end|>"]) == [0, 1, 2]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 2, None)


@given(WORDS)
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@given(WORDS, WORDS, WORDS)
def test_the_prompt_is_a_prefix_in_text_and_in_tokens(tokenizer: Any, system: str, user: str, assistant: str) -> None:
    for first, last in ((2, 3), (4, 5)):
        contents = (system, user, assistant, user, assistant)
        prompt = tokenizer.apply_chat_template(turns(*contents[:first]), add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(turns(*contents[:last]), tokenize=False)
        assert whole == prompt + assistant + "<|im_end|>"
        prompt_ids, whole_ids = tokenizer(prompt).input_ids, tokenizer(whole).input_ids
        assert whole_ids[: len(prompt_ids)] == prompt_ids
        assert whole_ids[-1] == tokenizer.eos_token_id


def test_the_stock_assistant_mask_takes_the_words_and_the_eos(tokenizer: Any) -> None:
    chat = turns("Be kind.", "Where?", "On the mat.", "42", "There.")
    encoded = tokenizer.apply_chat_template(chat, return_assistant_tokens_mask=True)
    masked = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(masked) == "On the mat.<|im_end|>There.<|im_end|>"


def test_tools_and_calls_are_shown_and_not_dropped(tokenizer: Any) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "find"}]}
    text = tokenizer.apply_chat_template([*turns("s", "u"), call], tools=[{"name": "find"}], tokenize=False)
    assert text == (
        '<|im_start|>tools\n{"name": "find"}<|im_end|>\n'
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n"
        '<|im_start|>assistant\n\n<tool_call>{"name": "find"}<|im_end|>'
    )


def test_the_header_of_a_turn_is_short(tokenizer: Any) -> None:
    assert tokenizer.tokenize("<|im_start|>assistant\n") == ["<|im_start|>", "assistant", "Ċ"]


def test_training_the_tokenizer_twice_gives_the_same(tokenizer: Any) -> None:
    again = pocket.train_tokenizer(iter(TEXTS), 320)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_the_model_has_the_sizes_asked_for(tokenizer: Any) -> None:
    model: Any = pocket.random_model(tokenizer, vocab_size=1000, hidden_size=96, layers=3, heads=6, kv_heads=3)
    config = model.config
    assert len(tokenizer) < 1000 == model.get_input_embeddings().weight.shape[0]
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (3, 6, 3)
    assert (config.intermediate_size, config.max_position_embeddings) == (256, 2048)


def test_the_weights_are_a_function_of_the_seed_alone(tokenizer: Any) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (pocket.random_model(tokenizer, vocab_size=320, seed=seed, **SIZES) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_sizes_that_cannot_be_are_refused(tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"vocab_size: 258 words .* take at least 259"):
        pocket.train_tokenizer(TEXTS, 258)
    assert len(pocket.train_tokenizer(["cat"], 259)) == 259
    with pytest.raises(InputError, match=r"vocab_size: 280 rows"):
        pocket.random_model(tokenizer, vocab_size=280, **SIZES)


def test_init_reads_comparisons_without_a_prompt_where_that_is_asked_for(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "what is it"}]
    row = {side: [*turns, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    options: dict[str, Any] = {"data": [row] * 3, "vocab_size": 300, "hidden_size": 16, "layers": 1, "heads": 2}
    with pytest.raises(InputError, match="--implicit_prompt"):
        accord.init(output_dir=tmp_path / "refused", **options)
    made = accord.init(output_dir=tmp_path / "new", implicit_prompt=True, **options)
    assert len(made.tokenizer("what")["input_ids"]) >= 1 and (tmp_path / "new" / "model.safetensors").exists()
