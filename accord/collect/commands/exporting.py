"""`accord collect export`: what people said, as a file."""

from __future__ import annotations

import time
from collections.abc import Mapping

from accord.collect import projects
from accord.collect.database import open_database
from accord.collect.exporting import Exported, Options, export_to
from accord.stages.collect_configs import CollectExportConfig
from accord.stages.tables import sized, tell


def run(config: CollectExportConfig, given: Mapping[str, object]) -> Exported:
    """Writes the file whole or not at all, and says what is in it. InputError: nothing to export."""
    about = config.exported
    database = open_database(config.database.db)
    try:
        with database.read() as connection:
            project = projects.only(connection, config.project.project)
        options = Options(about.chosen, about.take, about.ties, about.models)
        done = export_to(database, project.id, about.output, actor="command line", now=time.time(), options=options)
        tell([f"{about.output}: {done.rows:,} rows, {sized(done.bytes)}", f"sha256 {done.sha256}"])
        return done
    finally:
        database.close()
