"""Many questions to one server: from the cache what is there, the rest concurrently, with new tries, up to a cost.

A question whose reply cannot be read, or that the server refuses, has failed, and the others go on. A server that is
not there, or that fails question after question, ends all: what it has said until then is in the cache.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accord.errors import ServiceError
from accord.evaluate.judges.at_once import each
from accord.evaluate.judges.cache import ReplyCache, key_of
from accord.evaluate.judges.purse import Purse
from accord.evaluate.judges.replies import Reply, Unreadable
from accord.evaluate.judges.server import TOP, ChatServer
from accord.evaluate.judges.template import Messages
from accord.stages.http_post import NoAnswer, shown

LONGEST_PAUSE = 60.0  # seconds, of those that grow by themselves
LONGEST_REST = 600.0  # seconds that a server may ask to be left alone; where it asks for more, nobody waits
IN_VAIN = 10  # questions one after another that brought nothing: it is no use to go on
FOR_ALL = (401, 403, 404, 405)  # statuses that every question would get
REFUSES = (400, 422)  # statuses of a server that does not know an option of the request
FEWER = {TOP: 5, 5: 0}  # first tokens, where so many were refused; 5 is the most of some servers
OVER_BUDGET = "not asked, as max_cost was reached"


class Question(NamedTuple):
    """about: what the messages do not say, for the cache. read: raises Unreadable where a reply says nothing.

    weighed: log-probabilities of the first token are wanted.
    """

    messages: Messages
    about: Mapping[str, Any]
    read: Callable[[Reply], object]
    weighed: bool = False


class Heard(NamedTuple):
    """A reply that can be read, or why there is none."""

    reply: Reply | None
    failure: str = ""


class Patience(NamedTuple):
    """How often a request that failed is tried again, and after how many seconds: twice as long each time."""

    retries: int = 4
    backoff: float = 1.0

    def wait(self, failed: int) -> float:
        return min(self.backoff * 2.0 ** (failed - 1), LONGEST_PAUSE)


@dataclass
class Asking:
    """parameters: of every request, the model's name among them. say: gets what people should know, as it happens.

    from_cache: questions that needed no request. top: likely first tokens that are asked for, fewer or none
    where the server refuses so many. unweighed: replies without them, though they were asked for.
    """

    server: ChatServer
    parameters: Mapping[str, Any]
    cache: ReplyCache = field(default_factory=lambda: ReplyCache(None))
    purse: Purse = field(default_factory=Purse)
    patience: Patience = field(default_factory=Patience)
    workers: int = 8
    say: Callable[[str], None] = lambda text: None
    from_cache: int = 0
    unweighed: int = 0
    top: int = TOP
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)
    _in_vain: int = 0
    _rest_until: float = 0.0  # by time.monotonic

    def all(self, questions: Sequence[Question], advance: Callable[[int], None] = lambda done: None) -> list[Heard]:
        """Of each question what was heard. Equal ones are asked once. advance: told how many are done.

        ServiceError: the server is of no use. StorageError: the cache is not.
        """
        keys = [self.key(question) for question in questions]
        times, first = Counter(keys), dict(zip(reversed(keys), reversed(questions), strict=True))
        heard = {key: Heard(reply) for key in times if (reply := self._kept(key, first[key])) is not None}
        done = sum(times[key] for key in heard)
        self.from_cache += done
        todo = [key for key in times if key not in heard]
        self._over = threading.Event()
        advance(done)
        for place, found in each(lambda key: self._asked(key, first[key]), todo, self.workers, self._over):
            heard[todo[place]] = found
            done += times[todo[place]]
            advance(done)
        replies = [heard[key] for key in keys]
        self.unweighed += sum(_lacks_weight(*pair) for pair in zip(questions, replies, strict=True))
        return replies

    def key(self, question: Question) -> str:
        """Of everything that its reply depends on: the model, template, order, texts and parameters."""
        texts = [[one["role"], one["content"]] for one in question.messages]
        top = TOP if question.weighed else 0
        return key_of({**question.about, "texts": texts, "parameters": dict(self.parameters), "top": top})

    def _kept(self, key: str, question: Question) -> Reply | None:
        """From the cache, if it can be read: another version may have read it otherwise."""
        reply = self.cache.find(key)
        return reply if reply is not None and _flaw(question, reply) is None else None

    def _asked(self, key: str, question: Question) -> Heard:
        if not self.purse.begin():
            return Heard(None, OVER_BUDGET)
        if self._over.is_set():
            self.purse.give_back()
            return Heard(None, "left, as all ends")
        try:
            reply = self._tried(question)
        except NoAnswer as failure:
            self.purse.give_back()
            self._count_in_vain(failure)
            return Heard(None, str(failure))
        except BaseException:
            self.purse.give_back()
            raise
        self.purse.pay(reply.usage)
        self._in_vain = 0
        if (flaw := _flaw(question, reply)) is not None:
            return Heard(None, flaw)
        self.cache.keep(key, reply, {"model": self.parameters.get("model"), **question.about})
        return Heard(reply)

    def _tried(self, question: Question) -> Reply:
        """With as many tries as are allowed. NoAnswer: in vain. ServiceError: so it would be for every question."""
        failed = 0
        while True:
            self._rest()
            try:
                return self._once(question)
            except NoAnswer as failure:
                failed += 1
                if failure.status in FOR_ALL:
                    raise self._of_no_use(str(failure)) from failure
                if failure.lasting or failed > self.patience.retries or self._over.is_set():
                    raise self._whole(failure, failed) from failure
                self._put_off(failure, failed)

    def _once(self, question: Question) -> Reply:
        while True:
            top = self.top if question.weighed else 0
            more = {"logprobs": True, "top_logprobs": top} if top else {}
            try:
                return self.server.ask(question.messages, {**self.parameters, **more})
            except NoAnswer as failure:
                if not top or failure.status not in REFUSES or "logprob" not in str(failure):
                    raise
                self._ask_for_fewer(top)

    def _ask_for_fewer(self, top: int) -> None:
        with self._lock:
            if self.top == top:
                self.top = FEWER[top]
                if not self.top:
                    self.say(f"note: {shown(self.server.url)} refuses to give log-probabilities, and is asked without")

    def _put_off(self, failure: NoAnswer, failed: int) -> None:
        """Waits as long as it takes; where the server says how long, all workers do."""
        if failure.after is None:
            self._over.wait(self.patience.wait(failed))
            return
        if failure.after > LONGEST_REST:
            what = f"{failure}; it asks to be left alone for {failure.after:,.0f} s"
            raise self._of_no_use(what) from failure
        with self._lock:
            self._rest_until = max(self._rest_until, time.monotonic() + failure.after)

    def _rest(self) -> None:
        while (left := self._rest_until - time.monotonic()) > 0 and not self._over.is_set():
            self._over.wait(left)

    def _whole(self, failure: NoAnswer, failed: int) -> Exception:
        """A failure with how often it was tried; where nobody is there at all, the end of everything."""
        tries = f" ({failed} tries)" if failed > 1 else ""
        if failure.nobody and not self._over.is_set():
            return self._of_no_use(f"{failure}{tries}")
        return NoAnswer(f"{failure}{tries}", status=failure.status)

    def _count_in_vain(self, failure: NoAnswer) -> None:
        with self._lock:
            self._in_vain += 1
            if self._in_vain >= IN_VAIN and not self._over.is_set():
                raise self._of_no_use(f"{self._in_vain} questions one after another in vain, the last: {failure}")

    def _of_no_use(self, what: str) -> ServiceError:
        kept = "nothing is kept, as there is no cache" if self.cache.path is None else f"kept: {self.cache.path}"
        fix = f"see that it runs, and give the same command again: it goes on where it was ({kept})"
        return ServiceError(f"no judge: {what}", where=shown(self.server.url), fix=fix)


def _flaw(question: Question, reply: Reply) -> str | None:
    """Why a reply says nothing; None: it says something."""
    try:
        question.read(reply)
    except Unreadable as error:
        return str(error)
    return None


def _lacks_weight(question: Question, heard: Heard) -> bool:
    return question.weighed and heard.reply is not None and heard.reply.first is None
