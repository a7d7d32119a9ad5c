"""`accord collect import`: groups from files into a project, all or none of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from accord.collect import projects
from accord.collect.database import Database, open_database
from accord.collect.importing import Imported, New, import_groups, import_scores
from accord.collect.peers_answers import Fields
from accord.collect.peers_formats import imported_groups
from accord.collect.refusals import NotThere
from accord.collect.settings import Settings
from accord.data.report import DataReport
from accord.data.sources import rows
from accord.errors import InputError
from accord.records import Group
from accord.stages.collect_configs import CollectImportConfig, NewProjectOptions
from accord.stages.tables import tell
from accord.training.progress import Waiting

ACTOR = "command line"


def run(config: CollectImportConfig, given: Mapping[str, object]) -> Imported | None:
    """Reads, imports, and says what came in. InputError: a bad row, or a group that is there with other words."""
    database = open_database(config.database.db)
    try:
        if config.imported.scores:
            _scores(database, config)
            return None
        project, report = _project(database, config), DataReport()
        imported = import_groups(
            database, project, _told(_groups(config, report), config.imported.data), actor=ACTOR,
            judgements=config.imported.judgements or "named", sensitive=config.imported.sensitive, now=time.time(),
        )  # fmt: skip
        tell(_said(database, project, imported, report))
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
    return imported_groups(
        about.data, split=about.split, on_bad_row=about.on_bad_row, implicit_prompt=about.implicit_prompt,
        fields=Fields(about.prompt_field, tuple(about.output_fields), tuple(about.label_questions)), report=report,
    )  # fmt: skip


def _told(groups: Iterator[Group], name: str) -> Iterator[Group]:
    """The same groups; a terminal is told how far it is."""
    with Waiting(name) as waiting:
        for count, group in enumerate(groups, 1):
            yield group
            waiting.tell(count)


def _project(database: Database, config: CollectImportConfig) -> int | New:
    """InputError: options of a new project, and it is there."""
    name, settings = config.project.project or _stem(config.imported.data), _settings(config.project)
    with database.read() as connection:
        try:
            found = projects.find(connection, name)
        except NotThere:
            return New(name, settings or Settings())
    if settings is not None and settings != found.settings:
        fix = "change its settings on the site, or leave --layout, --overlap and --settings out"
        raise InputError("is there already, with other settings", where=f"project {name}", fix=fix)
    return found.id


def _stem(name: str) -> str:
    """The name of a file without its endings."""
    base = Path(name.rstrip("/")).name
    return base.split(".")[0] or base


def _said(database: Database, project: int | New, imported: Imported, report: DataReport) -> Iterator[str]:
    with database.read() as connection:
        found = projects.find(connection, project.name if isinstance(project, New) else project)
    about = f" (made now: layout {found.settings.layout}, overlap {found.settings.overlap})"
    made = about if isinstance(project, New) else ""
    yield f"project {found.name}{made}: {imported.new:,} groups are new, {imported.same:,} were there already"
    if imported.judgements:
        yield f"{imported.judgements:,} judgements came with them"
    if report.dropped:
        yield report.summary()


def _scores(database: Database, config: CollectImportConfig) -> None:
    with database.read() as connection:
        project = projects.only(connection, config.project.project)
    found = (row if isinstance(row, Mapping) else {} for _, row in rows(config.imported.data))
    changed = import_scores(database, project.id, found, actor=ACTOR, now=time.time())
    tell([f"project {project.name}: {changed:,} groups have a score now"])
    if project.settings.choice != "uncertain":
        tell(["they count when its setting `choice` is `uncertain`"])
