"""What goes wrong on a labelling site: a server killed, races, clicks twice, pages left alone, a database that is
locked or full. Against a server in a process of its own, over SQLite and PostgreSQL. (FAULTS.md section 2, 46-50.)
"""

import json
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from collect_server import Site, groups, make_site, site
from sqlalchemy import func, select, text, update

from accord.cli import main
from accord.collect import refusals
from accord.collect.client import Client
from accord.collect.migrate import create_database
from accord.collect.schema import assignment, item, judgement
from accord.collect.settings import Settings
from accord.errors import ServiceError

KILLS, SUBMITS = 6, 500
ANSWER = {"ratings": {"A": 5, "B": 3, "C": 2, "D": 6}, "ranking": [["D"], ["A"], ["B", "C"]]}
PEOPLE = [f"annotator-{i}" for i in range(20)]


def judged(found: Site) -> list[Any]:
    """(item, account) of every label that is done."""
    query = select(assignment.c.item_id, assignment.c.account_id).where(
        assignment.c.kind == "label", assignment.c.status == "done"
    )
    return found.rows(query)


def submissions(found: Site) -> set[str]:
    return {row.submission for row in found.rows(select(judgement.c.submission))}


def post(http: httpx.Client, path: str, token: str, body: Any = None) -> httpx.Response:
    return http.post(f"/api/v1{path}", headers={"Authorization": f"Bearer {token}"}, json=body)


def body_of(page: Any, **other: Any) -> dict[str, Any]:
    return {"submission": uuid.uuid4().hex, "answer": ANSWER, "revision": page["revision"]} | other


