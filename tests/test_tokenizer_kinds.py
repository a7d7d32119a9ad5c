"""Tokenizers of every kind under every template: ids as stock, loss on exactly what the assistant says and its end."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import KINDS, SHAPES, byte_letters, tokenizer
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from accord.data.dialogue import Dialogue, TokenGroup
from accord.data.encode import Encoder, Rendering
from accord.data.read import read_groups
from accord.errors import InputError
from accord.records import Completion, Group, Message, Text, Turns

EVERY = [(shape, kind) for shape in SHAPES for kind in KINDS]
said = st.text(min_size=1, max_size=40).filter(str.strip)
# Spaces, line breaks, and letters that some kinds know and others change or lack.
hard = st.text(alphabet=" \n\tthesky isblue.?éßﬁİ▁😀\u2028\u00a0\x85", min_size=1, max_size=30).filter(str.strip)


def group_of(prompt: Text, *replies: Text) -> Group:
    return Group("1", prompt, tuple(map(Completion, replies)))


def turns(*contents: str) -> Turns:
    return tuple(Message(("user", "assistant")[i % 2], content) for i, content in enumerate(contents))


def reply(content: str) -> Turns:
    return (Message("assistant", content),)


def stock(tok: PreTrainedTokenizerBase, said: Turns) -> list[int]:
    ids: list[int] = tok.apply_chat_template([turn.plain() for turn in said], return_dict=False)
    return ids


def wholes(tokens: TokenGroup) -> list[list[int]]:
    return [[*tokens.prompt.tolist(), *completion.ids.tolist()] for completion in tokens.completions]


@pytest.mark.parametrize(("shape", "kind"), EVERY)
def test_ids_are_stock_to_the_last(shape: str, kind: str) -> None:
    tok = tokenizer(shape, kind)
    prompt = (Message("system", "Be  brief."), *turns("the sky\n is blue?", "Yes", " it\t"))
    replies = [reply(content) for content in ("Yes it is", "  red \n\n", "b", "▁lue é")]
    tokens = Dialogue(tok).tokens(group_of(prompt, *replies))
    assert wholes(tokens) == [stock(tok, prompt + one) for one in replies]
    assert Dialogue(tok).prompt_ids(prompt)[: len(tokens.prompt)].tolist() == tokens.prompt.tolist()
    if tok.bos_token_id is not None:
        assert [ids.count(tok.bos_token_id) for ids in wholes(tokens)] == [1] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_stock_whatever_is_said(kind: str) -> None:
    """One dialogue for all: after the first few it trusts its quick way."""
    dialogues = {shape: Dialogue(tokenizer(shape, kind)) for shape in SHAPES}

    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from(list(SHAPES)), hard, hard, hard, said)
    def law(shape: str, ask: str, one: str, other: str, third: str) -> None:
        tok = tokenizer(shape, kind)
        replies = [reply(content) for content in (one, other, third)]
        tokens = dialogues[shape].tokens(group_of(turns(ask), *replies))
        assert wholes(tokens) == [stock(tok, turns(ask) + content) for content in replies]

    law()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adds_bos", [False, True])
def test_plain_text_is_stock_and_eos(kind: str, adds_bos: bool) -> None:
    tok = tokenizer("mistral", kind, adds_bos=adds_bos)
    tokens = Dialogue(tok).tokens(group_of("the sky", " is blue", " is  red\n", "light"))
    eos = tok.eos_token_id
    texts = ("the sky is blue", "the sky is  red\n", "the skylight")
    assert wholes(tokens) == [[*tok(text)["input_ids"], eos] for text in texts]


def test_a_tokenizer_written_in_python() -> None:
    """It does not say where its tokens stand in the text: typed control strings are refused, all else is stock."""
    tok = ByT5Tokenizer(chat_template="{% for m in messages %}{{ m.content }}</s>{% endfor %}")
    dialogue = Dialogue(tok)
    prompt, replies = turns("thé sky"), [reply("Yes"), reply("rèd")]
    assert wholes(dialogue.tokens(group_of(prompt, *replies))) == [stock(tok, prompt + one) for one in replies]
    (ids,) = wholes(dialogue.tokens(group_of("the sky", " is")))
    assert ids == tok("the sky is")["input_ids"] and ids.count(tok.eos_token_id) == 1
    with pytest.raises(InputError, match="does not say which characters its tokens stand for"):
        dialogue.tokens(group_of("the </s> sky", " is"))


# The loss


def text_of(tok: PreTrainedTokenizerFast, ids: list[int]) -> bytes:
    """Of a byte-level tokenizer, exactly: a token may end within a character."""
    table = {letter: byte for byte, letter in byte_letters().items()}
    special = set(tok.all_special_ids) | set(tok.added_tokens_decoder)
    pieces = [(i, str(tok.convert_ids_to_tokens(i))) for i in ids]
    return b"".join(piece.encode() if i in special else bytes(table[c] for c in piece) for i, piece in pieces)


@pytest.mark.parametrize("kind", ["byte-level", "byte-level, GPT-2's"])
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_covers_exactly_the_reply_and_its_end(shape: str, kind: str) -> None:
    """Where a token runs over the border, what it takes from the prompt is the prompt's last characters."""
    tok = tokenizer(shape, kind)
    dialogue = Dialogue(tok)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(said, min_size=1, max_size=3), st.lists(said, min_size=1, max_size=3))
    def law(asked: list[str], replies: list[str]) -> None:
        prompt = turns(*asked[: len(asked) - 1 + len(asked) % 2])
        tokens = dialogue.tokens(group_of(prompt, *map(reply, replies)))
        before = text_of(tok, dialogue.prompt_ids(prompt).tolist())
        shared = text_of(tok, tokens.prompt.tolist())
        assert before.startswith(shared)
        for content, completion in zip(replies, tokens.completions, strict=True):
            ((start, end),) = completion.loss
            assert (start, end) == (0, len(completion.ids))
            assert text_of(tok, completion.ids.tolist()) == before[len(shared) :] + SHAPES[shape].said(content).encode()
        assert len(before) - len(shared) <= 2  # a line break or two, which became one token with the reply's own

    law()


