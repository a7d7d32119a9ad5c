"""Each format by one row, and each way in which a row is none."""

from typing import Any

import pytest

from accord.data.formats import check_group, find_format, ignored, to_group
from accord.records import Completion, Group, Judgement, Message, Origin, RecordError

HERE = Origin("rows.jsonl", 7)
ASK = [{"role": "user", "content": "what colour is the sky?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def group_of(**columns: Any) -> Group:
    return to_group(find_format(columns, HERE), columns, HERE)


def refusal(**columns: Any) -> str:
    with pytest.raises(RecordError) as caught:
        group_of(**columns)
    return str(caught.value)


def test_comparison_of_texts() -> None:
    group = group_of(prompt="sky? ", chosen="blue", rejected="red", margin=2, id="a", category="colours", weight=3)
    assert (group.id, group.prompt, group.category, group.weight) == ("a", "sky? ", "colours", 3.0)
    assert group.completions == (Completion("blue"), Completion("red"))
    assert group.judgements == (Judgement(ranks=(1, 2), margin=2.0),)
    assert group.source == HERE


def test_comparison_of_conversations() -> None:
    group = group_of(prompt=ASK, chosen=said("blue"), rejected=said("red"))
    assert group.prompt == (Message("user", "what colour is the sky?"),)
    assert group.completions[0].content == (Message("assistant", "blue"),)
    assert group.id == "7"


def test_demonstration_with_label() -> None:
    assert group_of(prompt="a", completion="b").judgements == ()
    assert group_of(prompt="a", completion="b", label=False).judgements == (Judgement(labels=(False,)),)


def test_ranking() -> None:
    group = group_of(prompt="a", completions=["b", "c", "d"], ranks=[2, 1, 2], models=["x", "y", None], annotator=5)
    assert group.judgements == (Judgement(ranks=(2, 1, 2), annotator="5"),)
    assert [completion.model for completion in group.completions] == ["x", "y", None]
    assert group_of(prompt="a", completions=["b", "c"], ratings=[0.5, 7]).judgements[0].ratings == (0.5, 7.0)
    assert group_of(prompt="a", completions=["b", "b"]).judgements == ()


def test_messages_split_before_the_first_assistant_turn() -> None:
    group = group_of(messages=[{"role": "system", "content": ""}, *ASK, *said("blue"), *ASK, *said("still blue")])
    assert [turn.role for turn in group.prompt if isinstance(turn, Message)] == ["system", "user"]
    (completion,) = group.completions
    assert [turn.role for turn in completion.content if isinstance(turn, Message)] == ["assistant", "user", "assistant"]


def test_text_and_prompt_alone() -> None:
    document = group_of(text="once upon a time")
    assert (document.prompt, document.completions) == ("", (Completion("once upon a time"),))
    assert group_of(prompt=ASK).completions == ()


def test_prompt_beside_messages_is_left_aside() -> None:
    columns = {"prompt": "what?", "prompt_id": "x", "messages": [*ASK, *said("blue")]}
    form = find_format(columns, HERE)
    assert form.needs == ("messages",)
    assert ignored(form, columns) == ["prompt", "prompt_id"]


def test_tools_as_objects_or_as_json_text() -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    assert group_of(prompt=ASK, tools=[tool]).tools == (tool,)
    assert group_of(prompt=ASK, tools='[{"type": "function", "function": {"name": "look"}}]').tools == (tool,)


def test_assistant_turn_that_only_calls_a_tool_has_no_content() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "look"}], "thinking": None}
    group = group_of(prompt=ASK, completion=[call, {"role": "tool", "content": ""}, *said("blue")])
    first = group.completions[0].content[0]
    assert first == Message("assistant", "", {"tool_calls": [{"name": "look"}]})


DROP = ": drop the row, or run with --on_bad_row drop"
PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
CHAT = {"prompt": ASK, "chosen": said("b"), "rejected": said("c")}
RANKED = {"prompt": "a", "completions": ["b", "c"]}