def test_a_server_killed_during_submits_loses_nothing_that_it_acknowledged(database_url: str) -> None:
    """Six times SIGKILL among 500 submits; what got a 200 is in the database, and every page can be gone on with."""
    settings = Settings(overlap=3)
    made = make_site(database_url, annotators=PEOPLE[:8], given=groups(250), settings=settings, workers=1)
    acknowledged: list[str] = []
    ended = threading.Event()

    def work(token: str) -> None:
        http = httpx.Client(base_url=made.url, timeout=20)
        while not ended.is_set():
            try:
                page = post(http, "/projects/1/next", token)
                if page.status_code != 200:
                    assert page.status_code in (204, 503), page.text
                    ended.wait(0.05)
                    continue
                body = body_of(page.json())
                if post(http, f"/assignments/{page.json()['assignment']}/submit", token, body).status_code == 200:
                    acknowledged.append(body["submission"])
            except httpx.HTTPError:
                ended.wait(0.05)  # the server is dead: it is asked again
        http.close()

    made.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            workers = [pool.submit(work, token) for token in made.tokens.values()]
            try:
                for kill in range(1, KILLS + 1):
                    until(lambda kill=kill: len(acknowledged) >= kill * SUBMITS // (KILLS + 1), workers)
                    made.kill()
                    made.start()
                until(lambda: len(acknowledged) >= SUBMITS, workers)
            finally:
                ended.set()
        assert all(worker.exception() is None for worker in workers)
        there = submissions(made)
        assert len(acknowledged) >= SUBMITS and not set(acknowledged) - there
        assert len(judged(made)) == len(set(judged(made))) == len(there)
        assert not over_assigned(made)
        whole(made)
    finally:
        made.kill()
        made.database.close()


def until(reached: Callable[[], bool], workers: list[Any], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "too slow"
        assert not any(worker.done() for worker in workers), [worker.exception() for worker in workers if worker.done()]
        time.sleep(0.02)


def over_assigned(found: Site) -> list[Any]:
    had = func.count(func.distinct(assignment.c.account_id))
    query = (
        select(item.c.id, had, item.c.wanted)
        .join(assignment, assignment.c.item_id == item.c.id)
        .where(assignment.c.kind == "label", assignment.c.status.in_(("open", "done")))
        .group_by(item.c.id, item.c.wanted)
        .having(had > item.c.wanted)
    )
    return found.rows(query)


def whole(found: Site) -> None:
    """The database itself holds, and each group's count is that of its pages."""
    if found.database.is_sqlite:
        assert found.rows(text("PRAGMA integrity_check")) == [("ok",)]
    taken = (
        select(func.count())
        .select_from(assignment)
        .where(assignment.c.item_id == item.c.id, assignment.c.kind == "label")
        .where(assignment.c.status.in_(("open", "done")))
        .scalar_subquery()
    )
    assert not found.rows(select(item.c.id, item.c.taken, taken).where(item.c.taken != taken))


def test_twenty_people_at_once_give_every_group_exactly_three_judgements(database_url: str) -> None:
    count = 30
    workers = 1 if database_url.startswith("sqlite") else 2
    settings = Settings(overlap=3)
    with site(database_url, annotators=PEOPLE, given=groups(count), settings=settings, workers=workers) as found:
        begin = threading.Barrier(len(PEOPLE))

        def work(token: str) -> list[int]:
            statuses = []
            with httpx.Client(base_url=found.url, timeout=60) as http:
                begin.wait(60)
                while True:
                    page = post(http, "/projects/1/next", token)
                    statuses.append(page.status_code)
                    if page.status_code != 200:
                        return statuses
                    done = post(http, f"/assignments/{page.json()['assignment']}/submit", token, body_of(page.json()))
                    statuses.append(done.status_code)

        with ThreadPoolExecutor(len(PEOPLE)) as pool:
            statuses = [status for one in pool.map(work, found.tokens.values()) for status in one]
        assert set(statuses) == {200, 204}
        pairs = judged(found)
        assert len(pairs) == len(set(pairs)) == 3 * count
        assert {row[1] for row in found.rows(per_item())} == {3}
        whole(found)


def per_item() -> Any:
    return (
        select(assignment.c.item_id, func.count(func.distinct(assignment.c.account_id)))
        .where(assignment.c.status == "done")
        .group_by(assignment.c.item_id)
    )


@pytest.fixture
def small(database_url: str) -> Iterator[Site]:
    with site(database_url, given=groups(3), settings=Settings(overlap=1)) as found:
        yield found


def test_the_same_submission_many_times_at_once_is_one_row(small: Site) -> None:
    """A double click, a retry after a timeout, and two tabs: all get the same receipt."""
    token = small.tokens["anna"]
    with httpx.Client(base_url=small.url, timeout=60) as http:
        page = post(http, "/projects/1/next", token).json()
        here, body = f"/assignments/{page['assignment']}/submit", body_of(page)
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: post(http, here, token, body), range(16)))
        assert {one.status_code for one in replies} == {200}
        receipts = [{**one.json(), "repeated": None} for one in replies]
        assert all(one == receipts[0] for one in receipts)
        assert sum(not one.json()["repeated"] for one in replies) == 1
        other = {**body, "answer": {**ANSWER, "ranking": [["A"], ["B"], ["C"], ["D"]]}}
        refused = post(http, here, token, other)
        assert (refused.status_code, refused.json()["error"]["kind"]) == (409, "conflict")
        second_tab = post(http, here, token, body_of(page))  # another id for the same page: it is out of date
        assert (second_tab.status_code, second_tab.json()["error"]["kind"]) == (409, "stale")
    assert len(submissions(small)) == 1


def test_a_submission_whose_answer_was_lost_is_stored_once(small: Site) -> None:
    token = small.tokens["anna"]
    with httpx.Client(base_url=small.url, timeout=60) as http:
        page = post(http, "/projects/1/next", token).json()
        here, body = f"/assignments/{page['assignment']}/submit", body_of(page)
        with pytest.raises(httpx.ReadTimeout):
            hurry = httpx.Timeout(60, read=0.0005)
            http.post(f"/api/v1{here}", headers={"Authorization": f"Bearer {token}"}, json=body, timeout=hurry)
        deadline = time.monotonic() + 30
        while not submissions(small) and time.monotonic() < deadline:
            time.sleep(0.02)
        again = post(http, here, token, body)
    assert again.json()["repeated"] is True and len(submissions(small)) == 1


