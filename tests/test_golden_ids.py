"""Ids written down: for templates of the shape of well-known ones, what a prompt and its completions become.

The ids were written once by stock apply_chat_template and read by hand: special tokens come first in each vocabulary,
then the 256 bytes, then words. A change of transformers, tokenizers or Accord that moves any of them is seen here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from shapes import SHAPES, tokenizer

from accord.data.dialogue import Dialogue
from accord.data.encode import Span
from accord.records import Completion, Group, Message, Turns


def turns(*said: tuple[str, str]) -> Turns:
    return tuple(Message(role, content) for role, content in said)


class Reply(NamedTuple):
    """turns; what the template writes for them after the prompt; the ids after the shared prompt; which carry loss."""

    turns: Turns
    text: str
    ids: str
    loss: tuple[Span, ...]


class Golden(NamedTuple):
    """prompt: the text that asks for a reply. ids: those that all replies share."""

    shape: str
    turns: Turns
    prompt: str
    ids: str
    replies: list[Reply]
    tools: tuple[dict[str, Any], ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})


SYSTEM, ASK = turns(("system", "Be brief.")), turns(("user", "the sky is blue?"))
TWO = turns(("user", "the sky"), ("assistant", "Yes"), ("user", " it?"))
YES, RED = turns(("assistant", "Yes it is")), turns(("assistant", " red "))
TOOL = {"type": "function", "function": {"name": "look"}}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}
USED = (Message("assistant", "", {"tool_calls": [CALL]}), *turns(("tool", "blue"), ("assistant", "Yes")))
THOUGHT = (TWO[0], Message("assistant", "Yes", {"reasoning_content": "it"}), TWO[2])
THOUGHT_OF = (Message("assistant", "red", {"reasoning_content": "blue"}),)

GOLDEN = {
    "chatml, plain": Golden(
        "chatml",
        SYSTEM + ASK,
        prompt=(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe sky is blue?<|im_end|>\n<|im_start|>a"
            "ssistant\n"
        ),
        ids=("1 301 13 281 285 49 2 13 1 288 13 260 35 265 270 274 66 2 13 1 296 13"),
        replies=[
            Reply(
                YES,
                "Yes it is<|im_end|>\n",
                "277 275 270 2 13",
                ((0, 5),),
            ),
            Reply(
                RED,
                " red <|im_end|>\n",
                "280 35 2 13",
                ((0, 4),),
            ),
        ],
    ),
    "chatml, turns": Golden(
        "chatml",
        TWO,
        prompt=(
            "<|im_start|>user\nthe sky<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\n it?<|i"
            "m_end|>\n<|im_start|>assistant\n"
        ),
        ids=("1 288 13 260 35 265 2 13 1 296 13 277 2 13 1 288 13 275 66 2 13 1 296 13"),
        replies=[
            Reply(
                turns(("assistant", "Yes")),
                "Yes<|im_end|>\n",
                "277 2 13",
                ((0, 3),),
            ),
        ],
    ),
    "chatml, tools": Golden(
        "chatml",
        ASK,
        prompt=(
            '<|im_start|>system\nTools: [{"type": "function", "function": {"name": "look"}}]<|im_end|>\n<|im_star'
            "t|>user\nthe sky is blue?<|im_end|>\n<|im_start|>assistant\n"
        ),
        ids=(
            "1 301 13 87 114 114 111 118 61 35 94 126 37 119 124 115 104 37 61 35 37 105 120 113 102 119 108 114 "
            "113 37 47 35 37 105 120 113 102 119 108 114 113 37 61 35 126 37 113 100 112 104 37 61 35 37 111 114 "
            "114 110 37 128 128 96 2 13 1 288 13 260 35 265 270 274 66 2 13 1 296 13"
        ),
        replies=[
            Reply(
                USED,
                '<tool_call>{"name": "look", "arguments": {"at": "sky"}}</tool_call><|im_end|>\n<|im_start|>tool'
                "\nblue<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n",
                "63 119 114 114 111 98 102 100 111 111 65 126 37 113 100 112 104 37 61 35 37 111 114 114 110 37 47 "
                "35 37 100 117 106 120 112 104 113 119 118 37 61 35 126 37 100 119 37 61 35 37 265 37 128 128 63 "
                "50 119 114 114 111 98 102 100 111 111 65 2 13 1 119 114 114 111 13 101 111 120 104 2 13 1 296 13 "
                "277 2 13",
                ((0, 67), (82, 85)),
            ),
        ],
        tools=(TOOL,),
    ),
    "llama3, plain": Golden(
        "llama3",
        SYSTEM + ASK,
        prompt=(
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday: 1 May 2025\n\nBe brief.<|eot_i"
            "d|><|start_header_id|>user<|end_header_id|>\n\nthe sky is blue?<|eot_id|><|start_header_id|>assistan"
            "t<|end_header_id|>\n\n"
        ),
        ids=(
            "0 1 302 2 307 88 115 104 101 125 62 36 53 36 81 101 125 36 54 52 54 57 307 282 286 50 3 1 289 2 307 "
            "261 36 266 271 275 67 3 1 297 2 307"
        ),
        replies=[
            Reply(
                YES,
                "Yes it is<|eot_id|>",
                "278 276 271 3",
                ((0, 4),),
            ),
            Reply(
                RED,
                "red<|eot_id|>",
                "118 105 104 3",
                ((0, 4),),
            ),
        ],
    ),
    "llama3, turns": Golden(
        "llama3",
        TWO,
        prompt=(
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday: 1 May 2025\n\n<|eot_id|><|star"
            "t_header_id|>user<|end_header_id|>\n\nthe sky<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
            "\n\nYes<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nit?<|eot_id|><|start_header_id|>assista"
            "nt<|end_header_id|>\n\n"
        ),
        ids=(
            "0 1 302 2 307 88 115 104 101 125 62 36 53 36 81 101 125 36 54 52 54 57 307 3 1 289 2 307 261 36 266 3 "
            "1 297 2 307 278 3 1 289 2 307 109 120 67 3 1 297 2 307"
        ),
        replies=[
            Reply(
                turns(("assistant", "Yes")),
                "Yes<|eot_id|>",
                "278 3",
                ((0, 2),),
            ),
        ],
    ),
    "llama3, tools": Golden(
        "llama3",
        ASK,
        prompt=(
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday: 1 May 2025\n\n<|eot_id|><|star"
            't_header_id|>user<|end_header_id|>\n\n{\n    "type": "function",\n    "function": {\n        "name":'
            ' "look"\n    }\n}\n\nthe sky is blue?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
        ),
        ids=(
            "0 1 302 2 307 88 115 104 101 125 62 36 53 36 81 101 125 36 54 52 54 57 307 3 1 289 2 307 127 14 308 "
            "36 36 38 120 125 116 105 38 62 36 38 106 121 114 103 120 109 115 114 38 48 14 308 36 36 38 106 121 "
            "114 103 120 109 115 114 38 62 36 127 14 308 308 308 36 36 38 114 101 113 105 38 62 36 38 112 115 115 "
            "111 38 14 308 36 36 129 14 129 307 261 36 266 271 275 67 3 1 297 2 307"
        ),
        replies=[
            Reply(
                USED,
                '{"name": "look", "parameters": {"at": "sky"}}<|eot_id|><|start_header_id|>ipython<|end_header_id'
                "|>\n\nblue<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes<|eot_id|>",
                "127 38 114 101 113 105 38 62 36 38 112 115 115 111 38 48 36 38 116 101 118 101 113 105 120 105 "
                "118 119 38 62 36 127 38 101 120 38 62 36 38 266 38 129 129 3 1 109 116 125 260 115 114 2 307 102 "
                "112 121 105 3 1 297 2 307 278 3",
                ((0, 44), (62, 64)),
            ),
        ],
        tools=(TOOL,),
    ),
    "qwen25, plain": Golden(
        "qwen25",
        SYSTEM + ASK,
        prompt=(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe sky is blue?<|im_end|>\n<|im_start|>a"
            "ssistant\n"
        ),
        ids=("1 301 13 281 285 49 2 13 1 288 13 260 35 265 270 274 66 2 13 1 296 13"),
        replies=[
            Reply(
                YES,
                "Yes it is<|im_end|>\n",
                "277 275 270 2 13",
                ((0, 5),),
            ),
            Reply(
                RED,
                " red <|im_end|>\n",
                "280 35 2 13",
                ((0, 4),),
            ),
        ],
    ),
    "qwen25, turns": Golden(
        "qwen25",
        TWO,
        prompt=(
            "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nthe sky<|im_end|>\n<|im_start|>assistant\nYes"
            "<|im_end|>\n<|im_start|>user\n it?<|im_end|>\n<|im_start|>assistant\n"
        ),
        ids=(
            "1 301 13 75 104 111 115 49 2 13 1 288 13 260 35 265 2 13 1 296 13 277 2 13 1 288 13 275 66 2 13 1 296 13"
        ),
        replies=[
            Reply(
                turns(("assistant", "Yes")),
                "Yes<|im_end|>\n",
                "277 2 13",
                ((0, 3),),
            ),
        ],
    ),
    "qwen25, tools": Golden(
        "qwen25",
        ASK,
        prompt=(
            '<|im_start|>system\nHelp.\n<tools>\n{"type": "function", "function": {"name": "look"}}\n</tools><|im'
            "_end|>\n<|im_start|>user\nthe sky is blue?<|im_end|>\n<|im_start|>assistant\n"
        ),
        ids=(
            "1 301 13 75 104 111 115 49 13 63 119 114 114 111 118 65 13 126 37 119 124 115 104 37 61 35 37 105 120 "
            "113 102 119 108 114 113 37 47 35 37 105 120 113 102 119 108 114 113 37 61 35 126 37 113 100 112 104 "
            "37 61 35 37 111 114 114 110 37 128 128 13 63 50 119 114 114 111 118 65 2 13 1 288 13 260 35 265 270 "
            "274 66 2 13 1 296"
        ),
        replies=[
            Reply(
                USED,
                '\n<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>\n<|im_start|'
                ">user\n<tool_response>\nblue\n</tool_response><|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n",
                "306 63 119 114 114 111 98 102 100 111 111 65 13 126 37 113 100 112 104 37 61 35 37 111 114 114 "
                "110 37 47 35 37 100 117 106 120 112 104 113 119 118 37 61 35 126 37 100 119 37 61 35 37 265 37 "
                "128 128 13 63 50 119 114 114 111 98 102 100 111 111 65 2 13 1 288 13 63 119 114 114 111 98 117 "
                "104 118 115 114 113 118 104 65 13 101 111 120 104 13 63 50 119 114 114 111 98 117 104 118 115 114 "
                "113 118 104 65 2 13 1 296 13 277 2 13",
                ((0, 70), (115, 118)),
            ),
        ],
        tools=(TOOL,),
    ),
    "qwen3, plain": Golden(
        "qwen3",
        SYSTEM + ASK,
        prompt=(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe sky is blue?<|im_end|>\n<|im_start|>a"
            "ssistant\n"
        ),
        ids=("1 301 13 281 285 49 2 13 1 288 13 260 35 265 270 274 66 2 13 1 296 13"),
        replies=[
            Reply(
                YES,
                "<think>\n\n</think>\n\nYes it is<|im_end|>\n",
                "63 259 108 113 110 65 306 63 50 259 108 113 110 65 306 277 275 270 2 13",
                ((0, 20),),
            ),
            Reply(
                RED,
                "<think>\n\n</think>\n\n red <|im_end|>\n",
                "63 259 108 113 110 65 306 63 50 259 108 113 110 65 306 280 35 2 13",
                ((0, 19),),
            ),
        ],
    ),
    "qwen3, turns": Golden(
        "qwen3",
        TWO,
        prompt=(
            "<|im_start|>user\nthe sky<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\n it?<|i"
            "m_end|>\n<|im_start|>assistant\n"
        ),
        ids=("1 288 13 260 35 265 2 13 1 296 13 277 2 13 1 288 13 275 66 2 13 1 296 13"),
        replies=[
            Reply(
                turns(("assistant", "Yes")),
                "<think>\n\n</think>\n\nYes<|im_end|>\n",
                "63 259 108 113 110 65 306 63 50 259 108 113 110 65 306 277 2 13",
                ((0, 18),),
            ),
        ],
    ),
    "qwen3, tools": Golden(
        "qwen3",
        ASK,
        prompt=(
            '<|im_start|>system\n<tools>\n{"type": "function", "function": {"name": "look"}}\n</tools><|im_end|>'
            "\n<|im_start|>user\nthe sky is blue?<|im_end|>\n<|im_start|>assistant\n"
        ),
        ids=(
            "1 301 13 63 119 114 114 111 118 65 13 126 37 119 124 115 104 37 61 35 37 105 120 113 102 119 108 114 "
            "113 37 47 35 37 105 120 113 102 119 108 114 113 37 61 35 126 37 113 100 112 104 37 61 35 37 111 114 "
            "114 110 37 128 128 13 63 50 119 114 114 111 118 65 2 13 1 288 13 260 35 265 270 274 66 2 13 1 296"
        ),
        replies=[
            Reply(
                USED,
                '\n<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>\n<|im_start|'
                ">user\n<tool_response>\nblue\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n\n</th"
                "ink>\n\nYes<|im_end|>\n",
                "306 63 119 114 114 111 98 102 100 111 111 65 13 126 37 113 100 112 104 37 61 35 37 111 114 114 "
                "110 37 47 35 37 100 117 106 120 112 104 113 119 118 37 61 35 126 37 100 119 37 61 35 37 265 37 "
                "128 128 13 63 50 119 114 114 111 98 102 100 111 111 65 2 13 1 288 13 63 119 114 114 111 98 117 "
                "104 118 115 114 113 118 104 65 13 101 111 120 104 13 63 50 119 114 114 111 98 117 104 118 115 114 "
                "113 118 104 65 2 13 1 296 13 63 259 108 113 110 65 306 63 50 259 108 113 110 65 306 277 2 13",
                ((0, 70), (115, 133)),
            ),
        ],
        tools=(TOOL,),
    ),
    "gemma3, plain": Golden(
        "gemma3",
        SYSTEM + ASK,
        prompt=("<bos><start_of_turn>user\nBe brief.\n\nthe sky is blue?<end_of_turn>\n<start_of_turn>model\n"),
        ids=("1 2 289 14 282 286 50 307 261 36 266 271 275 67 3 14 2 306 14"),
        replies=[
            Reply(
                YES,
                "Yes it is<end_of_turn>\n",
                "278 276 271 3 14",
                ((0, 5),),
            ),
            Reply(
                RED,
                "red<end_of_turn>\n",
                "118 105 104 3 14",
                ((0, 5),),
            ),
        ],
    ),
    "gemma3, turns": Golden(
        "gemma3",
        TWO,
        prompt=(
            "<bos><start_of_turn>user\nthe sky<end_of_turn>\n<start_of_turn>model\nYes<end_of_turn>\n<start_of_tu"
            "rn>user\nit?<end_of_turn>\n<start_of_turn>model\n"
        ),
        ids=("1 2 289 14 261 36 266 3 14 2 306 14 278 3 14 2 289 14 109 120 67 3 14 2 306 14"),
        replies=[
            Reply(
                turns(("assistant", "Yes")),
                "Yes<end_of_turn>\n",
                "278 3 14",
                ((0, 3),),
            ),
        ],
    ),
    "mistral, plain": Golden(
        "mistral",
        SYSTEM + ASK,
        prompt=("<s>[INST] Be brief.\n\nthe sky is blue?[/INST]"),
        ids=("1 3 42 288 292 56 313 267 42 272 277 281 73 4"),
        replies=[
            Reply(
                YES,
                " Yes it is</s>",
                "42 284 282 277 2",
                ((0, 5),),
            ),
            Reply(
                RED,
                " red</s>",
                "287 2",
                ((0, 2),),
            ),
        ],
    ),
    "mistral, turns": Golden(
        "mistral",
        TWO,
        prompt=("<s>[INST] the sky[/INST] Yes</s>[INST]  it?[/INST]"),
        ids=("1 3 42 267 42 272 4 42 284 2 3 42 282 73 4"),
        replies=[
            Reply(
                turns(("assistant", "Yes")),
                " Yes</s>",
                "42 284 2",
                ((0, 3),),
            ),
        ],
    ),
    "mistral, tools": Golden(
        "mistral",
        ASK,
        prompt=(
            '<s>[AVAILABLE_TOOLS] [{"type": "function", "function": {"name": "look"}}][/AVAILABLE_TOOLS][INST] th'
            "e sky is blue?[/INST]"
        ),
        ids=(
            "1 5 42 101 133 44 126 131 122 111 44 68 42 44 112 127 120 109 126 115 121 120 44 54 42 44 112 127 120 "
            "109 126 115 121 120 44 68 42 133 44 120 107 119 111 44 68 42 44 118 121 121 117 44 135 135 103 6 3 42 "
            "267 42 272 277 281 73 4"
        ),
        replies=[
            Reply(
                USED,
                '[TOOL_CALLS] [{"name": "look", "arguments": {"at": "sky"}}]</s>[TOOL_RESULTS] {"content": "blue"'
                "}[/TOOL_RESULTS] Yes</s>",
                "7 42 101 133 44 120 107 119 111 44 68 42 44 118 121 121 117 44 54 42 44 107 124 113 127 119 111 "
                "120 126 125 44 68 42 133 44 107 126 44 68 42 44 272 44 135 135 103 2 8 42 133 44 109 121 120 126 "
                "111 120 126 44 68 42 44 108 118 127 111 44 135 9 42 284 2",
                ((0, 47), (69, 72)),
            ),
        ],
        tools=(TOOL,),
    ),
    "qwen3, no thinking": Golden(
        "qwen3",
        SYSTEM + ASK,
        prompt=(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe sky is blue?<|im_end|>\n<|im_start|>a"
            "ssistant\n<think>\n\n</think>\n\n"
        ),
        ids=(
            "1 301 13 281 285 49 2 13 1 288 13 260 35 265 270 274 66 2 13 1 296 13 63 259 108 113 110 65 306 63 50 "
            "259 108 113 110 65 306"
        ),
        replies=[
            Reply(
                YES,
                "Yes it is<|im_end|>\n",
                "277 275 270 2 13",
                ((0, 5),),
            ),
            Reply(
                RED,
                " red <|im_end|>\n",
                "280 35 2 13",
                ((0, 4),),
            ),
        ],
        kwargs={"enable_thinking": False},
    ),
    "qwen3, thought": Golden(
        "qwen3",
        THOUGHT,
        prompt=(
            "<|im_start|>user\nthe sky<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\n it?<|i"
            "m_end|>\n<|im_start|>assistant\n"
        ),
        ids=("1 288 13 260 35 265 2 13 1 296 13 277 2 13 1 288 13 275 66 2 13 1 296 13"),
        replies=[
            Reply(
                THOUGHT_OF,
                "<think>\nblue\n</think>\n\nred<|im_end|>\n",
                "63 259 108 113 110 65 13 101 111 120 104 13 63 50 259 108 113 110 65 306 117 104 103 2 13",
                ((0, 25),),
            ),
        ],
    ),
}


def numbers(ids: str) -> list[int]:
    return [int(one) for one in ids.split()]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_ids(name: str) -> None:
    golden = GOLDEN[name]
    dialogue = Dialogue(tokenizer(golden.shape), template_kwargs=golden.kwargs)
    completions = tuple(Completion(reply.turns) for reply in golden.replies)
    tokens = dialogue.tokens(Group("1", golden.turns, completions, tools=golden.tools))
    assert tokens.prompt.tolist() == numbers(golden.ids)
    assert [completion.ids.tolist() for completion in tokens.completions] == [numbers(r.ids) for r in golden.replies]
    assert [completion.loss for completion in tokens.completions] == [reply.loss for reply in golden.replies]


@pytest.mark.parametrize("name", GOLDEN)
def test_stock_writes_and_tokenises_the_same(name: str) -> None:
    golden = GOLDEN[name]
    stock: Any = tokenizer(golden.shape).apply_chat_template
    more = {"tools": list(golden.tools) or None, **golden.kwargs}
    asked = [turn.plain() for turn in golden.turns]
    assert stock(asked, tokenize=False, add_generation_prompt=True, **more) == golden.prompt
    for reply in golden.replies:
        said = asked + [turn.plain() for turn in reply.turns]
        assert stock(said, tokenize=False, **more) == golden.prompt + reply.text
        assert stock(said, return_dict=False, **more) == numbers(golden.ids) + numbers(reply.ids)


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_sampled_from_is_what_is_trained_on(name: str) -> None:
    """But for a token over the border: there the trained one is another."""
    golden = GOLDEN[name]
    dialogue = Dialogue(tokenizer(golden.shape), template_kwargs=golden.kwargs)
    ids = dialogue.prompt_ids(golden.turns, golden.tools).tolist()
    assert tokenizer(golden.shape).decode(ids) == golden.prompt
    shared = numbers(golden.ids)
    assert ids[: len(shared)] == shared and len(ids) <= len(shared) + 1


def test_every_shape_has_its_ids_and_one_bos() -> None:
    assert {golden.shape for golden in GOLDEN.values()} == set(SHAPES)
    for golden in GOLDEN.values():
        bos = tokenizer(golden.shape).bos_token_id
        assert bos is None or numbers(golden.ids).count(bos) == 1
        assert all(bos not in numbers(reply.ids) for reply in golden.replies)
