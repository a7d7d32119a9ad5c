"""A language model behind an OpenAI-compatible server as a judge: a comparison, two ratings, or an order of two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accord.evaluate.judges.asking import OVER_BUDGET, Asking, Heard, Question
from accord.evaluate.judges.orders import Order, Orders, Said, shown_in, together
from accord.evaluate.judges.replies import Reply, bracketed, label_of, ranks_of, rating_of, weighed
from accord.evaluate.judges.template import Template
from accord.evaluate.judges.transcript import asked, conversation, said
from accord.evaluate.verdicts import Answer, Matched, Verdict
from accord.records import Text
from accord.training.progress import Progress

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # the names of ranked answers
OUTCOMES = (1.0, 0.0, 0.5)  # of what was shown first, by label


@dataclass(frozen=True)
class LlmJudge:
    """template: what is asked, and so what kind of judge it is. orders, seed: in which order answers are shown.

    Ratings are given to each answer alone, and so have no order.
    """

    template: Template
    asking: Asking
    orders: Orders = "both"
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.asking.parameters['model']} ({self.template.name})"

    def judge(self, matched: Sequence[Matched]) -> list[Verdict]:
        """ServiceError: the server is of no use. StorageError: the cache is not."""
        return self._rated(matched) if self.template.kind == "rating" else self._compared(matched)

    def lines(self) -> Iterator[str]:
        """What it cost, and what else is to be said of its work."""
        purse, cached = self.asking.purse, self.asking.from_cache
        guessed = ", guessed from characters, as the server does not count" if purse.guessed else ""
        cost = f"{purse.spent:,} tokens ({purse.prompt:,} of prompts, {purse.completion:,} of replies{guessed})"
        yield f"{self.name}: {purse.requests:,} questions for {cost}; {cached:,} from the cache"
        if broken := self.asking.cache.broken:
            yield f"note: {broken:,} lines of {self.asking.cache.path} hold no reply and are left aside"
        if purse.refused:
            yield f"note: stopped at --max_cost {purse.most:,}; what was judged is kept: give more to go on from there"
        if unweighed := self.asking.unweighed:
            yield f"note: {unweighed:,} replies came without log-probabilities, and count as wins, losses and ties"

    def heard(self, questions: Sequence[Question]) -> list[Heard]:
        """What was heard of each, with a progress bar."""
        with Progress("judge", len(questions), unit="question") as progress:
            spent = self.asking.purse.spent

            def advance(done: int) -> None:
                nonlocal spent
                now = self.asking.purse.spent
                progress.advance(done, None, None, done - progress.step, now - spent)
                spent = now

            found = self.asking.all(questions, advance)
            progress.log()
        return found

    def question(self, values: Mapping[str, Any], order: Order, read: Any, *, weighs: bool = False) -> Question:
        """The template with these values in it."""
        template = self.template
        about = {"template": f"{template.shown} {template.digest}", "order": list(order)}
        return Question(template.filled(values), about, read, weighs)

    def _compared(self, matched: Sequence[Matched]) -> list[Verdict]:
        orders = [shown_in(self.orders, self.seed, one.prompt, _models(one)) for one in matched]
        plans = [(one, order) for one, several in zip(matched, orders, strict=True) for order in several]
        heard = iter(self.heard([self._comparison(one, order) for one, order in plans]))
        return [self._verdict(several, [next(heard) for _ in several]) for several in orders]

    def _comparison(self, one: Matched, order: Order) -> Question:
        texts = [said((one.first, one.second)[place].text) for place in order]
        values: dict[str, Any] = {"prompt": asked(one.prompt)}
        if self.template.kind == "ranking":
            values["answers"] = named(texts)
        else:
            values |= {"first": texts[0], "second": texts[1]}
        return self.question(values, order, self._read, weighs=self._weighs)

    @property
    def _weighs(self) -> bool:
        return self.template.kind == "pairwise" and self.template.header.verdict == "token"

    def _read(self, reply: Reply) -> Said:
        """How far what was shown first is better. Unreadable: the reply does not say."""
        labels = self.template.header.labels
        if self.template.kind == "ranking":
            first, second = ranks_of(reply.text, LETTERS[:2])
            return Said(1.0 if first < second else 0.0 if second < first else 0.5)
        if not self._weighs:
            return Said(OUTCOMES[bracketed(reply.text, labels)])
        label, part = label_of(reply.text, labels), weighed(reply, labels)
        return Said(OUTCOMES[label]) if part is None else Said(part, weighed=True)

    def _verdict(self, orders: Sequence[Order], heard: Sequence[Heard]) -> Verdict:
        """Only where every order that was asked for can be read there is an outcome."""
        found: dict[Order, Said] = {}
        for order, one in zip(orders, heard, strict=True):
            if one.reply is not None:
                read = self._read(one.reply)
                found[order] = read if order[0] == 0 else read._replace(outcome=1 - read.outcome)
        shown = tuple(found[order].outcome if order in found else None for order in ((0, 1), (1, 0)))
        places = (shown[0], shown[1])
        if len(found) < len(orders):
            return _failed(heard, places, self.name)
        several = list(found.values())
        return Verdict(several[0].outcome if len(several) == 1 else together(*several), None, places, self.name)

    def _rated(self, matched: Sequence[Matched]) -> list[Verdict]:
        questions = [self._rating(one.prompt, answer) for one in matched for answer in (one.first, one.second)]
        heard = self.heard(questions)
        return [self._by_ratings(both) for both in zip(heard[::2], heard[1::2], strict=True)]

    def _rating(self, prompt: Text, answer: Answer) -> Question:
        turns = conversation(prompt, answer.text)
        values = {"prompt": asked(prompt), "answer": said(answer.text), "turns": turns}
        return self.question(values, (), lambda reply: rating_of(reply.text))

    def _by_ratings(self, heard: tuple[Heard, Heard]) -> Verdict:
        ratings = [rating_of(one.reply.text) for one in heard if one.reply is not None]
        if len(ratings) < 2:
            return _failed(heard, None, self.name)
        outcome = 0.5 if ratings[0] == ratings[1] else float(ratings[0] > ratings[1])
        return Verdict(outcome, None, None, self.name)


def named(texts: Sequence[str]) -> list[dict[str, str]]:
    """Answers as a ranking template has them: A, B, C in the order in which they are shown."""
    return [{"name": name, "text": text} for name, text in zip(LETTERS, texts, strict=False)]


def _models(one: Matched) -> tuple[str, str]:
    return one.first.model, one.second.model


def _failed(heard: Sequence[Heard], orders: tuple[float | None, float | None] | None, name: str) -> Verdict:
    """Where it was the limit of cost that left it without an outcome, it was not asked."""
    failures = dict.fromkeys(one.failure for one in heard if one.reply is None)
    return Verdict(None, "; ".join(failures), orders, name, asked=OVER_BUDGET not in failures)