def lapse(found: Site, page: int) -> None:
    """An hour passes."""
    with found.database.write() as connection:
        connection.execute(update(assignment).where(assignment.c.id == page).values(expires=time.time() - 1))


def test_a_page_left_alone_is_free_again_and_a_late_answer_is_still_taken(small: Site) -> None:
    """Nobody else has judged it: the late answer counts."""
    with Client(small.url, small.tokens["anna"]) as anna, Client(small.url, small.tokens["ben"]) as ben:
        page = anna.next(1)
        assert page
        lapse(small, page["assignment"])
        for _ in range(2):  # ben is not given the group that is first for anna before its lease has run out
            other = ben.next(1)
            assert other
            ben.skip(other, "not mine")
        assert anna.page(page["assignment"])["status"] == "lapsed"
        assert anna.submit(page, ANSWER)["status"] == "done"
    assert not over_assigned(small)
    whole(small)


def test_a_late_answer_to_a_group_that_others_filled_is_refused_and_kept_as_a_draft(small: Site) -> None:
    with Client(small.url, small.tokens["anna"]) as anna, Client(small.url, small.tokens["ben"]) as ben:
        page = anna.next(1)
        assert page
        anna.save_draft(page, {"ratings": {"A": 4}})
        lapse(small, page["assignment"])
        while other := ben.next(1):
            ben.submit(other, ANSWER)
        with pytest.raises(refusals.Taken) as told:
            anna.submit(page, ANSWER)
        assert told.value.status == 409 and "draft" in told.value.fix
        seen = anna.page(page["assignment"])
        assert seen["draft"] == {"ratings": {"A": 4}} and seen["revision"] == 0
    assert len(judged(small)) == 3 and not over_assigned(small)
    whole(small)


def test_an_older_draft_does_not_replace_a_newer_one(small: Site) -> None:
    with Client(small.url, small.tokens["anna"]) as anna:
        page = anna.next(1)
        assert page and anna.save_draft(page, {"notes": {"A": "one"}}) == 1
        with pytest.raises(refusals.Stale):
            anna.save_draft(page, {"notes": {"A": "another tab"}})
        assert anna.page(page["assignment"])["draft"] == {"notes": {"A": "one"}}


def test_a_database_that_another_holds_is_waited_for_then_503_with_retry_after(tmp_path: Path) -> None:
    """SQLite, held by another program: one second is waited for, longer is said; readers do not notice."""
    path = tmp_path / "prefs.db"
    with site(f"sqlite:///{path}", given=groups(3), busy_seconds=2.0) as found:
        token = found.tokens["anna"]
        with httpx.Client(base_url=found.url, timeout=60) as http:
            page = post(http, "/projects/1/next", token).json()
            body, here = body_of(page), f"/assignments/{page['assignment']}"
            with held(path) as release:
                began = time.monotonic()
                refused = post(http, f"{here}/submit", token, body)
                assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1
                assert refused.json()["error"]["kind"] == "busy" and 1.5 < time.monotonic() - began < 10
                read = http.get(f"/api/v1{here}", headers={"Authorization": f"Bearer {token}"})
                assert read.status_code == 200 and read.json()["revision"] == 0
                threading.Timer(1.0, release).start()
                assert post(http, f"{here}/submit", token, body).status_code == 200
    assert len(submissions(found)) == 1


