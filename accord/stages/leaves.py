"""The options of a stage one by one: where each lives, what it takes, and what a text means for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from accord.stages.options import Config, Options

WORDS: dict[object, str] = {
    bool: "true or false",
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list",
}


class Leaf(NamedTuple):
    """One option and its place in the config."""

    key: str
    group: str
    panel: str  # the heading of its group in the help
    types: tuple[Any, ...]  # of `int | None`: int, NoneType
    required: bool
    default: object  # None where required
    title: str  # the word for its value in the help, may be empty
    help: str
    bounds: str  # "at least 0 and below 1", may be empty

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it takes, alone or in a list, perhaps beside other things."""
        return tuple(word for member in self.types for word in _words(member))

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it takes, if it takes only some."""
        return self.words if all(_words(member) for member in self.types if member is not NoneType) else ()

    @property
    def is_list(self) -> bool:
        """Whether it takes a list."""
        return any(_plain(member) is list for member in self.types)

    @property
    def kind(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return f"{'some' if self.is_list else 'one'} of {', '.join(self.choices)}"
        members = [member for member in self.types if member is not NoneType]
        return " or ".join(", ".join(_words(m)) or WORDS.get(_plain(m), "a JSON object") for m in members)


def leaves(config_class: type[Config]) -> dict[str, Leaf]:
    """Every option of a stage by its flat name, in the order of the groups."""
    found: dict[str, Leaf] = {}
    for group, options in groups(config_class):
        for key, field in options.model_fields.items():
            assert key not in found, f"{config_class.__name__}: two options are called {key}"
            found[key] = _leaf(key, group, options, field, config_class.defaults)
    return found


def groups(config_class: type[Config]) -> Iterator[tuple[str, type[Options]]]:
    """The groups of a stage by name."""
    for group, field in config_class.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, Options)
        yield group, field.annotation


def _leaf(key: str, group: str, options: type[Options], field: FieldInfo, defaults: Mapping[str, object]) -> Leaf:
    is_union = get_origin(field.annotation) in (Union, UnionType)
    members = get_args(field.annotation) if is_union else (field.annotation,)
    required = field.is_required() and key not in defaults
    conditions = [*field.metadata, *(item for member in members for item in getattr(member, "__metadata__", ()))]
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    return Leaf(
        key=key,
        group=group,
        panel=options.panel,
        types=tuple(get_args(member)[0] if get_origin(member) is Annotated else member for member in members),
        required=required,
        default=None if required else defaults.get(key, default),
        title=field.title or "",
        help=field.description or "",
        bounds=" and ".join(phrase for item in conditions if (phrase := _bound(item))),
    )


def _bound(item: object) -> str:
    match item:
        case Gt():
            return f"greater than {item.gt}"
        case Ge():
            return f"at least {item.ge}"
        case Lt():
            return f"below {item.lt}"
        case Le():
            return f"at most {item.le}"
    return ""


def _words(member: object) -> tuple[str, ...]:
    """Of Literal["a", "b"], also in a list: a, b."""
    if get_origin(member) is list:
        return _words(get_args(member)[0])
    return get_args(member) if get_origin(member) is Literal else ()


def _plain(member: object) -> object:
    return get_origin(member) or member


def from_text(leaf: Leaf, value: object, *, typed: bool) -> object:
    """The value that a text means for this option; what is no text, or means nothing there, comes back as it is.

    A list is written as JSON or with commas, or is a list of texts already. `none` or `null` unsets an option that may
    be unset; where it takes any text, only if typed on the command line, as YAML and Python have a null of their own.
    """
    if isinstance(value, list) and leaf.is_list:
        return [_item(leaf, item) for item in value]
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if NoneType in leaf.types and word in ("none", "null") and (str not in leaf.types or typed):
        return None
    if bool in leaf.types and word in ("true", "false"):
        return word == "true"
    if leaf.is_list and (_is_list(value) or not {str, dict} & set(map(_plain, leaf.types))):
        return [_item(leaf, item) for item in _listed(value)]
    return _read(value, leaf.types)


def _is_list(text: str) -> bool:
    """Whether it is written as a list; [red].jsonl is the name of a file."""
    return text.lstrip().startswith("[") and text.rstrip().endswith("]")


def _listed(text: str) -> list[object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, list) else [item.strip() for item in text.strip("[] ").split(",")]


def _item(leaf: Leaf, value: object) -> object:
    """An item of a list, read by the type of its items."""
    (items,) = [get_args(member) for member in leaf.types if _plain(member) is list]
    kinds = get_args(items[0]) if items and get_origin(items[0]) in (Union, UnionType) else items
    return _read(value, kinds) if isinstance(value, str) else value


def _read(value: str, types: tuple[Any, ...]) -> object:
    for kind in map(_plain, types):
        if kind in READERS:
            try:
                return READERS[kind](value)
            except (ValueError, RecursionError):
                return value
    return value


READERS: dict[object, Callable[[str], object]] = {int: int, float: float, dict: json.loads}
