"""A service as a source of rewards: groups go to its URL as JSON, and it gives a number for each completion.

Request, `POST` to the URL that was given and nowhere else (no redirect is followed, no proxy asked):

    {"groups": [{"id": "p1", "prompt": "Q: 1 + 1 ?", "completions": [" 2", " 3"]}, ...]}

`prompt` is a text, or a list of turns `{"role", "content"}`; then each completion is such a list, too. Answer, status
200, a list of as many numbers for each group, in the order of the request:

    {"rewards": [[1.0, -0.5], ...]}

What is no answer (no connection, another status, too late, no JSON, another number of rewards, a value that is no
finite number) is asked for again, and ends the run where that does not help: it never becomes a reward.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.errors import ServiceError
from accord.records import Group, Text
from accord.stages.http_post import NoAnswer, post, shown

LONGEST_PAUSE = 60.0  # seconds
LARGEST = 2**26  # bytes of an answer


@dataclass(frozen=True)
class RewardService:
    """Where, and how patiently it is asked. groups: of one request. token: sent as Authorization: Bearer."""

    name: str
    url: str
    timeout: float = 60.0  # seconds for a request, all of it
    retries: int = 2
    backoff: float = 1.0  # seconds before the first new try, twice as long before each further one
    groups: int = 32
    token: str | None = None
    pause: Callable[[float], None] = time.sleep

    def score(self, groups: Sequence[Group]) -> Tensor:
        """(C,) float64. ServiceError where a request brings no rewards, however often it is made."""
        numbers = [value for chunk in _chunks(groups, self.groups) for value in self._rewards(chunk)]
        return torch.tensor(numbers, dtype=torch.float64)

    def _rewards(self, groups: Sequence[Group]) -> list[float]:
        """Of each completion of these groups, with as many tries as are allowed."""
        body = json.dumps({"groups": [_plain(group) for group in groups]}).encode()
        counts = [len(group.completions) for group in groups]
        reasons: list[str] = []
        for wait in (*self._waits(), None):
            try:
                answer = post(self.url, body, timeout=self.timeout, token=self.token, largest=LARGEST)
                return _numbers(answer, groups, counts)
            except NoAnswer as failure:
                reasons.append(str(failure))
                if failure.lasting or wait is None:
                    break
                self.pause(wait)
        raise self._failure(reasons)

    def _waits(self) -> Iterator[float]:
        return (min(self.backoff * 2**number, LONGEST_PAUSE) for number in range(self.retries))

    def _failure(self, reasons: Sequence[str]) -> ServiceError:
        """Says the last reason, and the others where they differ."""
        tries = "1 try" if len(reasons) == 1 else f"{len(reasons)} tries"
        others = [one for one in dict.fromkeys(reasons) if one != reasons[-1]]
        before = f"; before that: {'; '.join(others)}" if others else ""
        what = f"no rewards after {tries}: {reasons[-1]}{before}"
        return ServiceError(what, where=shown(self.url), fix="see that it runs, and go on from the last checkpoint")


def _numbers(answer: bytes, groups: Sequence[Group], counts: Sequence[int]) -> list[float]:
    """The rewards of an answer, if it is one."""
    try:
        value: Any = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise NoAnswer(f"the answer is no JSON ({error})") from error
    rewards = value.get("rewards") if isinstance(value, dict) else None
    if not isinstance(rewards, list):
        raise NoAnswer('the answer has no list "rewards"')
    if len(rewards) != len(groups):
        raise NoAnswer(f"rewards of {len(rewards)} groups for {len(groups)}")
    found: list[float] = []
    for group, of_group, count in zip(groups, rewards, counts, strict=True):
        if not isinstance(of_group, list) or len(of_group) != count:
            got = len(of_group) if isinstance(of_group, list) else "no list of"
            raise NoAnswer(f"{got} rewards for the {count} completions of {group.id}")
        found += [_number(one, group) for one in of_group]
    return found


def _number(value: object, group: Group) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(number := _float(value)):
        raise NoAnswer(f"{json.dumps(value)[:60]} is no reward (a completion of {group.id})")
    return number


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond every float
        return math.inf


def _plain(group: Group) -> dict[str, object]:
    """A group as JSON."""
    completions = [_text(completion.content) for completion in group.completions]
    return {"id": group.id, "prompt": _text(group.prompt), "completions": completions}


def _text(content: Text) -> object:
    return content if isinstance(content, str) else [turn.plain() for turn in content]


def _chunks(groups: Sequence[Group], size: int) -> Iterator[Sequence[Group]]:
    return (groups[start : start + size] for start in range(0, len(groups), size))
