"""From flat values (a YAML file, a command line, Python's keywords) to a checked config, and back.

All three sources go through the same checks: TRL's names become ours, and what is given as text is read by the type of
its option; nothing else is converted. What comes later wins: defaults, file, arguments.
"""

import reprlib
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from accord.errors import InputError
from accord.stages.flat_yaml import Given, read_yaml
from accord.stages.leaves import Leaf, from_text, groups, leaves
from accord.stages.options import Config, Conflict
from accord.stages.translate import translate

OBJECT = "<object>"  # stands in the config where Python passed an object

C = TypeVar("C", bound=Config)


class ConfigError(InputError):
    """The first mistake in a config; `others` holds the rest."""

    def __init__(self, mistakes: list[InputError]) -> None:
        first, *self.others = mistakes
        super().__init__(first.what, where=first.where, fix=first.fix)


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
    given = read_yaml(file) if file is not None else {}
    given |= {key: Given(value) for key, value in (arguments or {}).items()}
    config = resolved(config_class, given, where=where, objects=objects)
    if file is not None and "output_dir" not in (arguments or {}):
        _check_at_home(flat(config), Path(file))
    return config


def _check_at_home(options: Mapping[str, object], file: Path) -> None:
    """InputError where a run is to be resumed by its own run.yaml, and was moved: where it was, another would begin."""
    here, there = file.parent, Path(str(options.get("output_dir")))
    is_of_run = file.name == "run.yaml" and (here / "run.json").is_file()
    if options.get("resume") is True and is_of_run and not (there / "run.json").exists():
        what = f"the run in {here} was moved: its output_dir, {there}, holds no run"
        raise InputError(what, where=str(file), fix=f"add --output_dir {shlex.quote(str(here))}")


def resolved(
    config_class: type[C],
    given: Mapping[str, Given],
    *,
    where: str = "--",
    objects: Collection[str] = (),
    tell: Callable[[str], None] = lambda note: print(note, file=sys.stderr),
) -> C:
    """A checked config from values with their places; the rest as in `load`.

    tell: gets a line for each of TRL's options that is accepted and not needed.
    """
    known = leaves(config_class)
    given, notes = translate(given, known, where)
    for note in notes:
        tell(f"note: {note}")
    twice = [InputError("given twice", where=_where(key, given, where), fix="once") for key in objects if key in given]
    mistakes = [*twice, *_unknown(given, objects, known, where)]
    if mistakes:
        raise ConfigError(mistakes)
    given |= {key: Given(OBJECT) for key in objects}
    values = {leaf.key: leaf.default for leaf in known.values() if not leaf.required}
    for key, held in given.items():
        values[key] = from_text(known[key], held.value, typed=where == "--" and not held.place)
    return _checked(config_class, values, lambda key: _where(key, given, where))


def _unknown(
    given: Mapping[str, Given], objects: Collection[str], known: Collection[str], where: str
) -> list[InputError]:
    mistakes = [unknown(key, known, _where(key, given, where)) for key in [*given, *objects] if key not in known]
    mistakes += [_no_object(_where(key, given, where)) for key, held in given.items() if _is_placeholder(held.value)]
    return mistakes


def _where(key: str, given: Mapping[str, Given], where: str) -> str:
    return given.get(key, Given(None)).at(key, where)


def _is_placeholder(value: object) -> bool:
    return isinstance(value, str) and value == OBJECT


def _no_object(where: str) -> InputError:
    what = f"{OBJECT} stands for an object that was passed from Python"
    return InputError(what, where=where, fix="give a directory, a file or a name")


def _checked(config_class: type[C], values: Mapping[str, object], where: Callable[[str], str]) -> C:
    known, found = leaves(config_class), {}
    mistakes: list[InputError] = []
    for name, options in groups(config_class):
        try:
            found[name] = options(**{key: values[key] for key in options.model_fields if key in values})
        except ValidationError as error:
            mistakes += [_mistake(details, known, where) for details in _one_of_each(error)]
    if mistakes:
        raise ConfigError(mistakes)
    try:
        return config_class(**found)
    except ValidationError as error:
        raise ConfigError([_mistake(details, known, where) for details in error.errors()]) from None


def _one_of_each(error: ValidationError) -> list[ErrorDetails]:
    """One mistake an option: a union has one a member, of which a range says most."""
    ordered = sorted(error.errors(), key=lambda details: details["type"] in RANGES)
    return list({details["loc"][:1]: details for details in ordered}.values())


RANGES = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


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
    if found in RANGES:
        return InputError(f"{value} is out of range", where=at, fix=f"{leaf.key} must be {leaf.bounds}")
    what = f"{shown} is not one of the choices" if leaf.choices else f"{shown} is not {leaf.kind}"
    if leaf.is_list and leaf.choices and isinstance(value, str):
        what = f"{shown} is not one of them"
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


def dump(config: Config, *, without: Collection[str] = ()) -> str:
    """The config as a flat YAML file with every option but these, which `load` reads back to an equal config."""
    values = {key: value for key, value in flat(config).items() if key not in without}
    readable = "\\" not in repr(values)  # PyYAML would write U+0085 and its like as they are, and read them as blanks
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=readable, width=10_000, default_flow_style=None)


def changed(old: Config, new: Config) -> list[tuple[str, object, object]]:
    """(key, old value, new value) of every option that differs between two configs of one stage."""
    before, after = flat(old), flat(new)
    return [(key, before[key], after[key]) for key in before if before[key] != after[key]]