class held:
    """A write transaction of another program, until the end of the block or until `release` is called."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)

    def __enter__(self) -> Callable[[], None]:
        self.connection.execute("BEGIN IMMEDIATE")
        return self.connection.close

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def test_a_row_that_another_holds_is_503_on_postgresql(postgres_url: str) -> None:
    with site(postgres_url, given=groups(3), busy_seconds=1.0) as found:
        token = found.tokens["anna"]
        with httpx.Client(base_url=found.url, timeout=60) as http:
            page = post(http, "/projects/1/next", token).json()
            here, body = f"/assignments/{page['assignment']}/submit", body_of(page)
            with found.database.write() as connection:
                connection.execute(text("LOCK TABLE assignment IN ACCESS EXCLUSIVE MODE"))
                refused = post(http, here, token, body)
                assert refused.status_code == 503 and refused.headers["Retry-After"]
            assert post(http, here, token, body).status_code == 200


def test_a_full_database_says_so_and_can_still_be_read(tmp_path: Path) -> None:
    """The file may grow no further (max_page_count), as on a disk that is full."""
    from fastapi.testclient import TestClient
    from sqlalchemy import event

    from accord.collect.database import open_database
    from accord.collect.web.app import create_app
    from accord.collect.web.config import ServerConfig

    found = make_site(f"sqlite:///{tmp_path / 'prefs.db'}", given=groups(3))
    full = open_database(f"sqlite:///{tmp_path / 'prefs.db'}")

    def no_more(connection: Any, record: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    http = TestClient(create_app(full, ServerConfig("http://testserver")))
    token = {"Authorization": f"Bearer {found.tokens['anna']}"}
    page = http.post("/api/v1/projects/1/next", headers=token).json()
    full.engine.dispose()
    event.listen(full.engine, "connect", no_more)
    here = f"/api/v1/assignments/{page['assignment']}"
    long = {"version": 0, "answer": {"notes": {"A": "long " * 60_000}}}
    refused = http.put(f"{here}/draft", headers=token, json=long)
    assert refused.status_code in (503, 507) and refused.json()["error"]["kind"] == "full"
    assert str(tmp_path) not in refused.text
    assert http.get(here, headers=token).json()["draft"] is None
    assert http.get("/health").status_code == 200
    full.close()
    found.database.close()


def test_a_client_waits_for_a_busy_site_and_tells_when_nobody_is_there() -> None:
    with pytest.raises(ServiceError, match="does not answer"), Client("http://127.0.0.1:9", "t", tries=2) as nobody:
        nobody.projects()


def test_it_ends_gracefully_and_what_is_under_way_is_done(database_url: str) -> None:
    """SIGTERM among requests: each got its answer or none, and what was answered is stored."""
    made = make_site(database_url, annotators=PEOPLE[:4], given=groups(200), settings=Settings(overlap=1))
    made.start()
    acknowledged: list[str] = []

    def work(token: str) -> None:
        chance = random.Random(token)
        with httpx.Client(base_url=made.url, timeout=30) as http:
            try:
                while True:
                    page = post(http, "/projects/1/next", token).json()
                    body = body_of(page)
                    reply = post(http, f"/assignments/{page['assignment']}/submit", token, body)
                    assert reply.status_code == 200, reply.text
                    acknowledged.append(body["submission"])
                    time.sleep(chance.random() / 100)
            except (httpx.HTTPError, json.JSONDecodeError):
                return

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, token) for token in made.tokens.values()]
        until(lambda: len(acknowledged) > 20, workers)
        code = made.stop()
        assert [worker.exception() for worker in workers] == [None] * 4
    assert code in (0, -15)
    assert set(acknowledged) <= submissions(made)
    made.database.close()


@pytest.mark.parametrize("command", [["status"], ["export", "--output", "out.jsonl"], ["serve"], ["init"]])
def test_a_damaged_file_is_said_to_be_damaged(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "prefs.db"
    create_database(f"sqlite:///{file}").close()
    held = bytearray(file.read_bytes())
    held[100:9000] = b"\xa5" * 8900
    file.write_bytes(held)
    assert main(["collect", *command, "--db", f"sqlite:///{file}"]) == 6
    assert "is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
