"""What goes into a labelling database and comes out of it: all or nothing, nothing lost, of one moment."""

import csv
import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from collect_data import NOW
from collect_postgres import database_url, postgres, postgres_url  # noqa: F401 - fixtures
from sqlalchemy import func, select

from accord.collect import events, projects
from accord.collect.database import Database
from accord.collect.exporting import Export, Exported, Options, export_rows, export_to
from accord.collect.importing import Imported, import_groups, import_scores
from accord.collect.migrate import create_database
from accord.collect.schema import account, assignment, event, item, judgement, output
from accord.collect.settings import Settings
from accord.collect.spreadsheet import cell
from accord.data.read import read_groups
from accord.errors import InputError, StorageError
from accord.records import Completion, Group, Judgement, Message, Origin, RecordError

ANNA = Judgement(
    ranks=(2, None, 1),
    ratings=(3.0, 1.0, 7.0),
    annotator="Anna",
    flags={"sexual": (False, True, False)},
    shown=(3, 1, 2),
    notes=("", "cut off", ""),
    seconds=61.25,
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:  # noqa: F811
    made = create_database(database_url)
    yield made
    made.close()


def project(database: Database, name: str = "helpful", **settings: Any) -> int:
    with database.write() as connection:
        return projects.create(connection, name, Settings.model_validate_json(json.dumps(settings)), "test", NOW)


def group(id: str, *judgements: Judgement, k: int = 3) -> Group:
    completions = tuple(Completion(f"{text} {id}", f"m{i}") for i, text in enumerate("abcdefghijkl"[:k]))
    return Group(id, f"ask {id}", completions, judgements, source=Origin("in.jsonl", 1))


def add(database: Database, id: int, *groups: Group, **how: Any) -> Imported:
    return import_groups(database, id, groups, actor="test", now=NOW, **how)


def count(database: Database, table: Any) -> int:
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def rows(database: Database, id: int, **how: Any) -> list[dict[str, Any]]:
    with database.read() as connection:
        return list(export_rows(connection, id, **how))


EVERYTHING = [
    group("all", ANNA, Judgement(ranks=(1, 1, 2), annotator="Bob", settled=True)),
    replace(
        group("turns", Judgement(ratings=(1.0, 2.5), margin=0.5, aspects={"wit": (1.0, 2.0)}, annotator="Anna"), k=2),
        prompt=(Message("system", "be kind"), Message("user", "hi", {"name": "x"})),
        completions=tuple(Completion((Message("assistant", text),)) for text in "ab"),
        category="chat",
        weight=2.5,
        tools=({"type": "function", "function": {"name": "f"}},),
    ),
    group("bad", Judgement(ranks=(1, 1), flags={"both_bad": (True, True)}, annotator="Anna"), k=2),
    group("half", Judgement(ranks=(1, 2), flags={"both_bad": (True, False)}, annotator="Anna", seconds=0.0), k=2),
    group("thumb", Judgement(labels=(True,), annotator="Anna", seconds=0.0004), k=1),
    group("class", Judgement(classes=("x", ("y", "z")), annotator="Anna"), k=2),
    group("nobody", Judgement(ranks=(1, 2), notes=("", "")), Judgement(ranks=(2, 1)), k=2),
    group("silent", k=4),
    replace(group("odd", k=1), id='=1+"\n\u2028', prompt="\x00 null and \U0001f600"),
]  # fmt: skip


def test_an_export_imported_again_is_the_same_file(database: Database, tmp_path: Path) -> None:
    first, second = project(database), project(database, "again")
    add(database, first, *EVERYTHING)
    one = export_to(database, first, tmp_path / "one.jsonl", actor="test", now=NOW)
    assert one.rows == len(EVERYTHING)
    back = list(read_groups(tmp_path / "one.jsonl"))
    assert [replace(group, source=Origin("", 0)) for group in back] == [
        replace(group, source=Origin("", 0)) for group in EVERYTHING
    ]
    add(database, second, *read_groups(tmp_path / "one.jsonl"))
    two = export_to(database, second, tmp_path / "two.jsonl", actor="test", now=NOW)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes() and one == two


def test_the_hash_and_the_count_are_of_the_file_and_in_the_log(database: Database, tmp_path: Path) -> None:
    id = project(database)
    add(database, id, *EVERYTHING)
    found = export_to(database, id, tmp_path / "a.jsonl", actor="owner", now=NOW, options=Options("pairs"))
    content = (tmp_path / "a.jsonl").read_bytes()
    assert found == Exported(content.count(b"\n"), hashlib.sha256(content).hexdigest(), len(content))
    with database.read() as connection:
        last = connection.execute(select(event).order_by(event.c.id.desc()).limit(1)).one()
        assert events.verify(connection) is None
    detail = json.loads(last.detail)
    assert (last.kind, last.actor, detail["sha256"], detail["rows"]) == ("exported", "owner", found.sha256, found.rows)
    assert b"".join(Export(database, id, Options("pairs"), actor="owner", now=NOW)) == content


def test_imported_annotators_cannot_log_in_and_their_judgements_count(database: Database) -> None:
    id = project(database, overlap=3)
    found = add(
        database, id, group("a", ANNA, replace(ANNA, annotator="Bob"), replace(ANNA, annotator="Bob", settled=True))
    )
    assert found == Imported(1, 0, 3)
    with database.read() as connection:
        people = connection.execute(select(account).order_by(account.c.key)).all()
        (row,) = connection.execute(select(item)).all()
        kinds = connection.execute(select(assignment.c.kind, assignment.c.status).order_by(assignment.c.id)).all()
    assert [(one.name, one.key, one.role, one.password, one.active) for one in people] == [
        ("Anna", "anna", "annotator", None, False),
        ("Bob", "bob", "annotator", None, False),
    ]
    assert (row.taken, row.wanted, row.k, row.gold, row.position) == (2, 3, 3, None, float(row.id))
    assert kinds == [("imported", "done"), ("imported", "done"), ("adjudication", "done")]


def test_the_same_again_is_nothing_new(database: Database) -> None:
    id = project(database)
    assert add(database, id, *EVERYTHING, batch=2)[:2] == (len(EVERYTHING), 0)
    before = [count(database, table) for table in (item, output, judgement)]
    assert add(database, id, *EVERYTHING, batch=4) == Imported(0, len(EVERYTHING), 0)
    assert [count(database, table) for table in (item, output, judgement)] == before


def test_the_same_id_with_other_texts_imports_nothing(database: Database) -> None:
    id = project(database)
    add(database, id, group("a"))
    other = replace(group("a"), prompt="another")
    with pytest.raises(InputError, match="a group 'a' with other texts is there already"):
        add(database, id, group("b"), other)
    with pytest.raises(InputError, match="a group 'c' with other texts"):
        add(database, id, group("c"), replace(group("c"), prompt="another"))
    assert count(database, item) == 1


def test_a_bad_line_imports_nothing(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = [
        json.dumps({"prompt": f"p{i}", "completions": ["a", "b"], "ranks": [1, 2], "annotator": "x"}) for i in range(50)
    ]
    path.write_text("\n".join([*lines, '{"prompt": "p", "completions": 3}']))
    id = project(database)
    with pytest.raises(RecordError, match=r"in\.jsonl:51"):
        import_groups(database, id, read_groups(path), actor="test", batch=10, now=NOW)
    assert [count(database, table) for table in (item, account, judgement)] == [0, 0, 0]


def test_ids_that_the_reader_made_are_the_same_from_any_line(database: Database, tmp_path: Path) -> None:
    row = {"completions": ["a", "b"], "ranks": [1, 2]}
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text("".join(json.dumps({"prompt": p, **row}) + "\n" for p in ("x", "y", "x")))
    other.write_text("".join(json.dumps({"prompt": p, **row}) + "\n" for p in ("z", "x", "y")))
    id = project(database)
    assert add(database, id, *read_groups(one)) == Imported(3, 0, 3)
    assert add(database, id, *read_groups(one)) == Imported(0, 3, 0)
    assert add(database, id, *read_groups(other)) == Imported(1, 2, 1)


def test_a_known_answer(database: Database) -> None:
    id = project(database)
    add(database, id, group("a", ANNA, Judgement(ranks=(3, 2, 1))), judgements="gold")
    with database.read() as connection:
        (row,) = connection.execute(select(item)).all()
    assert json.loads(row.gold)["ranks"] == [2, None, 1] and row.taken == 0 and count(database, judgement) == 0
    with pytest.raises(InputError, match="no judgement that could be the known answer"):
        add(database, id, group("b"), judgements="gold")
    add(database, id, group("c", ANNA), judgements="drop", sensitive=True)
    assert count(database, judgement) == 0


def test_what_a_layout_has_no_room_for(database: Database) -> None:
    id = project(database, layout="pair")
    with pytest.raises(InputError, match=r"in\.jsonl:1 \(id a\): 3 outputs, and the layout pair has 2"):
        add(database, id, group("a"))
    with pytest.raises(InputError, match="10 outputs, and the layout ranking has 1 to 9"):
        add(database, project(database, "r"), group("a", k=10))
    with pytest.raises(InputError, match="zero byte"):
        add(database, id, replace(group("a", k=2), category="a\0b"))


def test_somebody_who_corrects_their_own(database: Database) -> None:
    id = project(database)
    first, second = Judgement(ranks=(1, 2), annotator="Anna"), Judgement(ranks=(2, 1), annotator="anna")
    assert add(database, id, group("a", first, second, k=2)) == Imported(1, 0, 2, repeated=1)
    (row,) = rows(database, id)
    assert row["judgements"] == [{"ranks": (2, 1), "annotator": "Anna"}]


def test_scores_say_what_comes_first(database: Database) -> None:
    id = project(database, choice="uncertain")
    add(database, id, group("a"), group("b"), group("c"))
    assert import_scores(database, id, [{"id": "a", "score": 0.1}, {"id": "c", "score": 0.9}], actor="t", now=NOW) == 2
    with database.read() as connection:
        order = connection.execute(select(item.c.key).order_by(item.c.position)).scalars().all()
    assert order == ["c", "a", "b"]
    with pytest.raises(InputError, match="no group 'd'"):
        import_scores(database, id, [{"id": "b", "score": 2.0}, {"id": "d", "score": 0.1}], actor="t", now=NOW)
    for bad in (float("nan"), "0.3", True, None):
        with pytest.raises(InputError, match="row 1: score"):
            import_scores(database, id, [{"id": "b", "score": bad}], actor="t", now=NOW)
    with database.read() as connection:
        assert connection.execute(select(item.c.score).where(item.c.key == "b")).scalar() is None


def test_pairs_share_the_weight_of_their_group(database: Database) -> None:
    id = project(database)
    add(database, id, group("a", Judgement(ranks=(2, 1, 2), annotator="Anna", ratings=(9.0, 1.0, 9.0))))
    dropped = rows(database, id, kind="pairs", models=True)
    third = pytest.approx(1 / 3)
    assert dropped == [
        {"id": f"a.{n}", "prompt": "ask a", "chosen": "b a", "rejected": f"{text} a", "margin": 1.0, "weight": third,
         "annotator": "Anna", "chosen_model": "m1", "rejected_model": f"m{place}"}
        for n, text, place in ((1, "a", 0), (2, "c", 2))
    ]  # fmt: skip
    both = rows(database, id, kind="pairs", ties="both")
    assert [(row["chosen"][0], row["rejected"][0], row["margin"]) for row in both] == [
        ("b", "a", 1), ("a", "c", 0), ("c", "a", 0), ("b", "c", 1)
    ]  # fmt: skip
    assert sum(row["weight"] for row in both) == pytest.approx(1.0) and both[1]["weight"] == pytest.approx(1 / 6)
    assert all("chosen_model" not in row for row in both)
    with pytest.raises(InputError, match="ties: 'half' is not known: one of drop, both"):
        rows(database, id, kind="pairs", ties="half")


def test_exported_pairs_are_read_as_comparisons(database: Database, tmp_path: Path) -> None:
    id = project(database)
    add(database, id, group("a", ANNA, Judgement(ranks=(3, 2, 1))), group("b", Judgement(ranks=(1, 2)), k=2))
    export_to(database, id, tmp_path / "pairs.jsonl", actor="t", now=NOW, options=Options("pairs"))
    back = list(read_groups(tmp_path / "pairs.jsonl"))
    assert len(back) == 5 and sum(one.weight for one in back) == pytest.approx(2.0)


def test_demonstrations(database: Database) -> None:
    id = project(database, layout="demonstration")
    texts = (Judgement(written="one", annotator="Anna"), Judgement(written="two", annotator="Bob"))
    add(database, id, group("a", *texts, k=0), group("b", ANNA), group("c", k=2))
    assert rows(database, id, kind="demonstrations") == [
        {"id": "a", "prompt": "ask a", "completion": "one", "weight": 0.5},
        {"id": "a.2", "prompt": "ask a", "completion": "two", "weight": 0.5},
        {"id": "b", "prompt": "ask b", "completion": "c b"},
    ]


FORMULAE = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


def test_a_spreadsheet_computes_no_text(database: Database) -> None:
    id = project(database)
    said = [Judgement(ranks=(1, 2), notes=(one, "fine"), annotator="Anna") for one in FORMULAE]
    groups = [
        replace(group(f"{one}{n}", judged, k=2), prompt=one)
        for n, (one, judged) in enumerate(zip(FORMULAE, said, strict=True))
    ]
    add(database, id, *groups)
    content = b"".join(Export(database, id, Options("csv"), actor="t", now=NOW)).decode()
    table = list(csv.DictReader(io.StringIO(content, newline="")))
    assert [row["note"] for row in table if row["output"] == "1"] == [f"'{one}" for one in FORMULAE]
    assert [row["prompt"] for row in table][::2] == [f"'{one}" for one in FORMULAE]
    for row in table:
        assert not any(text.startswith(("=", "+", "-", "@", "\t", "\r")) for text in row.values())
    assert cell(-1.5) == "-1.5" and cell("fine = fine") == "fine = fine" and cell(None) == "" and cell(True) == "true"


def test_an_export_is_whole_or_not_there(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id = project(database)
    add(database, id, group("a", ANNA))
    kept = tmp_path / "kept.jsonl"
    kept.write_text("before")
    monkeypatch.setattr("accord.collect.exporting.os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(StorageError, match="cannot be written"):
        export_to(database, id, kept, actor="t", now=NOW)
    assert kept.read_text() == "before"
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    with pytest.raises(StorageError, match="No such file or directory"):
        export_to(database, id, tmp_path / "no" / "a.jsonl", actor="t", now=NOW)


def test_an_export_is_of_one_moment(database: Database, tmp_path: Path) -> None:
    """Each write adds a judgement to two groups, far apart: an export in between has both or none."""
    id = project(database, overlap=100)
    add(database, id, *(group(f"g{n}", k=2) for n in range(2500)))
    stop, written = threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            said = Judgement(ranks=(1, 2), annotator=f"p{written[0]}")
            with database.read() as connection:
                ends = connection.execute(select(func.min(item.c.id), func.max(item.c.id))).one()
            from accord.collect.importing_judgements import Judgements
            from accord.data.labelling_answers import kept_of

            answer, _, active = kept_of(said)
            with database.write() as connection:
                into = Judgements(connection, id, NOW)
                for end in ends:
                    into.add(end, [(said.annotator, False, json.dumps(answer), "[]", active)])
                into.write()
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        for number in range(6):
            path = tmp_path / f"{number}.jsonl"
            found = export_to(database, id, path, actor="t", now=NOW)
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            first, last = (len(lines[end]["judgements"]) for end in (0, -1))
            assert first == last and found.rows == 2500
            seen.append(first)
    finally:
        stop.set()
        writer.join()
    assert seen == sorted(seen) and seen[-1] > seen[0] and written[0] > 3
