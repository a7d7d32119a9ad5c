"""Who gets at the site, and how: forgery, guessing, old cookies, no default account. FAULTS: 52-55."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import select, update

from accord.collect import accounts, schema, sessions
from accord.collect.database import open_database
from accord.collect.web.config import ServerConfig
from accord.errors import InputError
from tests.collect_requests import PASSWORD, Browser, Site, a_site, quickly  # noqa: F401 - fixtures

FOREIGN = {
    "a foreign origin": {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    "a foreign origin, said by it alone": {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    "another port": {"origin": "http://127.0.0.1:9999", "sec-fetch-site": "same-site"},
    "another scheme": {"origin": "https://127.0.0.1:8000", "sec-fetch-site": "cross-site"},
    "no origin, cross-site": {"origin": "null", "sec-fetch-site": "cross-site"},
    "another host of the same site": {"origin": "null", "sec-fetch-site": "same-site"},
    "no page at all": {"origin": "null", "sec-fetch-site": "none"},
}


def unsafe(app: FastAPI) -> list[tuple[str, str]]:
    """(method, address) of all that may change something, with 1 in place of names."""
    return [
        (method, re.sub(r"{[^}]*}", "1", str(route.path)))
        for route in iter_route_contexts(app.routes)
        for method in sorted(route.methods - {"GET", "HEAD", "OPTIONS"})
    ]


@pytest.mark.parametrize("kind", [*FOREIGN, "no token", "a wrong token", "somebody else's token"])
def test_nothing_that_another_site_sends_has_an_effect(site: Site, kind: str) -> None:
    admin = site.browser("Admin")
    csrf = {"no token": "", "a wrong token": "x" * 43, "somebody else's token": site.browser("Anna").csrf}
    before = site.counts()
    seen = 0
    for method, path in unsafe(site.app):
        if path in ("/login", "/join/1"):
            continue
        headers = {"sec-fetch-site": "same-origin", "origin": site.config.origin, **FOREIGN.get(kind, {})}
        token = csrf.get(kind, admin.csrf)
        said = {"data": {"csrf": token}} if seen % 2 else {"headers": {"x-csrf-token": token}}
        answer = admin.client.request(method, path, **{**said, "headers": {**headers, **said.get("headers", {})}})
        # A body that the API cannot read is refused first; with one in order it is asked in test_collect_idor.py.
        assert answer.status_code == 403 or (path.startswith("/api/") and answer.status_code == 422), (method, path)
        seen += 1
    assert seen >= 15 and site.counts() == before
    assert admin.get("/account").status_code == 200  # still logged in


def test_what_a_page_of_the_site_sends_has_its_effect(site: Site) -> None:
    anna = site.browser("Anna")
    assert anna.post("/account/sensitive", {}).headers["location"] == "/account?done=sensitive"
    with site.database.read() as connection:
        assert not accounts.find(connection, "Anna").sensitive
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": site.config.origin}):
        sent = anna.client.post("/account/sensitive", data={"csrf": anna.csrf, "shown": "yes"}, headers=headers)
        assert sent.status_code == 303
    sent = anna.client.post("/account/sensitive", headers={"sec-fetch-site": "same-origin", "x-csrf-token": anna.csrf})
    assert sent.status_code == 303
    # A browser that says nothing of where it comes from is older than any that we know.
    assert anna.client.post("/account/sensitive", data={"csrf": anna.csrf}).status_code == 403


def test_addresses_that_are_got_change_nothing(site: Site) -> None:
    admin = site.browser("Admin")
    before = site.counts()
    for address in ("/logout", "/account/password", "/account/tokens", "/account/sessions", "/account/sensitive"):
        assert admin.get(address, params={"csrf": admin.csrf}).status_code == 405
    with site.database.write() as connection:
        text = accounts.invite(connection, "annotator", None, None, time.time())
    after_invitation = site.counts()
    assert after_invitation["invitation"] == before["invitation"] + 1
    for address in ("/", "/login", "/account", f"/join/{text}"):
        assert admin.get(address).status_code in (200, 303)
    assert site.counts() == after_invitation
    assert admin.get("/account").status_code == 200


@pytest.mark.parametrize("kind", [*FOREIGN, "no token", "a token without its cookie"])
def test_another_site_cannot_log_anybody_in(site: Site, kind: str) -> None:
    browser = site.browser()
    browser.open("/login")
    token = "" if kind == "no token" else browser.csrf
    if kind == "a token without its cookie":
        browser.client.cookies.clear()
    fields = {"name": "Anna", "password": PASSWORD}
    answer = browser.post("/login", fields, csrf=token, headers=FOREIGN.get(kind, {}))
    assert answer.status_code == 403 and browser.cookie is None and site.counts()["session"] == 0


def test_the_sixth_failure_waits(site: Site) -> None:
    browser = site.browser()
    for _ in range(5):
        assert browser.log_in("Anna", "wrong").status_code == 401
    answer = browser.log_in("Anna", PASSWORD)
    assert answer.status_code == 429 and 880 <= int(answer.headers["retry-after"]) <= 900
    assert 'role="alert"' in answer.text and "oo many attempts" in answer.text
    # The same person at another address is not locked out by who guesses. What a stranger says counts for nothing.
    assert site.browser("Anna", address="10.0.0.8").cookie
    claimed = browser.log_in("Anna", PASSWORD, headers={"x-forwarded-for": "10.0.0.9"})
    assert claimed.status_code == 429


def test_a_proxy_is_believed_if_it_is_named(quick: None, tmp_path: Path) -> None:
    site = Site(tmp_path / "p.db", ServerConfig("http://127.0.0.1:8000", proxies=("10.0.0.1",)))
    proxy = site.browser(address="10.0.0.1")
    for _ in range(5):
        # What a client itself puts in front is not what the proxy says.
        said = {"x-forwarded-for": f"{time.time()}, 203.0.113.5"}
        assert proxy.log_in("Anna", "wrong", headers=said).status_code == 401
    assert proxy.log_in("Anna", PASSWORD, headers={"x-forwarded-for": "203.0.113.5"}).status_code == 429
    assert proxy.log_in("Anna", PASSWORD, headers={"x-forwarded-for": "203.0.113.6"}).status_code == 303
    site.database.close()


def test_addresses_of_one_ipv6_network_are_one(site: Site) -> None:
    for n in range(5):
        assert site.browser(address=f"2001:db8:1:2::{n}").log_in("Anna", "wrong").status_code == 401
    assert site.browser(address="2001:db8:1:2:ffff::1").log_in("Anna").status_code == 429
    assert site.browser(address="2001:db8:1:3::1").log_in("Anna").status_code == 303


def refused(browser: Browser) -> bool:
    """Whether neither the API nor the pages know who asks."""
    api = browser.get("/api/v1/projects")
    page = browser.get("/account")
    said = (api.status_code, page.status_code, page.headers.get("location"))
    assert said in ((401, 303, "/login?next=%2Faccount"), (200, 200, None)), said
    return api.status_code == 401


def test_a_cookie_that_was_logged_out_is_worth_nothing(site: Site) -> None:
    anna = site.browser("Anna")
    cookie = anna.cookie
    assert not refused(anna)
    answer = anna.post("/logout")
    assert answer.headers["location"] == "/login" and "Max-Age=0" in answer.headers["set-cookie"]
    assert anna.cookie is None and refused(anna)
    again = site.browser()
    again.client.cookies.set(site.config.cookie, str(cookie))
    assert refused(again)


def test_a_changed_password_ends_the_other_sessions(site: Site) -> None:
    here, there, ben = site.browser("Anna"), site.browser("Anna"), site.browser("Ben")
    new = {"current": PASSWORD, "password": "another good password", "repeat": "another good password"}
    assert here.post("/account/password", {**new, "current": "wrong"}).status_code == 422
    assert here.post("/account/password", {**new, "repeat": "not the same one"}).status_code == 422
    assert not refused(there)
    assert here.post("/account/password", new).status_code == 303
    assert refused(there) and not refused(here) and not refused(ben)
    assert site.browser().log_in("Anna", PASSWORD).status_code == 401
    assert site.browser().log_in("Anna", "another good password").status_code == 303


def test_who_found_an_open_browser_cannot_guess_the_password_in_it(site: Site) -> None:
    anna = site.browser("Anna")
    new = {"password": "another good password", "repeat": "another good password"}
    for _ in range(5):
        assert anna.post("/account/password", {**new, "current": "wrong"}).status_code == 422
    answer = anna.post("/account/password", {**new, "current": PASSWORD})
    assert answer.status_code == 429


@pytest.mark.parametrize("where", [0, 20, -1])
def test_a_tampered_cookie_is_worth_nothing(site: Site, where: int) -> None:
    anna = site.browser("Anna")
    letters = list(str(anna.cookie))
    letters[where] = "A" if letters[where] != "A" else "B"
    other = site.browser()
    other.client.cookies.set(site.config.cookie, "".join(letters))
    assert refused(other)


@pytest.mark.parametrize("value", ["", "1", "x" * 4000, "' or 1=1 --", "%00", "\u00e4".encode().decode("latin-1")])
def test_strange_cookies_are_nobody(site: Site, value: str) -> None:
    browser = site.browser()
    sent = {"cookie": f"{site.config.cookie}={value}".encode("latin-1")}
    assert browser.get("/api/v1/projects", headers=sent).status_code == 401


@pytest.mark.parametrize("column", ["expires", "seen"])
def test_an_expired_session_is_worth_nothing(site: Site, column: str) -> None:
    anna = site.browser("Anna")
    then = time.time() - (1 if column == "expires" else sessions.IDLE + 1)
    with site.database.write() as connection:
        connection.execute(update(schema.session).values({column: then}))
    assert refused(anna)


def test_a_session_that_somebody_set_beforehand_is_not_taken_up(site: Site) -> None:
    victim = site.browser()
    victim.client.cookies.set(site.config.cookie, "chosen-by-somebody-else", domain="127.0.0.1", path="/")
    victim.log_in("Anna")
    attacker = site.browser()
    attacker.client.cookies.set(site.config.cookie, "chosen-by-somebody-else")
    assert refused(attacker) and not refused(victim)
    # A login begins anew: the number that the browser had before counts no more.
    before = victim.cookie
    assert before is not None
    victim.post("/login", {"name": "Anna", "password": PASSWORD})
    stale = site.browser()
    anna = site.browser("Anna")
    first = str(anna.cookie)
    anna.client.cookies.delete(site.config.cookie)
    anna.open("/login")
    anna.client.cookies.set(site.config.cookie, first, domain="127.0.0.1", path="/")
    assert anna.post("/login", {"name": "Anna", "password": PASSWORD}).status_code == 303
    stale.client.cookies.set(site.config.cookie, first)
    assert refused(stale)


def test_a_role_that_changes_and_an_account_that_ends_take_effect_at_once(site: Site) -> None:
    admin = site.browser("Admin")
    anna, bearer = site.browser("Anna"), site.token("Ben", "label")
    with site.database.write() as connection:
        accounts.set_role(connection, site.ids["Anna"], "viewer", "Admin", time.time())
        accounts.deactivate(connection, site.ids["Ben"], "Admin", time.time())
    assert refused(anna) and not refused(admin)
    assert site.browser().get("/api/v1/projects", headers=bearer).status_code == 401


def test_nobody_gets_in_without_an_account_that_somebody_made(tmp_path: Path) -> None:
    site = Site(tmp_path / "x.db")
    with site.database.read() as connection:
        secret = connection.execute(select(schema.setting.c.value).where(schema.setting.c.key == "secret")).scalar_one()
    other = Site(tmp_path / "y.db")
    with other.database.read() as connection:
        assert connection.execute(select(schema.setting.c.value)).scalars().all().count(secret) == 0
    assert re.fullmatch(r"[0-9a-f]{64}", secret)
    for name, password in (("admin", "admin"), ("admin", "password"), ("Admin", ""), ("root", "root")):
        assert site.browser(address=name).log_in(name, password).status_code == 401
    assert not [path for _, path in unsafe(site.app) if "register" in path or "signup" in path]
    for one in (site, other):
        one.database.close()
    with pytest.raises(InputError, match="init"):
        open_database(str(tmp_path / "none.db"))


def test_https_has_its_own_cookie(quick: None, tmp_path: Path) -> None:
    site = Site(tmp_path / "s.db", ServerConfig("https://label.example.org"))
    browser = site.browser()
    browser.open("/login")
    answer = browser.post("/login", {"name": "Anna", "password": PASSWORD})
    said = [one for one in answer.headers.get_list("set-cookie") if one.startswith("__Host-accord=")]
    assert len(said) == 1
    parts = {part.strip().lower() for part in said[0].split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/", "max-age=604800"} == parts
    assert "plain http" not in browser.get("/account").text
    site.database.close()


@pytest.mark.parametrize(
    ("url", "insecure"),
    [("http://127.0.0.1:8000", False), ("http://localhost", False), ("http://[::1]:80", False),
     ("http://192.168.1.5:8000", True), ("http://label.example.org", True), ("https://label.example.org", False)],
)  # fmt: skip
def test_plain_http_beyond_this_machine_is_said_on_every_page(tmp_path: Path, url: str, insecure: bool) -> None:
    config = ServerConfig(url)
    assert config.insecure == insecure
    site = Site(tmp_path / "x.db", config)
    browser = site.browser()
    for address in ("/login", "/nowhere", "/join/x"):
        answer = browser.get(address)
        assert ("reached over plain http" in answer.text) == insecure, address
        # With no-referrer a browser calls the origin of its forms `null`, which is all that it says over plain http.
        assert answer.headers["referrer-policy"] == ("same-origin" if insecure else "no-referrer")
    site.database.close()