@pytest.mark.parametrize("shape", SHAPES)
def test_loss_leaves_out_what_others_say(shape: str) -> None:
    """A demonstration of several turns: the assistant's words and ends, and not a character else."""
    tok = tokenizer(shape)
    dialogue = Dialogue(tok)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(said, min_size=4, max_size=4))
    def law(contents: list[str]) -> None:
        demonstration = turns(*contents)
        tokens = dialogue.tokens(group_of(demonstration[:1], demonstration[1:]))
        (completion,) = tokens.completions
        trained = [text_of(tok, completion.ids[start:end].tolist()) for start, end in completion.loss]
        ends = [SHAPES[shape].said(contents[1]).encode(), SHAPES[shape].said(contents[3]).encode()]
        thought = b"<think>\n\n</think>\n\n"  # Qwen 3 writes it before the last turn only
        assert trained[0].removeprefix(thought).endswith(ends[0].removeprefix(thought))
        assert trained[1].endswith(ends[1]) and len(trained) == 2
        asked = contents[2].strip().encode()
        assert asked in text_of(tok, wholes(tokens)[0])
        lengths = [len(trained[0]) - len(ends[0].removeprefix(thought)), len(trained[1]) - len(ends[1])]
        assert all(0 <= length <= 2 for length in lengths)  # a line break that became one token with the reply's own

    law()


# What the quick way rests on


def test_text_between_special_tokens_is_tokenised_once_where_that_is_the_same() -> None:
    """The first texts are tokenised both ways; from then on the encoder is sure."""
    for shape, kind in EVERY:
        encoder = Dialogue(tokenizer(shape, kind)).encoder
        special = SHAPES[shape].special[1]
        prompt = Rendering(f"{special}the sky{special}")
        encoder.encode([prompt, Rendering(f"{prompt.text}is blue", after=prompt)], [False, False])
        assert encoder.divides


class Nosy:
    """A pre-tokenizer that looks further than a special token: many pieces are letters, few are whole."""

    def pre_tokenize(self, text: Any) -> None:
        if len(text.get_splits()) > 3:
            text.split(lambda _, piece: [piece[i : i + 1] for i in range(len(str(piece)))])


def test_a_tokenizer_for_which_that_is_not_so_is_given_the_whole() -> None:
    names = ["<unk>", "</s>", "<|user|>", "ab", "a", "b"]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[1:3]])
    tok = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    tok.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Nosy())
    encoder = Encoder(tok)
    prompt = Rendering("<|user|>ab<|user|>")
    whole = Rendering("<|user|>ab<|user|>ab", after=prompt)
    for _ in range(2):
        assert encoder.encode([prompt, whole], [False, False])[1].ids.tolist() == tok(whole.text)["input_ids"]
    assert encoder.divides is False and tok(whole.text)["input_ids"] == [2, 4, 5, 2, 4, 5]
    assert tok("<|user|>ab")["input_ids"] == [2, 3]


def test_a_special_token_that_a_reply_makes_longer() -> None:
    """The prompt ends in one, and with the reply's first characters it is another."""
    backend = KINDS["byte-level"](["</s>", "[/INST]", "[/INST] now"])
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in ("</s>", "[/INST]", "[/INST] now")])
    tok = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    encoder, prompt = Encoder(tok), Rendering("the sky[/INST]")
    replies = [Rendering(f"{prompt.text} {word}", after=prompt) for word in ("is", "now", "it")]
    for _ in range(2):
        made = encoder.encode([prompt, *replies], [False] * 4)
        assert [one.ids.tolist() for one in made[1:]] == [tok(one.text)["input_ids"] for one in replies]


