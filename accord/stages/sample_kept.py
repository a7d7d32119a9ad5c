"""What of a prompt's samples is written, and as which kind of row: all of them, the best, or the best and the worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from accord.data.encode import Ids
from accord.data.formats import FORMATS, to_rows
from accord.records import Completion, Group, Judgement, Message, Text

Row = dict[str, Any]


class One(NamedTuple):
    """One sample of a prompt. logprob: nats, of all its tokens together. ids: these tokens, its end token with them."""

    text: str
    ids: Ids
    logprob: float
    ended: bool
    score: float | None

    @property
    def tokens(self) -> int:
        """How many."""
        return len(self.ids)


class Asked(NamedTuple):
    """A prompt with its samples that can be written. model: who wrote them. judge: who scored them, if anybody."""

    prompt: Group
    samples: Sequence[One]
    model: str
    judge: str | None


def all_of(asked: Asked) -> Row | None:
    """Every sample, with ratings where they have scores; of a single one a demonstration. None: there is none."""
    samples = asked.samples
    if not samples:
        return None
    if len(samples) == 1:
        (one,) = samples
        scored = {} if one.score is None else {"score": one.score}
        return _row("demonstration", asked, samples) | scored | _about(one)
    scores = [one.score for one in samples if one.score is not None]
    judgement = Judgement(ratings=tuple(scores), annotator=asked.judge) if scores else None
    row = _row("ranking", asked, samples, judgement)
    columns = [_about(one) for one in samples]
    return row | {name: [about[name] for about in columns] for name in columns[0]}


def best_of(asked: Asked) -> Row | None:
    """The sample with the greatest score, of equal ones the first, as a demonstration. None: there is none."""
    if not asked.samples:
        return None
    best = max(asked.samples, key=_score)
    return _row("demonstration", asked, [best]) | {"score": best.score} | _about(best)


def pair_of(asked: Asked) -> Row | None:
    """The samples with the greatest and the least score as a comparison. None where no two differ, or their texts do
    not."""
    if not asked.samples:
        return None
    best, worst = max(asked.samples, key=_score), min(asked.samples, key=_score)
    if _score(best) == _score(worst) or best.text == worst.text:
        return None
    ratings = (_score(best), _score(worst))
    judgement = Judgement(ranks=(1, 2), ratings=ratings, margin=ratings[0] - ratings[1], annotator=asked.judge)
    row = _row("comparison", asked, [best, worst], judgement)
    sides = {"chosen": best, "rejected": worst}
    return row | {f"{side}_{name}": value for side, one in sides.items() for name, value in _about(one).items()}


KEEPS: dict[str, Callable[[Asked], Row | None]] = {"all": all_of, "best": best_of, "pairs": pair_of}


def _score(one: One) -> float:
    assert one.score is not None
    return one.score


def _about(one: One) -> Row:
    """Columns that no stage reads."""
    return {"ended": one.ended, "tokens": one.tokens, "logprob": one.logprob}


def _row(form: str, asked: Asked, samples: Sequence[One], judgement: Judgement | None = None) -> Row:
    """The columns of a known format."""

    def content(text: str) -> Text:
        return text if isinstance(asked.prompt.prompt, str) else (Message("assistant", text),)

    completions = tuple(Completion(content(one.text), asked.model) for one in samples)
    judgements = () if judgement is None else (judgement,)
    group = replace(asked.prompt, completions=completions, judgements=judgements)
    ((row,), _) = to_rows(FORMATS[form], group)
    return row
