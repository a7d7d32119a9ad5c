"""A labelling site within the test's own process, and somebody who asks it things as a browser would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import func, select
from starlette.testclient import TestClient

from accord.collect import accounts, passwords, schema, tokens
from accord.collect.database import Database
from accord.collect.migrate import create_database
from accord.collect.roles import Account
from accord.collect.web.app import create_app
from accord.collect.web.config import ServerConfig

PASSWORD = "four words that do"
URL = "http://127.0.0.1:8000"


class Site:
    """The site over a new database with Admin (admin), Anna and Ben (annotators) and Vera (viewer)."""

    def __init__(self, path: Path, config: ServerConfig | None = None) -> None:
        self.database: Database = create_database(str(path))
        self.config = config or ServerConfig(URL)
        self.app = create_app(self.database, self.config)
        self.ids: dict[str, int] = {}
        people = {"Admin": "admin", "Anna": "annotator", "Ben": "annotator", "Vera": "viewer"}
        hashed = passwords.hash_password(PASSWORD)
        with self.database.write() as connection:
            for name, role in people.items():
                self.ids[name] = accounts.create_account(connection, name, role, hashed, "test", time.time())

    def browser(self, name: str | None = None, *, address: str = "10.0.0.7") -> Browser:
        """A new one, in which somebody is logged in."""
        made = Browser(self, address)
        if name is not None:
            assert made.log_in(name).status_code == 303
        return made

    def token(self, name: str, scope: str) -> dict[str, str]:
        """The header with which a program asks."""
        with self.database.write() as connection:
            person = accounts.find(connection, name)
            owner = Account(person.id, person.name, person.role, person.sensitive)
            return {"authorization": f"Bearer {tokens.make(connection, owner, 'test', scope, time.time())}"}

    def counts(self) -> dict[str, int]:
        """Rows of each table: what has no effect changes none of them."""
        with self.database.read() as connection:
            return {
                name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in schema.TABLES.tables.items()
            }


class Browser:
    """Keeps cookies, says where its requests come from, and sends the token of the page along; follows nothing."""

    def __init__(self, site: Site, address: str) -> None:
        self.site, self.csrf = site, ""
        # Errors of the application reach the caller as they reach a browser: as answers.
        self.client = TestClient(
            site.app, base_url=site.config.url, follow_redirects=False, client=(address, 50000),
            raise_server_exceptions=False,
        )  # fmt: skip

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get(self.site.config.cookie)

    def get(self, address: str, **more: Any) -> httpx.Response:
        return self.client.get(address, **more)

    def post(self, address: str, data: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
        """A form of a page of the site. headers, csrf: what is to be otherwise."""
        headers = {"origin": self.site.config.origin, "sec-fetch-site": "same-origin", **more.pop("headers", {})}
        fields = {"csrf": more.pop("csrf", self.csrf), **(data or {})}
        return self.client.post(address, data=fields, headers=headers, **more)

    def open(self, address: str) -> httpx.Response:
        """A page, of which the token is kept."""
        page = self.get(address)
        self.csrf = token_of(page.text)
        return page

    def log_in(self, name: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
        self.open("/login")
        answer = self.post("/login", {"name": name, "password": password}, **more)
        if answer.status_code == 303:
            self.open("/account")
        return answer


def token_of(page: str) -> str:
    """What the page says in <meta name="csrf">."""
    mark = '<meta name="csrf" content="'
    return page.split(mark, 1)[1].split('"', 1)[0] if mark in page else ""


@pytest.fixture(name="quick")
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Passwords are hashed in a moment."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._of_nobody.cache_clear()
    yield
    passwords._of_nobody.cache_clear()


@pytest.fixture(name="site")
def a_site(quick: None, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "prefs.db")
    yield made
    made.database.close()
