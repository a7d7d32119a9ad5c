"""A Python function as a source of rewards: it gets groups of one completion each, and gives one number for each.

Nothing is made of what it gives but numbers: what is no list of as many numbers ends the run.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor

from accord.errors import AccordError, Diverged, InputError, ran_out_of_memory
from accord.records import Group

Function = Callable[[Sequence[Group]], Sequence[float]]
PROTOCOL = "it gets a list of groups of one completion each, and gives a list of one number for each"


@dataclass(frozen=True)
class RewardFunction:
    """written: `module:function`, or the function's own name, for errors."""

    name: str
    function: Function
    written: str

    def score(self, groups: Sequence[Group]) -> Tensor:
        """(C,) float64. InputError: it fails, or gives no list of C numbers. Diverged: a number is missing or not
        finite."""
        samples = list(one_each(groups))
        found = self._listed(self._called([group for _, group in samples]), len(samples))
        numbers = [self._number(*one) for one in zip(found, samples, strict=True)]
        return torch.tensor(numbers, dtype=torch.float64)

    def _called(self, groups: list[Group]) -> object:
        try:
            return self.function(groups)
        except Exception as error:  # whatever it is, the function has caused it
            if isinstance(error, AccordError) or ran_out_of_memory(error):
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            line = " ".join(str(error).split())[:300]
            what = f"failed with {type(error).__name__}{': ' + line if line else ''} ({frame.filename}:{frame.lineno})"
            raise InputError(what, where=self.written, fix="mend the function") from error

    def _listed(self, found: Any, count: int) -> list[object]:
        if hasattr(found, "tolist"):  # of an array or a tensor
            found = found.tolist()
        if not isinstance(found, list | tuple):
            what = f"gave {_shown(found)}, not a list of {count} numbers"
            raise InputError(what, where=self.written, fix=PROTOCOL)
        if len(found) != count:
            what = f"gave {len(found)} numbers for {count} samples"
            raise InputError(what, where=self.written, fix=PROTOCOL)
        return list(found)

    def _number(self, value: Any, sample: tuple[int, Group]) -> float:
        place, group = sample
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            value = value.item()
        where = f"{self.written}: {named(group, place)}"
        if value is None:
            raise Diverged("gave None, which is no reward", where=where, fix="give every sample a number")
        if not isinstance(value, Real):
            raise InputError(f"gave {_shown(value)}, not a number", where=where, fix=PROTOCOL)
        if not math.isfinite(number := _float(value)):
            raise Diverged(f"gave {number}, which is no reward", where=where, fix="give every sample a finite number")
        return number


def one_each(groups: Sequence[Group]) -> Iterator[tuple[int, Group]]:
    """Each completion as a group by itself, and its place in its own group."""
    for group in groups:
        for place, completion in enumerate(group.completions):
            yield place, replace(group, completions=(completion,), judgements=())


def named(group: Group, place: int) -> str:
    """A sample as errors name it."""
    return f"{group.source} (id {group.id}, sample {place + 1})"


def function_of(written: str) -> Function:
    """The function that `module:function` or `file.py:function` names. InputError: there is none.

    Modules are found as Python finds them, and in the current directory.
    """
    place, _, name = written.rpartition(":")
    module = _module(place, written)
    if (found := getattr(module, name, None)) is None:
        raise InputError(f"{place} has no function {name!r}", where=written, fix="check the name")
    if not callable(found):
        raise InputError(f"{name!r} is {_shown(found)}, and no function", where=written, fix=PROTOCOL)
    return cast(Function, found)


def _module(place: str, written: str) -> ModuleType:
    if place.endswith(".py") and not Path(place).is_file():
        raise InputError("no such file", where=place, fix="check the path")
    try:
        if place.endswith(".py"):
            return _of_file(Path(place))
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        return importlib.import_module(place)
    except Exception as error:  # whatever the file does when it is read
        if isinstance(error, AccordError) or ran_out_of_memory(error):
            raise
        line = " ".join(str(error).split())[:300]
        what = f"{place} cannot be imported ({type(error).__name__}: {line})"
        fix = "check the name; modules of the current directory are found, too"
        raise InputError(what, where=written, fix=fix) from error


def _of_file(path: Path) -> ModuleType:
    """A module under its whole path as its name; its directory is searched for what it imports."""
    name = str(path.resolve())
    if name in sys.modules:
        return sys.modules[name]
    if str(path.resolve().parent) not in sys.path:
        sys.path.append(str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _shown(value: object) -> str:
    line = " ".join(repr(value).split())
    return f"{line[:60]}{'...' if len(line) > 60 else ''} ({type(value).__name__})"


def _float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond every float
        return math.inf
