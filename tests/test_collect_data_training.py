"""Training reads a labelling database straight, as it reads the export; a run goes on with the same judgements only."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from collect_data import NOW
from stage_runs import words

from accord.cli import main
from accord.collect import projects
from accord.collect.database import Database
from accord.collect.exporting import export_to
from accord.collect.importing import import_groups
from accord.collect.migrate import create_database
from accord.collect.settings import Settings
from accord.records import Completion, Group, Judgement

QUICK: dict[str, Any] = {"report_to": "none", "logging_steps": 1, "batch_size": 8, "samples": 0}


def group(n: int) -> Group:
    completions = tuple(Completion(f" {tiny.sentence(100 * n + i, 3)}") for i in range(3))
    said = Judgement(ranks=(1, 2, None), annotator="Anna"), Judgement(ranks=(2, 1, 3), annotator="Bob")
    return Group(f"g{n}", tiny.sentence(n, 4), completions, said)


def add(database: Database, *groups: Group) -> None:
    import_groups(database, 1, groups, actor="t", now=NOW)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = create_database(f"sqlite:///{tmp_path / 'prefs.db'}")
    with made.write() as connection:
        projects.create(connection, "helpful", Settings(), "t", NOW)
    add(made, *(group(n) for n in range(24)))
    return made


def run(workshop: Path, stage: str, data: object, output: Path, **more: Any) -> int:
    usual = {"model": workshop / "model", "data": data, "output_dir": output, **QUICK, **more}
    if stage == "reward":
        usual.pop("samples")
    return main(words(stage, usual))


def losses(output: Path) -> list[float]:
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_a_reward_model_learns_from_it_as_from_the_export(database: Database, tmp_path: Path, workshop: Path) -> None:
    url = f"sqlite:///{tmp_path}/prefs.db"
    export_to(database, 1, tmp_path / "out.jsonl", actor="t", now=NOW)
    assert run(workshop, "reward", url, tmp_path / "straight") == 0
    assert run(workshop, "reward", tmp_path / "out.jsonl", tmp_path / "file") == 0
    assert losses(tmp_path / "straight") == losses(tmp_path / "file") != []
    assert run(workshop, "dpo", f"{url}?take=mean_rank", tmp_path / "dpo", loss_type="plackett_luce") == 0


def test_a_run_goes_on_with_the_same_judgements_only(
    database: Database, tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, output = f"sqlite:///{tmp_path}/prefs.db", tmp_path / "run"
    assert run(workshop, "reward", url, output, max_steps=2, save_steps=1) == 0
    assert run(workshop, "reward", url, output, max_steps=3, save_steps=1, resume=True, allow_change="max_steps") == 0
    add(database, group(99))
    assert run(workshop, "reward", url, output, max_steps=4, save_steps=1, resume=True, allow_change="max_steps") == 2
    assert "data" in capsys.readouterr().err


def test_what_annotators_wrote_is_imitated(tmp_path: Path, workshop: Path) -> None:
    made = create_database(f"sqlite:///{tmp_path / 'prefs.db'}")
    with made.write() as connection:
        projects.create(connection, "ideal", Settings(layout="demonstration"), "t", NOW)
    texts = [Judgement(written=f" {tiny.sentence(7 + i, 3)}", annotator=f"p{i}") for i in range(2)]
    add(made, *(Group(f"g{n}", tiny.sentence(n, 4), (), tuple(texts)) for n in range(8)))
    assert run(workshop, "sft", f"sqlite:///{tmp_path}/prefs.db", tmp_path / "sft") == 0
    report = json.loads((tmp_path / "sft" / "data_report.json").read_text())
    assert "16" in json.dumps(report)