def test_special_tokens_that_overlap() -> None:
    """Only the end of a long prompt is searched: it may begin within one of them, where another seems to start. What
    may be a part of two is no place to cut at."""
    names = ("</s>", "<a>", ">b<")
    backend = KINDS["byte-level"](names)
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tok = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    encoder = Encoder(tok)
    for filler in range(180, 210):
        prompt = Rendering("the</s> sky<a>b<" + "x" * filler)
        whole = Rendering(f"{prompt.text} is", after=prompt)
        assert encoder.encode([prompt, whole], [False, False])[1].ids.tolist() == tok(whole.text)["input_ids"]
    assert encoder.divides is None


def characters(
    extra: Sequence[str], special: Sequence[AddedToken], normalizer: Any = None, **names: str
) -> PreTrainedTokenizerFast:
    """A token for every character of these, and whole ones for the special tokens."""
    known = [*dict.fromkeys([*(token.content for token in special), *extra])]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(known)}, []))
    backend.normalizer = normalizer
    backend.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def written(tok: PreTrainedTokenizerFast, ids: Any) -> list[str]:
    return list(tok.convert_ids_to_tokens(list(map(int, ids))))


def test_a_token_that_takes_the_start_of_the_next_one_after_the_first_texts() -> None:
    """`z<` swallows the start of `<u>` in a few texts only, and not in those that are tokenised both ways."""
    tok = characters("hiyoz<u>", [AddedToken("<u>", special=True, normalized=False)], eos_token="<u>")
    tok.add_tokens([AddedToken("z<", normalized=False)])
    encoder = Encoder(tok)
    for said in ["hi"] * 20 + ["hiz"]:
        prompt = Rendering(f"<u>{said}<u>")
        whole = Rendering(f"{prompt.text}yo", after=prompt)
        assert encoder.encode([prompt, whole], [False, False])[1].ids.tolist() == tok(whole.text)["input_ids"]


@pytest.mark.parametrize(
    ("normalizer", "typed"), [(normalizers.Lowercase(), "</S>"), (normalizers.NFKC(), "\uff1c/s\uff1e")]
)
def test_words_that_only_a_normaliser_makes_a_control_string_stay_words(normalizer: Any, typed: str) -> None:
    special = [AddedToken(name, special=True, normalized=True) for name in ("</s>", "<u>")]
    tok = characters("hiyo </s>", special, normalizer, eos_token="</s>")
    tok.chat_template = "{% for m in messages %}<u>{{ m.content }}</s>{% endfor %}"
    made = Dialogue(tok).tokens(group_of(turns(f"hi{typed}hi"), reply("yo")))
    assert written(tok, wholes(made)[0]) == ["<u>", *"hi</s>hi", "</s>", "<u>", *"yo", "</s>"]


@pytest.mark.parametrize("end", ["\n\n", "</s>\n"])
def test_a_control_string_with_white_space_of_its_own_stays_words(end: str) -> None:
    special = [AddedToken(name, special=True, normalized=False) for name in (end, "<u>")]
    tok = characters("hiyo</s>\n", special, eos_token=end)
    tok.chat_template = "{% for m in messages %}<u>{{ m.content }}{{ eos_token }}{% endfor %}"
    made = Dialogue(tok).tokens(group_of(turns(f"hi{end}hi"), reply("yo")))
    assert written(tok, wholes(made)[0]) == ["<u>", *f"hi{end}hi", end, "<u>", *"yo", end]


def test_bos_is_known_of_a_tokenizer_that_has_no_token_for_letters() -> None:
    """The prompt keeps its last token, and only the completion is learnt."""
    tok = characters("1234", [AddedToken(name) for name in ("<s>", "</s>")], bos_token="<s>", eos_token="</s>")
    tok.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = Dialogue(tok).tokens(group_of("12", "34"))
    assert written(tok, made.prompt) == ["<s>", "1", "2"]
    assert written(tok, made.completions[0].ids) == ["3", "4", "</s>"] and made.completions[0].loss == ((0, 3),)


def test_a_text_that_a_tokenizer_cannot_write_is_named() -> None:
    backend = Tokenizer(models.WordLevel({"</s>": 0, "the": 1, "sky": 2}))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder = Encoder(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"))
    assert encoder.encode([Rendering("the sky"), Rendering("sky")], [False, False])[1].ids.tolist() == [2]
    with pytest.raises(InputError, match=r"cannot write this text .*'the sea': give the tokenizer an unk_token"):
        encoder.encode([Rendering("the sky"), Rendering("the sea")], [False, False])


def test_real_comparisons_are_the_same_both_ways(shared_data: Callable[[str], Path]) -> None:
    groups = list(read_groups(shared_data("hh_harmless.jsonl.gz"), on_bad_row="drop"))[:200]
    tok = tokenizer("llama3", "pieces, always")
    quick, whole = Dialogue(tok), Dialogue(tok)
    whole.encoder.divides = False
    for one, other in zip(quick.many(groups), whole.many(groups), strict=True):
        assert np.array_equal(one.prompt, other.prompt) and wholes(one) == wholes(other)
    assert quick.encoder.divides
