"""Small chat templates of our own, of the shape of well-known ones, and tokenizers of every kind to go with them.

Nothing here is under test. No tokenizer is trained: what is a word follows from the lists below, so ids can be written
down.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CHATML = """{%- if tools %}{{- '<|im_start|>system\\nTools: ' + tools | tojson + '<|im_end|>\\n' }}{%- endif %}
{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\\n' + m.content }}
    {%- for call in m.tool_calls or [] %}{{- '<tool_call>' + call.function | tojson + '</tool_call>' }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# A head with date and system text that is always there; tools in the first question; calls as JSON; results "ipython".
LLAMA3 = """{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + (date or '1 May 2025') + '\\n\\n' + system }}
{{- '<|eot_id|>' }}
{%- if tools %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' }}
    {%- for tool in tools %}{{- tool | tojson(indent=4) + '\\n\\n' }}{%- endfor %}
    {{- messages[0].content | trim + '<|eot_id|>' }}{%- set messages = messages[1:] %}
{%- endif %}
{%- for m in messages %}
    {%- if m.tool_calls %}
        {%- if m.tool_calls | length != 1 %}{{- raise_exception('one call at a time') }}{%- endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson + '}<|eot_id|>' }}
    {%- else %}
        {%- set role = 'ipython' if m.role == 'tool' else m.role %}
        {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

# A system text of its own where there is none; tools in it; calls in tags; results inside a user's turn.
QWEN25 = """{%- set first = messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + (messages[0].content if first else 'Help.') }}
{%- if tools %}
    {{- '\\n<tools>' }}{%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}{{- '\\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- for m in messages %}
    {%- if m.role == 'tool' %}
        {%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- elif m.role != 'system' or not loop.first %}
        {{- '<|im_start|>' + m.role + '\\n' + (m.content or '') }}
        {%- for call in m.tool_calls or [] %}
            {{- '\\n<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# Thoughts are written for turns after the last question only, empty ones too; enable_thinking=false writes an empty one
# into the prompt.
QWEN3 = """{%- set ns = namespace(question=0) %}
{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.question = loop.index0 %}{%- endif %}{%- endfor %}
{%- if tools %}
    {{- '<|im_start|>system\\n<tools>' }}{%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {%- set content = m.content %}{%- set thought = m.reasoning_content or '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.question and (loop.last or thought) %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content }}
        {%- for call in m.tool_calls or [] %}
            {{- '\\n<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

# The assistant is "model"; the system text opens the first question; roles must alternate.
GEMMA3 = """{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set opening = messages[0].content + '\\n\\n' %}{%- set messages = messages[1:] %}
{%- else %}{%- set opening = '' %}{%- endif %}
{%- for m in messages %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}{%- endif %}
    {{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + (opening if loop.first else '') }}
    {{- m.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"""

# No header for the assistant, so nothing is added to ask for a reply; the last question carries the tools.
MISTRAL = """{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set opening = messages[0].content + '\\n\\n' %}{%- set messages = messages[1:] %}
{%- else %}{%- set opening = '' %}{%- endif %}
{%- set ns = namespace(question=0) %}
{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.question = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {%- if tools and loop.index0 == ns.question %}
            {{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + (opening if loop.first else '') + m.content + '[/INST]' }}
    {%- elif m.tool_calls %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in m.tool_calls %}{{- call.function | tojson + ('' if loop.last else ', ') }}{%- endfor %}
        {{- ']' + eos_token }}
    {%- elif m.role == 'assistant' %}{{- ' ' + m.content | trim + eos_token }}
    {%- elif m.role == 'tool' %}{{- '[TOOL_RESULTS] {"content": ' + m.content | tojson + '}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('only user, assistant and tool turns') }}{%- endif %}
{%- endfor %}"""


class Shape(NamedTuple):
    """A template with the special tokens that it writes. said: what it makes of an assistant's text, end included."""

    template: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    said: Callable[[str], str]


RESULTS = ("[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SHAPES = {
    "chatml": Shape(CHATML, IM, None, "<|im_end|>", lambda text: f"{text}<|im_end|>\n"),
    "llama3": Shape(
        LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>",
        "<|eot_id|>",
        lambda text: f"{text.strip()}<|eot_id|>",
    ),
    "qwen25": Shape(QWEN25, IM, None, "<|im_end|>", lambda text: f"{text}<|im_end|>\n"),
    "qwen3": Shape(QWEN3, IM, None, "<|im_end|>", lambda text: f"<think>\n\n</think>\n\n{text}<|im_end|>\n"),
    "gemma3": Shape(
        GEMMA3,
        ("<pad>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<end_of_turn>",
        lambda text: f"{text.strip()}<end_of_turn>\n",
    ),
    "mistral": Shape(
        MISTRAL,
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", *RESULTS),
        "<s>",
        "</s>",
        lambda text: f" {text.strip()}</s>",
    ),
}
NO_TOOLS = ("gemma3",)

# What the tokenizers know as words, beside single letters.
WORDS = ("the", " the", "sky", " sky", " is", " blue", " it", "Yes", " red", "Be", " brief", "user", "assistant")
WORDS += ("system", "model", "\n\n", "  ")
# Where Llama 3 and Qwen cut a text before merging.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LETTERS = "".join(map(chr, range(33, 127)))


def _merged(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Vocabulary and merges of a BPE that puts each word together from the left."""
    parts, merges = list[str](), list[tuple[str, str]]()
    for word in words:
        for end in range(1, len(word)):
            if (pair := (word[:end], word[end])) not in merges:
                merges.append(pair)
                parts.append(word[: end + 1])
    return parts, merges


def byte_letters() -> dict[int, str]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others follow from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def _byte_level(special: Sequence[str]) -> Tokenizer:
    letters = byte_letters()
    words, merges = _merged(["".join(letters[b] for b in word.encode()) for word in WORDS])
    names = [*special, *(letters[b] for b in range(256)), *words]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges))
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    return backend


def _gpt2(special: Sequence[str]) -> Tokenizer:
    """Another rule for what is a word: the last of several spaces belongs to what follows."""
    backend = _byte_level(special)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return backend


def _byte_level_prefixed(special: Sequence[str]) -> Tokenizer:
    """A space before every text, as RoBERTa has it."""
    backend = _byte_level(special)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return backend


def _sentence_pieces(special: Sequence[str]) -> models.BPE:
    words, merges = _merged([word.replace(" ", "▁") for word in WORDS])
    spelled = [f"<0x{byte:02X}>" for byte in range(256)]
    names = list(dict.fromkeys([*special, "<unk>", *spelled, "▁", "\n", *LETTERS, *words]))
    return models.BPE({name: i for i, name in enumerate(names)}, merges, unk_token="<unk>", byte_fallback=True)


def _metaspace(scheme: str) -> Callable[[Sequence[str]], Tokenizer]:
    def build(special: Sequence[str]) -> Tokenizer:
        backend = Tokenizer(_sentence_pieces(special))
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        spaces = decoders.Metaspace(prepend_scheme=scheme, split=False)
        backend.decoder = decoders.Sequence([decoders.ByteFallback(), spaces])
        return backend

    return build


def _legacy(special: Sequence[str]) -> Tokenizer:
    """Llama 2's: a normalizer puts a space before every stretch of text between special tokens."""
    backend = Tokenizer(_sentence_pieces(special))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(back)
    return backend


def _unigram(special: Sequence[str]) -> Tokenizer:
    """T5's and Gemma's kind: the likeliest split of each word."""
    known = dict.fromkeys([*(word.replace(" ", "▁") for word in WORDS), "▁", "\n", *LETTERS])
    scores = [(name, -len(name) / 2) for name in known]
    backend = Tokenizer(models.Unigram([*((name, 0.0) for name in special), ("<unk>", -99.0), *scores], len(special)))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def _word_piece(special: Sequence[str]) -> Tokenizer:
    """BERT's: lower case, no spaces kept."""
    known = dict.fromkeys([*special, "[UNK]", *LETTERS.lower(), *(word.strip().lower() for word in WORDS)])
    names = [*known, *(f"##{letter}" for letter in dict.fromkeys(LETTERS.lower()))]
    backend = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names) if name}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _word_level(special: Sequence[str]) -> Tokenizer:
    names = dict.fromkeys([*special, "<unk>", *(word.strip() for word in WORDS if word.strip()), *LETTERS])
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend


KINDS: dict[str, Callable[[Sequence[str]], Tokenizer]] = {
    "byte-level": _byte_level,
    "byte-level, GPT-2's": _gpt2,
    "byte-level with a space first": _byte_level_prefixed,
    "pieces, first": _metaspace("first"),
    "pieces, always": _metaspace("always"),
    "pieces, never": _metaspace("never"),
    "pieces, by normalizer": _legacy,
    "unigram": _unigram,
    "word pieces": _word_piece,
    "words": _word_level,
}


@cache
def tokenizer(shape: str, kind: str = "byte-level", *, adds_bos: bool = True) -> PreTrainedTokenizerFast:
    """adds_bos: puts BOS before plain text, where the shape has one."""
    one = SHAPES[shape]
    backend = KINDS[kind](one.special)
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in one.special])
    if adds_bos and one.bos:
        at = backend.token_to_id(one.bos)
        backend.post_processor = processors.TemplateProcessing(single=f"{one.bos} $A", special_tokens=[(one.bos, at)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=one.eos, bos_token=one.bos, chat_template=one.template
    )
