"""Ids equal stock transformers, the border is exact, and loss lies where it should and nowhere else."""

import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from accord.data import dialogue as dialogue_file
from accord.data.choose import document
from accord.data.dialogue import AS_WORDS, NO_END, Dialogue, TokenGroup
from accord.data.length import check_fit, fit_groups, fit_length
from accord.data.read import read_groups
from accord.data.report import BadRows, DataReport, LengthCount, Seen
from accord.errors import InputError
from accord.records import Completion, Group, Message, Origin, RecordError, Text

LINES = [
    "the sky is blue",
    "the sea is blue too",
    "what colour is the sky?",
    "is it blue? yes it is",
    "you are helpful",
]

CHATML = """{%- if tools %}<|im_start|>system
tools: {{ tools | tojson }}<|im_end|>
{% endif %}{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endfor %}{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA3 = """{{- bos_token }}{%- for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content | trim }}<|eot_id|>{% endfor %}{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""

MISTRAL = """{{- bos_token }}{%- set ns = namespace(system='') %}{%- for m in messages %}
{%- if m.role == 'system' %}{% set ns.system = m.content + '\\n\\n' %}
{%- elif m.role == 'user' %}[INST] {{ ns.system }}{{ m.content }}[/INST]{% set ns.system = '' %}
{%- elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}
{%- else %}{{ raise_exception('only user and assistant turns') }}{% endif %}{% endfor %}"""

# Like Qwen3: an empty thought before the last turn, none before earlier ones.
THINKING = """{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and loop.last %}<think>

</think>

{% endif %}{{ m.content }}<|im_end|>
{% endfor %}{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

SPECIAL = {
    CHATML: ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    LLAMA3: ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    MISTRAL: ("<s>", "</s>", "[INST]", "[/INST]"),
    THINKING: ("<|im_start|>", "<|im_end|>"),
}
EOS = {CHATML: "<|im_end|>", LLAMA3: "<|eot_id|>", MISTRAL: "</s>", THINKING: "<|im_end|>"}
BOS = {LLAMA3: "<|begin_of_text|>", MISTRAL: "<s>"}
TEMPLATES = {"chatml": CHATML, "llama3": LLAMA3, "mistral": MISTRAL, "thinking": THINKING}


@cache
def tokenizer(template: str = CHATML, *, adds_bos: bool = False, adds_eos: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE that has learnt the lines above, so that it joins " sk" and "y"."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL[template]), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(LINES * 20, trainer)
    eos, bos = EOS[template], BOS.get(template)
    if adds_bos or adds_eos:
        single = " ".join(([bos] if adds_bos and bos else []) + ["$A"] + ([eos] if adds_eos else []))
        names = [(name, backend.token_to_id(name)) for name in (eos, bos) if name]
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=names)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, bos_token=bos, chat_template=template)


def turns(*said: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in said)


def group_of(prompt: Text, *completions: Text, **more: Any) -> Group:
    return Group("1", prompt, tuple(map(Completion, completions)), source=Origin("rows.jsonl", 7), **more)


def wholes(tokens: TokenGroup) -> list[list[int]]:
    return [[*tokens.prompt.tolist(), *completion.ids.tolist()] for completion in tokens.completions]


def stock(tok: PreTrainedTokenizerFast, messages: Iterable[Message], **more: Any) -> list[int]:
    ids: list[int] = tok.apply_chat_template([turn.plain() for turn in messages], return_dict=False, **more)
    return ids


def trained(tok: PreTrainedTokenizerFast, tokens: TokenGroup, k: int = 0) -> list[str]:
    completion = tokens.completions[k]
    return [tok.decode(completion.ids[start:end]) for start, end in completion.loss]


ASK = turns(("user", "what colour is the sky?"))
BLUE, RED = turns(("assistant", "blue, it is")), turns(("assistant", "blue too"))


# Plain text


@pytest.mark.parametrize("adds_bos", [False, True])
def test_text_is_what_the_tokenizer_makes_of_it_and_eos(adds_bos: bool) -> None:
    tok = tokenizer(MISTRAL, adds_bos=adds_bos)
    tokens = Dialogue(tok).tokens(group_of("the sky", " is blue", " is the sea"))
    eos = tok.eos_token_id
    assert wholes(tokens) == [[*tok("the sky is blue").input_ids, eos], [*tok("the sky is the sea").input_ids, eos]]
    assert tokens.prompt.tolist() == tok("the sky").input_ids
    assert trained(tok, tokens) == [" is blue</s>"]
    assert wholes(tokens)[0].count(tok.bos_token_id) == adds_bos


def test_token_over_the_border_belongs_to_the_completion() -> None:
    tok = tokenizer(MISTRAL)
    tokens = Dialogue(tok).tokens(group_of("the sk", "y is blue", "ip"))
    assert tok.tokenize("the sky is blue") == ["the", "Ġsky", "Ġis", "Ġblue"]
    assert tok.decode(tokens.prompt) == "the"
    assert trained(tok, tokens) == [" sky is blue</s>"]
    assert trained(tok, tokens, 1) == [" skip</s>"]


def test_eos_is_added_once() -> None:
    for tok in (
        tokenizer(MISTRAL),
        tokenizer(MISTRAL, adds_eos=True),
        tokenizer(MISTRAL, adds_bos=True, adds_eos=True),
    ):
        d = Dialogue(tok)
        (plain,), (ended,) = (wholes(d.tokens(group_of("the sky", reply))) for reply in (" is blue", " is blue</s>"))
        assert plain == ended
        assert plain.count(tok.eos_token_id) == 1 and plain[-1] == tok.eos_token_id


def test_bos_in_the_text_is_not_a_second_one() -> None:
    tok = tokenizer(MISTRAL, adds_bos=True)
    d = Dialogue(tok)
    assert wholes(d.tokens(group_of("<s>the sky", " is"))) == wholes(d.tokens(group_of("the sky", " is")))


def test_prompt_to_sample_from_has_bos_and_no_end() -> None:
    tok = tokenizer(MISTRAL, adds_bos=True, adds_eos=True)
    assert Dialogue(tok).prompt_ids("the sky").tolist() == tok("the sky").input_ids[:-1]


@settings(max_examples=60, deadline=None)
@given(
    st.text(min_size=1).filter(str.strip),
    st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=4),
    st.booleans(),
)
def test_loss_covers_exactly_the_completion_and_eos(prompt: str, replies: list[str], adds_bos: bool) -> None:
    """But for a character whose bytes, or a word whose letters, became one token with the prompt's end."""
    tok = tokenizer(MISTRAL, adds_bos=adds_bos)
    tokens = Dialogue(tok).tokens(group_of(prompt, *replies))
    for k, reply in enumerate(replies):
        completion = tokens.completions[k]
        assert completion.loss == ((0 if len(tokens.prompt) else 1, len(completion.ids)),)
        ids = [*tokens.prompt.tolist(), *completion.ids.tolist()]
        assert ids == [*tok(prompt + reply).input_ids, tok.eos_token_id]
        left = min(len(tok(prompt).input_ids), len(ids)) - len(tokens.prompt)
        if not left:
            assert bytes_of(tok, completion.ids.tolist()) == (reply + tok.eos_token).encode()


def bytes_of(tok: PreTrainedTokenizerFast, ids: list[int]) -> bytes:
    table = {char: byte for byte, char in _byte_letters()}
    pieces = [tok.convert_ids_to_tokens(i) for i in ids]
    return b"".join(
        piece.encode() if i in tok.all_special_ids else bytes(table[c] for c in piece)
        for i, piece in zip(ids, pieces, strict=True)
    )


def _byte_letters() -> list[tuple[int, str]]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others follow from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [(b, chr(b)) for b in printable] + [(byte, chr(256 + i)) for i, byte in enumerate(rest)]


# Conversations


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("adds_bos", [False, True])
def test_chat_is_stock_to_the_id(template: str, adds_bos: bool) -> None:
    tok = tokenizer(template, adds_bos=adds_bos)
    prompt = turns(("system", "you are helpful"), ("user", "is it blue?"), ("assistant", "yes"), ("user", "  why? "))
    tokens = Dialogue(tok).tokens(group_of(prompt, BLUE, RED))
    assert wholes(tokens) == [stock(tok, prompt + BLUE), stock(tok, prompt + RED)]
    if tok.bos_token:
        assert wholes(tokens)[0].count(tok.bos_token_id) == 1
    assert Dialogue(tok).prompt_ids(prompt).tolist() == stock(tok, prompt, add_generation_prompt=True)


@pytest.mark.parametrize(
    ("template", "blue"),
    [(CHATML, "blue, it is<|im_end|>\n"), (LLAMA3, "blue, it is<|eot_id|>"), (MISTRAL, " blue, it is</s>")],
    ids=["chatml", "llama3", "mistral"],
)
def test_loss_lies_on_the_reply_and_its_end(template: str, blue: str) -> None:
    tok = tokenizer(template)
    tokens = Dialogue(tok).tokens(group_of(ASK, BLUE, RED))
    assert tok.decode(tokens.prompt) == tok.apply_chat_template(
        [turn.plain() for turn in ASK], add_generation_prompt=True, tokenize=False
    )
    assert trained(tok, tokens) == [blue]


LONG_REPLY = turns(("assistant", "is it?"), ("user", "yes it is"), ("tool", "blue"), ("assistant", "the sky is blue"))


def test_turns_of_others_carry_no_loss() -> None:
    tok = tokenizer(CHATML)
    tokens = Dialogue(tok).tokens(group_of(ASK, LONG_REPLY))
    assert wholes(tokens) == [stock(tok, ASK + LONG_REPLY)]
    assert trained(tok, tokens) == ["is it?<|im_end|>\n", "the sky is blue<|im_end|>\n"]


def test_only_the_last_turn_of_a_demonstration() -> None:
    tok = tokenizer(CHATML)
    d = Dialogue(tok, turns="last")
    assert trained(tok, d.tokens(group_of(ASK, LONG_REPLY))) == ["the sky is blue<|im_end|>\n"]
    assert trained(tok, d.tokens(group_of(ASK, BLUE + RED))) == ["blue too<|im_end|>\n"]
    assert trained(tok, d.tokens(group_of(ASK, BLUE))) == ["blue, it is<|im_end|>\n"]
    assert len(d.tokens(group_of(ASK, LONG_REPLY, BLUE)).completions[0].loss) == 2


def test_consecutive_assistant_turns_are_one_stretch_with_their_headers() -> None:
    tok = tokenizer(CHATML)
    tokens = Dialogue(tok).tokens(group_of(ASK, BLUE + RED))
    assert trained(tok, tokens) == ["blue, it is<|im_end|>\n<|im_start|>assistant\nblue too<|im_end|>\n"]


def test_template_that_writes_the_last_turn_differently() -> None:
    tok = tokenizer(THINKING)
    tokens = Dialogue(tok).tokens(group_of(ASK, LONG_REPLY))
    assert wholes(tokens) == [stock(tok, ASK + LONG_REPLY)]
    assert trained(tok, tokens) == ["is it?<|im_end|>\n", "<think>\n\n</think>\n\nthe sky is blue<|im_end|>\n"]


def test_tools_and_calls_as_stock_writes_them() -> None:
    tok = tokenizer(CHATML)
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    call = Message("assistant", "", {"tool_calls": [{"name": "look", "arguments": {"at": "sky"}}]})
    reply = (call, *turns(("tool", "blue"), ("assistant", "blue")))
    tokens = Dialogue(tok).tokens(group_of(ASK, reply, tools=(tool,)))
    assert wholes(tokens) == [stock(tok, ASK + reply, tools=[tool])]
    assert trained(tok, tokens)[0].startswith("<tool_call>{") and trained(tok, tokens)[1] == "blue<|im_end|>\n"


def test_other_template_and_its_arguments() -> None:
    tok = tokenizer(CHATML)
    shout = CHATML.replace("{{ m.content }}", "{{ m.content | upper if loud else m.content }}")
    d = Dialogue(tok, chat_template=shout, template_kwargs={"loud": True})
    assert trained(tok, d.tokens(group_of(ASK, BLUE))) == ["BLUE, IT IS<|im_end|>\n"]
    with pytest.raises(InputError, match="chat_template_kwargs: 'tokenize' is set by accord: leave it out"):
        Dialogue(tok, template_kwargs={"tokenize": False})


# Control strings


@pytest.mark.parametrize("template", [CHATML, LLAMA3, MISTRAL], ids=["chatml", "llama3", "mistral"])
def test_control_string_in_content_stays_words(template: str) -> None:
    tok = tokenizer(template, adds_bos=template is not CHATML)
    report = DataReport()
    d = Dialogue(tok, report=report)
    for name in SPECIAL[template]:
        said = f"is {name} blue{name}?"
        prompt, reply = turns(("user", said)), turns(("assistant", said))
        (ids,) = wholes(d.tokens(group_of(prompt, reply)))
        clean = [turns((role, "is it blue?")) for role in ("user", "assistant")]
        harmless = stock(tok, clean[0] + clean[1])
        assert [ids.count(i) for i in tok.all_special_ids] == [harmless.count(i) for i in tok.all_special_ids]
        assert tok.decode(ids) == tok.apply_chat_template([t.plain() for t in prompt + reply], tokenize=False)
    assert report.findings["control_string"].count == len(SPECIAL[template])
    assert report.findings["control_string"].first[0] == f"rows.jsonl:7: {AS_WORDS}"


def test_all_other_ids_stay_stock() -> None:
    tok = tokenizer(CHATML)
    prompt = turns(("user", "the sky<|im_end|> is blue"))
    (ids,) = wholes(Dialogue(tok).tokens(group_of(prompt, BLUE)))
    expected = stock(tok, prompt + BLUE)
    injected = expected.index(tok.eos_token_id)
    spelled = tok("<|im_end|>", split_special_tokens=True, add_special_tokens=False).input_ids
    assert ids == [*expected[:injected], *spelled, *expected[injected + 1 :]]


def test_control_string_in_plain_text_tools_and_later_turns() -> None:
    tok = tokenizer(MISTRAL, adds_bos=True)
    (ids,) = wholes(Dialogue(tok).tokens(group_of("the </s> sky", " is</s> blue")))
    assert ids.count(tok.eos_token_id) == 1
    chat = tokenizer(CHATML)
    reply = turns(("assistant", "<|im_end|>"), ("user", "<|im_start|>assistant"), ("assistant", "yes"))
    tokens = Dialogue(chat).tokens(group_of(ASK, reply, tools=({"name": "<|im_end|>"},)))
    assert wholes(tokens)[0].count(chat.eos_token_id) == 5  # tools, question, three turns
    assert trained(chat, tokens) == ["<|im_end|><|im_end|>\n", "yes<|im_end|>\n"]


def test_control_strings_in_names_of_parameters() -> None:
    tok = tokenizer(CHATML)
    tool = {"name": "look", "parameters": {"<|im_end|>": {"type": "<|im_start|>"}}}
    call = Message("assistant", "", {"tool_calls": [{"name": "look", "arguments": {"<|im_end|>\n": 1}}]})
    group = group_of(ASK, (call, *turns(("tool", "x"), ("assistant", "y"))), tools=(tool,))
    (ids,) = wholes(Dialogue(tok).tokens(group))
    assert [ids.count(i) for i in tok.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])] == [5, 5]
    assert '"parameters": {"<|im_end|>": {"type": "<|im_start|>"}}' in tok.decode(ids)


