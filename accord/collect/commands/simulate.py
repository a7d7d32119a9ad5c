"""`accord collect simulate`: a project is labelled by annotators that are no people, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping

from accord.collect import events, projects
from accord.collect.database import open_database
from accord.collect.people_model import Habits
from accord.collect.simulate import Simulation, simulate
from accord.collect.simulated_report import report
from accord.errors import IntegrityError
from accord.stages.collect_configs import CollectSimulateConfig
from accord.stages.tables import tell, written


def run(config: CollectSimulateConfig, given: Mapping[str, object]) -> None:
    """Labels, and says what came out beside what was put in. IntegrityError: a group was judged too often."""
    asked = config.simulation
    habits = Habits(asked.noise, asked.tie_width, asked.position_bias, asked.skip_rate)
    simulation = Simulation(
        asked.annotators, habits, asked.double_click_rate, asked.lose_connection_rate, asked.most, asked.seed
    )
    database = open_database(config.database.db)
    try:
        with database.write() as connection:
            project = projects.only(connection, config.project.project)
            detail = {"annotators": asked.annotators, "seed": asked.seed}
            events.append(
                connection, "command line", "simulation", project.name, detail, project=project.id, now=time.time()
            )
        done, truth = simulate(database, project, simulation)
        found = report(database, project, simulation, truth, done)
    finally:
        database.close()
    if not written(found.to_json(), config.output.json):
        tell(list(found.lines()))
    if found.overlap.over:
        raise IntegrityError(f"{found.overlap.over} groups have more judgements than wanted", where=project.name)
