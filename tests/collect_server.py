"""A labelling site in a process of its own, over a new database: for tests that talk to it as programs and browsers do.

`site(url)` makes the database with an admin, annotators and a project, and serves it until the end of the block.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.collect import accounts, projects, tokens
from accord.collect.database import Database
from accord.collect.importing import import_groups
from accord.collect.migrate import create_database
from accord.collect.settings import Settings
from accord.records import Completion, Group

ADMIN, PASSWORD = "admin", "correct horse battery staple"
ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "import sys, json; from accord.collect.serve import *; serve(Serving(**json.loads(sys.argv[1])), say=print)"
PATIENCE = 30.0  # seconds for a server to start


def groups(count: int, k: int = 4, *, first: int = 0) -> list[Group]:
    """Groups with texts of some length; output p of each was written by model-p."""
    return [
        Group(
            f"group-{i}",
            f"What is {i} and {i}? " + "Say how you found it. " * 8,
            tuple(Completion(f"Answer {p} of group {i}: " + "as it is written. " * 20, f"model-{p}") for p in range(k)),
        )
        for i in range(first, first + count)
    ]


@dataclass
class Site:
    """url: of the server. tokens: of the annotators, by name, scope label. admin: the admin's token."""

    database: Database
    project: int
    admin: str
    tokens: dict[str, str]
    serving: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """The server's process; back once it answers."""
        port = self.serving.get("port") or free_port()
        self.serving["port"] = port
        self.url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-c", PROGRAM, json.dumps(self.serving)]
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE
        while not answers(self.url):
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, to its workers too: as if the power went."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        process.wait(PATIENCE)
        return process.returncode

    def rows(self, query: Any) -> list[Any]:
        """What the database holds."""
        with self.database.read() as connection:
            return list(connection.execute(query).all())


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def make_site(
    url: str,
    *,
    annotators: Sequence[str] = ("anna", "ben"),
    given: Sequence[Group] = (),
    settings: Settings | None = None,
    **serving: Any,
) -> Site:
    """A database with an admin (who has a password), annotators (who have tokens only) and one project of groups."""
    database, now = create_database(url), time.time()
    with database.write() as connection:
        accounts.create_account(connection, ADMIN, "admin", PASSWORD, "test", now)
        who = {name: accounts.create_account(connection, name, "annotator", None, "test", now) for name in annotators}
        project = projects.create(connection, "test", settings or Settings(), "test", now)
        made = {name: token_of(connection, id, "label", now) for name, id in who.items()}
        admin = token_of(connection, accounts.find(connection, ADMIN).id, "admin", now)
    if given:
        import_groups(database, project, given, actor="test", judgements="drop", now=now)
    return Site(database, project, admin, made, {"database": url, **serving})


def token_of(connection: Any, account: int, scope: str, now: float) -> str:
    from accord.collect.roles import Account

    person = accounts.find(connection, account)
    return tokens.make(connection, Account(person.id, person.name, person.role, person.sensitive), "test", scope, now)


@contextlib.contextmanager
def site(url: str, **given: Any) -> Iterator[Site]:
    """A running site, stopped at the end. given: see make_site."""
    made = make_site(url, **given)
    try:
        made.start()
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.kill()
        made.database.close()
