"""`accord collect import`: groups from files into a project, all or none of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from accord.collect import projects
from accord.collect.database import Database, open_database
from accord.collect.importing import Imported, import_groups, import_scores
from accord.collect.peers_formats import read_peer
from accord.collect.refusals import NotThere
from accord.collect.settings import Settings
from accord.data.read import read_groups
from accord.data.report import DataReport
from accord.data.sources import rows
from accord.errors import InputError
from accord.records import Group
from accord.stages.collect_configs import CollectImportConfig, NewProjectOptions
from accord.stages.tables import tell
from accord.training.progress import Progress, Waiting

ACTOR = "command line"
EVERY = 1000  # groups between two moves of the bar


class Seen(NamedTuple):
    """What a first reading found, before anything is written. judged: judgements of named annotators."""

    groups: int
    judged: bool
    report: DataReport


def run(config: CollectImportConfig, given: Mapping[str, object]) -> Imported | None:
    """Reads, imports, and says what came in. InputError: a bad row, or a group that is there with other words."""
    database = open_database(config.database.db)
    try:
        if config.imported.scores:
            _scores(database, config)
            return None
        settings = _settings(config.project)
        seen = _read(config)
        project, is_new = _project(database, config, settings)
        judgements = config.imported.judgements or ("keep" if seen.judged else "drop")
        imported = import_groups(
            database, project, _moving(_groups(config, DataReport()), seen.groups), actor=ACTOR,
            judgements=judgements, sensitive=config.imported.sensitive, now=time.time(),
        )  # fmt: skip
        tell(_said(database, project, imported, seen, is_new=is_new))
        return imported
    finally:
        database.close()


def _settings(about: NewProjectOptions) -> Settings | None:
    """Of a project that is to be made; None where nothing is said of it."""
    if about.settings is None:
        said = {"layout": about.layout, "overlap": about.overlap}
        said = {key: value for key, value in said.items() if value is not None}
        return projects.settings_of(said) if said else None
    try:
        values = yaml.safe_load(Path(about.settings).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise InputError(f"cannot be read ({what})", where=about.settings, fix="give a YAML file") from error
    if not isinstance(values, dict):
        raise InputError("holds no settings", where=about.settings, fix="one `key: value` a line (docs/collect.md)")
    return projects.settings_of(values)


def _groups(config: CollectImportConfig, report: DataReport) -> Iterator[Group]:
    about = config.imported
    if about.peer is not None:
        return read_peer(about.data, about.peer, report=report)
    return read_groups(
        about.data, split=about.split, on_bad_row=about.on_bad_row, report=report,
        implicit_prompt=about.implicit_prompt,
    )  # fmt: skip


def _read(config: CollectImportConfig) -> Seen:
    """Once through all of it, so that a bad row is known before a project is made."""
    report, count, judged = DataReport(), 0, False
    with Waiting(config.imported.data) as waiting:
        for group in _groups(config, report):
            count += 1
            judged = judged or any(judgement.annotator is not None for judgement in group.judgements)
            waiting.tell(count)
    return Seen(count, judged, report)


def _moving(groups: Iterator[Group], total: int) -> Iterator[Group]:
    """The same groups, with a bar."""
    with Progress("importing", total, unit="group") as bar:
        for count, group in enumerate(groups, 1):
            yield group
            if count % EVERY == 0 or count == total:
                bar.advance(count, None, None, EVERY, 0, " ")


def _project(database: Database, config: CollectImportConfig, settings: Settings | None) -> tuple[int, bool]:
    """(its number, whether it was made now). InputError: options of a new project, and it is there."""
    name = config.project.project or _stem(config.imported.data)
    with database.write() as connection:
        try:
            found = projects.find(connection, name)
        except NotThere:
            made = projects.create(connection, name, settings or Settings(), ACTOR, time.time())
            return made, True
    if settings is not None and settings != found.settings:
        fix = "change its settings on the site, or leave --layout, --overlap and --settings out"
        raise InputError("is there already, with other settings", where=f"project {name}", fix=fix)
    return found.id, False


def _stem(name: str) -> str:
    """The name of a file without its endings."""
    base = Path(name.rstrip("/")).name
    return base.split(".")[0] or base


def _said(database: Database, project: int, imported: Imported, seen: Seen, *, is_new: bool) -> Iterator[str]:
    with database.read() as connection:
        found = projects.find(connection, project)
    made = f" (made now: layout {found.settings.layout}, overlap {found.settings.overlap})" if is_new else ""
    yield f"project {found.name}{made}: {imported.new:,} groups are new, {imported.same:,} were there already"
    if imported.judgements:
        yield f"{imported.judgements:,} judgements came with them"
    if seen.report.dropped:
        yield seen.report.summary()


def _scores(database: Database, config: CollectImportConfig) -> None:
    with database.read() as connection:
        project = projects.only(connection, config.project.project)
    found = (row for _, row in rows(config.imported.data))
    changed = import_scores(database, project.id, found, actor=ACTOR, now=time.time())
    tell([f"project {project.name}: {changed:,} groups have a score now"])
    if project.settings.choice != "uncertain":
        tell(["they count when its setting `choice` is `uncertain`"])
