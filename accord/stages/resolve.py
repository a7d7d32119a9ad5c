"""From flat values (a YAML file, a command line, Python's keywords) to a checked config, and back.

All three sources go through the same checks: what they give as text is read by the type of its option, nothing else is
converted. What comes later wins: defaults, file, arguments.
"""

import json
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from accord.errors import InputError
from accord.stages.flat_yaml import Given, read_yaml
from accord.stages.options import Config, Conflict, Options

OBJECT = "<object>"  # stands in the config where Python passed an object

C = TypeVar("C", bound=Config)


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
    def choices(self) -> tuple[str, ...]:
        """The words that it takes, if it takes only some."""
        return next((get_args(member) for member in self.types if get_origin(member) is Literal), ())

    @property
    def kind(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        words = {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}
        return " or ".join(words.get(member, "a JSON object") for member in self.types if member is not NoneType)


class ConfigError(InputError):
    """The first mistake in a config; `others` holds the rest."""

    def __init__(self, mistakes: list[InputError]) -> None:
        first, *self.others = mistakes
        super().__init__(first.what, where=first.where, fix=first.fix)


def leaves(config_class: type[Config]) -> dict[str, Leaf]:
    """Every option of a stage by its flat name, in the order of the groups."""
    found: dict[str, Leaf] = {}
    for group, options in _groups(config_class):
        for key, field in options.model_fields.items():
            assert key not in found, f"{config_class.__name__}: two options are called {key}"
            found[key] = _leaf(key, group, options, field, config_class.defaults)
    return found


def _groups(config_class: type[Config]) -> Iterator[tuple[str, type[Options]]]:
    for group, field in config_class.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, Options)
        yield group, field.annotation


