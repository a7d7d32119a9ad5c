"""A real browser before a real site: a server in a thread over a database of its own, Chromium, somebody logged in.

Where Chromium or playwright is absent its tests are skipped, and fail if ACCORD_REQUIRE_SERVERS=1 is set.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from collect_server import free_port
from sqlalchemy import insert, select

from accord.collect import accounts, projects, schema, sessions
from accord.collect.database import Database
from accord.collect.migrate import create_database
from accord.collect.settings import Settings
from accord.collect.web.app import create_app
from accord.collect.web.config import ServerConfig

PATIENCE = 30.0  # seconds for a server to start


def chromium() -> str:
    """Where it is; the test that asks is skipped where there is none."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        _absent("the Python package playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        _absent("Chromium")
    return str(found)


def _absent(what: str) -> None:
    said = f"no browser test: {what} is not installed"
    if os.environ.get("ACCORD_REQUIRE_SERVERS") == "1":
        pytest.fail(said)
    pytest.skip(said)


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


@dataclass
class Site:
    """A site that is served. people: ids of accounts by name; faults: what went wrong in pages opened by `page`."""

    url: str
    database: Database
    people: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def account(self, name: str, role: str = "annotator", password: str | None = None) -> int:
        with self.database.write() as connection:
            made = accounts.create_account(connection, name, role, password, "test", time.time())
        self.people[name] = made
        return made

    def project(self, name: str, groups: Sequence[dict[str, Any]], **settings: Any) -> int:
        """groups: {"prompt", "outputs", "category"?, "sensitive"?, "tools"?}; the texts may be lists of messages."""
        with self.database.write() as connection:
            made = Settings.model_validate_json(json.dumps(settings))
            project = projects.create(connection, name, made, "test", time.time())
            for place, group in enumerate(groups):
                _add_group(connection, project, place, group, made.overlap)
        return project

    def page(self, browser: Any, name: str, path: str = "/home", *, faults: bool = True, **options: Any) -> Any:
        """A page of its own browser profile, in which this account is logged in. faults: errors of its scripts, and
        what the policy of the page forbids, are collected."""
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        self.contexts.append(context)
        with self.database.write() as connection:
            cookie = sessions.start(connection, self.people[name], time.time())
        context.add_cookies([{"name": "accord", "value": cookie, "url": self.url}])
        context.set_default_timeout(10_000)
        page = context.new_page()
        if faults:
            page.on("pageerror", lambda error: self.faults.append(f"{error}"))
            page.on("console", lambda said: self._heard(said))
        page.goto(self.url + path)
        return page

    def close_pages(self) -> None:
        """Those that are still open: each costs its processes."""
        for context in self.contexts:
            context.close()
        self.contexts = []

    def _heard(self, said: Any) -> None:
        if said.type == "error" and "Failed to load resource" not in said.text:
            self.faults.append(said.text)

    def answers(self, project: int) -> list[dict[str, Any]]:
        """All that was submitted, by places of the file, in the order in which it came; `shown` beside it."""
        judgement, assignment = schema.judgement.c, schema.assignment.c
        query = (
            select(judgement.answer, judgement.revision, judgement.active_ms, judgement.wall_ms, assignment.shown)
            .join(schema.assignment, assignment.id == judgement.assignment_id)
            .where(assignment.project_id == project)
            .order_by(judgement.id)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [{**row, "answer": json.loads(row["answer"]), "shown": json.loads(row["shown"])} for row in rows]


def _add_group(connection: Any, project: int, place: int, group: dict[str, Any], wanted: int) -> None:
    outputs = group["outputs"]
    values = {
        "project_id": project,
        "key": f"group-{place}",
        "position": float(place),
        "prompt": json.dumps(group["prompt"]),
        "tools": json.dumps(group["tools"]) if "tools" in group else None,
        "category": group.get("category"),
        "sensitive": group.get("sensitive", False),
        "k": len(outputs),
        "wanted": wanted,
    }
    (id,) = connection.execute(insert(schema.item).values(values)).inserted_primary_key
    for at, content in enumerate(outputs):
        row = {"item_id": id, "place": at, "content": json.dumps(content), "model": f"secret-model-{at}"}
        connection.execute(insert(schema.output).values(row))


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """A new site; at its end nothing may have gone wrong in its pages."""
    database = create_database(f"sqlite:///{folder / 'prefs.db'}")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    app = create_app(database, ServerConfig(url=url))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started:
        assert time.monotonic() < deadline and thread.is_alive(), "the server does not start"
        time.sleep(0.02)
    made = Site(url, database)
    try:
        yield made
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        database.close()
    assert made.faults == []
