"""Who gets which group: exactly as many judgements as wanted, leases, gold, rules, orders."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select, update

from accord.collect import schema
from accord.collect.projects import set_members
from accord.collect.queue import order_shown, page, progress
from accord.collect.refusals import NotAllowed, NotThere, Taken
from accord.collect.submissions import save_draft, skip
from tests.collect_data import NOW, add_account, ask, labelling, say, taken

HOUR = 3600.0


def test_a_page_holds_no_name_of_a_model_and_no_id_of_the_group(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    got = ask(database, project, one)
    assert got is not None
    assert sorted(got.outputs) == ["output 0 of 0", "output 1 of 0", "output 2 of 0"]
    assert [f"output {place} of 0" for place in got.shown] == list(got.outputs)
    assert "m0" not in str(got) and "item-0" not in str(got)


def test_who_asks_twice_gets_the_same_page(tmp_path: Path) -> None:
    database, project, (one, _) = labelling(tmp_path)
    first, again = ask(database, project, one), ask(database, project, one)
    assert first is not None and again is not None and first.assignment == again.assignment
    assert taken(database) == [1, 0, 0, 0, 0]


def test_each_group_goes_to_as_many_as_wanted_and_nobody_gets_one_twice(tmp_path: Path) -> None:
    database, project, people = labelling(tmp_path, count=4, people=3, overlap=2)
    seen: Counter[int] = Counter()
    for person in people * 4:
        if (got := ask(database, project, person)) is not None:
            say(database, got, person)
            seen[got.item] += 1
    assert taken(database) == [2, 2, 2, 2] and set(seen.values()) == {2}
    assert all(ask(database, project, person) is None for person in people)
    with database.read() as connection:
        rows = connection.execute(select(schema.assignment.c.item_id, schema.assignment.c.account_id)).all()
    assert len(rows) == len(set(rows)) == 8


def test_many_at_once_never_take_one_too_many(tmp_path: Path) -> None:
    database, project, people = labelling(tmp_path, count=12, people=8, overlap=3)

    def work(person: int) -> None:
        while (got := ask(database, project, person)) is not None:
            say(database, got, person)

    threads = [threading.Thread(target=work, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken(database) == [3] * 12
    with database.read() as connection:
        done = select(schema.assignment.c.item_id, schema.assignment.c.account_id).where(
            schema.assignment.c.status == "done"
        )
        by_item = Counter(item for item, _ in set(connection.execute(done).all()))
    assert set(by_item.values()) == {3}


def test_a_lease_that_runs_out_frees_the_group_for_others_and_last_for_its_holder(tmp_path: Path) -> None:
    database, project, (one, other) = labelling(tmp_path, count=1)
    held = ask(database, project, one)
    assert held is not None and ask(database, project, other, NOW + 0.9 * HOUR) is None
    back = ask(database, project, other, NOW + 1.1 * HOUR)
    assert back is not None and back.item == held.item and taken(database) == [1]
    with pytest.raises(Taken, match="left for too long"):
        say(database, held, one, now=NOW + 1.2 * HOUR)
    later = NOW + 3 * HOUR  # both have left it alone
    again = ask(database, project, one, later)
    assert again is not None and again.assignment == held.assignment and taken(database) == [1]


def test_a_late_submission_is_taken_where_nobody_else_has_it(tmp_path: Path) -> None:
    database, project, (one, other) = labelling(tmp_path, count=1)
    held = ask(database, project, one)
    assert held is not None
    ask(database, project, other, NOW)  # nothing for them
    assert say(database, held, one, now=NOW + 9 * HOUR).revision == 1
    assert taken(database) == [1] and ask(database, project, other, NOW + 9 * HOUR) is None


def test_a_draft_keeps_the_lease(tmp_path: Path) -> None:
    database, project, (one, other) = labelling(tmp_path, count=1)
    held = ask(database, project, one)
    assert held is not None
    with database.write() as connection:
        save_draft(connection, held.assignment, one, version=0, answer={}, active_ms=0, now=NOW + 0.9 * HOUR)
    assert ask(database, project, other, NOW + 1.5 * HOUR) is None


def test_a_skipped_group_goes_to_somebody_else_and_after_three_to_nobody(tmp_path: Path) -> None:
    database, project, people = labelling(tmp_path, count=1, people=4)
    for person in people[:3]:
        got = ask(database, project, person)
        assert got is not None
        with database.write() as connection:
            skip(connection, got.assignment, person, reason="Something is broken", now=NOW)
        assert ask(database, project, person) is None and taken(database) == [0]
    assert ask(database, project, people[3]) is None


def test_gold_groups_are_mixed_in_by_their_share_and_are_for_everybody(tmp_path: Path) -> None:
    database, project, people = labelling(tmp_path, count=200, people=2, gold_share=0.25)
    with database.write() as connection:
        gold = update(schema.item).where(schema.item.c.id > 100)
        connection.execute(gold.values(gold=json.dumps({"ranks": [1, 2, 3]})))
    kinds = {person: [] for person in people}
    for person in people:
        for _ in range(50):
            got = ask(database, project, person)
            assert got is not None
            kinds[person].append(got.kind)
            say(database, got, person)
    shares = [kinds[person].count("gold") / 50 for person in people]
    assert all(0.1 < share < 0.42 for share in shares)  # 4.5 standard deviations, at a fixed secret or not
    assert sum(taken(database)[100:]) == 0  # they count to no overlap


def test_members_categories_most_and_sensitive_groups(tmp_path: Path) -> None:
    database, project, (one, other) = labelling(tmp_path, count=4, members="chosen", most=2)
    with pytest.raises(NotAllowed, match="not a member"):
        ask(database, project, one)
    with database.write() as connection:
        set_members(connection, project, {one: ["chat"], other: None}, actor="test", now=NOW)
        for n, values in (
            (2, {"category": "chat"}),
            (3, {"category": "chat", "sensitive": True}),
            (4, {"category": "chat"}),
        ):
            connection.execute(update(schema.item).where(schema.item.c.id == n).values(values))
        connection.execute(update(schema.account).where(schema.account.c.id == one).values(sensitive=False))
    items = []
    while (got := ask(database, project, one)) is not None:
        items.append(got.item)
        say(database, got, one)
    assert items == [2, 4]
    with database.read() as connection:
        assert progress(connection, project, one).left == 0
        assert progress(connection, project, other).left == 2  # the most that one may do


def test_viewers_and_strangers_get_nothing(tmp_path: Path) -> None:
    database, project, (one, other) = labelling(tmp_path)
    with database.write() as connection:
        viewer = add_account(connection, "viewer", "viewer")
    with pytest.raises(NotAllowed):
        ask(database, project, viewer)
    with pytest.raises(NotThere):
        ask(database, 99, one)
    got = ask(database, project, one)
    assert got is not None
    with database.read() as connection, pytest.raises(NotThere):
        page(connection, got.assignment, other)


def test_orders_are_uniform_and_the_same_each_time() -> None:
    orders = Counter(tuple(order_shown(b"secret", item, 7, 3)) for item in range(6000))
    assert len(orders) == 6
    chi2 = sum((count - 1000) ** 2 / 1000 for count in orders.values())
    assert chi2 < 20.5  # 5 degrees of freedom: 99.9 %
    assert order_shown(b"secret", 5, 7, 9) == order_shown(b"secret", 5, 7, 9) != order_shown(b"secret", 5, 8, 9)
    assert order_shown(b"other", 5, 7, 9) != order_shown(b"secret", 5, 7, 9)


def test_progress_counts(tmp_path: Path) -> None:
    database, project, (one, other) = labelling(tmp_path, count=3)
    first = ask(database, project, one)
    assert first is not None
    say(database, first, one)
    second = ask(database, project, one)
    assert second is not None
    with database.write() as connection:
        skip(connection, second.assignment, one, reason="no", now=NOW)
    ask(database, project, one)
    with database.read() as connection:
        mine, theirs = progress(connection, project, one), progress(connection, project, other)
    assert (mine.done, mine.skipped, mine.left, mine.active_ms) == (1, 1, 1, 1000)
    assert (theirs.done, theirs.left) == (0, 1)
