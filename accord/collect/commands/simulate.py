"""`accord collect simulate`: annotators that are no people, over HTTP, and what came out beside what was put in."""

from __future__ import annotations

from collections.abc import Mapping

from accord.collect import projects
from accord.collect.database import open_database
from accord.collect.people_model import Habits
from accord.collect.simulate import Simulation, simulate
from accord.collect.simulated_report import Report, report
from accord.stages.collect_configs import CollectSimulateConfig
from accord.stages.tables import tell, written
from accord.training.progress import say


def run(config: CollectSimulateConfig, given: Mapping[str, object]) -> Report:
    """Labels the project until nothing is left, and reports. ServiceError: the site did not hold what it promises."""
    about = config.simulation
    habits = Habits(about.noise, about.tie_width, about.position_bias, about.skip_rate)
    simulation = Simulation(
        about.annotators,
        habits,
        double_clicks=about.double_click_rate,
        lost_connections=about.lose_connection_rate,
        most=about.most,
        seed=about.seed,
    )
    database = open_database(config.database.db)
    try:
        with database.read() as connection:
            project = projects.only(connection, config.project.project)
        say(f"{about.annotators} simulated annotators label {project.name} ...")
        done, truth = simulate(database, project, simulation)
        found = report(database, project, simulation, truth, done)
    finally:
        database.close()
    if not written(found.to_json(), config.output.json):
        tell(found.lines())
    return found
