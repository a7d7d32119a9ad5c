"""The columns of Alpaca, as LLaMA-Factory reads them: demonstrations, labelled ones (kto_tag) and comparisons."""

from __future__ import annotations

from collections.abc import Iterator

from accord.data.fields import Row, kind
from accord.data.parts import CannotHold
from accord.data.plain_formats import Columns, pair, pair_rows, single, single_rows, single_turn, turns_of, words_of
from accord.records import Group, Message, Turns

ASKING = ("input", "system", "history")


def alpaca(row: Row) -> Group:
    """`output` answers; what stands before it is the prompt, `history` too. kto_tag: a label."""
    return single(row, _prompt(row), _reply(row, "output"), row.flag("kto_tag"))


def alpaca_comparison(row: Row) -> Group:
    return pair(row, _prompt(row), _reply(row, "chosen"), _reply(row, "rejected"))


def _reply(row: Row, name: str) -> Turns:
    return (Message("assistant", row.text(name)),)


def _prompt(row: Row) -> Turns:
    """The system text where there is one, the history, and `instruction` and `input` with a line break between."""
    system, extra = (row.as_text(name, row.columns.get(name) or "") for name in ("system", "input"))
    instruction = row.text("instruction")
    turns = [Message("system", system)] if system else []
    turns += _history(row)
    asked = "\n".join(part for part in (instruction, extra) if part)
    return (*turns, Message("user", asked))


def _history(row: Row) -> Iterator[Message]:
    values = row.columns.get("history") or ()
    if not isinstance(values, list | tuple):
        raise row.error("history", f"expected a list of pairs, got {kind(values)}")
    for i, value in enumerate(values):
        field = f"history[{i}]"
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise row.error(field, "expected a list of two texts: what was asked and what was answered")
        for j, role in enumerate(("user", "assistant")):
            yield Message(role, row.as_text(f"{field}[{j}]", value[j]))


def alpaca_rows(group: Group) -> Iterator[Columns]:
    asked = _columns(turns_of(group.prompt))
    for completion, said in single_rows(group, "kto_tag"):
        yield {**asked, "output": single_turn(completion), **said}


def alpaca_comparison_rows(group: Group) -> Iterator[Columns]:
    asked = _columns(turns_of(group.prompt))
    for chosen, rejected, said in pair_rows(group):
        yield {**asked, "chosen": single_turn(chosen), "rejected": single_turn(rejected), **said}


def _columns(turns: Turns) -> Columns:
    """A prompt as columns. CannotHold: turns that are not a system's and then a user's and the assistant's in turn."""
    system = words_of(turns[0]) if turns[0].role == "system" else None
    rest = turns if system is None else turns[1:]
    if [turn.role for turn in rest] != ["user", "assistant"] * (len(rest) // 2) + ["user"]:
        raise CannotHold("a prompt whose turns do not alternate")
    words = [words_of(turn) for turn in rest]
    history = [list(both) for both in zip(words[:-1:2], words[1::2], strict=True)]
    return {"instruction": words[-1], "input": "", "system": system, "history": history or None}
