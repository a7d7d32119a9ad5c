"""Rows of `accord sample` as what the demo makes of them: groups to be ranked, and tables of scores and worths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from accord.demo.axes import Weights, worth
from accord.records import Completion, Group, Message, Origin


def finished(row: Mapping[str, Any], place: int) -> Group:
    """The question with those of its answers that came to their end and say something."""
    several = "completions" in row
    texts, ended = (row["completions"], row["ended"]) if several else ([row["completion"]], [row["ended"]])
    whole = [text[0]["content"] for text, end in zip(texts, ended, strict=True) if end]
    answers = tuple(Completion((Message("assistant", text),)) for text in whole if text.strip())
    prompt = tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"])
    return Group(str(place), prompt, answers, source=Origin("<demo>", place))


class Scored(NamedTuple):
    """N answers to each of P questions. proxy: the reward model's score; worth: the exact one. Both (P, N)."""

    proxy: Tensor
    worth: Tensor


def scored(rows: Iterable[Mapping[str, Any]], each: int, weights: Weights) -> Scored:
    """Of the questions with `each` answers: where a hardly trained model says nothing, there are fewer."""
    whole = [row for row in rows if len(row.get("completions", ())) == each]
    worths = [[worth(text[0]["content"], weights) for text in row["completions"]] for row in whole]
    proxy = torch.tensor([row["ratings"] for row in whole], dtype=torch.float64).reshape(-1, each)
    return Scored(proxy, torch.tensor(worths, dtype=torch.float64).reshape(-1, each))
