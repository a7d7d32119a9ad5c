"""Annotators' calls have threads of their own."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import anyio
from anyio import to_thread
from fastapi import Request

from accord.collect.web.turns import AT_ONCE, in_turn


def test_few_at_a_time_and_not_behind_those_who_wait_elsewhere() -> None:
    running, most, lock = 0, 0, threading.Lock()
    free = threading.Event()

    @in_turn
    def endpoint(request: Request) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return "done"

    async def all_of_it() -> list[str]:
        request = Request({"type": "http", "app": SimpleNamespace(state=SimpleNamespace())})
        said: list[str] = []

        async def ask() -> None:
            said.append(await endpoint(request=request))

        async with anyio.create_task_group() as others:
            for _ in range(60):  # more than the server's usual threads, all of them busy
                others.start_soon(to_thread.run_sync, free.wait)
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(ask)
            free.set()
        return said

    async def in_time() -> list[str]:
        try:
            with anyio.fail_after(20):
                return await all_of_it()
        finally:
            free.set()

    assert anyio.run(in_time) == ["done"] * 20
    assert most == AT_ONCE