def test_tokenizer_that_knows_the_control_string_as_a_word() -> None:
    words = {name: i for i, name in enumerate(["<unk>", "</s>", "the", "sky", *"</s>"][:8])}
    words |= {name: len(words) + i for i, name in enumerate(c for c in "</s>" if c not in words)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    (ids,) = wholes(Dialogue(tok).tokens(group_of("the </s>", " sky")))
    assert ids.count(tok.eos_token_id) == 1 and tok.convert_ids_to_tokens(ids[1:5]) == list("</s>")


def test_private_characters_in_content_are_left_alone() -> None:
    tok = tokenizer(CHATML)
    prompt = turns(("user", "\U000f0000\U000f0001 <|im_end|>"))
    (ids,) = wholes(Dialogue(tok).tokens(group_of(prompt, BLUE)))
    assert "\U000f0000\U000f0001 <|im_end|><|im_end|>" in tok.decode(ids)


def test_tokenizer_with_word_marks() -> None:
    """As SentencePiece ones are: spaces are letters, and the first word gets one."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", *SPECIAL[MISTRAL]], show_progress=False)
    backend.train_from_iterator([*LINES * 20, "</s>[INST]", *map(chr, range(32, 127))], trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tok = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=MISTRAL
    )
    d = Dialogue(tok)
    reply = turns(("assistant", "is it?"), ("user", "yes"), ("assistant", "blue"))
    tokens = d.tokens(group_of(ASK, reply))
    assert wholes(tokens) == [stock(tok, ASK + reply)]
    assert [text.strip() for text in trained(tok, tokens)] == ["is it?</s>", "blue</s>"]
    (ids,) = wholes(d.tokens(group_of("the sky </s>is", " blue")))
    assert tok.decode(ids) == "<s> the sky </s>is blue</s>" and ids.count(2) == 1


# Many


def test_many_equals_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue_file, "CHUNK", 2)
    d = Dialogue(tokenizer(CHATML))
    groups = [
        group_of("the sk", "y is", "ip"),
        group_of(ASK, BLUE, RED),
        group_of(ASK, LONG_REPLY),
        group_of("the <|im_end|> sky", " is"),
        group_of(ASK),
    ]
    for one, other in zip(d.many(groups), map(d.tokens, groups), strict=True):
        assert one.group == other.group
        assert wholes(one) == wholes(other) and one.prompt.tolist() == other.prompt.tolist()
        assert [c.loss for c in one.completions] == [c.loss for c in other.completions]
        assert one.prompt.dtype == np.int32


def test_bad_rows_are_collected_or_dropped() -> None:
    d = Dialogue(tokenizer(MISTRAL))
    tool = group_of(turns(("tool", "x")), BLUE)
    with pytest.raises(BadRows, match=r"rows.jsonl:7: the chat template refuses these turns \(only user"):
        d.many([group_of(ASK, BLUE), tool])
    assert len(d.many([group_of(ASK, BLUE), tool], on_bad_row="drop")) == 1
    assert sum(map(len, d.report.dropped.values())) == 1


def test_real_comparisons_are_stock_and_quick(shared_data: Callable[[str], Path]) -> None:
    groups = list(read_groups(shared_data("hh_harmless.jsonl.gz"), on_bad_row="drop"))
    tok = tokenizer(CHATML)
    start = time.perf_counter()
    made = list(Dialogue(tok).stream(groups))
    assert time.perf_counter() - start < 60  # about 3 s; this only catches a loop gone wrong
    for group, tokens in made[::20]:
        for ids, completion in zip(wholes(tokens), group.completions, strict=True):
            assert not isinstance(group.prompt, str) and not isinstance(completion.content, str)
            assert ids == stock(tok, group.prompt + completion.content)


# Documents


def test_document_is_one_text_with_eos() -> None:
    tok = tokenizer(MISTRAL, adds_bos=True)
    tokens = Dialogue(tok).document(document(group_of("the sky", " is blue")))
    (completion,) = tokens.completions
    assert len(tokens.prompt) == 0
    assert completion.ids.tolist() == [*tok("the sky is blue").input_ids, tok.eos_token_id]
    assert completion.loss == ((1, len(completion.ids)),)  # BOS has nothing before it


def test_document_of_a_chat_is_its_whole_rendering() -> None:
    tok = tokenizer(LLAMA3)
    d = Dialogue(tok)
    for group in (group_of(ASK, BLUE), document(group_of(ASK, BLUE))):
        (completion,) = d.document(group).completions
        assert completion.ids.tolist() == stock(tok, ASK + BLUE)
        assert completion.loss == ((1, len(completion.ids)),)


def test_text_without_prompt_has_no_loss_on_its_first_token() -> None:
    tokens = Dialogue(tokenizer(CHATML)).tokens(group_of("", "the sky is"))
    assert len(tokens.prompt) == 0 and tokens.completions[0].loss == ((1, 4),)


# Refusals


def test_prompt_that_is_no_prefix_is_refused_with_both_shown() -> None:
    template = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}")
    with pytest.raises(RecordError) as caught:
        Dialogue(tokenizer(CHATML), chat_template=template).tokens(group_of(ASK, BLUE))
    message = str(caught.value)
    assert message.startswith("rows.jsonl:7: the chat template writes the prompt alone as ...")
    assert "<think>" in message and "assistant\\nblue, it is" in message
    assert message.endswith("--chat_template FILE or --chat_template_kwargs")


def test_tokenizers_that_will_not_do() -> None:
    backend = tokenizer(CHATML).backend_tokenizer
    with pytest.raises(InputError, match="tokenizer has no eos_token"):
        Dialogue(PreTrainedTokenizerFast(tokenizer_object=backend))
    bare = Dialogue(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>"))
    assert wholes(bare.tokens(group_of("the sky", " is")))
    with pytest.raises(InputError, match="has no chat template, and the data are conversations: --chat_template FILE"):
        bare.tokens(group_of(ASK, BLUE))


def test_template_with_two_bos_or_broken_syntax() -> None:
    with pytest.raises(RecordError, match=r"^rows.jsonl:7: BOS stands twice"):
        Dialogue(tokenizer(LLAMA3), chat_template="{{ bos_token }}" + LLAMA3).tokens(group_of(ASK, BLUE))
    with pytest.raises(InputError, match=r"the chat template is no template: .*line 1"):
        Dialogue(tokenizer(LLAMA3), chat_template="{% for %}").tokens(group_of(ASK, BLUE))


def test_template_that_never_ends_a_turn_is_noted() -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + (
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    tok = tokenizer(CHATML)
    d = Dialogue(tok, chat_template=template)
    made = d.many([group_of(ASK, BLUE), group_of(ASK, RED)])
    assert wholes(made[0]) == [stock(tok, ASK + BLUE, chat_template=template)]
    assert d.report.findings["no_end"] == Seen(2, [f"rows.jsonl:7: {NO_END}"] * 2)
    ends = Dialogue(tok)
    ends.many([group_of(ASK, BLUE)])
    assert not ends.report.findings


# Length


SYSTEM = turns(("system", "you are helpful"))
CHAT = SYSTEM + turns(("user", "the sky is blue " * 20), ("assistant", "yes it is"), ("user", "what colour is it?"))


def test_what_fits_is_left_alone() -> None:
    tokens = Dialogue(tokenizer(CHATML)).tokens(group_of(ASK, BLUE))
    assert fit_length(tokens, max_length=tokens.length, on_long="error") == (tokens, "")


def test_too_long_is_an_error_or_dropped() -> None:
    tokens = Dialogue(tokenizer(CHATML)).tokens(group_of("the " * 10, "sky", "sea is blue"))
    n, longest = len(tokens.prompt), max(len(c.ids) for c in tokens.completions)
    why = f"prompt {n} [+] longest completion {longest} tokens > max_length 5"
    with pytest.raises(RecordError, match=f"rows.jsonl:7: {why}: raise --max_length"):
        fit_length(tokens, max_length=5, on_long="error")
    assert fit_length(tokens, max_length=5, on_long="drop")[0] is None


@pytest.mark.parametrize("template", [CHATML, LLAMA3, MISTRAL], ids=["chatml", "llama3", "mistral"])
def test_cut_keeps_bos_system_and_end(template: str) -> None:
    tok = tokenizer(template)
    d = Dialogue(tok)
    prompt = SYSTEM + CHAT[1:2]
    group = group_of(prompt, BLUE, RED)
    tokens = d.tokens(group)
    room = tokens.length - 30
    cut, why = fit_length(tokens, max_length=room, on_long="truncate_prompt", kept=d.kept(group, tokens))
    assert cut is not None and not why and cut.length == room
    assert cut.completions is tokens.completions
    text, whole = tok.decode(cut.prompt), tok.decode(tokens.prompt)
    head = whole[: whole.index("you are helpful") + len("you are helpful")]
    assert text.startswith(head)
    assert whole.endswith(text[len(head) + 5 :][-20:])
    if tok.bos_token:
        assert cut.prompt[0] == tok.bos_token_id


def test_what_cannot_be_cut_is_dropped_with_its_reason() -> None:
    d = Dialogue(tokenizer(CHATML))
    group = group_of(CHAT, BLUE)
    tokens = d.tokens(group)
    kept = d.kept(group, tokens)
    assert tokenizer(CHATML).decode(tokens.prompt[: kept[0]]) == "<|im_start|>system\nyou are helpful<|im_end|>\n"
    assert tokenizer(CHATML).decode(tokens.prompt[-kept[1] + 1 :]) == "<|im_start|>assistant\n"
    least = sum(kept) + len(tokens.completions[0].ids)
    assert fit_length(tokens, max_length=least, on_long="truncate_prompt", kept=kept)[0] is not None
    none, why = fit_length(tokens, max_length=least - 1, on_long="truncate_prompt", kept=kept)
    assert none is None and f"a cut would have to leave {kept[0]} + {kept[1]} of the prompt" in why


def test_dropped_for_length_are_counted_and_too_many_are_an_error() -> None:
    groups = [group_of("the sky", " is blue" * (30 if i == 3 else 1)) for i in range(40)]
    d = Dialogue(tokenizer(CHATML))
    assert len(list(fit_groups(d.stream(groups), d, max_length=30, on_long="drop"))) == 39
    assert [row.where for row in d.report.dropped["longer than max_length"]] == ["rows.jsonl:7"]
    assert d.report.lengths == LengthCount(max_length=30, groups=40, dropped=1, cut=0, shortest=5, longest=63)
    with pytest.raises(InputError, match=r"^0 of 40 rows fit max_length=2 \(shortest 5, longest 63\): raise --max_"):
        list(fit_groups(d.stream(groups), d, max_length=2, on_long="drop", max_dropped=1.0))
    with pytest.raises(BadRows, match="longest completion 61 tokens"):
        list(fit_groups(d.stream(groups), d, max_length=30, on_long="error"))
    check_fit(DataReport())
    report = DataReport(lengths=LengthCount(8, groups=100, dropped=6, shortest=3))
    with pytest.raises(InputError, match="94 of 100 rows fit"):
        check_fit(report)
    check_fit(report, max_dropped=0.06)


def test_cut_prompts_are_counted() -> None:
    d = Dialogue(tokenizer(CHATML))
    ((_, cut),) = fit_groups(d.stream([group_of(CHAT, BLUE)]), d, max_length=60, on_long="truncate_prompt")
    assert cut.length == 60 and d.report.lengths is not None and d.report.lengths.cut == 1
    assert "1 prompts cut" in d.report.summary()


@pytest.mark.parametrize("role", ["system", "tool"])
def test_a_turn_that_the_template_leaves_out_is_found(role: str) -> None:
    said = turns(("user", "the sky"), ("assistant", "is"), (role, " blue "))
    for template, times in ((CHATML, 0), (CHATML.replace("in messages", f"in messages if m.role != '{role}'"), 1)):
        dialogue = Dialogue(tokenizer(), chat_template=template)
        dialogue.tokens(Group("1", said, (Completion((Message("assistant", "yo"),)),)))
        assert [seen.count for name, seen in dialogue.report.findings.items() if name == "left_out"] == [1] * times
