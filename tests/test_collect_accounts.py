"""Accounts, passwords, sessions, tokens, invitations: who gets in, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import func, select

from accord.collect import accounts, events, limits, names, passwords, projects, schema, sessions, tokens
from accord.collect.database import Database
from accord.collect.migrate import create_database
from accord.collect.refusals import Conflict, Invalid, NotAllowed, NotKnown, NotThere, Refused, TooMany
from accord.collect.roles import Account
from accord.collect.settings import Settings
from tests.collect_data import NOW
from tests.collect_postgres import database_url, postgres, postgres_url  # noqa: F401 - fixtures

PASSWORD = "four words that do"
DAY = 86400.0
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Passwords are hashed in a moment."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._of_nobody.cache_clear()
    yield
    passwords._of_nobody.cache_clear()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = create_database(str(tmp_path / "prefs.db"))
    yield made
    made.close()


def add(database: Database, name: str = "Anna", role: str = "annotator", password: str | None = PASSWORD) -> Account:
    with database.write() as connection:
        id = accounts.create_account(connection, name, role, password, "test", NOW)
    return Account(id, name, role, True)  # type: ignore[arg-type]


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(schema.TABLES.tables[table])).scalar_one()


def test_nobody_is_there_from_the_start(database: Database) -> None:
    assert count(database, "account") == 0
    with pytest.raises(NotKnown):
        accounts.authenticate(database, "admin", "admin", "here", NOW)


@pytest.mark.parametrize(
    "name",
    ["", "   ", "a" * 61, "a\nb", "a\x00", "a\u202eb", "a\u200bb", "...", "\u3164", "\u0301"],
    ids=["empty", "blank", "long", "line", "nul", "override", "no width", "no letter", "filler", "accent alone"],
)
def test_a_name_can_be_seen(name: str) -> None:
    if name == "a\nb":  # white space of any kind is one blank
        assert names.checked(name) == "a b"
        return
    with pytest.raises(Invalid) as refused:
        names.checked(name)
    assert set(refused.value.fields) == {"name"}


@pytest.mark.parametrize("other", ["anna", "ANNA", "  Anna ", "\uff21nna"])
def test_names_that_look_alike_are_one(database: Database, other: str) -> None:
    add(database, "Anna")
    with pytest.raises(Conflict):
        add(database, other)
    assert accounts.authenticate(database, other, PASSWORD, "here", NOW).name == "Anna"


def test_a_name_is_kept_in_its_one_form() -> None:
    assert names.checked("Zoe\u0308") == "Zo\u00eb"


@pytest.mark.parametrize(
    "password", ["eleven chrs", "x" * 257, "aaaaaaaaaaaaaaaa", "abcabcabcabcabc", "Anna Annasdottir"]
)
def test_a_password_is_long_and_not_easily_guessed(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        passwords.check_password(password, "anna annasdottir")
    assert set(refused.value.fields) == {"password"}
    passwords.check_password("twelve chars", "anna")
    passwords.check_password("lang" * 60 + "est with 256 chr", "anna")


def test_a_password_is_kept_as_argon2id_and_typed_on_any_keyboard(database: Database) -> None:
    anna = add(database, password="pass\u0065\u0301 et compose\u0301")
    with database.read() as connection:
        stored = connection.execute(select(schema.account.c.password)).scalar_one()
    assert stored.startswith("$argon2id$v=19$") and "pass" not in stored
    assert accounts.authenticate(database, "anna", "pass\u00e9 et compos\u00e9", "here", NOW).id == anna.id


def test_the_parameters_are_those_of_rfc_9106(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher())
    assert passwords.hash_password(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_hash_of_older_parameters_is_made_anew(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    add(database)
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    accounts.authenticate(database, "anna", PASSWORD, "here", NOW)
    with database.read() as connection:
        assert "t=2" in connection.execute(select(schema.account.c.password)).scalar_one()
    accounts.authenticate(database, "anna", PASSWORD, "here", NOW)


def test_no_more_than_two_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, lock = 0, 0, threading.Lock()

    class Slow:
        def hash(self, password: str) -> str:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.02)
            with lock:
                now -= 1
            return "hash"

    monkeypatch.setattr(passwords, "_hasher", Slow())
    threads = [threading.Thread(target=passwords.hash_password, args=(PASSWORD,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_the_sixth_failure_is_refused_even_if_it_were_right(database: Database) -> None:
    add(database)
    for n in range(5):
        with pytest.raises(NotKnown):
            accounts.authenticate(database, "anna", "wrong", "here", NOW + n)
    with pytest.raises(TooMany) as refused:
        accounts.authenticate(database, "ANNA", PASSWORD, "here", NOW + 10)
    assert refused.value.retry_after == 890  # 15 minutes after the first one
    assert accounts.authenticate(database, "anna", PASSWORD, "here", NOW + 901).name == "Anna"


def test_a_success_forgets_the_failures_of_that_name_there(database: Database) -> None:
    add(database)
    for n in range(12):
        with pytest.raises(NotKnown):
            accounts.authenticate(database, "anna", "wrong", "here", NOW + 2 * n)
        accounts.authenticate(database, "anna", PASSWORD, "here", NOW + 2 * n + 1)


def test_who_guesses_for_many_names_or_from_many_addresses_is_stopped(database: Database) -> None:
    add(database)
    add(database, "Own")
    for n in range(limits.OF_ONE):
        if n % 3 == 0:  # an account of one's own does not help
            accounts.authenticate(database, "own", PASSWORD, "here", NOW + n)
        with pytest.raises(NotKnown):
            accounts.authenticate(database, f"guess {n}", "wrong", "here", NOW + n)
    with pytest.raises(TooMany):
        accounts.authenticate(database, "one more", "wrong", "here", NOW + 50)
    for n in range(limits.OF_ONE):
        with pytest.raises(NotKnown):
            accounts.authenticate(database, "anna", "wrong", f"there {n}", NOW + n)
    with pytest.raises(TooMany):
        accounts.authenticate(database, "anna", "wrong", "elsewhere", NOW + 50)


def test_many_guesses_in_one_moment_are_counted_all(database_url: str) -> None:  # noqa: F811
    database = create_database(database_url)
    add(database)
    tried: list[str] = []

    def guess(n: int) -> None:
        try:
            accounts.authenticate(database, "anna", f"guess {n}", "here", NOW + n / 1000)
        except Refused as refused:
            tried.append(refused.kind)

    threads = [threading.Thread(target=guess, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    assert sorted(tried) == ["not_known"] * 5 + ["too_many"] * 11


def test_old_failures_are_swept(database: Database) -> None:
    for n in range(3):
        with pytest.raises(NotKnown):
            accounts.authenticate(database, f"nobody {n}", "wrong", "here", NOW)
    assert count(database, "failure") == 9
    with pytest.raises(NotKnown):
        accounts.authenticate(database, "nobody", "wrong", "here", NOW + 901)
    assert count(database, "failure") == 3


def test_an_unknown_name_costs_as_much_as_a_known_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    add(database)
    add(database, "Imported", password=None)
    asked: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            asked.append(str(hash))
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_hasher", Counting(time_cost=1, memory_cost=8, parallelism=1))
    said = set()
    for name in ("anna", "imported", "nobody"):
        with pytest.raises(NotKnown) as refused:
            accounts.authenticate(database, name, "wrong", "here", NOW)
        said.add(str(refused.value))
    assert len(asked) == 3 and all(hash.startswith("$argon2id$") for hash in asked)
    assert len(said) == 1


def test_who_is_deactivated_or_imported_cannot_log_in(database: Database) -> None:
    anna = add(database)
    add(database, "Imported", password=None)
    with database.write() as connection:
        accounts.deactivate(connection, anna.id, "test", NOW)
    for name, password in (("anna", PASSWORD), ("imported", ""), ("imported", "None")):
        with pytest.raises(NotKnown):
            accounts.authenticate(database, name, password, "here", NOW)
    with database.write() as connection:
        accounts.reactivate(connection, anna.id, "test", NOW)
    assert accounts.authenticate(database, "anna", PASSWORD, "here", NOW).id == anna.id


def test_the_last_admin_stays(database: Database) -> None:
    admin = add(database, "Admin", "admin")
    add(database, "Without password", "admin", None)
    with database.write() as connection:
        with pytest.raises(Conflict):
            accounts.deactivate(connection, admin.id, "test", NOW)
        with pytest.raises(Conflict):
            accounts.set_role(connection, admin.id, "viewer", "test", NOW)
        accounts.set_role(connection, admin.id, "admin", "test", NOW)
    other = add(database, "Other", "admin")
    with database.write() as connection:
        accounts.set_role(connection, admin.id, "viewer", "test", NOW)
        with pytest.raises(Conflict):
            accounts.deactivate(connection, other.id, "test", NOW)


def test_two_admins_cannot_send_each_other_away(database_url: str) -> None:  # noqa: F811
    database = create_database(database_url)
    both = [add(database, name, "admin") for name in ("One", "Two")]
    barrier = threading.Barrier(2)
    said: list[str] = []

    def send_away(id: int) -> None:
        barrier.wait()
        try:
            with database.write() as connection:
                accounts.deactivate(connection, id, "test", NOW)
            said.append("done")
        except Conflict:
            said.append("conflict")

    threads = [threading.Thread(target=send_away, args=(one.id,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    assert sorted(said) == ["conflict", "done"]


def test_sessions_end_idle_or_old(database: Database) -> None:
    anna = add(database)
    with database.write() as connection:
        cookie = sessions.start(connection, anna.id, NOW)
        found = sessions.find(connection, cookie, NOW + sessions.IDLE - 1)
        assert found is not None and found.account == anna
        assert sessions.find(connection, cookie, NOW + sessions.IDLE) is None
        for hour in range(0, 7 * 24, 10):
            sessions.touch(connection, found.hash, NOW + hour * 3600)
            assert sessions.find(connection, cookie, NOW + hour * 3600 + 1) is not None
        sessions.touch(connection, found.hash, NOW + sessions.LONGEST - 5)
        assert sessions.find(connection, cookie, NOW + sessions.LONGEST) is None
        assert connection.execute(select(schema.session.c.hash)).scalar_one() != cookie
        sessions.start(connection, anna.id, NOW + sessions.LONGEST)  # sweeps
    assert count(database, "session") == 1


@pytest.mark.parametrize("what", ["password", "role", "deactivate"])
def test_what_changes_an_account_ends_its_sessions(database: Database, what: str) -> None:
    add(database, "Admin", "admin")
    anna = add(database)
    with database.write() as connection:
        here, there = (sessions.start(connection, anna.id, NOW) for _ in range(2))
        if what == "password":
            keep = sessions.hash_of(here)
            accounts.set_password(connection, anna.id, "another good password", "Anna", NOW, keep=keep)
        elif what == "role":
            accounts.set_role(connection, anna.id, "viewer", "test", NOW)
        else:
            accounts.deactivate(connection, anna.id, "test", NOW)
        assert sessions.find(connection, there, NOW) is None
        assert (sessions.find(connection, here, NOW) is not None) == (what == "password")


def test_a_token_is_kept_hashed_expires_and_ends_with_its_account(database: Database) -> None:
    anna = add(database)
    with database.write() as connection:
        text = tokens.make(connection, anna, "notebook", "label", NOW, NOW + 30 * DAY)
        assert text.startswith("accord_") and len(text) > 45
        assert tokens.find(connection, text, NOW) == (anna, "label")
        assert tokens.find(connection, text, NOW + 30 * DAY) is None
        assert tokens.find(connection, text[:-1], NOW) is None
        stored = connection.execute(select(schema.token)).one()
        assert text not in str(stored._mapping)
        accounts.deactivate(connection, anna.id, "test", NOW)
        assert tokens.find(connection, text, NOW) is None


def test_a_token_never_goes_beyond_the_role(database: Database) -> None:
    anna, admin = add(database), add(database, "Admin", "admin")
    add(database, "Other", "admin")
    with database.write() as connection:
        with pytest.raises(NotAllowed):
            tokens.make(connection, anna, "more", "admin", NOW)
        text = tokens.make(connection, admin, "all", "admin", NOW)
        accounts.set_role(connection, admin.id, "viewer", "test", NOW)
        found = tokens.find(connection, text, NOW)
        assert found is not None and found[1] == "read"


def test_one_revokes_ones_own_tokens_only(database: Database) -> None:
    anna, other = add(database), add(database, "Other")
    with database.write() as connection:
        text = tokens.make(connection, anna, "mine", "read", NOW)
        (mine,) = tokens.tokens(connection, anna.id)
        with pytest.raises(NotThere):
            tokens.revoke(connection, other, mine.id, NOW)
        assert tokens.find(connection, text, NOW) is not None
        tokens.revoke(connection, anna, mine.id, NOW)
        assert tokens.find(connection, text, NOW) is None and tokens.tokens(connection, anna.id) == []


def test_an_invitation_makes_one_account_in_its_role_and_project(database: Database) -> None:
    admin = add(database, "Admin", "admin")
    with database.write() as connection:
        project = projects.create(connection, "helpful", Settings(), "test", NOW)
        text = accounts.invite(connection, "annotator", project, admin.id, NOW)
        assert text not in str(connection.execute(select(schema.invitation)).one()._mapping)
        made = accounts.accept(connection, text, "Ben", PASSWORD, NOW + 1)
        assert (made.name, made.role) == ("Ben", "annotator")
        assert projects.members(connection, project) == {made.id: None}
        with pytest.raises(NotThere):
            accounts.accept(connection, text, "Carl", PASSWORD, NOW + 2)
    assert accounts.authenticate(database, "ben", PASSWORD, "here", NOW).id == made.id


def test_an_invitation_expires_and_can_be_withdrawn(database: Database) -> None:
    admin = add(database, "Admin", "admin")
    with database.write() as connection:
        text = accounts.invite(connection, "viewer", None, admin.id, NOW)
        accounts.invited(connection, text, NOW + 7 * DAY - 1)
        with pytest.raises(NotThere):
            accounts.invited(connection, text, NOW + 7 * DAY)
        (one,) = accounts.invitations(connection, NOW)
        accounts.withdraw(connection, one.id, "Admin", NOW)
        with pytest.raises(NotThere):
            accounts.invited(connection, text, NOW)


def test_a_name_that_is_taken_does_not_use_an_invitation_up(database: Database) -> None:
    admin = add(database, "Admin", "admin")
    with database.write() as connection:
        text = accounts.invite(connection, "viewer", None, admin.id, NOW)
    for name, password in (("ADMIN", PASSWORD), ("Ben", "short")):
        with pytest.raises(Refused), database.write() as connection:
            accounts.accept(connection, text, name, password, NOW)
    with database.write() as connection:
        accounts.accept(connection, text, "Ben", PASSWORD, NOW)


def test_many_who_follow_one_invitation_make_one_account(database_url: str) -> None:  # noqa: F811
    database = create_database(database_url)
    admin = add(database, "Admin", "admin")
    with database.write() as connection:
        text = accounts.invite(connection, "annotator", None, admin.id, NOW)
    hashed, said = passwords.hash_password(PASSWORD), []

    def follow(n: int) -> None:
        try:
            with database.write() as connection:
                accounts.accept(connection, text, f"Ben {n}", hashed, NOW)
            said.append("joined")
        except NotThere:
            said.append("not there")

    threads = [threading.Thread(target=follow, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert len(accounts.people(connection)) == 2
    database.close()
    assert sorted(said) == ["joined"] + ["not there"] * 5


def test_who_is_sent_away_takes_their_invitations_along(database: Database) -> None:
    admin, other = add(database, "Admin", "admin"), add(database, "Other", "admin")
    with database.write() as connection:
        theirs, mine = (accounts.invite(connection, "admin", None, one.id, NOW) for one in (other, admin))
        accounts.deactivate(connection, other.id, "Admin", NOW)
        accounts.invited(connection, mine, NOW)
        with pytest.raises(NotThere):
            accounts.invited(connection, theirs, NOW)


def test_the_log_tells_of_all_this_and_holds_no_secret(database: Database) -> None:
    admin = add(database, "Admin", "admin")
    with database.write() as connection:
        token = tokens.make(connection, admin, "notebook", "read", NOW)
        text = accounts.invite(connection, "annotator", None, admin.id, NOW)
        made = accounts.accept(connection, text, "Ben", PASSWORD, NOW)
        accounts.set_role(connection, made.id, "viewer", "Admin", NOW)
        accounts.set_password(connection, made.id, "another good password", "Ben", NOW)
        accounts.deactivate(connection, made.id, "Admin", NOW)
        rows = list(events.rows(connection))
        assert events.verify(connection) is None
    assert [(row["actor"], row["kind"], row["subject"]) for row in rows] == [
        ("test", "account created", "Admin"),
        ("Admin", "token made", "Admin"),
        ("Admin", "invitation made", "annotator"),
        ("invitation", "account created", "Ben"),
        ("Admin", "role changed", "Ben"),
        ("Ben", "password changed", "Ben"),
        ("Admin", "account deactivated", "Ben"),
    ]
    assert not any(secret in str(rows) for secret in (token, text, PASSWORD, "argon2", "another good"))
