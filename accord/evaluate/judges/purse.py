"""How many tokens a judge has cost, and whether another request may be begun."""

from __future__ import annotations

import threading

from accord.evaluate.judges.replies import Usage


class Purse:
    """Counts the tokens of replies; `most` is never passed by more than what the last request costs beyond the mean.

    A request may begin if what was spent, and the mean of all so far for it and for each that is under way, is within
    `most`. Until the first reply there is no mean: then one request goes alone. What was refused once is refused for
    good. Threads may share it.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.prompt = self.completion = self.requests = self.guessed = 0
        self.refused = False
        self._under_way = 0
        self._changed = threading.Condition()

    @property
    def spent(self) -> int:
        """Tokens."""
        return self.prompt + self.completion

    def begin(self) -> bool:
        """Whether a request may go; then `pay` or `give_back` must follow."""
        with self._changed:
            while self.most is not None and not self.requests and self._under_way and not self.refused:
                self._changed.wait()
            if self.most is not None:
                mean = self.spent / self.requests if self.requests else 0
                self.refused = self.refused or self.spent + mean * (self._under_way + 1) > self.most
            self._under_way += not self.refused
            return not self.refused

    def pay(self, usage: Usage) -> None:
        """What a reply cost, whether it could be read or not."""
        with self._changed:
            self.prompt += usage.prompt
            self.completion += usage.completion
            self.requests += 1
            self.guessed += not usage.counted
            self._end()

    def give_back(self) -> None:
        """The request brought nothing."""
        with self._changed:
            self._end()

    def _end(self) -> None:
        self._under_way -= 1
        self._changed.notify_all()
