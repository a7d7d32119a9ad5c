"""Verdicts as rows of AlpacaEval's annotations, with both answers: accord winrate and accord leaderboard read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accord.data.model_outputs import plain, words_of
from accord.data.write import row_writer
from accord.evaluate.verdicts import Matched, Verdict
from accord.records import Text

Row = dict[str, Any]


def write_verdicts(
    path: str, matched: Sequence[Matched], said: Sequence[Verdict], instructions: Mapping[str, int]
) -> None:
    """A row for each verdict, also for those that failed. StorageError: it cannot be written."""
    with row_writer(path) as writer:
        for row in verdict_rows(matched, said, instructions):
            writer.add(row)


def verdict_rows(matched: Sequence[Matched], said: Sequence[Verdict], instructions: Mapping[str, int]) -> Iterator[Row]:
    """preference: from 1, the baseline (output_1) is better, to 2, the model (output_2) is; null: no verdict.

    instructions: the number of each prompt, by its id. All rows name the prompt in the same column: `instruction` where
    each is a single text, else `prompt`.
    """
    simple = all(words_of(one.prompt) is not None for one in matched)
    for one, verdict in zip(matched, said, strict=True):
        row: Row = {"id": one.id, "idx": instructions[one.id]}
        row |= {"instruction": words_of(one.prompt)} if simple else {"prompt": plain(one.prompt)}
        row |= {"output_1": _text(one.second.text), "generator_1": one.second.model}
        row |= {"output_2": _text(one.first.text), "generator_2": one.first.model}
        row |= {"annotator": verdict.annotator}
        row["preference"] = None if verdict.outcome is None else 1 + verdict.outcome
        optional = {"failure": verdict.failure, "category": one.category, "temperature": one.level, **_places(verdict)}
        yield row | {key: value for key, value in optional.items() if value is not None}


def _places(verdict: Verdict) -> Row:
    """outcomes: for the model when it was shown first, and when second. shown_first: of a single order, as AlpacaEval
    has it: which output stood first."""
    if verdict.orders is None:
        return {}
    asked = [place for place, outcome in enumerate(verdict.orders) if outcome is not None]
    alone = {"shown_first": (2, 1)[asked[0]]} if len(asked) == 1 and verdict.outcome is not None else {}
    return {"outcomes": list(verdict.orders), **alone}


def _text(text: Text) -> Any:
    words = words_of(text)
    return plain(text) if words is None else words
