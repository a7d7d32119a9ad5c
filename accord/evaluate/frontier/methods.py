"""The methods of a frontier: what each is a command of, its values of beta or n, and its own options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from accord.errors import InputError
from accord.stages.commands import COMMANDS
from accord.stages.config import DpoConfig, RlConfig, TrainingConfig
from accord.stages.flat_yaml import Given, Sections, read_sections
from accord.stages.leaves import Leaf, leaves
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.resolve import nearest, unknown
from accord.stages.translate import is_trl, target_of

BEST_OF_N = "best_of_n"
TRAINED = (DpoConfig, RlConfig, OnlineDpoConfig)
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")  # becomes a part of the names of folders

OWN_OPTIONS = "give it to accord frontier itself"
BY_ITSELF = "accord frontier resumes by itself: leave it out"
BY_VALUES = "give --betas, or betas in the section of the method"
# Options that a run has from the frontier, so that its points can be compared: what to do instead.
FIXED = {
    **dict.fromkeys(("model", "data", "reward", "reward_weights", "reward_label", "reward_normalised"), OWN_OPTIONS),
    **dict.fromkeys(("resume", "allow_change"), BY_ITSELF),
    "output_dir": "each run has a folder in that of the frontier: leave it out",
    "dry_run": OWN_OPTIONS,
    "beta": BY_VALUES,
    "kl_coef": BY_VALUES,
    "kl_target": "it moves the kl_coef that --betas sets: leave it out",
    "temperature": "policies are measured as they are, at temperature 1: leave it out",
}


class Method(NamedTuple):
    """A line of the frontier. command: that trains it; best_of_n: none does. options: its own, with their places.

    values: of beta, or of n.
    """

    name: str
    command: str
    values: tuple[float, ...]
    options: Mapping[str, Given]

    @property
    def setting(self) -> Literal["beta", "n"]:
        """What differs from point to point."""
        return "n" if self.command == BEST_OF_N else "beta"

    @property
    def config(self) -> type[TrainingConfig]:
        found = COMMANDS[self.command].config
        assert issubclass(found, TRAINED)
        return found

    @property
    def key(self) -> str:
        """The option that beta is."""
        return "kl_coef" if issubclass(self.config, RlConfig) else "beta"

    @property
    def offline(self) -> bool:
        """Whether it learns from comparisons that are there before it begins."""
        return self.command != BEST_OF_N and issubclass(self.config, DpoConfig)

    def known(self) -> dict[str, Leaf]:
        """The options of its command; none of what is not trained."""
        return {} if self.command == BEST_OF_N else leaves(self.config)


def methods_of(names: Sequence[str], file: str | None, betas: Sequence[float], n: Sequence[int]) -> list[Method]:
    """Each by its name, with what the file of options has for it. InputError: no such method, or a wrong option."""
    read = read_sections(file) if file is not None else Sections({}, {})
    sections = {_spelled(name): dict(own) for name, own in read.named.items()}
    found = [_method(_spelled(name), sections.get(_spelled(name), {}), betas, n) for name in names]
    if twice := [one.name for one in found if [two.name for two in found].count(one.name) > 1]:
        raise InputError(f"names {twice[0]} twice", where="methods", fix="name each once")
    _check_sections(sections, found, file)
    for key, held in read.common.items():
        _check_common(key, held, found)
    return [one._replace(options={**_of(read.common, one), **one.options}) for one in found]


def commands() -> list[str]:
    """Every command that a method may be, best_of_n with them."""
    trained = [name for name, row in COMMANDS.items() if issubclass(row.config, TRAINED) and name != "rl"]
    return [*trained, BEST_OF_N]


def _spelled(name: str) -> str:
    """A command's name however hyphens and underscores are written; another name as it is."""
    return {one.replace("-", "_"): one for one in commands()}.get(name.replace("-", "_"), name)


def _method(name: str, own: dict[str, Given], betas: Sequence[float], n: Sequence[int]) -> Method:
    held = own.pop("command", Given(name))
    command = _spelled(str(held.value))
    if command not in commands():
        near = nearest(command, commands())
        fix = f"did you mean {near}?" if near else "accord frontier --help names them"
        fix = f"{fix} A name of your own needs a section with command: in --options"
        raise InputError(
            f"{held.value!r} is no method", where=held.at("command", "") if held.place else "methods", fix=fix
        )
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name of a folder", where="methods", fix="letters, digits, _ . + and -")
    by_n = command == BEST_OF_N
    key, other, usual = ("n", "betas", n) if by_n else ("betas", "n", betas)
    if by_n and own.keys() - {key}:
        left = sorted(own.keys() - {key})[0]
        raise InputError(
            f"nothing is trained, and {left} would not be used", where=own[left].at(left, ""), fix="only n"
        )
    if other in own:
        raise InputError(f"of {command} it is {key}", where=own[other].at(other, ""), fix=f"give {key}")
    values = _numbers(key, own.pop(key)) if key in own else tuple(usual)
    found = Method(name, command, values, own)
    for option, given in own.items():
        _check_free(option, given, found.known())
    return found


def _numbers(key: str, held: Given) -> tuple[float, ...]:
    """Of a list in YAML, or a text with commas. InputError: no numbers, none above 0, or one twice."""
    items = held.value if isinstance(held.value, list) else str(held.value).split(",")
    kind = int if key == "n" else float
    try:
        values = tuple(kind(str(one).strip()) for one in items)
    except ValueError:
        values = ()
    if not values or not all(0 < one < float("inf") for one in values) or len(set(values)) < len(values):
        shown = "[1, 2, 4]" if key == "n" else "[0.1, 0.3, 1]"
        raise InputError(f"{held.value!r} are no different numbers above 0", where=held.at(key, ""), fix=f"as {shown}")
    return values


def _check_free(key: str, held: Given, known: Mapping[str, Leaf]) -> None:
    if (target := target_of(key, known)) in FIXED and target in known:
        what = "is the same for all points of a frontier" if FIXED[target] is OWN_OPTIONS else "not in a frontier"
        raise InputError(what, where=held.at(key, ""), fix=FIXED[target])


def _check_common(key: str, held: Given, methods: Iterable[Method]) -> None:
    """InputError where the option is of no method at all, or is not for one of these to have.

    It may be of others alone: one file does for all that is asked for, now and later.
    """
    every: dict[str, Leaf] = {}
    for name in commands():
        every |= Method(name, name, (), {}).known()
    if key not in every and not is_trl(key, every):
        raise unknown(key, every, held.at(key, ""))
    for method in methods:
        _check_free(key, held, method.known())


def _check_sections(sections: Mapping[str, Mapping[str, Given]], methods: Sequence[Method], file: str | None) -> None:
    """InputError where a section is of nothing that could be a method."""
    for name, own in sections.items():
        if name not in {one.name for one in methods} and name not in commands() and "command" not in own:
            near = nearest(name, [*(one.name for one in methods), *commands()])
            fix = f"did you mean {near}?" if near else "name it after a method, or give it a command:"
            raise InputError(f"{name!r} is no method, and has no command", where=str(file), fix=fix)


def _of(common: Mapping[str, Given], method: Method) -> dict[str, Given]:
    """What of the options for all this one has."""
    known = method.known()
    return {key: held for key, held in common.items() if key in known or (known and is_trl(key, known))}
