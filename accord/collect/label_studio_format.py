"""Label Studio's JSON export: tasks with their annotations.

    {"id", "data": {...}, "annotations": [{"result": [{"from_name", "to_name", "type", "value"}], "completed_by",
     "was_cancelled", "ground_truth", "lead_time"}], "predictions"}

Read are rating, choices, pairwise, textarea, and ranker on a List, whose items are the outputs: one list of ids, the
best first, or a list for each bucket, whose order is taken as theirs. Predictions are no judgements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from accord.collect.peers_answers import Fields, Said, asked, content, group_of, mapping
from accord.data.lines import Raw
from accord.data.report import DataReport
from accord.records import Group, Origin, RecordError

TEXTS = ("body", "text", "html", "title")  # of an item of a List, the first that is there


def is_one(row: Mapping[str, Any]) -> bool:
    """Whether this is such a task."""
    return isinstance(row.get("data"), Mapping) and isinstance(row.get("annotations"), list)


def groups(raws: Iterable[Raw], fields: Fields, report: DataReport) -> Iterator[Group]:
    """RecordError, InputError: a row that is none, or fields that cannot be told."""
    for raw in raws:
        origin, row = mapping(raw)
        report.read += 1
        if not is_one(row):
            raise RecordError("no task: data and annotations", origin=origin, fix="export it as JSON (not JSON-MIN)")
        columns, prompt, outputs = _outputs(row["data"], fields, origin)
        made = []
        for one in row["annotations"]:
            if one.get("was_cancelled"):
                report.note("annotations that were skipped, left out", where=str(origin))
                continue
            said = Said(outputs, fields, report, str(origin))
            for result in one.get("result") or ():
                _take(said, result)
            seconds = one.get("lead_time")
            settled = bool(one.get("ground_truth"))
            made.append(said.judgement(_who(one.get("completed_by")), seconds=seconds, settled=settled))
        if row.get("predictions"):
            report.ignore(["predictions (of models)"])
        yield group_of(str(row.get("id") or origin.line), columns, prompt, outputs, made, origin)


def _outputs(data: Mapping[str, Any], fields: Fields, origin: Origin) -> tuple[Mapping[str, Any], Any, list[str]]:
    """The fields, the prompt, and the names of the outputs: the ids of a List's items, or fields."""
    lists = [name for name, value in data.items() if _is_list(value) and name != fields.prompt]
    if lists and not fields.outputs:
        items = {str(one["id"]): _text(one) for one in data[lists[0]]}
        rest = {name: value for name, value in data.items() if name not in lists}
        texts = {name: value for name, value in rest.items() if isinstance(value, str | list)}
        name = fields.prompt or next(iter([one for one in ("prompt", "question", "instruction") if one in texts]), None)
        name = name or (next(iter(texts)) if len(texts) == 1 else None)
        if name is None or name not in texts:
            fix = f"name it; there are: {', '.join(data)}"
            raise RecordError("which field is the prompt cannot be told", origin=origin, field="data", fix=fix)
        return items, content(texts[name], origin, name), list(items)
    prompt, outputs = asked(data, fields, origin)
    return data, prompt, outputs


def _is_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and "id" in one for one in value)


def _text(item: Mapping[str, Any]) -> str:
    return str(next((item[name] for name in TEXTS if item.get(name)), ""))


def _who(value: object) -> str | None:
    """A number, or an object with an address."""
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("username") or value.get("id")
    return None if value is None else str(value)


def _take(said: Said, result: Mapping[str, Any]) -> None:
    kind, value = result.get("type"), result.get("value") or {}
    question, about = str(result.get("from_name", "")), result.get("to_name")
    if kind == "rating":
        said.rating(question, float(value.get("rating", 0)), about=about if isinstance(about, str) else "")
    elif kind == "choices":
        said.choice(question, [str(one) for one in value.get("choices", [])])
    elif kind == "textarea":
        said.text(question, "\n".join(map(str, value.get("text", []))))
    elif kind == "pairwise" and len(said.names) == 2 and value.get("selected") in ("left", "right"):
        best = said.names[value["selected"] == "right"]
        said.order(question, {name: 1 if name == best else 2 for name in said.names})
    elif kind == "ranker":
        _rank(said, question, value.get("ranker") or {})
    else:
        said.report.ignore([f"{question} ({kind})"])


def _rank(said: Said, question: str, buckets: Mapping[str, Sequence[Any]]) -> None:
    """One list is an order; of several buckets each is a rank, its items equal. `_` is what was put in none."""
    named = {name: ids for name, ids in buckets.items() if name != "_"}
    if len(named) == 1:
        (ids,) = named.values()
        said.order(question, {str(id): rank for rank, id in enumerate(ids, 1)})
    else:
        said.report.note(f"buckets taken as ranks, the best first: {', '.join(named)}", where=said.where)
        said.order(question, {str(id): rank for rank, ids in enumerate(named.values(), 1) for id in ids})