def _leaf(key: str, group: str, options: type[Options], field: FieldInfo, defaults: Mapping[str, object]) -> Leaf:
    is_union = get_origin(field.annotation) in (Union, UnionType)
    required = field.is_required() and key not in defaults
    return Leaf(
        key=key,
        group=group,
        panel=options.panel,
        types=get_args(field.annotation) if is_union else (field.annotation,),
        required=required,
        default=None if required else defaults.get(key, field.default),
        title=field.title or "",
        help=field.description or "",
        bounds=" and ".join(phrase for item in field.metadata if (phrase := _bound(item))),
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


def load(
    config_class: type[C],
    *,
    file: str | None = None,
    arguments: Mapping[str, object] | None = None,
    where: str = "--",
    objects: Collection[str] = (),
) -> C:
    """A checked config from a flat YAML file and from arguments, which win.

    where: what stands before the name of an argument in errors. objects: the options for which Python holds an object;
    the config has OBJECT there. Raises ConfigError, for a file that cannot be read InputError.
    """
    known = leaves(config_class)
    given = read_yaml(file) if file is not None else {}
    given |= {key: Given(value) for key, value in (arguments or {}).items()}
    mistakes = [unknown(key, known, _where(key, given, where)) for key in [*given, *objects] if key not in known]
    mistakes += [_no_object(_where(key, given, where)) for key, (value, _) in given.items() if _is_placeholder(value)]
    if mistakes:
        raise ConfigError(mistakes)
    given |= {key: Given(OBJECT) for key in objects}
    values = {leaf.key: leaf.default for leaf in known.values() if not leaf.required}
    for key, (value, place) in given.items():
        values[key] = from_text(known[key], value, typed=where == "--" and not place)
    return _checked(config_class, values, lambda key: _where(key, given, where))


def _where(key: str, given: Mapping[str, Given], where: str) -> str:
    place = given[key].place if key in given else ""
    return f"{place}: {key}" if place else f"{where}{key}"


def _is_placeholder(value: object) -> bool:
    return isinstance(value, str) and value == OBJECT


def _no_object(where: str) -> InputError:
    what = f"{OBJECT} stands for an object that was passed from Python"
    return InputError(what, where=where, fix="give a directory, a file or a name")


def _checked(config_class: type[C], values: Mapping[str, object], where: Callable[[str], str]) -> C:
    groups: dict[str, Options] = {}
    mistakes: list[InputError] = []
    for name, options in _groups(config_class):
        try:
            groups[name] = options(**{key: values[key] for key in options.model_fields if key in values})
        except ValidationError as error:
            one_of_each = {details["loc"][:1]: details for details in error.errors()}  # a union has one a member
            mistakes += [_mistake(details, leaves(config_class), where) for details in one_of_each.values()]
    if mistakes:
        raise ConfigError(mistakes)
    return config_class(**groups)


def from_text(leaf: Leaf, value: object, *, typed: bool) -> object:
    """The value that a text means for this option; what is no text, or means nothing there, comes back as it is.

    `none` or `null` unsets an option that may be unset; where it takes any text, only if typed on the command line,
    as YAML and Python have a null of their own.
    """
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if NoneType in leaf.types and word in ("none", "null") and (str not in leaf.types or typed):
        return None
    if bool in leaf.types and word in ("true", "false"):
        return word == "true"
    reader = next((READERS[kind] for kind in map(_plain, leaf.types) if kind in READERS), str)
    try:
        return reader(value)
    except (ValueError, RecursionError):
        return value


def _plain(member: object) -> object:
    return get_origin(member) or member


READERS: dict[object, Callable[[str], object]] = {int: int, float: float, dict: json.loads}


def _mistake(details: ErrorDetails, known: Mapping[str, Leaf], where: Callable[[str], str]) -> InputError:
    """What pydantic found, in our words."""
    conflict = details.get("ctx", {}).get("error")
    if isinstance(conflict, Conflict):
        return InputError(conflict.what, where=where(conflict.key), fix=conflict.fix)
    leaf, value, found = known[str(details["loc"][0])], details["input"], details["type"]
    at = where(leaf.key)
    shown = "null" if value is None else reprlib.repr(value)
    if found == "missing":
        return InputError("required, and not given", where=at, fix=leaf.help)
    if found in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return InputError(f"{value} is out of range", where=at, fix=f"{leaf.key} must be {leaf.bounds}")
    what = f"{shown} is not one of the choices" if leaf.choices else f"{shown} is not {leaf.kind}"
    if found == "finite_number":
        what = f"{value} is not a finite number"
    bounds = f", {leaf.bounds}" if leaf.bounds else ""
    return InputError(what, where=at, fix=f"{leaf.key} must be {leaf.kind}{bounds}")


def unknown(key: str, known: Iterable[str], where: str) -> InputError:
    """The error for an option that does not exist, with the nearest that does; `where` ends in the key."""
    near = nearest(key, known)
    place, fix = where.removesuffix(key), "`accord COMMAND --help` lists the options"
    if place in ("", "--"):
        return InputError("unknown option", where=where, fix=f"did you mean {place}{near}?" if near else fix)
    return InputError(
        f"unknown option {key!r}", where=place.rstrip(": "), fix=f"did you mean {near!r}?" if near else fix
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like this one, if one is; of equally like ones that which begins alike."""

    def likeness(other: str) -> tuple[float, bool]:
        return SequenceMatcher(None, word, other).ratio(), word[:1] == other[:1]

    best = max(known, key=likeness, default="")
    return best if likeness(best)[0] >= 0.6 else None


def flat(config: Config) -> dict[str, object]:
    """Every option of a config by its flat name, in the order of the groups."""
    return {key: value for group in config.model_dump().values() for key, value in group.items()}


def dump(config: Config) -> str:
    """The config as a flat YAML file with every option, which `load` reads back to an equal config."""
    values = flat(config)
    readable = "\\" not in repr(values)  # PyYAML would write U+0085 and its like as they are, and read them as blanks
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=readable, width=10_000)


def changed(old: Config, new: Config) -> list[tuple[str, object, object]]:
    """(key, old value, new value) of every option that differs between two configs of one stage."""
    before, after = flat(old), flat(new)
    return [(key, before[key], after[key]) for key in before if before[key] != after[key]]
