"""ShareGPT's conversations of `from` and `value`, as LLaMA-Factory reads them: with system, tools, labels and ranks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from accord.data.fields import Row, kind
from accord.data.parts import CannotHold
from accord.data.plain_formats import (
    Columns,
    divided,
    joined,
    last_of,
    pair,
    pair_rows,
    reply_of,
    single,
    single_rows,
    turns_of,
)
from accord.records import Group, Message, Turns

SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
WRITTEN = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}


def sharegpt(row: Row) -> Group:
    """The prompt is all turns before the first of the assistant, as in a conversation of messages."""
    prompt, (completion,) = divided(row, "conversations", _conversation(row))
    return single(row, prompt, completion, None)


def sharegpt_unpaired(row: Row) -> Group:
    """kto_tag says that the last turn is good or bad; the prompt is what stands before it."""
    prompt, (completion,) = last_of(row, "conversations", _conversation(row))
    return single(row, prompt, completion, row.flag("kto_tag"))


def sharegpt_comparison(row: Row) -> Group:
    """The conversation is the prompt; `chosen` and `rejected` are one turn each."""
    sides = []
    for name in ("chosen", "rejected"):
        turn = _turn(row, name, row.as_object(name, row.needed(name)))
        sides.append(reply_of(row, name, (turn,)))
    return pair(row, _conversation(row), *sides)


def _conversation(row: Row) -> Turns:
    """The turns; a text in the column `system` comes first."""
    turns = tuple(_turn(row, field, value) for field, value in row.objects("conversations"))
    if not turns:
        raise row.error("conversations", "empty list of turns")
    system = row.as_text("system", row.columns.get("system") or "")
    if not system:
        return turns
    if turns[0].role == "system":
        what = "there is a system turn in conversations, too"
        raise row.error("system", what, "keep one of them")
    return (Message("system", system), *turns)


def _turn(row: Row, field: str, value: Mapping[str, Any]) -> Message:
    if "from" not in value and "role" in value:
        return row.message(field, value)
    speaker = value.get("from")
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        what = f"unknown speaker {speaker!r}" if isinstance(speaker, str) else f"expected text, got {kind(speaker)}"
        raise row.error(f"{field}.from", what, "one of " + ", ".join(SPEAKERS))
    words = row.as_text(f"{field}.value", value.get("value"))
    extra = {key: item for key, item in value.items() if key not in ("from", "value") and item is not None}
    if speaker == "function_call":
        return Message("assistant", "", {"tool_calls": _calls(row, f"{field}.value", words), **extra})
    return Message(SPEAKERS[speaker], words, extra)


def _calls(row: Row, field: str, words: str) -> list[dict[str, Any]]:
    """JSON of {"name", "arguments"}, or a list of such objects, as chat templates take them."""
    found = row.json(field, words)
    calls = found if isinstance(found, list) else [found]
    if not calls or any(not isinstance(call, dict) or not {"name", "arguments"} == set(call) for call in calls):
        raise row.error(field, "expected JSON of a call: an object with name and arguments, or a list of them")
    return [{"type": "function", "function": call} for call in calls]


def sharegpt_rows(group: Group) -> Iterator[Columns]:
    (completion,) = group.completions
    yield {"conversations": _plain(joined(group)), "model": completion.model, "tools": _tools(group)}


def sharegpt_unpaired_rows(group: Group) -> Iterator[Columns]:
    prompt = turns_of(group.prompt)
    for completion, said in single_rows(group, "kto_tag"):
        yield {"conversations": _plain((*prompt, *turns_of(completion))), **said, "tools": _tools(group)}


def sharegpt_comparison_rows(group: Group) -> Iterator[Columns]:
    prompt = _plain(turns_of(group.prompt))
    for chosen, rejected, said in pair_rows(group):
        sides = {"chosen": turns_of(chosen), "rejected": turns_of(rejected)}
        if any(len(turns) != 1 for turns in sides.values()):
            raise CannotHold("completions of several turns")
        turns = {name: _plain(turns)[0] for name, turns in sides.items()}
        yield {"conversations": prompt, **turns, **said, "tools": _tools(group)}


def _tools(group: Group) -> str | None:
    """As text of JSON, which is how LLaMA-Factory reads them."""
    return json.dumps(list(group.tools), ensure_ascii=False) if group.tools else None


def _plain(turns: Turns) -> list[dict[str, Any]]:
    return [_plain_turn(turn) for turn in turns]


def _plain_turn(turn: Message) -> dict[str, Any]:
    if turn.role not in WRITTEN:
        raise CannotHold(f"a {turn.role} turn")
    extra = {key: value for key, value in turn.extra.items() if key not in ("tool_calls", "from", "value")}
    if not (calls := turn.extra.get("tool_calls")):
        return {"from": WRITTEN[turn.role], "value": turn.content, **extra}
    if turn.content:
        raise CannotHold("words and a call of tools in one turn")
    found = [call_of(call) for call in calls]
    words = json.dumps(found if len(found) > 1 else found[0], ensure_ascii=False)
    return {"from": "function_call", "value": words, **extra}


def call_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """{"name", "arguments"} of a call, whose arguments OpenAI writes as JSON text. CannotHold: it has no such."""
    inner = call.get("function", call)
    try:
        arguments = inner["arguments"]
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        return {"name": inner["name"], "arguments": arguments}
    except (KeyError, TypeError, ValueError, RecursionError):
        raise CannotHold("a call of tools that is no name and arguments") from None
