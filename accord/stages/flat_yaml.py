"""A flat YAML file, `key: value`, read so that every value keeps its line.

Scalars, also in lists, stay text, as on the command line, and are read by the type of their option: `1e-6` is a number
(YAML 1.1 takes it for a text), `010` is ten, a directory called `123` stays a text.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import yaml

from accord.errors import InputError

NULL = "tag:yaml.org,2002:null"
T = TypeVar("T")


class Given(NamedTuple):
    """A value that somebody gave; `place` is its file and line (`config.yaml:3`), empty for an argument.

    spelling: the name that it was given under, where that is not the option's own.
    """

    value: object
    place: str = ""
    spelling: str = ""

    def at(self, name: str, where: str) -> str:
        """What an error about it begins with; where: what stands before the name of an argument."""
        name = self.spelling or name
        return f"{self.place}: {name}" if self.place else f"{where}{name}"


class Sections(NamedTuple):
    """The keys of a file, and by name those that stand below one: `ppo:` and, further in, options of its own."""

    common: dict[str, Given]
    named: dict[str, dict[str, Given]]


def read_yaml(file: str) -> dict[str, Given]:
    """The keys of a YAML file (hyphens as underscores): text, None, or what a nested value holds. Raises InputError."""
    return _read(file, _mapping) or {}


def read_sections(file: str) -> Sections:
    """The same of a file whose nested mappings are sections, and no values. Raises InputError."""
    return _read(file, _sections) or Sections({}, {})


def _read(file: str, of: Callable[[yaml.SafeLoader, yaml.Node, str], T]) -> T | None:
    """What `of` makes of the file's root; None for an empty file."""
    loader = yaml.SafeLoader(_text(file))
    try:
        root = loader.get_single_node()
        return None if root is None else of(loader, root, file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}" if mark else file
        raise InputError(f"not YAML ({error.problem})", where=place, fix="write one `key: value` a line") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"not YAML ({error})", where=file, fix="write one `key: value` a line") from error
    finally:
        loader.dispose()


def _sections(loader: yaml.SafeLoader, root: yaml.Node, file: str) -> Sections:
    whole = _mapping(loader, root, file)
    nodes = {str(key.value): node for key, node in root.value if isinstance(node, yaml.MappingNode)}
    common = {key: value for key, value in whole.items() if key not in {name.replace("-", "_") for name in nodes}}
    return Sections(common, {name: _mapping(loader, node, file) for name, node in nodes.items()})


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=file, fix="give a YAML file") from error
    except ValueError as error:
        raise InputError(f"not text ({error})", where=file, fix="give a YAML file in UTF-8") from error


def _mapping(loader: yaml.SafeLoader, root: yaml.Node, file: str) -> dict[str, Given]:
    if not isinstance(root, yaml.MappingNode):
        raise InputError("not a list of options", where=f"{file}:1", fix="write one `key: value` a line")
    _refuse_twice(root, file)
    found: dict[str, Given] = {}
    for key_node, node in root.value:
        line = key_node.start_mark.line + 1
        key = str(key_node.value).replace("-", "_") if isinstance(key_node, yaml.ScalarNode) else "?"
        if key == "env":
            what = "env: is not supported, as a config sets options, not the process's environment"
            raise InputError(what, where=f"{file}:{line}", fix="set the variables in the shell")
        found[key] = Given(_value(loader, node), f"{file}:{line}")
    return found


def _value(loader: yaml.SafeLoader, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == NULL else node.value
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_value(loader, item) for item in node.value]
    return loader.construct_object(node, deep=True)


def _refuse_twice(root: yaml.MappingNode, file: str) -> None:
    """A key that stands twice in one mapping, at any depth: YAML libraries take the last and say nothing."""
    waiting: list[yaml.Node] = [root]
    seen: set[int] = set()  # an anchor may be inside itself
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        lines: dict[str, int] = {}
        for child in node.value if isinstance(node, yaml.CollectionNode) else ():
            waiting += child if isinstance(child, tuple) else [child]
            if isinstance(child, tuple) and isinstance(child[0], yaml.ScalarNode):
                line, key = child[0].start_mark.line + 1, child[0].value
                key = key.replace("-", "_") if node is root else key
                if key in lines:
                    what = f"{key!r} is given twice, first in line {lines[key]}"
                    raise InputError(what, where=f"{file}:{line}", fix="keep one of the two")
                lines[key] = line
