"""The record itself, and how its errors read."""

import dataclasses

import pytest

from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Message, Origin, RecordError


def test_error_names_file_line_field_and_what_to_do() -> None:
    error = RecordError("empty text", origin=Origin("prefs.jsonl", 67), field="chosen", fix="drop the row")
    assert str(error) == "prefs.jsonl:67: chosen: empty text: drop the row"
    assert isinstance(error, InputError) and error.code == 2


def test_error_without_field_or_fix() -> None:
    assert str(RecordError("not a row", origin=Origin("a.jsonl", 1))) == "a.jsonl:1: not a row"


def test_message_keeps_what_templates_read() -> None:
    call = [{"name": "look", "arguments": {"at": "sky"}}]
    message = Message("assistant", "", {"tool_calls": call})
    assert message.plain() == {"role": "assistant", "content": "", "tool_calls": call}


def test_group_is_a_value() -> None:
    def group() -> Group:
        return Group("1", (Message("user", "hi"),), (Completion("a"), Completion("b")), (Judgement(ranks=(1, 2)),))

    assert group() == group()
    with pytest.raises(dataclasses.FrozenInstanceError):
        group().id = "2"  # type: ignore[misc]
