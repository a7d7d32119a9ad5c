"""A reward service on 127.0.0.1 that answers as it is told, and what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Asked = dict[str, Any]


class Reply(NamedTuple):
    """What one request gets: a body (text, or what becomes JSON), or nothing for as many seconds."""

    body: Any = None
    status: int = 200
    hangs: float = 0.0
    drips: float = 0.0  # seconds between two bytes of the body
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[Asked], Reply]


class Service(NamedTuple):
    """url, every request's JSON, and its headers with `path`."""

    url: str
    asked: list[Asked]
    headers: list[dict[str, str]]


@contextmanager
def service(*answers: Answer | Reply) -> Iterator[Service]:
    """The n-th request gets the n-th answer, all later ones the last."""
    found = Service("", [], [])

    class Double(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = min(len(found.asked), len(answers) - 1)
            found.asked.append(asked)
            found.headers.append({**dict(self.headers), "path": self.path})
            chosen = answers[number]
            self.reply(chosen if isinstance(chosen, Reply) else chosen(asked))

        do_GET = do_POST

        def reply(self, reply: Reply) -> None:
            if closing.wait(reply.hangs):
                return
            body = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            for key, value in {"Content-Length": str(len(body)), **dict(reply.headers)}.items():
                self.send_header(key, value)
            self.end_headers()
            try:
                for byte in [body] if not reply.drips else [bytes([one]) for one in body]:
                    self.wfile.write(byte)
                    self.wfile.flush()
                    if closing.wait(reply.drips):
                        return
            except OSError:  # who asked has gone
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    closing = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Double)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found._replace(url=f"http://127.0.0.1:{server.server_port}/score")
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def rewards_by(score: Callable[[Any, Any], float]) -> Answer:
    """An answer by the protocol: score(prompt, completion) of each."""

    def answer(asked: Asked) -> Reply:
        return Reply({"rewards": [[score(g["prompt"], c) for c in g["completions"]] for g in asked["groups"]]})

    return answer


def nobody() -> str:
    """A URL of this machine that refuses connections."""
    with service(Reply({})) as gone:
        return gone.url


class Pauses(list[float]):
    """Instead of waiting: how long it would have been."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def elapsed(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def lengths(asked: Sequence[Asked]) -> list[int]:
    """Groups of each request."""
    return [len(one["groups"]) for one in asked]
