"""The calls that annotators wait for, in threads of their own: few at a time, and never behind an owner's long page.

Python runs one thread at a time. Two hundred annotators at once, in the forty threads that a server usually has, spent
more time in taking the turn from one another than in work: 99 % of submissions took up to 10 s, in four threads 8 ms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

AT_ONCE = 4
P = ParamSpec("P")
T = TypeVar("T")


def in_turn(endpoint: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """An endpoint, one of whose arguments is `request`, in one of these threads."""

    @wraps(endpoint)
    async def turned(*args: P.args, **kwargs: P.kwargs) -> T:
        request = kwargs["request"]
        assert isinstance(request, Request)
        return await to_thread.run_sync(partial(endpoint, *args, **kwargs), limiter=_limiter(request.app.state))

    return turned


def _limiter(state: Any) -> CapacityLimiter:
    found: CapacityLimiter | None = getattr(state, "turns", None)
    if found is None:
        found = state.turns = CapacityLimiter(AT_ONCE)
    return found
