"""Two hundred annotators at once on the labelling site over SQLite: how long "next group" and "submit" take.

python bench/collect_load.py FOLDER [--annotators 200] [--rate 100] [--seconds 60] [--out FILE]
A real server process, reached over loopback; load and server share the machine. Submissions are due at fixed times,
whether or not the site keeps up, and each is measured from when it was due: a site that falls behind cannot look fast.
After each submission the annotator asks for the next group. Afterwards the database is read: what was acknowledged must
be there, and no group may have more judgements than wanted. Writes JSON, prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from collect_report import load_table
from collect_site import OVERLAP, Served, filled, served
from report import markdown

WARM_UP = 5.0  # seconds that are not counted
NUMBER = re.compile(rb'"assignment":(\d+)')
ANSWER = {
    "ratings": {"A": 5, "B": 3, "C": 2, "D": 6},
    "flags": {"C": ["hallucination"]},
    "ranking": [["D"], ["A"], ["B", "C"]],
}


class Reply(NamedTuple):
    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One annotator's connection, kept open; one request at a time. As little work as can be: it shares the cores."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.waiting: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.received[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.received) < end + 4 + length:
            return
        reply = Reply(int(head[9:12]), bytes(self.received[end + 4 : end + 4 + length]))
        self.received.clear()
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(error or ConnectionError("the server closed the connection"))

    async def ask(self, request: bytes) -> Reply:
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await asyncio.wait_for(self.waiting, 60)


class Annotator:
    """What one annotator does: submits the page that is open, asks for the next."""

    def __init__(self, site: Served, token: str, found: Found) -> None:
        self.site, self.found, self.page = site, found, b""
        self.head = f"Host: 127.0.0.1:{site.port}\r\nAuthorization: Bearer {token}\r\n".encode()
        self.busy = asyncio.Lock()

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, self.connection = await loop.create_connection(Connection, "127.0.0.1", self.site.port)
        await self.next(counts=False)

    def request(self, path: str, body: bytes) -> bytes:
        start = f"POST /api/v1/{path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return start.encode() + self.head + b"\r\n" + body

    async def next(self, counts: bool) -> None:
        began = time.perf_counter()
        reply = await self.connection.ask(self.request(f"projects/{self.site.project}/next", b""))
        taken = time.perf_counter() - began
        found = NUMBER.search(reply.body)
        if reply.status != 200 or found is None:
            self.found.errors.append(f"next {reply.status} {reply.body[:200]!r}")
            return
        self.page = found[1]
        if counts:
            self.found.next.append(taken)

    async def work(self, due: float, counts: bool) -> None:
        """due: when it was to be submitted; the time that this annotator or the site was late counts."""
        async with self.busy:
            id = uuid.uuid4().hex
            body = json.dumps({"submission": id, "answer": ANSWER, "active_ms": 40_000, "wall_ms": 60_000}).encode()
            try:
                reply = await self.connection.ask(self.request(f"assignments/{self.page.decode()}/submit", body))
            except (OSError, TimeoutError) as error:
                self.found.errors.append(f"submit {error!r}")
                return
            if reply.status != 200:
                self.found.errors.append(f"submit {reply.status} {reply.body[:200]!r}")
                return
            self.found.acknowledged.append(id)
            if counts:
                self.found.submit.append(time.perf_counter() - due)
            await self.next(counts)


class Found:
    """Seconds of each request, what was acknowledged, what went wrong."""

    def __init__(self) -> None:
        self.next: list[float] = []
        self.submit: list[float] = []
        self.acknowledged: list[str] = []
        self.errors: list[str] = []


async def load(site: Served, rate: float, seconds: float) -> Found:
    """Submissions at fixed times, by one annotator after the other."""
    found = Found()
    people = [Annotator(site, token, found) for token in site.tokens]
    for one in people:
        await one.connect()
    began = time.perf_counter() + 0.1
    tasks = []
    for i in range(int(rate * (WARM_UP + seconds))):
        due = began + i / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(people[i % len(people)].work(due, i >= rate * WARM_UP)))
    await asyncio.gather(*tasks)
    return found


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    folder = asked.folder / "load"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    count = int(asked.rate * (asked.seconds + WARM_UP) / OVERLAP) + 2 * asked.annotators
    site = filled(f"sqlite:///{folder / 'prefs.db'}", groups=count, annotators=asked.annotators)
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        run = asyncio.run
    with served(site):
        processor, began = site.processor(), time.perf_counter()
        found = run(load(site, asked.rate, asked.seconds))
        taken = time.perf_counter() - began
        used = site.processor() - processor
    lost, over = site.lost(found.acknowledged), site.over_assigned()
    for line in found.errors[:5]:
        print(f"bench: {line}", file=sys.stderr)
    return {
        "annotators": asked.annotators, "rate": asked.rate, "seconds": asked.seconds, "groups": count,
        "submitted": len(found.acknowledged), "errors": len(found.errors), "lost": lost, "over": over,
        "next": milliseconds(found.next), "submit": milliseconds(found.submit),
        "server": used / taken, "load": os.times().user / taken,
    }  # fmt: skip


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Of all counted requests; the p-th percentile is the smallest that p % do not exceed."""
    ordered = sorted(seconds) or [float("nan")]
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in SHARES.items()}
    return {name: 1000 * value for name, value in at.items()} | {"count": len(seconds), "max": 1000 * ordered[-1]}


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def main() -> None:
    parser = argparse.ArgumentParser(description="Annotators at once on the labelling site.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--rate", type=float, default=100.0, help="submissions a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = measure(asked)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(*load_table(found)))


if __name__ == "__main__":
    main()