REFUSED = {
    "empty": (PAIR | {"chosen": ""}, "chosen: empty text" + DROP),
    "white space": (PAIR | {"rejected": " \n"}, "rejected: empty text" + DROP),
    "empty prompt": (PAIR | {"prompt": ""}, "prompt: empty text" + DROP),
    "null": (PAIR | {"chosen": None}, "chosen: expected text, got null" + DROP),
    "number": (PAIR | {"chosen": 5}, "chosen: expected text, got a number" + DROP),
    "object": (PAIR | {"chosen": {"role": "x"}}, "chosen: expected text, got an object" + DROP),
    "null turns": (CHAT | {"chosen": None}, "chosen: expected a list of messages, got null" + DROP),
    "mixed": (
        CHAT | {"chosen": "b"},
        "chosen: expected a list of messages like the prompt, got text: give both as text or both as messages",
    ),
    "mixed the other way": (
        PAIR | {"rejected": said("c")},
        "rejected: expected text like the prompt, got a list: give both as text or both as messages",
    ),
    "equal": (
        PAIR | {"rejected": "b"},
        "chosen and rejected are the same text; a tie is not a preference: drop the row, or rank it as a tie",
    ),
    "no messages": (CHAT | {"chosen": []}, "chosen: empty list of messages" + DROP),
    "empty turn": (CHAT | {"chosen": said(" ")}, "chosen[0].content: empty text" + DROP),
    "null turn": (CHAT | {"prompt": [{"role": "user", "content": None}]},
                  "prompt[0].content: expected text, got null" + DROP),
    "role": (
        CHAT | {"prompt": [{"role": "human", "content": "x"}]},
        "prompt[0].role: unknown role 'human': one of system, developer, user, assistant, tool",
    ),
    "no object": (CHAT | {"prompt": ["x"]},
                  "prompt[0]: expected a message (an object with role and content), got text" + DROP),
    "completion of a user": (CHAT | {"chosen": [*said("b"), *ASK]},
                             "chosen: ends with a user turn: end it with an assistant turn"),
    "completion begins with a user": (CHAT | {"chosen": [*ASK, *said("b")]},
                                      "chosen: starts with a user turn: move that turn to the prompt"),
    "margin nan": (PAIR | {"margin": float("nan")}, "margin: nan is not a finite number" + DROP),
    "margin text": (PAIR | {"margin": "big"}, "margin: expected a number, got text" + DROP),
    "weight": (PAIR | {"weight": 0}, "weight: 0 is no weight: a number above 0"),
    "label": ({"prompt": "a", "completion": "b", "label": 1}, "label: expected true or false, got a number" + DROP),
    "rating inf": (RANKED | {"ratings": [1, float("inf")]}, "ratings[1]: inf is not a finite number" + DROP),
    "ranks too few": (RANKED | {"ranks": [1]}, "ranks: 1 entries for 2 completions" + DROP),
    "ranks from 0": (RANKED | {"ranks": [0, 1]}, "ranks[0]: 0 is no rank: ranks are whole numbers, 1 is best"),
    "models": (RANKED | {"models": ["x"]}, "models: 1 entries for 2 completions" + DROP),
    "one completion": (RANKED | {"completions": ["b"]},
                       "completions: 1 completions; a ranking needs at least 2" + DROP),
    "an empty one": (RANKED | {"completions": ["b", ""]}, "completions[1]: empty text" + DROP),
    "all the same": (RANKED | {"completions": ["b", "b"], "ranks": [1, 2]},
                     "completions: all are the same text; there is nothing to prefer" + DROP),
    "no assistant": ({"messages": ASK}, "messages: no assistant turn" + DROP),
    "assistant first": ({"messages": said("hi")},
                        "messages: starts with an assistant turn: put a user or system turn before it"),
    "last word": ({"messages": [*ASK, *said("b"), *ASK]},
                  "messages: ends with a user turn: end it with an assistant turn"),
    "tools": ({"prompt": ASK, "tools": ["look"]}, "tools[0]: expected an object, got text" + DROP),
    "implicit prompt": (
        {"chosen": "b", "rejected": "c"},
        "prompt: missing; comparisons need an explicit prompt: put what both share into a column `prompt` and leave "
        "only the replies in chosen and rejected",
    ),
    "half a comparison": (
        {"prompt": "a", "chosen": "b"},
        "rejected: missing (beside prompt, chosen): add a column 'rejected'",
    ),
    "capital": ({"prompt": "a", "Chosen": "b", "rejected": "c"},
                "chosen: missing; there is 'Chosen': rename it to 'chosen'"),
    "typing error": ({"prompt": "a", "compleiton": "b"},
                     "completion: missing; there is 'compleiton': rename it to 'completion'"),
    "singular": ({"message": ASK}, "messages: missing; there is 'message': rename it to 'messages'"),
    "two formats": ({"text": "a", "messages": ASK}, "columns of 2 formats: messages, text: keep one of them"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(columns: dict[str, Any], message: str) -> None:
    assert refusal(**columns) == f"rows.jsonl:7: {message}"


def test_unknown_columns_are_listed() -> None:
    message = refusal(instruction="a", output="b")
    assert message.startswith("rows.jsonl:7: no known columns (there are: instruction, output): rename them to one of:")


def test_group_made_in_python_is_held_to_the_same_rules() -> None:
    good = Group("", "a", (Completion("b"), Completion("c")), (Judgement(ranks=(1, 2)),))
    assert check_group(good, HERE).id == "7"
    bad = {
        "completions[1]: empty text": Group("", "a", (Completion("b"), Completion(" "))),
        "judgements[0].ranks: 1 entries for 2": Group("", "a", good.completions, (Judgement(ranks=(1,)),)),
        "judgements[0].margin: nan": Group("", "a", good.completions, (Judgement(ranks=(1, 2), margin=float("nan")),)),
        "prompt: empty text": Group("", "", ()),
    }
    for message, group in bad.items():
        with pytest.raises(RecordError) as caught:
            check_group(group, HERE)
        assert message in str(caught.value)
