"""Each address is open to those whom it is for; guessed numbers open nothing. FAULTS: 56, and 52 for the API."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import update

from accord.collect import accounts, projects, schema
from accord.collect.settings import Settings
from tests.collect_data import add_items, ask, full_answer
from tests.collect_requests import Browser, Site, a_site, quickly  # noqa: F401 - fixtures

EVERYBODY = {
    "GET /", "GET /login", "POST /login", "GET /join/{text}", "POST /join/{text}", "GET /health",
    "GET /api/v1/openapi.json", "GET /static/{version}/{name:path}",
}  # fmt: skip
LOGGED_IN = EVERYBODY | {
    "POST /logout", "GET /account", "POST /account/password", "POST /account/tokens", "POST /account/sessions",
    "POST /account/tokens/{id}/revoke", "POST /account/sensitive", "GET /home", "GET /api/v1/projects",
    "GET /api/v1/projects/{project}", "GET /api/v1/projects/{project}/task",
}  # fmt: skip
ANNOTATOR = LOGGED_IN | {
    "GET /label/{project}", "GET /label/{project}/history", "GET /label/{project}/{assignment}",
    "POST /api/v1/projects/{project}/next", "GET /api/v1/assignments/{assignment}",
    "PUT /api/v1/assignments/{assignment}/draft", "POST /api/v1/assignments/{assignment}/submit",
    "POST /api/v1/assignments/{assignment}/skip", "GET /api/v1/projects/{project}/history",
    "GET /api/v1/projects/{project}/progress",
}  # fmt: skip
VIEWER = LOGGED_IN | {
    "GET /projects/{project:int}", "GET /projects/{project:int}/numbers", "GET /projects/{project:int}/groups",
    "GET /projects/{project:int}/groups/{group:int}",
    "GET /api/v1/projects/{project}/quality",
}  # fmt: skip
OPEN = {"nobody": EVERYBODY, "Anna": ANNOTATOR, "Vera": VIEWER}
BODIES: dict[str, Any] = {
    "PUT /api/v1/assignments/{assignment}/draft": {"version": 0, "answer": {}},
    "POST /api/v1/assignments/{assignment}/submit": {"submission": "a-guessed-name-0001", "answer": {}},
    "POST /api/v1/assignments/{assignment}/skip": {"reason": "Something is broken"},
    "POST /api/v1/projects": {"name": "mine", "settings": {}},
    "PUT /api/v1/projects/{project}": {"version": 1, "settings": {}},
    "POST /api/v1/accounts": {"name": "Mine", "role": "admin", "password": "four words that do"},
    "POST /api/v1/invitations": {"role": "admin"},
}
UNSAFE_OF_ANNOTATORS = [key for key in BODIES if "assignment" in key]


@pytest.fixture
def filled(site: Site) -> Iterator[Site]:
    """With a project of four groups, two judgements wanted of each; models are called secret-model-0, ..."""
    with site.database.write() as connection:
        project = projects.create(connection, "helpful", Settings(overlap=2), "test", time.time())
        assert project == 1
        add_items(connection, project, 4, wanted=2)
        connection.execute(update(schema.output).values(model="secret-model-" + schema.output.c.model))
    yield site


def addresses(site: Site) -> list[tuple[str, str, str]]:
    """(method, address as it is declared, address with 1 in place of each name)"""
    return [
        (method, str(route.path), re.sub(r"{[^}]*}", "1", str(route.path)))
        for route in iter_route_contexts(site.app.routes)
        for method in sorted(route.methods - {"HEAD", "OPTIONS"})
    ]


def send(browser: Browser, method: str, declared: str, path: str, **headers: str) -> Any:
    """As a page of the site would, with a body that is in order."""
    said = {"origin": browser.site.config.origin, "x-csrf-token": browser.csrf, **headers}
    if path.startswith("/api/"):
        body = BODIES.get(f"{method} {declared}")
        return browser.client.request(method, path, headers=said, **({} if body is None else {"json": body}))
    return browser.client.request(method, path, headers=said)


@pytest.mark.parametrize("who", ["nobody", "Anna", "Vera"])
def test_each_address_is_open_to_those_whom_it_is_for(filled: Site, who: str) -> None:
    browser = filled.browser(None if who == "nobody" else who)
    before = filled.counts()
    closed = 0
    for method, declared, path in addresses(filled):
        if f"{method} {declared}" in OPEN[who]:
            continue
        answer = send(browser, method, declared, path)
        if who == "nobody":
            to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
            assert answer.status_code == 401 if path.startswith("/api/") else to_login, (method, declared)
        else:
            assert answer.status_code in (403, 404), (method, declared, answer.status_code)
        closed += 1
    assert closed >= 20 and filled.counts() == before


@pytest.mark.parametrize("who", ["Anna", "Vera", "Admin"])
def test_what_is_said_to_be_open_is_open(filled: Site, who: str) -> None:
    browser = filled.browser(who)
    every = {f"{method} {declared}" for method, declared, _ in addresses(filled)}
    known = OPEN.get(who, every)
    assert known <= every, known - every
    for method, declared, path in addresses(filled):
        if method == "GET" and f"{method} {declared}" in known and "{assignment}" not in declared:
            expected = (404,) if declared.startswith(("/join", "/static")) else (200, 303)
            assert send(browser, method, declared, path).status_code in expected, declared


def test_tokens_do_no_more_than_their_scope(filled: Site) -> None:
    browser = filled.browser()
    before = filled.counts()
    with_token = filled.token("Admin", "read")
    for key, body in {**BODIES, "POST /api/v1/projects/{project}/next": None}.items():
        method, _, path = key.partition(" ")
        path = re.sub(r"{[^}]*}", "1", path)
        assert browser.client.request(method, path, json=body, headers=with_token).status_code == 403, key
    labels = filled.token("Admin", "label")
    for key in BODIES.keys() - set(UNSAFE_OF_ANNOTATORS):
        method, _, path = key.partition(" ")
        answer = browser.client.request(method, path.replace("{project}", "1"), json=BODIES[key], headers=labels)
        assert answer.status_code == 403, key
    assert {**filled.counts(), "token": 0, "event": 0} == {**before, "token": 0, "event": 0}
    # A token opens no page: what a program leaks shows nobody the account's settings.
    assert browser.get("/account", headers=filled.token("Admin", "admin")).status_code == 303


def test_another_site_cannot_use_the_api_in_a_session(filled: Site) -> None:
    admin = filled.browser("Admin")
    before = filled.counts()
    for method, declared, path in addresses(filled):
        if method == "GET" or not path.startswith("/api/"):
            continue
        foreign = send(admin, method, declared, path, origin="https://evil.example")
        without = send(admin, method, declared, path, **{"x-csrf-token": ""})
        assert (foreign.status_code, without.status_code) == (403, 403), (method, declared)
    assert filled.counts() == before


def open_page(site: Site, name: str) -> Any:
    page = ask(site.database, 1, site.ids[name], time.time())
    assert page is not None
    return page


def test_the_page_of_another_annotator_is_not_there(filled: Site) -> None:
    page = open_page(filled, "Anna")
    before = filled.counts()
    answer = full_answer(page)
    for who in ("Ben", "Admin"):  # an admin too judges in their own name only
        browser = filled.browser(who)
        for key in ("GET /api/v1/assignments/{assignment}", *UNSAFE_OF_ANNOTATORS, "GET /label/1/{assignment}"):
            method, _, declared = key.partition(" ")
            path = declared.replace("{assignment}", str(page.assignment))
            assert send(browser, method, declared, path).status_code == 404, (who, key)
        full = {"submission": "a-guessed-name-0002", "answer": answer, "revision": 0}
        headers = {"origin": filled.config.origin, "x-csrf-token": browser.csrf}
        path = f"/api/v1/assignments/{page.assignment}/submit"
        assert browser.client.post(path, json=full, headers=headers).status_code == 404
    assert {**filled.counts(), "session": 0} == {**before, "session": 0}


def test_annotators_see_no_model_and_no_judgement_of_others(filled: Site) -> None:
    page = open_page(filled, "Ben")
    ben = filled.browser("Ben")
    answer = {**full_answer(page), "notes": {"A": "the note of ben"}}
    sent = {"submission": "the-one-of-ben-0001", "answer": answer, "revision": 0}
    headers = {"origin": filled.config.origin, "x-csrf-token": ben.csrf}
    assert (
        ben.client.post(f"/api/v1/assignments/{page.assignment}/submit", json=sent, headers=headers).status_code == 200
    )
    anna = filled.browser("Anna")
    headers = {"origin": filled.config.origin, "x-csrf-token": anna.csrf}
    mine = anna.client.post("/api/v1/projects/1/next", headers=headers)
    assert mine.json()["assignment"] != page.assignment
    seen = [mine]
    for method, declared, path in addresses(filled):
        if method == "GET":
            own = path.replace("assignments/1", f"assignments/{mine.json()['assignment']}")
            own = re.sub(r"/label/1/1$", f"/label/1/{mine.json()['assignment']}", own)
            seen.append(send(anna, method, declared, own))
    assert sum(answer.status_code == 200 for answer in seen) >= 12
    for answer in seen:
        said = answer.text + str(answer.headers)
        assert "secret-model" not in said and "the note of ben" not in said, answer.url
        assert "item-" not in said and "Ben" not in said, answer.url


def test_an_admin_page_is_closed_from_the_moment_on_at_which_one_is_admin_no_more(filled: Site) -> None:
    admin = filled.browser("Admin")
    token = filled.token("Admin", "admin")
    assert admin.get("/people").status_code == 200 and admin.get("/api/v1/log", headers=token).status_code == 200
    with filled.database.write() as connection:
        accounts.set_role(connection, filled.ids["Vera"], "admin", "test", time.time())
        accounts.set_role(connection, filled.ids["Admin"], "annotator", "test", time.time())
    assert admin.get("/people").status_code == 303
    assert filled.browser().get("/api/v1/log", headers=token).status_code == 403
