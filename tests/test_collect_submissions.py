"""What annotators say is stored once, never overwritten, and can be corrected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from accord.collect import events, schema
from accord.collect.projects import create, find, set_settings
from accord.collect.queue import page
from accord.collect.refusals import Conflict, Invalid, NotThere, Stale
from accord.collect.settings import Settings
from accord.collect.submissions import adjudicate, history, save_draft, skip
from tests.collect_data import NOW, ask, full_answer, labelling, say


def count(database, table=schema.judgement) -> int:  # type: ignore[no-untyped-def]
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_stored_by_places_and_shown_again_by_letters(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    got = ask(database, project, one)
    assert got is not None
    said = full_answer(got) | {"flags": {"B": ["violent"]}, "notes": {"C": "dull"}}
    say(database, got, one, answer=said)
    with database.read() as connection:
        stored = json.loads(connection.execute(select(schema.judgement.c.answer)).scalar_one())
        again = page(connection, got.assignment, one)
    first, second, third = got.shown
    assert [stored["ranks"][place] for place in (first, second, third)] == [1, 2, 3]
    assert stored["flags"]["violent"][second] is True and sum(stored["flags"]["violent"]) == 1
    assert stored["notes"][third] == "dull"
    assert again.answer is not None and again.revision == 1
    assert again.answer["ranking"] == [["A"], ["B"], ["C"]] and again.answer["flags"]["B"] == ["violent"]


def test_sent_twice_it_is_stored_once_and_another_body_is_a_conflict(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    got = ask(database, project, one)
    assert got is not None
    first = say(database, got, one, submission="abcdefgh")
    again = say(database, got, one, submission="abcdefgh")
    assert again.repeated and (again.assignment, again.revision) == (first.assignment, first.revision)
    other = full_answer(got) | {"ranking": [["C"], ["B"], ["A"]]}
    with pytest.raises(Conflict, match="submission id"):
        say(database, got, one, submission="abcdefgh", answer=other)
    with pytest.raises(Stale):  # a second tab, with an id of its own
        say(database, got, one, submission="ijklmnop", answer=other)
    assert count(database) == 1


def test_a_correction_is_a_new_revision_and_history_is_kept(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    got = ask(database, project, one)
    assert got is not None
    say(database, got, one)
    corrected = full_answer(got) | {"ranking": [["A", "B", "C"]]}
    assert say(database, got, one, revision=1, answer=corrected).revision == 2
    with database.read() as connection:
        rows = connection.execute(select(schema.judgement.c.revision, schema.judgement.c.answer)).all()
        kinds = [row["kind"] for row in events.rows(connection)]
        mine = history(connection, project, one)
    assert [json.loads(row.answer)["ranks"] for row in rows][1] == [1, 1, 1]
    assert kinds[-2:] == ["judged", "corrected"]
    assert [(row["number"], row["revision"], row["prompt"]) for row in mine] == [(1, 2, "prompt 0")]


def test_drafts_have_versions_and_end_with_the_submission(tmp_path: Path) -> None:
    database, project, (one, other) = labelling(tmp_path)
    got = ask(database, project, one)
    assert got is not None
    with database.write() as connection:
        said = {"ratings": {"A": 3}}
        assert save_draft(connection, got.assignment, one, version=0, answer=said, active_ms=5, now=NOW) == 1
        assert save_draft(connection, got.assignment, one, version=1, answer=said, active_ms=9, now=NOW) == 2
        with pytest.raises(Stale):
            save_draft(connection, got.assignment, one, version=1, answer={}, active_ms=9, now=NOW)
        with pytest.raises(NotThere):
            save_draft(connection, got.assignment, other, version=2, answer={}, active_ms=9, now=NOW)
    with database.read() as connection:
        again = page(connection, got.assignment, one)
    assert (again.draft, again.draft_version, again.active_ms) == (said, 2, 9)
    say(database, got, one)
    assert count(database, schema.draft) == 0


def test_what_is_missing_is_named_and_nothing_is_stored(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    got = ask(database, project, one)
    assert got is not None
    with pytest.raises(Invalid) as error:
        say(database, got, one, answer={"ratings": {"A": 9, "B": 2}, "ranking": [["A"]]})
    assert set(error.value.fields) == {"ratings.A", "ratings.C", "ranking"}
    assert count(database) == 0


def test_who_submitted_cannot_skip_and_who_skipped_may_still_say(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    got = ask(database, project, one)
    assert got is not None
    with database.write() as connection:
        with pytest.raises(Invalid):
            skip(connection, got.assignment, one, reason=" ", now=NOW)
        skip(connection, got.assignment, one, reason="no idea", now=NOW)
    assert say(database, got, one).revision == 1
    with database.write() as connection, pytest.raises(Conflict):
        skip(connection, got.assignment, one, reason="no idea", now=NOW)


def test_an_admin_settles(tmp_path: Path) -> None:
    database, _, (one, _) = labelling(tmp_path)
    with database.write() as connection:
        first = adjudicate(connection, 1, one, answer={"ranks": [1, 2, 3]}, submission="settled1", now=NOW)
        again = adjudicate(connection, 1, one, answer={"ranks": [1, 2, 3]}, submission="settled1", now=NOW)
        second = adjudicate(connection, 1, one, answer={"ranks": [2, 1, 3]}, submission="settled2", now=NOW)
    assert (first.revision, again.repeated, second.revision) == (1, True, 2)


def test_a_hook_is_told_once_a_group_is_complete(tmp_path: Path) -> None:
    database, project, people = labelling(tmp_path, overlap=2, hook="https://example.org/hook")
    for person in people:
        got = ask(database, project, person)
        assert got is not None
        assert count(database, schema.outbox) == 0
        say(database, got, person)
    with database.read() as connection:
        (body,) = connection.execute(select(schema.outbox.c.body)).scalars()
    assert json.loads(body) == {"project": "helpful", "group": "item-0", "judgements": 2, "at": NOW}


def test_the_log_shows_a_change_a_gap_and_a_forged_row(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    got = ask(database, project, one)
    assert got is not None
    say(database, got, one)
    with database.write() as connection:
        assert events.verify(connection) is None
        connection.execute(schema.event.update().where(schema.event.c.id == 1).values(actor="nobody"))
        assert events.verify(connection) == events.Broken(1, "was changed")
        connection.rollback()
    with database.write() as connection:
        connection.execute(schema.event.delete().where(schema.event.c.id == 1))
        assert events.verify(connection) == events.Broken(1, "missing")
        connection.rollback()


def test_settings_are_not_overwritten_and_the_layout_stands(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    ask(database, project, one)
    with database.write() as connection:
        found = set_settings(connection, project, Settings(overlap=4), version=1, actor="a", now=NOW)
        assert found.version == 2 and find(connection, project).settings.overlap == 4
        assert set(connection.execute(select(schema.item.c.wanted)).scalars()) == {4}
        with pytest.raises(Stale):
            set_settings(connection, project, Settings(), version=1, actor="b", now=NOW)
        with pytest.raises(Conflict, match="layout"):
            set_settings(connection, project, Settings(layout="rating"), version=2, actor="b", now=NOW)
        with pytest.raises(Conflict, match="of this name"):
            create(connection, "helpful", Settings(), "a", NOW)
