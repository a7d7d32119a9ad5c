"""What a win rate asks of a comparison beside its outcome: lengths, who was shown first, a setting, the instruction."""

from __future__ import annotations

import math
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


def details_of_row(form: VerdictFormat, row: Row, over: str | None) -> Details:
    """over: the column with the setting. RecordError: it is not there, or no number."""
    first, second = _lengths(form, row)
    level = math.nan if over is None else number_of_cell(row, over, row.needed(over))
    return Details(first, second, float(form.shown_first(row)), level, _instruction(row))


def _lengths(form: VerdictFormat, row: Row) -> tuple[float, float]:
    for pair in form.texts:
        if any(row.columns.get(name) is not None for name in pair):
            first, second = (_length(row, name) for name in pair)
            return first, second
    return math.nan, math.nan


def _length(row: Row, name: str) -> float:
    value = row.columns.get(name)
    if value is None:
        return math.nan
    text = row.text_or_turns(name, value)
    return characters(text if isinstance(text, str) else tuple(turn for turn in text if turn.role == "assistant"))


def _instruction(row: Row) -> float:
    value = row.columns.get(INSTRUCTION)
    return float(value) if type(value) is int and value >= 0 else math.nan


def characters(text: Text) -> int:
    """The length of an answer as AlpacaEval counts it; of turns the characters of their contents."""
    return len(text) if isinstance(text, str) else sum(len(turn.content) for turn in text)
