"""`accord collect status`: how far labelling is, how far people agree, and who differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from accord.collect import events, projects, schema
from accord.collect.database import open_database
from accord.errors import InputError, IntegrityError
from accord.stages.collect_configs import CollectStatusConfig
from accord.stages.tables import show, tell, written


def run(config: CollectStatusConfig, given: Mapping[str, object]) -> None:
    """Prints it. IntegrityError: the event log is not what was written."""
    database = open_database(config.database.db)
    try:
        with database.read() as connection:
            if config.output.verify:
                _verify(connection, database.name)
            every = projects.projects(connection)
            if not every:
                raise InputError("no project yet", where=database.name, fix="accord collect import FILE")
            if config.project.project is None and len(every) > 1:
                show([_row(connection, one) for one in every], title=database.name, where=config.output.json)
                return
            _one(connection, projects.only(connection, config.project.project), config.output.json)
    finally:
        database.close()


def _verify(connection: Connection, name: str) -> None:
    if (broken := events.verify(connection)) is not None:
        fix = "somebody wrote to the database beside the site: compare it with a copy"
        raise IntegrityError(f"row {broken.id} of the event log {broken.what}", where=name, fix=fix)
    tell([f"the event log holds; its last hash is {events.last_hash(connection)}"])


def _row(connection: Connection, one: projects.Project) -> dict[str, Any]:
    item = schema.item
    columns = (func.count(), func.coalesce(func.sum(item.c.wanted), 0), func.coalesce(func.sum(item.c.taken), 0))
    groups, wanted, taken = connection.execute(select(*columns).where(item.c.project_id == one.id)).one()
    state = "closed" if one.archived else "open"
    return {"project": one.name, "layout": one.settings.layout, "groups": groups, "wanted": wanted, "taken": taken,
            "state": state}  # fmt: skip


def _one(connection: Connection, project: projects.Project, json: str | None) -> None:
    from accord.collect.quality import quality

    told = quality(connection, project).to_json()
    if written(told, json):
        return
    show([_row(connection, project)], title=project.name)
    if told["everyone"]["annotators"]:
        show([_annotator(one) for one in told["everyone"]["annotators"]], title="annotators")
    if told["agreed"]:
        show([_agreed(one) for one in told["agreed"]], title="two annotators of one group")
    tell(_notes(told))


def _annotator(one: Mapping[str, Any]) -> dict[str, Any]:
    others = one["others"] or {"mean": None, "interval": None}
    return {
        "name": one["name"],
        "labels": one["labels"],
        "skips": one["skips"],
        "seconds": _number(one["seconds"], 0),
        "ties": _percent(one["ties"]),
        "first shown wins": _percent(one["first"] and one["first"]["share"]),
        "agrees with others": _percent(others["mean"]),
        "95 % interval": _range(others["interval"]),
        "gold right": _percent(one["gold"] and one["gold"]["mean"]),
    }


def _agreed(one: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics that this kind of question has."""
    found = {name.replace("_", " "): _number(_value(one.get(name)), 2) for name in FIGURES}
    return {"question": one["question"], "of": one["items"], "couples": one["couples"], **found}


FIGURES = ("same", "agreeing_pairs", "kendall_tau_b", "fleiss_kappa", "nominal_alpha", "ordinal_alpha")


def _value(one: object) -> object:
    return one["value"] if isinstance(one, Mapping) else one


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def _percent(share: object) -> str:
    return f"{100 * share:.0f} %" if isinstance(share, int | float) else "-"


def _range(interval: object) -> str:
    if not isinstance(interval, Mapping) or interval["low"] is None:
        return "-"
    return f"{100 * interval['low']:.0f} to {100 * interval['high']:.0f}"


def _notes(told: Mapping[str, Any]) -> Iterator[str]:
    if (first := told["first"]) is not None:
        yield (
            f"the output shown earlier is called better in {_percent(first['share'])} of decided pairs "
            f"(95 % interval {_range(first['interval'])}, p = {first['p']:.2g}); ties: {_percent(told['ties'])}"
        )
    if (seconds := told["everyone"]["seconds"]) is not None:
        yield f"a page takes {seconds:.0f} s of active time (median)"
    for one in told["skips"]:
        yield f"skipped {one[1]} times: {one[0]}"
    if told["part"] < 1:
        yield f"figures of agreement are of {100 * told['part']:.0f} % of the groups, drawn at random"
