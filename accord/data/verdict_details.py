"""What a win rate asks of a comparison beside its outcome: lengths, who was shown first, a setting, the instruction."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from accord.data.fields import Row
from accord.data.verdict_formats import VerdictFormat, number_of_cell
from accord.records import Text

INSTRUCTION = "idx"  # a column that says which instruction of a set the row is about, from 0


class Details(NamedTuple):
    """Numbers that are NaN where they are not known. shown: 1 the first model's answer stood first, -1 the second's, 0
    not known. level: of the setting that is compared over, as a temperature. instruction: its number in the set."""

    first_length: float  # characters
    second_length: float
    shown: float
    level: float
    instruction: float


class DetailColumns(NamedTuple):
    """Where the rows of a file say it. texts: None where they have no texts; over: the column with the setting."""

    texts: tuple[str, str] | None
    over: str | None
    shown: Callable[[Row], int]
    numbered: bool

    def of(self, row: Row) -> Details:
        """RecordError: there is no setting, or it is no number."""
        first, second = (math.nan, math.nan) if self.texts is None else (_length(row, name) for name in self.texts)
        level = math.nan if self.over is None else number_of_cell(row, self.over, row.needed(self.over))
        instruction = _instruction(row) if self.numbered else math.nan
        return Details(first, second, float(self.shown(row)), level, instruction)


def detail_columns(form: VerdictFormat, first: Row, over: str | None) -> DetailColumns:
    """As the first row of the file says it."""
    known = [pair for pair in form.texts if any(name in first.columns for name in pair)]
    return DetailColumns(known[0] if known else None, over, form.shown_first, INSTRUCTION in first.columns)


def _length(row: Row, name: str) -> float:
    value = row.columns.get(name)
    if value is None:
        return math.nan
    text = row.text_or_turns(name, value)
    return characters(text if isinstance(text, str) else tuple(turn for turn in text if turn.role == "assistant"))


def _instruction(row: Row) -> float:
    value = row.columns.get(INSTRUCTION)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)  # a table without types has texts
    return float(value) if type(value) is int and value >= 0 else math.nan


def characters(text: Text) -> int:
    """The length of an answer as AlpacaEval counts it; of turns the characters of their contents."""
    return len(text) if isinstance(text, str) else sum(len(turn.content) for turn in text)
