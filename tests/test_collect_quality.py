"""The numbers of a project: what annotators did is known, and must come out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from collect_filled import DAY, START, add_groups, add_people, add_project, judge, ranked
from sqlalchemy import Connection, create_engine, insert, update

from accord.collect.quality import quality
from accord.collect.quality_outliers import ALPHA, outliers
from accord.collect.quality_position import friedman, orders_of, places
from accord.collect.quality_read import Given, alike, read
from accord.collect.schema import TABLES, assignment, item, judgement
from accord.collect.settings import Settings


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    TABLES.create_all(engine)
    with engine.begin() as found:
        yield found
    engine.dispose()


def test_how_far_two_answers_agree():
    assert alike({"ranks": [1, 2, 3]}, {"ranks": [1, 2, 3]}, 7) == 1
    assert alike({"ranks": [1, 2, 3]}, {"ranks": [3, 2, 1]}, 7) == 0
    assert alike({"ranks": [1, 1]}, {"ranks": [2, 1]}, 7) == 0.5  # a tie against a decision
    assert alike({"ranks": [1, None, 2]}, {"ranks": [1, 2, 3]}, 7) == 1  # kept out: nothing is said of it
    assert alike({"ratings": [1, 7]}, {"ratings": [7, 7]}, 7) == 0.5
    assert alike({"labels": [True, False]}, {"labels": [True, True]}, 7) == 0.5
    assert alike({"text": "Hello"}, {"text": "Hello"}, 7) is None


def test_progress_counts_what_is_done_and_not_what_is_open(connection):
    project = add_project(connection, Settings(overlap=2))
    people = add_people(connection, ["Anna", "Ben"])
    items = add_groups(connection, project, 5, 2, 2)
    judge(connection, project, items[:3], people, ranked(), k=2, overlap=2)
    page = {"item_id": items[3], "project_id": project, "kind": "label", "status": "open", "shown": "[0,1]",
            "number": 9, "created": START}  # fmt: skip
    connection.execute(insert(assignment), [page | {"account_id": who} for who in people])
    connection.execute(update(item).where(item.c.id == items[3]).values(taken=2))
    connection.execute(update(item).where(item.c.id == items[4]).values(skips=3))
    found = quality(connection, project, now=START + DAY)
    progress = found.progress
    assert (progress.groups, progress.complete, progress.judgements, progress.wanted) == (5, 3, 6, 10)
    assert (progress.open, progress.aside) == (2, 1)
    assert found.pace.a_day == pytest.approx(6, rel=0.01)  # six judgements in a day
    assert found.pace.finish == pytest.approx(START + DAY + DAY * 4 / 6, abs=600)


def test_the_newest_revision_counts(connection):
    project = add_project(connection, Settings(layout="rating"))
    people = add_people(connection, ["Anna"])
    items = add_groups(connection, project, 1, 1, 1)
    judge(connection, project, items, people, lambda *_: {"ratings": [2]}, k=1, overlap=1)
    row = {"assignment_id": 1, "revision": 2, "answer": '{"ratings": [6]}', "submission": "again", "payload": "y",
           "active_ms": 5, "created": START + 99}  # fmt: skip
    connection.execute(insert(judgement).values(row))
    assert quality(connection, project, now=START + 100).ratings == (0, 0, 0, 0, 0, 1, 0)


def test_ties_times_flags_and_known_answers_come_out_as_put_in(connection):
    settings = Settings(overlap=2, scale=7)
    project = add_project(connection, settings)
    people = add_people(connection, ["Anna", "Ben"])
    items = add_groups(connection, project, 40, 2, 2)

    def said(generator, who, quality, shown):
        ranks = [1, 1] if who == people[1] else [1, 2]
        return {"ranks": ranks, "ratings": [7, 1], "flags": {"sexual": [who == people[0], False]}}

    judge(connection, project, items, people, said, k=2, overlap=2, seconds=40)
    gold = add_groups(connection, add_project(connection, settings, "Other"), 3, 2, 1)
    connection.execute(update(item).where(item.c.id.in_(gold)).values(gold='{"ranks": [1, 2]}', project_id=project,
                       key="gold " + item.c.key))  # fmt: skip
    judge(connection, project, gold, people, said, k=2, overlap=2, kind="gold", seed=5)
    found = quality(connection, project, now=START + DAY)
    anna, ben = found.everyone.annotators
    assert (anna.labels, anna.gold_done, anna.ties, ben.ties) == (40, 3, 0, 1)
    assert anna.gold is not None and anna.gold.mean == 1
    assert ben.gold is not None and ben.gold.mean == 0.5  # ties say half of it
    assert anna.ticked == {"sexual": 0.5} and ben.ticked == {"sexual": 0.0}
    assert found.ticked == {"sexual": 0.25}
    assert anna.ratings == (43, 0, 0, 0, 0, 0, 43)
    assert anna.seconds == pytest.approx(40, rel=0.3)
    assert found.everyone.together.agree == ((None, 0.5), (0.5, None))


def test_very_fast_pages_are_counted(connection):
    project = add_project(connection, Settings(overlap=1))
    people = add_people(connection, ["Anna", "Ben"])
    items = add_groups(connection, project, 60, 2, 1)
    judge(connection, project, items[:40], people[:1], ranked(), k=2, overlap=1, seconds=60)
    judge(connection, project, items[40:], people[1:], ranked(), k=2, overlap=1, seconds=1, seed=1)
    anna, ben = quality(connection, project, now=START + DAY).everyone.annotators
    assert (anna.fast, ben.fast, ben.timed) == (0, 20, 20)


def test_agreement_is_that_of_the_formula(connection):
    """Two people, four pairs, three alike: nominal alpha = 1 - (n - 1) sum o / sum n n = 1 - 7 * 2 / (2 * 5 * 3)."""
    project = add_project(connection, Settings(layout="pair", overlap=2, rate=False))
    people = add_people(connection, ["Anna", "Ben"])
    items = add_groups(connection, project, 4, 2, 2)

    def said(generator, who, quality, shown):
        said.turn += 1
        group = said.turn // 2
        first = group in (0, 1) or (group == 2 and said.turn % 2 == 0)
        return {"ranks": [1, 2] if first else [2, 1]}

    said.turn = -1
    judge(connection, project, items, people, said, k=2, overlap=2)
    (pairs,) = quality(connection, project, now=START + DAY).agreed
    figures = {figure.name: figure.estimate.mean for figure in pairs.figures}
    assert pairs.question == "pairs" and figures["same"] == 0.75
    assert figures["nominal alpha"] == pytest.approx(1 - 7 * 2 / 30)


def test_agreement_does_not_depend_on_where_the_better_outputs_stand_in_the_file(connection):
    """Each says with a chance of 0.9 that the first is better: two agree in 0.82, by chance in 0.5 since pairs have no
    direction of their own; (0.82 - 0.5) / 0.5 = 0.64. Taken as they stand in the file it would be 0."""
    project = add_project(connection, Settings(overlap=2))
    people = add_people(connection, ["Anna", "Ben"])
    items = add_groups(connection, project, 600, 2, 2)

    def said(generator, who, quality, shown):
        return {"ranks": [1, 2] if generator.random() < 0.9 else [2, 1]}

    judge(connection, project, items, people, said, k=2, overlap=2)
    (pairs,) = quality(connection, project, now=START + DAY).agreed
    figures = {figure.name: figure.estimate.mean for figure in pairs.figures}
    assert figures["nominal alpha"] == pytest.approx(0.64, abs=0.08)


def test_friedmans_test_is_that_of_the_book():
    """Conover 1999, without ties: 12 / (n k (k + 1)) sum R^2 - 3 n (k + 1); places 1, 2, 3 always in this order."""
    good = np.tile([3.0, 2.0, 1.0], (10, 1))
    assert friedman(good) == (pytest.approx(12 / (10 * 3 * 4) * (10**2 + 20**2 + 30**2) - 3 * 10 * 4), 2)
    assert friedman(np.zeros((5, 3))) == (0.0, 0)


def test_a_preference_for_the_first_place_is_seen_and_none_is_not(connection):
    project = add_project(connection, Settings(overlap=2))
    people = add_people(connection, ["Anna", "Ben", "Cleo"])
    items = add_groups(connection, project, 300, 4, 2)
    judge(connection, project, items, people, ranked(first=1.0), k=4, overlap=2)
    biased = quality(connection, project, now=START + DAY)
    assert biased.places is not None and biased.places.p < 1e-6
    assert biased.places.best[0].interval.low > 0.25 > biased.places.best[3].interval.low
    assert biased.first is not None and biased.first.share > 0.55
    other = add_project(connection, Settings(overlap=2), "Fair")
    judge(connection, other, add_groups(connection, other, 300, 4, 2), people, ranked(), k=4, overlap=2, seed=9)
    fair = quality(connection, other, now=START + DAY).places
    assert fair is not None and fair.p > 0.01


def test_orders_that_nobody_drew_say_nothing_of_places():
    given = [Given(1, 1, "imported", (0, 1), {"ranks": [1, 2]}, None, 0.0)]
    assert orders_of(given) == [] and places([], 0.95) is None


def _stream(generator, groups, *, overlap, bad=0.0, people=8):
    """Groups of couples: all judge with a chance of 0.75 as the truth, of a yes-or-no question; person 0 worse."""
    for _ in range(groups):
        who = generator.permutation(people)[:overlap]
        hard = generator.random() < 0.3
        said = {}
        for one in who:
            right = 0.5 if hard else 0.9
            right = right + (0.5 - right) * bad if one == 0 else right
            said[int(one)] = generator.random() < right
        names = sorted(said)
        yield {(a, b): float(said[a] == said[b]) for i, a in enumerate(names) for b in names[i + 1 :]}


@pytest.mark.parametrize("overlap", [2, 3, 4])
def test_false_alarms_are_as_rare_as_promised_however_often_one_looks(overlap):
    """800 annotators like the others, looked at after each of 200 groups: at most 1 in 100 is ever called an outlier.

    A binomial with 1 in 100 of 800 exceeds 18 with a chance of 0.0005.
    """
    alarms, seen = 0, 0
    for seed in range(100):
        found = outliers(_stream(np.random.default_rng(seed), 200, overlap=overlap))
        alarms += sum(one.outlier for one in found.values())
        seen += len(found)
    assert seen == 800 and alarms <= 18


@pytest.mark.parametrize("overlap", [2, 3])
def test_who_answers_at_random_is_found(overlap):
    for seed in range(10):
        found = outliers(_stream(np.random.default_rng(seed), 1500, overlap=overlap, bad=1.0))
        assert found[0].outlier and found[0].lacking > 0.05
        assert not any(found[name].outlier for name in range(1, 8))


def test_the_bets_are_those_of_the_formula():
    """One group of three: person 0 agrees with nobody, the others with each other. d = 1; E = mean of 1 + lambda."""
    found = outliers([{(0, 1): 0.0, (0, 2): 0.0, (1, 2): 1.0}])
    assert found[0].e == pytest.approx(1 + (0.05 + 0.1 + 0.2 + 0.4 + 0.8) / 5)
    assert found[1].e == pytest.approx(1 - 0.5 * (0.05 + 0.1 + 0.2 + 0.4 + 0.8) / 5)
    assert ALPHA == 0.01


def test_of_many_groups_whole_ones_are_drawn(connection):
    project = add_project(connection, Settings(overlap=2))
    people = add_people(connection, ["Anna", "Ben"])
    items = add_groups(connection, project, 400, 2, 2)
    judge(connection, project, items, people, ranked(), k=2, overlap=2)
    whole, half = read(connection, project), read(connection, project, most=500)
    part = read(connection, project, most=250)
    assert (whole.share, half.share, part.share) == (1, 0.5, 0.25)
    assert len(half.given) == pytest.approx(400, abs=60)
    assert {one.item for one in part.given} < {one.item for one in half.given}
    assert all(sum(other.item == one.item for other in half.given) == 2 for one in half.given[:20])


def test_a_project_without_judgements_has_numbers(connection):
    project = add_project(connection, Settings())
    json.dumps(quality(connection, project).to_json(), allow_nan=False)
    items = add_groups(connection, project, 1, 1, 1)
    judge(connection, project, items, add_people(connection, ["Anna"]), ranked(), k=1, overlap=1)
    json.dumps(quality(connection, project).to_json(), allow_nan=False)


def test_nothing_of_it_loads_torch():
    code = "import sys, accord.collect.quality_agreement, accord.collect.quality_annotators, accord.collect.charts\n"
    code += "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_postgresql_says_the_same(postgres_url, tmp_path):
    """The same judgements in both databases give the same numbers, and the same lists of groups."""
    from accord.collect.migrate import create_database
    from accord.collect.web.owner_rows import FILTERS, lines

    found, listed = [], []
    for url in (f"sqlite:///{tmp_path / 'prefs.db'}", postgres_url):
        database = create_database(url)
        with database.write() as connection:
            project = add_project(connection, Settings(overlap=2))
            people = add_people(connection, ["Anna", "Ben", "Cleo"])
            items = add_groups(connection, project, 30, 3, 2)
            judge(connection, project, items[:20], people, ranked(flags=["sexual"]), k=3, overlap=2)
        with database.read() as connection:
            found.append(quality(connection, project, now=START + DAY).to_json())
            listed.append([lines(connection, project, which, "QUESTION 2", "", 7).lines for which in FILTERS])
        database.close()
    assert found[0]["progress"] == found[1]["progress"] and found[0]["pace"] == found[1]["pace"]
    assert found[0] == found[1]
    assert [[line.key for line in part] for part in listed[0]] == [[line.key for line in part] for part in listed[1]]
