"""Reward functions as people have them for TRL: of columns of prompts and completions, where ours are of groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from accord.errors import InputError
from accord.records import Group, Text
from accord.stages.reward_function import Function

COLUMNS = ("prompts", "completions")  # what a sample has here of what TRL passes


def of_groups(function: Callable[..., Any], written: str) -> Function:
    """The function itself; one that names a parameter `completions`, and none `groups`, is called as TRL does.

    InputError where it wants more than a sample has.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of C, without a signature
        return function
    if "completions" not in parameters or "groups" in parameters:
        return function
    kinds = {name: parameter.kind for name, parameter in parameters.items()}
    open_ended = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [name for name, one in parameters.items() if one.default is one.empty and kinds[name] not in open_ended]
    if more := [name for name in needed if name not in COLUMNS]:
        what = f"wants {more[0]}, and samples come with prompts and completions alone"
        raise InputError(what, where=written, fix="give it a default, or write a function of groups")
    takes_all = inspect.Parameter.VAR_KEYWORD in kinds.values()
    names = [name for name in COLUMNS if takes_all or name in parameters]

    def by_columns(groups: Sequence[Group]) -> Sequence[float]:
        columns = {
            "prompts": [_as_there(group.prompt) for group in groups],
            "completions": [_as_there(completion.content) for group in groups for completion in group.completions],
        }
        found: Sequence[float] = function(**{name: columns[name] for name in names})
        return found

    return by_columns


def _as_there(text: Text) -> str | list[dict[str, Any]]:
    """Plain text, or turns as dictionaries."""
    return text if isinstance(text, str) else [turn.plain() for turn in text]
