"""A page, a task and a project as JSON: what the API gives, and what the annotator's page is filled from."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from accord.collect.layouts import LETTERS, rates
from accord.collect.projects import Project
from accord.collect.queue import Page
from accord.collect.settings import Settings

Json = dict[str, Any]


def respond(body: Any, status: int = 200) -> Response:
    """Written once and not checked again. Half a character becomes its escape, as JSON has it."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "backslashreplace"), status, media_type="application/json")


def page_json(page: Page, settings: Settings) -> Json:
    """A group as its annotator sees it: neither which group it is nor who wrote the outputs, nor that it is gold."""
    render = _renderer(settings)
    outputs = [
        {"letter": letter, "turns": turns(content, "assistant", render)}
        for letter, content in zip(LETTERS, page.outputs, strict=False)
    ]
    return {
        "assignment": page.assignment,
        "project": page.project,
        "number": page.number,
        "status": page.status,
        "prompt": turns(page.prompt, "user", render),
        "outputs": outputs,
        "tools": page.tools,
        "category": page.category,
        "sensitive": page.sensitive,
        "expires": page.expires,
        "revision": page.revision,
        "answer": page.answer,
        "draft": page.draft,
        "draft_version": page.draft_version,
        "active_ms": page.active_ms,
    }


def _renderer(settings: Settings) -> Callable[[str], str] | None:
    """What makes safe HTML of a text; none where texts are shown as they are."""
    if settings.render != "markdown":
        return None
    from accord.collect.markdown import render

    return render


def turns(content: Any, role: str, render: Callable[[str], str] | None = None) -> list[Json]:
    """A text or a list of messages -> its turns. role: of a text. Of a message's other keys only tool calls are shown:
    a `name` may be a model's."""
    if isinstance(content, str):
        return [_turn(role, content, render)]
    return [_turn(str(one.get("role", role)), _said(one), render) for one in content]


def _said(message: Json) -> str:
    text = message.get("content") or ""
    if calls := message.get("tool_calls"):
        written = json.dumps(calls, ensure_ascii=False, indent=1)
        return f"{text}\n{written}" if text else written
    return str(text)


def _turn(role: str, text: str, render: Callable[[str], str] | None) -> Json:
    turn = {"role": role, "text": text}
    return turn if render is None else {**turn, "html": render(text)}


def task_json(project: Project) -> Json:
    """What a project asks of its annotators."""
    from accord.collect.markdown import render

    settings = project.settings
    return {
        "project": project.id,
        "name": project.name,
        "layout": settings.layout,
        "rate": rates(settings),
        "scale": settings.scale,
        "flags": [flag.model_dump() for flag in settings.flags],
        "notes": settings.notes,
        "ties": settings.ties,
        "skips": list(settings.skips),
        "instructions": render(settings.instructions),
        "examples": [{"title": one.title, "html": render(one.text)} for one in settings.examples],
        "render": settings.render,
        "blur": settings.blur,
    }


def project_json(project: Project, *, whole: bool) -> Json:
    """whole: with the settings, which may name how a group is chosen and how many are of known answer."""
    body: Json = {
        "id": project.id,
        "name": project.name,
        "version": project.version,
        "archived": project.archived,
        "created": project.created,
        "settings": project.settings.model_dump(mode="json") if whole else None,
    }
    return body
