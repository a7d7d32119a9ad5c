"""What a language model is asked as a judge: files of this package, or of the user's own.

A file begins with a header of YAML; after it, a line `===== role` begins each message, a template in Jinja's language:

    kind: pairwise            pairwise, rating or ranking: which variables there are, and how the reply is read
    version: 1                a new one where the words change
    verdict: token            pairwise: the reply is one label (token), or ends with one as [[A]] (brackets)
    labels: [m, M]            pairwise: the first answer is better, the second is, and where there may be ties, neither
    max_tokens: 1             of the reply
    ===== user
    ... {{ prompt }} ... {{ first }} ... {{ second }} ...
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import yaml
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from accord.errors import InputError

Kind = Literal["pairwise", "rating", "ranking"]
ENDING, BEGINS = ".jinja", "===== "
ROLES = ("system", "user", "assistant")
# By kind: the variables that must stand in a template, and those that may. turns: the whole conversation.
VARIABLES: dict[Kind, tuple[set[str], set[str]]] = {
    "pairwise": ({"first", "second"}, {"prompt"}),
    "rating": (set(), {"prompt", "answer", "turns"}),
    "ranking": ({"answers"}, {"prompt"}),
}
Messages = tuple[dict[str, str], ...]


class Header(BaseModel):
    """The start of a template file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Kind
    version: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    verdict: Literal["token", "brackets"] = "brackets"
    labels: list[str] = ["A", "B", "C"]


@dataclass(frozen=True)
class Template:
    """digest: the first 16 digits of the SHA-256 of the file, by which a change of it makes other questions."""

    name: str
    header: Header
    digest: str
    messages: tuple[tuple[str, jinja2.Template], ...]

    @property
    def kind(self) -> Kind:
        return self.header.kind

    @property
    def shown(self) -> str:
        return f"{self.name} {self.header.version}"

    def filled(self, values: Mapping[str, Any]) -> Messages:
        """The messages with these texts in them; what stands in a text is not taken for a template."""
        return tuple({"role": role, "content": text.render(values).strip()} for role, text in self.messages)


def names() -> tuple[str, ...]:
    """The templates of the package."""
    room = importlib.resources.files("accord.evaluate.judges.templates")
    return tuple(sorted(one.name.removesuffix(ENDING) for one in room.iterdir() if one.name.endswith(ENDING)))


def template(name: str) -> Template:
    """A template of the package by its name, or of a file. InputError: no such one, or not as it should be."""
    if name in names():
        place = importlib.resources.files("accord.evaluate.judges.templates") / f"{name}{ENDING}"
        return parsed(name, place.read_text(encoding="utf-8"))
    path = Path(name)
    if not path.is_file():
        fix = f"one of {', '.join(names())}, or a file"
        raise InputError("no such template", where=name, fix=fix)
    try:
        return parsed(path.stem, path.read_text(encoding="utf-8"), where=name)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=name, fix="check the file") from error


def parsed(name: str, text: str, *, where: str = "") -> Template:
    """A template from the text of its file. InputError names `where` it is from."""
    where = where or name
    head, *parts = f"\n{text}".split(f"\n{BEGINS}")
    header = _header(head, where)
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    used, messages = set[str](), []
    for role, body in (_cut(part, where) for part in parts):
        try:
            used |= find_undeclared_variables(environment.parse(body))
            messages.append((role, environment.from_string(body)))
        except jinja2.TemplateSyntaxError as error:
            what = f"no template: {error.message} (line {error.lineno} of the {role} message)"
            raise InputError(what, where=where, fix="write it in Jinja's language") from error
    _check(header, used, where)
    if not messages:
        raise InputError("no message", where=where, fix=f"begin each with a line `{BEGINS}user`")
    return Template(name, header, hashlib.sha256(text.encode()).hexdigest()[:16], tuple(messages))


def _cut(part: str, where: str) -> tuple[str, str]:
    role, _, body = part.partition("\n")
    if role.strip() not in ROLES:
        raise InputError(f"{role.strip()!r} is no role", where=where, fix=f"one of {', '.join(ROLES)}")
    return role.strip(), body


def _header(text: str, where: str) -> Header:
    try:
        header = Header(**yaml.safe_load(text))
    except ValidationError as error:
        first = error.errors()[0]
        what = f"the header's {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
        raise InputError(what, where=where, fix="kind, version, max_tokens, verdict, labels") from error
    except (yaml.YAMLError, TypeError) as error:
        fix = f"lines as `kind: pairwise` before the first `{BEGINS}user`"
        raise InputError("no header of YAML", where=where, fix=fix) from error
    labels = header.labels
    if header.kind == "pairwise" and (len(labels) not in (2, 3) or len({*labels, ""}) <= len(labels)):
        what = f"labels {labels}: not two or three different ones"
        raise InputError(what, where=where, fix="name the first, the second, and if there may be ties neither of both")
    return header


def _check(header: Header, used: set[str], where: str) -> None:
    """InputError where the variables are not those of the kind."""
    needed, may = VARIABLES[header.kind]
    if unknown := sorted(used - needed - may):
        fix = f"a {header.kind} template has {', '.join(sorted(needed | may))}"
        raise InputError(f"no variable {unknown[0]!r}", where=where, fix=fix)
    if header.kind == "rating" and not used & {"answer", "turns"}:
        raise InputError("shows no answer", where=where, fix="put {{ answer }} into it, or the turns")
    if lacking := sorted(needed - used):
        raise InputError(f"does not show {lacking[0]!r}", where=where, fix=f"put {{{{ {lacking[0]} }}}} into it")
