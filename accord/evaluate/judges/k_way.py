"""A language model as a judge of more than two answers to one prompt: it puts them in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from accord.errors import InputError
from accord.evaluate.judges.asking import Question
from accord.evaluate.judges.llm import LETTERS, LlmJudge, named
from accord.evaluate.judges.orders import Order, shown_in
from accord.evaluate.judges.replies import Reply, ranks_of
from accord.evaluate.judges.transcript import asked, said
from accord.records import Group, Judgement


class Ranked(NamedTuple):
    """What came of a group: a judgement with ranks, or why there is none."""

    judgement: Judgement | None
    failure: str = ""


def ranked(judge: LlmJudge, groups: Sequence[Group]) -> list[Ranked]:
    """Of each group the ranks of its K completions, 2 <= K <= 26; 1 is best, equal ranks are ties.

    In both orders, which are a drawn one and its reverse, the ranks are those of the mean rank. InputError: a template
    that does not rank, or a group of another size. Else as LlmJudge.judge.
    """
    if judge.template.kind != "ranking":
        what = f"{judge.template.name} is a {judge.template.kind} template"
        raise InputError(what, where="template", fix="give ranking")
    for group in groups:
        if not 2 <= (count := len(group.completions)) <= len(LETTERS):
            fix = f"give from 2 to {len(LETTERS)}"
            raise InputError(f"{count} completions to rank", where=f"{group.source} (id {group.id})", fix=fix)
    orders = [shown_in(judge.orders, judge.seed, group.prompt, _models(group)) for group in groups]
    plans = [(group, order) for group, several in zip(groups, orders, strict=True) for order in several]
    heard = iter(judge.heard([_question(judge, group, order) for group, order in plans]))
    found = []
    for several in orders:
        replies = [next(heard) for _ in several]
        if failures := [one.failure for one in replies if one.reply is None]:
            found.append(Ranked(None, "; ".join(dict.fromkeys(failures))))
            continue
        read = [_ranks(one.reply, order) for one, order in zip(replies, several, strict=True) if one.reply is not None]
        found.append(Ranked(Judgement(ranks=_by_mean(read), annotator=judge.name)))
    return found


def _models(group: Group) -> list[str]:
    return [one.model or "" for one in group.completions]


def _question(judge: LlmJudge, group: Group, order: Order) -> Question:
    texts = named([said(group.completions[place].content) for place in order])
    values = {"prompt": asked(group.prompt), "answers": texts}
    return judge.question(values, order, lambda reply: _ranks(reply, order))


def _ranks(reply: Reply, order: Order) -> list[int]:
    """(K,) ranks of the completions as the group has them. Unreadable: the reply has no order of all."""
    shown = ranks_of(reply.text, LETTERS[: len(order)])
    return [shown[order.index(place)] for place in range(len(order))]


def _by_mean(ranks: Sequence[Sequence[int]]) -> tuple[int, ...]:
    total = [sum(several) for several in zip(*ranks, strict=True)]
    return tuple(1 + sum(other < own for other in total) for own in total)
