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


def test_labelled_conversation_is_a_thumb_for_its_last_turn() -> None:
    group = group_of(messages=[*ASK, *said("blue"), *ASK, *said("red")], label=False)
    assert [turn.role for turn in group.prompt if isinstance(turn, Message)] == ["user", "assistant", "user"]
    assert group.completions[0].content == (Message("assistant", "red"),)
    assert group.judgements == (Judgement(labels=(False,)),)


def test_first_turns_of_weight_0_belong_to_the_prompt() -> None:
    unlearnt = {"role": "assistant", "content": "red", "weight": 0}
    group = group_of(messages=[*ASK, unlearnt, *ASK, *said("blue")])
    assert [turn.role for turn in group.prompt if isinstance(turn, Message)] == ["user", "assistant", "user"]
    assert group.completions[0].content == (Message("assistant", "blue"),)


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
    assert group_of(prompt=ASK, tools="").tools == ()  # LLaMA-Factory writes that where there are none


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
    "no messages": (CHAT | {"chosen": []}, "chosen: empty list of messages" + DROP),
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
    "margin text": (PAIR | {"margin": "big"}, "margin: expected a number, got text 'big'" + DROP),
    "weight": (PAIR | {"weight": 0}, "weight: 0 is no weight: a number above 0"),
    "label": ({"prompt": "a", "completion": "b", "label": 1}, "label: expected true or false, got a number" + DROP),
    "rating inf": (RANKED | {"ratings": [1, float("inf")]}, "ratings[1]: inf is not a finite number" + DROP),
    "ranks too few": (RANKED | {"ranks": [1]}, "ranks: 1 entries for 2 completions" + DROP),
    "ranks from 0": (RANKED | {"ranks": [0, 1]}, "ranks[0]: 0 is no rank: ranks are whole numbers, 1 is best"),
    "models": (RANKED | {"models": ["x"]}, "models: 1 entries for 2 completions" + DROP),
    "one completion": (RANKED | {"completions": ["b"]},
                       "completions: 1 completions; a ranking needs at least 2" + DROP),
    "no assistant": ({"messages": ASK}, "messages: no assistant turn" + DROP),
    "unlearnt turn later": (
        {"messages": [*ASK, *said("b"), *ASK, {"role": "assistant", "content": "c", "weight": 0}]},
        "messages[3].weight: 0 after a turn that is learnt: split the conversation before that turn",
    ),
    "no turn learnt": (
        {"messages": [*ASK, {"role": "assistant", "content": "c", "weight": 0}]},
        "messages: no assistant turn of a weight above 0" + DROP,
    ),
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
    "response without ratings": (
        {"prompt": "a", "response": "b"},
        "helpfulness: missing (beside prompt, response): add a column 'helpfulness', or rename 'response' to "
        "'completion'",
    ),
    "history": ({"instruction": "a", "output": "b", "history": [["a"]]},
                "history[0]: expected a list of two texts: what was asked and what was answered" + DROP),
    "speaker": ({"conversations": [{"from": "robot", "value": "x"}]},
                "conversations[0].from: unknown speaker 'robot': one of human, user, gpt, assistant, chatgpt, system, "
                "function_call, observation, tool"),
    "two systems": ({"conversations": [{"from": "system", "value": "x"}, {"from": "human", "value": "y"}],
                     "system": "z"},
                    "system: there is a system turn in conversations, too: keep one of them"),
    "call": ({"conversations": [{"from": "human", "value": "y"}, {"from": "function_call", "value": "{}"}]},
             "conversations[1].value: expected JSON of a call: an object with name and arguments, or a list of them"
             + DROP),
    "rating": ({"instruction": "a", "completions": [{"response": "b", "overall_score": "high"}]},
               "completions[0].overall_score: expected a number, got text" + DROP),
    "no response": ({"instruction": "a", "completions": [{"model": "b"}]},
                    "completions[0].response: expected text, got null" + DROP),
    "unknown in a judgement": ({"prompt": "a", "completions": ["b"], "judgements": [{"rank": [1]}]},
                               "judgements[0].rank: unknown: one of ranks, ratings, labels, margin, annotator, "
                               "aspects, classes, flags, shown, notes, seconds, written, settled"),
    "ranks of a judgement": ({"prompt": "a", "completions": ["b"], "judgements": [{"ranks": [1, 2]}]},
                             "judgements[0].ranks: 2 entries for 1 completions" + DROP),
    "two formats": ({"text": "a", "messages": ASK}, "columns of 2 formats: messages, text: keep one of them"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(columns: dict[str, Any], message: str) -> None:
    assert refusal(**columns) == f"rows.jsonl:7: {message}"


def test_prompt_repeated_as_the_first_turn() -> None:
    """As in HuggingFaceH4/ultrafeedback_binarized; chosen_rating and chosen_model as in Tulu's and Argilla's."""
    sides = {"chosen": [*ASK, *said("blue")], "rejected": [*ASK, *said("red")]}
    row = {"prompt": ASK[0]["content"], "prompt_id": "x", **sides, "messages": sides["chosen"]}
    group = group_of(**row, score_chosen=8.5, score_rejected=2.0)
    assert group.prompt == (Message("user", "what colour is the sky?"),)
    assert group.completions[1].content == (Message("assistant", "red"),)
    assert group.judgements == (Judgement(ranks=(1, 2), ratings=(8.5, 2.0)),)
    rated = group_of(**row, chosen_rating=5, rejected_rating=4, chosen_model="m")
    assert rated.judgements[0].ratings == (5.0, 4.0)
    assert [completion.model for completion in rated.completions] == ["m", None]
    assert "like the prompt, got a list" in refusal(**{**row, "prompt": "something else"})
    assert "score_rejected: missing" in refusal(**row, score_chosen=1)


def implicit(chosen: list[dict[str, str]], rejected: list[dict[str, str]]) -> Group:
    row = {"chosen": chosen, "rejected": rejected}
    return to_group(find_format(row, HERE, implicit_prompt=True), row, HERE)


def test_implicit_prompt_ends_before_the_assistant_turn_at_which_the_sides_part() -> None:
    """Also where they part at a user turn, end early, or are the same: then the last shared assistant turn is cut."""
    long = [*ASK, *said("blue"), {"role": "user", "content": "sure?"}, *said("yes")]
    cases = [
        (long, [*long[:3], *said("no")], 3),
        (long, [*ASK, *said("red")], 1),
        (long, [*long[:2], {"role": "user", "content": "why?"}, *said("so")], 1),
        (long, long[:2], 1),
        (long, long, 3),
    ]
    for chosen, rejected, place in cases:
        group = implicit(chosen, rejected)
        sides = [[*group.prompt, *completion.content] for completion in group.completions]
        assert len(group.prompt) == place
        assert sides == [[Message(**turn) for turn in side] for side in (chosen, rejected)]


def test_implicit_prompt_is_never_cut_within_a_text() -> None:
    row = {"chosen": "The sky is blue", "rejected": "The sky is black"}
    with pytest.raises(RecordError, match="plain text has no border between prompt and completion"):
        to_group(find_format(row, HERE, implicit_prompt=True), row, HERE)
    with pytest.raises(RecordError, match="the two share no turns before an assistant's"):
        implicit([*ASK, *said("blue")], [{"role": "user", "content": "else?"}, *said("blue")])


def test_hh_text_keeps_every_character_but_one_space_of_its_marks() -> None:
    chosen = "\n\nHuman: a \n\n b\n\nAssistant:  two spaces \n\nHuman: c\n\nAssistant: "
    group = group_of(chosen=chosen, rejected=chosen + "d")
    assert [(turn.role, turn.content) for turn in (*group.prompt, *group.completions[0].content)] == [
        ("user", "a \n\n b"),
        ("assistant", " two spaces "),
        ("user", "c"),
        ("assistant", ""),
    ]
    assert len(group.prompt) == 3
    assert "does not begin with Human: or Assistant:" in refusal(chosen=chosen, rejected="d")
    assert "ends with a user turn" in refusal(chosen=chosen, rejected=chosen + "d\n\nHuman: e")


def test_row_of_ultrafeedback_as_it_is_published() -> None:
    def completion(model: str, overall: object, honesty: str) -> dict[str, Any]:
        return {
            "annotations": {
                "honesty": {"Rating": honesty, "Rationale": "..."},
                "helpfulness": {"Type": ["1"], "Rationale": "...", "Rating": "4", "Rationale For Rating": "..."},
            },
            "custom_system_prompt": "...",
            "principle": "honesty",
            "critique": "...",
            "fine-grained_score": 4.5,
            "overall_score": overall,
            "model": model,
            "response": "blue",
        }

    def row(*completions: dict[str, Any]) -> dict[str, Any]:
        frame = {"source": "x", "instruction": "sky?", "models": ["m", "n"], "correct_answers": ["None"]}
        return {**frame, "completions": list(completions)}

    found = row(completion("m", 8.0, "5"), completion("n", 6.5, "N/A"))
    group = group_of(**found)
    assert group.prompt == (Message("user", "sky?"),)
    assert [one.model for one in group.completions] == ["m", "n"]
    assert group.judgements == (Judgement(ratings=(8.0, 6.5), aspects={"helpfulness": (4.0, 4.0)}),)
    assert ignored(find_format(found, HERE), found) == [
        "source", "models", "correct_answers",
        "completions.custom_system_prompt", "completions.principle", "completions.critique",
        "completions.annotations.honesty (not of every completion)",
    ]  # fmt: skip
    fine = group_of(**row(completion("m", None, "5"), completion("n", 6.5, "1")))
    assert fine.judgements[0].ratings == (4.5, 4.5)
    bare = [{"response": "a", "annotations": {"x": {"Rating": rating}, "y": {"Rating": "2"}}} for rating in ("4", "1")]
    assert group_of(**row(*bare)).judgements[0].ratings == (3.0, 1.5)
    assert group_of(**row({"response": "a"}, {"response": "b"})).judgements == ()


def test_prompt_of_helpsteer_with_several_turns() -> None:
    prompt = "sky?\n<extra_id_1>Assistant\nblue\n<extra_id_1>User\nsure?"
    group = group_of(prompt=prompt, response="yes", helpfulness=4)
    assert [(turn.role, turn.content) for turn in group.prompt if isinstance(turn, Message)] == [
        ("user", "sky?"),
        ("assistant", "blue"),
        ("user", "sure?"),
    ]


def test_turns_of_sharegpt() -> None:
    turns = [{"role": "user", "content": "sky?"}, {"from": "chatgpt", "value": "blue", "markdown": None}]
    assert group_of(conversations=turns).completions[0].content == (Message("assistant", "blue"),)
    calls = '[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]'
    called = group_of(conversations=[{"from": "human", "value": "x"}, {"from": "function_call", "value": calls}])
    assert [call["function"]["name"] for call in called.completions[0].content[0].extra["tool_calls"]] == ["a", "b"]  # type: ignore[union-attr]


def test_unknown_columns_are_listed() -> None:
    message = refusal(question="a", answer="b")
    assert message.startswith("rows.jsonl:7: no known columns (there are: answer, question): rename them to one of:")
    assert "no known columns (there are: context, response1)" in refusal(context="a", response1="b")


def test_a_column_for_which_two_may_stand_is_not_guessed() -> None:
    assert "output: missing (beside instruction): add" in refusal(instruction="a", output_1="b", output_2="c")


def test_group_made_in_python_is_held_to_the_same_rules() -> None:
    good = Group("", "a", (Completion("b"), Completion("c")), (Judgement(ranks=(1, 2)),))
    assert check_group(good, HERE).id == "7"
    bad = {
        "completions[1]: expected text like the prompt, got a list": Group(
            "", "a", (Completion("b"), Completion((Message("assistant", "c"),)))
        ),
        "judgements[0].ranks: 1 entries for 2": Group("", "a", good.completions, (Judgement(ranks=(1,)),)),
        "judgements[0].margin: nan": Group("", "a", good.completions, (Judgement(ranks=(1, 2), margin=float("nan")),)),
        "prompt: empty list of messages": Group("", (), ()),
        "judgements[0].labels[1]: expected true or false, got a number": Group(
            "",
            "a",
            good.completions,
            (Judgement(labels=(True, 1)),),  # type: ignore[arg-type]
        ),
    }
    for message, group in bad.items():
        with pytest.raises(RecordError) as caught:
            check_group(group, HERE)
        assert message in str(caught.value)
