"""The web hook tells of completed groups, signed and without texts; and what a server refuses to serve."""

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from collect_server import Site, groups, make_site
from reward_service_double import Reply, service
from sqlalchemy import func, select, update

from accord.collect import hooks, projects, queue, submissions
from accord.collect.database import secret
from accord.collect.migrate import create_database
from accord.collect.schema import event, outbox
from accord.collect.serve import Serving, check, greeting
from accord.collect.settings import Settings
from accord.errors import InputError

ANSWER = {"ratings": {"A": 5, "B": 3}, "ranking": [["A"], ["B"]]}


def completed(url: str, hook: str | None, overlap: int = 1) -> Site:
    """A site whose first group has one judgement."""
    made = make_site(url, given=groups(2, 2), settings=Settings(overlap=overlap, hook=hook))
    with made.database.write() as connection:
        page = queue.next_page(connection, secret(connection), made.project, 2, time.time())
        assert page
        submissions.submit(
            connection, page.assignment, 2, submission="submission-1", answer=ANSWER, active_ms=1, wall_ms=1,
            revision=0, now=time.time(),
        )  # fmt: skip
    return made


def waiting(made: Site) -> int:
    return int(made.rows(select(func.count()).select_from(outbox))[0][0])


def later(made: Site) -> None:
    """Whatever waits is due."""
    with made.database.write() as connection:
        connection.execute(update(outbox).values(due=0))


def test_a_completed_group_is_told_once_signed_and_without_texts(database_url: str) -> None:
    with service(Reply({"ok": True})) as there:
        made = completed(database_url, there.url)
        assert waiting(made) == 1
        assert hooks.work(made.database, time.time()) is True
        assert hooks.work(made.database, time.time()) is False
        (told,), (headers,) = there.asked, there.headers
        assert {name: told[name] for name in ("project", "group", "judgements")} == {
            "project": "test", "group": "group-0", "judgements": 1,
        }  # fmt: skip
        assert "Answer" not in json.dumps(told) and "What is" not in json.dumps(told)
        with made.database.read() as connection:
            key = hooks.key(secret(connection), made.project)
        body = json.dumps(told, ensure_ascii=False).encode()
        assert headers["X-Accord-Signature"] == f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"
        assert waiting(made) == 0
        made.database.close()


def test_a_group_that_lacks_a_judgement_is_not_told_and_without_an_address_nothing_is(tmp_path: Path) -> None:
    for name, hook, overlap in (("a", "http://127.0.0.1:9", 2), ("b", None, 1)):
        made = completed(f"sqlite:///{tmp_path / name}.db", hook, overlap)
        assert waiting(made) == 0
        made.database.close()


@pytest.mark.parametrize(
    "reply", [Reply(status=500), Reply(status=302, headers=(("Location", "http://127.0.0.1:9/"),))]
)
def test_what_is_not_taken_is_told_again_later_and_given_up_at_last(tmp_path: Path, reply: Any) -> None:
    """A redirect is followed nowhere: it counts as not taken."""
    with service(reply) as there:
        made = completed(f"sqlite:///{tmp_path / 'prefs.db'}", there.url)
        now = time.time()
        assert hooks.work(made.database, now)
        assert not hooks.work(made.database, now + hooks.WAITS[0] - 1)
        for tries in range(2, len(hooks.WAITS) + 2):
            later(made)
            assert hooks.work(made.database, now)
            assert len(there.asked) == tries
        assert waiting(made) == 0
        assert made.rows(select(event.c.subject).where(event.c.kind == "web hook given up")) == [("test",)]
        made.database.close()


def test_one_that_died_while_telling_is_not_forgotten(tmp_path: Path) -> None:
    made = completed(f"sqlite:///{tmp_path / 'prefs.db'}", "http://127.0.0.1:9")
    now = time.time()
    with made.database.write() as connection:
        first = hooks.take(connection, now)
    with made.database.write() as connection:
        assert first and hooks.take(connection, now) is None  # somebody is telling it
    with made.database.write() as connection:
        again = hooks.take(connection, now + hooks.WAITS[0] + 1)
    assert again and again.id == first.id and again.tries == 2
    made.database.close()


def test_a_thread_tells_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "LOOK", 0.01)
    with service(Reply({})) as there:
        made = completed(f"sqlite:///{tmp_path / 'prefs.db'}", there.url)
        thread = hooks.Hooks(made.database)
        thread.start()
        deadline = time.monotonic() + 30
        while waiting(made) and time.monotonic() < deadline:
            time.sleep(0.01)
        thread.stop()
        assert len(there.asked) == 1 and waiting(made) == 0
        made.database.close()


def test_several_processes_over_sqlite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one process") as told:
        check(Serving(f"sqlite:///{tmp_path / 'prefs.db'}", workers=2))
    assert "PostgreSQL" in told.value.fix


def test_a_database_without_an_admin_is_not_served(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'prefs.db'}"
    with pytest.raises(InputError, match="no such database"):
        check(Serving(url))
    create_database(url).close()
    with pytest.raises(InputError, match="no admin can log in") as told:
        check(Serving(url))
    assert "accord collect user" in told.value.fix
    make_site(f"sqlite:///{tmp_path / 'other.db'}").database.close()
    check(Serving(f"sqlite:///{tmp_path / 'other.db'}"))
    with pytest.raises(InputError, match="TLS needs both"):
        check(Serving(f"sqlite:///{tmp_path / 'other.db'}", certfile="a.pem"))


def test_plain_http_beyond_this_machine_is_warned_of() -> None:
    def said(serving: Serving) -> str:
        return "\n".join(greeting(serving.config(8000), serving))

    assert "warning" not in said(Serving("prefs.db"))
    assert "plain http beyond this machine" in said(Serving("prefs.db", host="192.0.2.1"))
    assert "plain http beyond this machine" in said(Serving("prefs.db", host="0.0.0.0"))
    assert "warning" not in said(Serving("prefs.db", host="0.0.0.0", url="https://label.example.org"))


def test_a_project_with_a_hook_can_be_made_and_changed(tmp_path: Path) -> None:
    made = make_site(f"sqlite:///{tmp_path / 'prefs.db'}")
    with pytest.raises(ValueError, match="no address"):
        Settings(hook="file:///etc/passwd")
    with made.database.write() as connection:
        before = projects.find(connection, made.project)
        settings = Settings(hook="https://example.org/hook")
        after = projects.set_settings(connection, before.id, settings, version=before.version, actor="a", now=1.0)
    assert after.settings.hook == "https://example.org/hook"
    made.database.close()
