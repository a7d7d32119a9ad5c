"""Rows that compare two models: whose columns they are, and which of the two is said to be better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from accord.data.fields import Row, kind

PROMPTS = ("prompt", "instruction", "prompt_id", "instance_id", "question_id")  # the first that is there names it
ANNOTATORS = ("annotator", "judge")
CATEGORIES = ("category", "dataset")

AB = ("model_a", "model_b")
# Chatbot Arena, https://huggingface.co/datasets/lmarena-ai/arena-human-preference-140k, and MT-bench.
WINNERS = {
    "model_a": 1.0,
    "model_b": 0.0,
    "a": 1.0,
    "b": 0.0,
    "A": 1.0,
    "B": 0.0,
    "tie": 0.5,
    "tie (bothbad)": 0.5,
    "tie (inconsistent)": 0.5,
    "both_bad": 0.5,
    "bothbad": 0.5,
}
# Wang et al. 2023 (Tulu), human evaluation of https://github.com/allenai/open-instruct
LEVELS = {
    "a-is-better": 1.0,
    "a-is-slightly-better": 1.0,
    "tie": 0.5,
    "b-is-slightly-better": 0.0,
    "b-is-better": 0.0,
}
SHOWN_FIRST: dict[int | float | str, int] = {1: 1, 2: -1, "1": 1, "2": -1}  # a table without types has texts


class VerdictFormat(NamedTuple):
    """Columns that a row needs, and how it is read. outcome: how far the first is better, in 0..1; None: not said.

    texts: columns with the two texts, any of the pairs. shown_first: 1 if the first model's stood first or left, -1 if
    the second's, 0 if that is not known.
    """

    means: str
    needs: tuple[str, ...]
    models: tuple[str, str]
    outcome: Callable[[Row], float | None]
    texts: tuple[tuple[str, str], ...]
    shown_first: Callable[[Row], int]


def _winner(row: Row) -> float | None:
    said = row.columns["winner"]
    if said is None:
        return None
    first, second = (said == row.columns[name] for name in AB)
    named = float(first) if first or second else None
    found = WINNERS.get(said, named) if isinstance(said, str) else named
    if found is None:
        raise row.error(
            "winner", f"{_shown(said)} is no verdict", "model_a, model_b, tie, or the name of one of the two"
        )
    if first != second and found != named:
        what = f"{_shown(said)} is a verdict, and the name of a model for which it does not stand"
        raise row.error("winner", what, "give that model another name")
    return found


def _winners(row: Row) -> float | None:
    """Of three columns of 0 and 1 the one that is 1."""
    names = {"winner_model_a": 1.0, "winner_model_b": 0.0, "winner_tie": 0.5}
    marked = [value for name, value in names.items() if row.columns[name] in (1, "1")]
    if len(marked) != 1:
        what = f"{len(marked)} of {', '.join(names)} are 1"
        raise row.error("winner_model_a", what, "exactly one must be 1, the others 0")
    return marked[0]


def _level(row: Row) -> float | None:
    said = row.columns["preference"]
    if said is None:
        return None
    if not isinstance(said, str) or said not in LEVELS:
        raise row.error("preference", f"{_shown(said)} is no verdict", "one of " + ", ".join(LEVELS))
    return LEVELS[said]


def _preference(row: Row) -> float | None:
    """1: the first is better, 2: the second is; between them the chance of it. 0, as once, or 1.5: a tie."""
    said = row.columns["preference"]
    if said is None:
        return None
    value = number_of_cell(row, "preference", said)
    if value == 0:
        return 0.5
    if not 1 <= value <= 2:
        raise row.error("preference", f"{value:g} is no verdict", "a number from 1 (the first is better) to 2, or 0")
    return 2 - value


def _shown_first(row: Row) -> int:
    said = row.columns.get("shown_first")
    return SHOWN_FIRST.get(said, 0) if isinstance(said, int | float | str) else 0


def _left(row: Row) -> int:
    return 1


ANSWERS = (("response_a", "response_b"), ("conversation_a", "conversation_b"), ("output_a", "output_b"))
VERDICT_FORMATS: dict[str, VerdictFormat] = {
    "winner": VerdictFormat(
        "a vote between two models, as in Chatbot Arena", (*AB, "winner"), AB, _winner, ANSWERS, _left
    ),
    "winners": VerdictFormat(
        "the same with a column for each outcome",
        (*AB, "winner_model_a", "winner_model_b", "winner_tie"),
        AB,
        _winners,
        ANSWERS,
        _left,
    ),
    "levels": VerdictFormat(
        "a judgement of five levels, as in Tulu's human evaluation; `slightly` counts as better",
        (*AB, "preference"),
        AB,
        _level,
        ANSWERS,
        _left,
    ),
    "preference": VerdictFormat(
        "a judge's preference from 1 to 2, as AlpacaEval writes it",
        ("generator_1", "generator_2", "preference"),
        ("generator_1", "generator_2"),
        _preference,
        (("output_1", "output_2"),),
        _shown_first,
    ),
}


def verdict_format(columns: Mapping[str, Any]) -> VerdictFormat | None:
    """The format whose columns are all there; None: the row compares no models by name."""
    return next((form for form in VERDICT_FORMATS.values() if all(name in columns for name in form.needs)), None)


def number_of_cell(row: Row, name: str, value: object) -> float:
    """A number, which of a table without types is a text. RecordError: it is none, or not finite."""
    return row.finite(name, float(value) if isinstance(value, str) and _is_number(value) else value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float) else kind(value)
