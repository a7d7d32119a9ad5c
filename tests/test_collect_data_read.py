"""Training and evaluation read a labelling database straight: what is taken, what is refused, and no password."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from collect_data import NOW, add_account, ask, labelling, say
from collect_postgres import database_url, postgres, postgres_url  # noqa: F401 - fixtures
from sqlalchemy import select, update

from accord.cli import main
from accord.collect import projects
from accord.collect.database import Database
from accord.collect.exporting import Options, export_to
from accord.collect.importing import import_groups
from accord.collect.migrate import create_database
from accord.collect.schema import assignment, item
from accord.collect.settings import Settings
from accord.collect.submissions import adjudicate
from accord.data.labelling import digest_of_database, labelled_groups
from accord.data.labelling_address import address_of, is_database, shown_name
from accord.data.labelling_answers import judgement_of, kept_of
from accord.data.read import read_groups
from accord.data.sources import check_not_read, files_of, source_name
from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Message, Origin

A, B, C = (
    Judgement(ranks=ranks, annotator=name) for ranks, name in (((1, 2, 3), "a"), ((1, 3, 2), "b"), ((2, 1, 3), "c"))
)


def group(id: str, *judgements: Judgement, k: int = 3, **more: Any) -> Group:
    completions = tuple(Completion(f"{text} {id}", f"m{i}") for i, text in enumerate("abcdefgh"[:k]))
    return Group(id, f"ask {id}", completions, judgements, source=Origin("in.jsonl", 1), **more)


def filled(url: str, *groups: Group, name: str = "helpful", **settings: Any) -> Database:
    database = create_database(url)
    with database.write() as connection:
        id = projects.create(connection, name, Settings.model_validate_json(json.dumps(settings)), "test", NOW)
    import_groups(database, id, groups, actor="test", now=NOW)
    return database


@pytest.fixture
def url(database_url: str) -> str:  # noqa: F811
    return database_url


def with_query(url: str, query: str) -> str:
    return url + ("&" if "?" in url else "?") + query


def ranks(source: str) -> list[tuple[int | None, ...] | None]:
    return [one.ranks for group in read_groups(source) for one in group.judgements]


def test_what_was_labelled_is_read(url: str) -> None:
    filled(url, group("a", A, B), group("silent"), group("b", C)).close()
    found = list(read_groups(url))
    assert [(one.id, one.prompt, one.judgements) for one in found] == [("a", "ask a", (A, B)), ("b", "ask b", (C,))]
    assert [one.model for one in found[0].completions] == ["m0", "m1", "m2"]
    assert str(found[1].source) == f"{shown_name(url)}: row 3"


def test_the_newest_revision_counts_and_open_pages_do_not(tmp_path: Path) -> None:
    database, project, (first, second) = labelling(tmp_path, count=2, flags=[], notes=False)
    one = ask(database, project, first)
    assert one is not None
    say(database, one, first)
    turned = {"ratings": {"A": 1, "B": 2, "C": 3}, "ranking": [["C"], ["B"]], "excluded": ["A"]}
    say(database, one, first, answer=turned, revision=1)
    ask(database, project, second)  # open, and never submitted
    database.close()
    (found,) = read_groups(f"sqlite:///{tmp_path}/prefs.db")
    (said,) = found.judgements
    by_place = {place: number for number, place in enumerate(one.shown)}
    assert said.ranks == tuple({0: None, 1: 2, 2: 1}[by_place[place]] for place in range(3))
    assert said.shown == tuple(by_place[place] + 1 for place in range(3))
    assert (said.annotator, said.seconds, said.settled) == ("person0", 1.0, False)


def test_answers_to_known_groups_are_no_data(url: str) -> None:
    database = filled(url, group("a", A), group("b", B))
    with database.write() as connection:
        connection.execute(update(assignment).where(assignment.c.item_id == 1).values(kind="gold"))
    database.close()
    assert [one.id for one in read_groups(url)] == ["b"]


def test_settled_groups(url: str) -> None:
    database = filled(url, group("a", A, B), group("b", A, B, C))
    with database.write() as connection:
        owner = add_account(connection, "owner", "admin")
        adjudicate(connection, 1, owner, answer={"ranks": [3, 2, 1]}, submission="s", now=NOW)
    database.close()
    settled = Judgement(ranks=(3, 2, 1), annotator="owner", settled=True, shown=(1, 2, 3))
    assert [one.judgements for one in read_groups(url)] == [(A, B, settled), (A, B, C)]
    assert [one.judgements for one in read_groups(with_query(url, "take=adjudicated"))] == [(settled,), (A, B, C)]
    assert ranks(with_query(url, "take=mean_rank")) == [(3, 2, 1), (1, 2, 3)]  # of b the means are 4/3, 2, 8/3


def test_one_judgement_of_several(url: str) -> None:
    """Five say a > b > c, four b > c > a, one c > a > b: mean ranks 1.9, 1.8, 2.3; a:b and a:c 6:4 and 5:5, b:c 9:1."""
    votes = [(1, 2, 3)] * 5 + [(3, 1, 2)] * 4 + [(2, 3, 1)]
    said = [Judgement(ranks=one, annotator=f"p{n}") for n, one in enumerate(votes)]
    filled(url, group("a", *said)).close()
    assert ranks(with_query(url, "take=mean_rank")) == [(2, 1, 3)]
    assert ranks(with_query(url, "take=majority")) == [(1, 2, 3)]
    assert len(ranks(url)) == 10


def test_dawid_skene_hears_those_who_are_reliable(url: str) -> None:
    """Two agree always; three answer as a coin falls, and are the majority where they happen to agree."""
    import random

    draw = random.Random(3)
    groups, wrong = [], 0
    for n in range(120):
        truth = draw.choice([(1, 2), (2, 1)])
        coins = [draw.choice([(1, 2), (2, 1)]) for _ in range(3)]
        wrong += all(coin != truth for coin in coins)
        said = [Judgement(ranks=one, annotator=f"p{i}") for i, one in enumerate([truth, truth, *coins])]
        groups.append(group(f"{n}", *said, k=2, category=str(truth)))
    filled(url, *groups).close()
    assert wrong > 5
    for take, errors in (("majority", wrong), ("dawid_skene", 0)):
        found = list(read_groups(with_query(url, f"take={take}")))
        assert sum(str(one.judgements[0].ranks) != one.category for one in found) == errors
        assert all(len(one.judgements) == 1 and one.judgements[0].annotator is None for one in found)


def test_consensus_of_what_is_no_order(url: str) -> None:
    said = [
        Judgement(ratings=(1.0, 4.0), flags={"rude": (True, False)}, annotator="a"),
        Judgement(ratings=(2.0, 7.0), flags={"rude": (True, True)}, annotator="b"),
        Judgement(ratings=(3.0, 1.0), flags={"rude": (False, True)}, annotator="c"),
    ]
    thumbs = [Judgement(labels=(up,), annotator=name) for up, name in ((True, "a"), (False, "b"), (True, "c"))]
    split = [Judgement(labels=(up,), annotator=name) for up, name in ((True, "a"), (False, "b"))]
    filled(url, group("a", *said, k=2), group("t", *thumbs, k=1), group("s", *split, k=1), layout="rating").close()
    for take in ("mean_rank", "majority"):
        one, thumb, none = read_groups(with_query(url, f"take={take}"))
        assert one.judgements == (Judgement(ranks=(2, 1), ratings=(2.0, 4.0), flags={"rude": (True, True)}),)
        assert thumb.judgements == (Judgement(labels=(True,)),) and none.judgements == ()
    _, thumb, _ = read_groups(with_query(url, "take=dawid_skene"))
    assert thumb.judgements == (Judgement(labels=(True,)),)


def test_texts_that_annotators_wrote_are_completions(url: str) -> None:
    texts = [Judgement(written=text, annotator=name) for text, name in (("one", "a"), ("two", "b"))]
    turns = replace(group("t", texts[0], k=0), prompt=(Message("user", "hi"),))
    filled(url, group("w", *texts, k=0, weight=3.0), turns, layout="demonstration").close()
    found = list(read_groups(url))
    assert [(one.id, one.completions[0].content, one.weight) for one in found[:2]] == [
        ("w", "one", 1.5),
        ("w.2", "two", 1.5),
    ]
    assert found[2].completions == (Completion((Message("assistant", "one"),)),)
    assert len(list(read_groups(with_query(url, "take=mean_rank")))) == 3


def test_one_project_need_not_be_named_and_several_must(url: str) -> None:
    database = filled(url, group("a", A))
    assert len(list(read_groups(with_query(url, "project=helpful")))) == 1
    with database.write() as connection:
        projects.create(connection, "harm less", Settings(), "test", NOW)
    database.close()
    with pytest.raises(InputError, match="2 projects: harm less, helpful: name one"):
        list(read_groups(url))
    assert len(list(read_groups(with_query(url, "project=helpful")))) == 1
    with pytest.raises(InputError, match="nothing is judged yet"):
        list(read_groups(with_query(url, "project=harm%20less")))
    with pytest.raises(InputError, match="no project 'helpfull': there are: harm less, helpful"):
        list(read_groups(with_query(url, "project=helpfull")))


def test_pages_of_groups_are_all_read(url: str) -> None:
    filled(url, *(group(f"g{n}", A, B) for n in range(2100))).close()
    found = [(one.id, len(one.judgements), len(one.completions)) for one in read_groups(url)]
    assert found == [(f"g{n}", 2, 3) for n in range(2100)]


REFUSED = {
    "sqlite:///nowhere.db": "no such file",
    "sqlite://": "no file",
    "sqlite:///x.db?take=best": "take=best is not known: one of all, adjudicated, majority, mean_rank, dawid_skene",
    "postgresql://nobody@127.0.0.1:1/none": "cannot be read",
}


@pytest.mark.parametrize("name", REFUSED)
def test_addresses_that_cannot_be_read(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        list(read_groups(name))


def test_a_file_that_is_no_labelling_database(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, and quite long enough to be one" * 40)
    with pytest.raises(InputError, match="cannot be read"):
        list(read_groups(f"sqlite:///{tmp_path}/text.db"))
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/other.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE x (y)")
    with pytest.raises(InputError, match="is no labelling database"):
        list(read_groups(f"sqlite:///{tmp_path}/other.db"))


SECRET = "hunter2-XYZ"


@pytest.mark.parametrize(
    "name",
    [
        f"postgresql://me:{SECRET}@host/db",
        f"postgresql://me@host/db?password={SECRET}",
        f"postgres://u:{SECRET}@h/d?take=x",
    ],
)
def test_a_password_is_refused_and_never_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="PGPASSWORD") as caught:
        list(read_groups(name))
    assert SECRET not in str(caught.value) and SECRET not in source_name(name) and is_database(name)
    monkeypatch.chdir(tmp_path)
    for command in (
        ["check", name],
        ["agreement", name],
        ["reward", "--data", name, "--model", "x", "--output", "run"],
    ):
        assert main(command) == 2
        printed = capsys.readouterr()
        assert SECRET not in printed.out + printed.err
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_without_sqlalchemy_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    filled(f"sqlite:///{tmp_path}/prefs.db", group("a", A)).close()
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(InputError, match=r"pip install accord\[collect\]"):
        list(read_groups(f"sqlite:///{tmp_path}/prefs.db"))


def test_the_database_is_not_written_over(tmp_path: Path) -> None:
    filled(f"sqlite:///{tmp_path}/prefs.db", group("a", A)).close()
    with pytest.raises(InputError, match="is the data that is read"):
        check_not_read(f"sqlite:///{tmp_path}/prefs.db?take=mean_rank", str(tmp_path / "prefs.db"))
    assert files_of(f"sqlite:///{tmp_path}/prefs.db?take=mean_rank") == []


def test_the_digest_is_of_what_is_read(tmp_path: Path) -> None:
    one, other = f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/other.db"
    database = filled(one, group("a", A, B))
    filled(other, group("a", A, B)).close()
    before = digest_of_database(one)
    assert before == digest_of_database(other) != digest_of_database(f"{one}?take=majority")
    with database.write() as connection:
        connection.execute(update(item).values(skips=3))  # of which nothing is learnt
    assert digest_of_database(one) == before
    import_groups(database, 1, [group("b", C)], actor="t", now=NOW)
    assert digest_of_database(one) != before


def test_commands_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/prefs.db"
    filled(url, *(group(f"g{n}", A, B, C) for n in range(12))).close()
    assert main(["check", url]) == 0
    assert "12" in capsys.readouterr().out
    assert main(["agreement", url, "--json", str(tmp_path / "a.json")]) == 0
    assert main(["leaderboard", url, "--json", str(tmp_path / "l.json")]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["files"] == {url: digest_of_database(url)}
    assert [row["model"] for row in json.loads((tmp_path / "l.json").read_text())] == ["m0", "m1", "m2"]
    assert main(["convert", url, str(tmp_path / "out.jsonl"), "--to", "comparison"]) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 12 * 9
    assert main(["convert", url, str(tmp_path / "prefs.db"), "--to", "comparison"]) == 2


def test_an_export_teaches_what_the_database_teaches(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/prefs.db"
    database = filled(url, group("a", A, B), group("b", C))
    export_to(database, 1, tmp_path / "a.jsonl", actor="t", now=NOW, options=Options("groups"))
    straight, back = (
        [(one.id, one.judgements) for one in read_groups(name)] for name in (url, str(tmp_path / "a.jsonl"))
    )
    assert straight == back
    with database.read() as connection:
        assert [one.id for one in labelled_groups(connection, 1)] == ["a", "b"]
        assert connection.execute(select(item.c.id)).scalars().all() == [1, 2]


def test_there_and_back() -> None:
    whole = Judgement(
        ranks=(1, 1), ratings=(1.5, 2.0), labels=(True, False), margin=0.0, annotator="a", aspects={"x": (1.0, 2.0)},
        classes=("a", ("b",)), flags={"both_bad": (True, True), "f": (None, True)}, shown=(2, 1), notes=("", "n"),
        seconds=1.5, written="w", settled=True,
    )  # fmt: skip
    kept = kept_of(whole)
    assert kept.shown == [1, 0] and kept.active_ms == 1500 and kept.answer["both_bad"] is True
    back = judgement_of(
        json.loads(json.dumps(kept.answer)),
        k=2,
        shown=kept.shown,
        annotator="a",
        active_ms=kept.active_ms,
        settled=True,
    )
    assert back == whole


def test_addresses() -> None:
    assert str(address_of("postgres://u@h:5/db?sslmode=require&project=a%20b&take=majority")) == (
        "postgresql://u@h:5/db?sslmode=require&project=a+b&take=majority"
    )
    assert address_of("sqlite:////abs/x.db?project=p").file == "/abs/x.db"
    assert address_of("sqlite:///x.db").file == "x.db" and address_of("sqlite:///x.db").take == "all"
    assert not is_database("prefs.db") and not is_database("a/sqlite") and not is_database("https://x/y")
