"""Writes the tables of docs/from_trl.md anew, from those that the program itself uses: python docs/from_trl.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from accord.stages.aliases import ANY, LEFT_OUT, OLD, ROWS, Joined, Renamed, Row, Same
from accord.stages.commands import COMMANDS
from accord.stages.leaves import Leaf, leaves
from accord.stages.rl_aliases import RL_ROWS
from accord.stages.rl_names import ALGORITHMS

PAGE = Path(__file__).with_suffix(".md")
FEW = 4  # words of a value that are listed
# What an option is worth where it is not given, by TRL's name; of the stages that have it.
OURS = leaves(COMMANDS["reward"].config) | leaves(COMMANDS["dpo"].config)
OF_RL = leaves(COMMANDS["rl"].config)
TABLES = {"table": (ROWS, OURS), "table of reinforcement learning": (RL_ROWS, OF_RL)}
OF_THE_LOSS = [leaf.key for leaf in OURS.values() if leaf.group == "preference" and leaf.default is None]


def shown(value: object) -> str:
    """A value as one would write it in YAML."""
    if value is OLD:
        return "(earlier versions)"
    if value == "":
        return "empty"
    return "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def own_default(name: str, ours: Mapping[str, Leaf]) -> str:
    """What an option of ours is where it is not given."""
    if name in OF_THE_LOSS and ours is OURS:
        return "that of the loss"
    by_algorithm: dict[object, list[str]] = {}
    for algorithm, about in ALGORITHMS.items():
        by_algorithm.setdefault(about.defaults.get(name), []).append(algorithm)
    if None not in by_algorithm:
        return ", ".join(f"{shown(value)} ({', '.join(names)})" for value, names in by_algorithm.items())
    return shown(ours[name].default)


def here(name: str, row: Row, ours: Mapping[str, Leaf]) -> tuple[str, str]:
    """(what it is here, what is to be said of it)."""
    if isinstance(row, Joined):
        return f"`{row.to}`", row.why
    if isinstance(row, Same | Renamed):
        target = row.to if isinstance(row, Renamed) else name
        pairs = [f"{key} is {'not given' if value is LEFT_OUT else shown(value)}" for key, value in row.values.items()]
        pairs = pairs if len(pairs) < FEW else []
        differs = isinstance(row, Same) and row.default != ours[target].default
        differs = differs and name not in ("output_dir", "learning_rate")
        own = [f"default here {own_default(name, ours)}"] if differs else []
        return "the same" if target == name else f"`{target}`", "; ".join(
            [*([row.why] if row.why else []), *pairs, *own]
        )
    takes = "any value, without effect" if row.takes is ANY else "only " + ", ".join(map(shown, row.takes))
    return takes, row.why


def table(rows: Mapping[str, Row], ours: Mapping[str, Leaf]) -> str:
    """Every option of TRL's, in alphabetical order."""
    lines = ["| TRL | default there | here | note |", "| --- | --- | --- | --- |"]
    for name in sorted(rows):
        what, note = here(name, rows[name], ours)
        lines.append(f"| `{name}` | {shown(rows[name].default)} | {what} | {note} |")
    return "\n".join(line.replace("  |", " |") for line in lines) + "\n"


def renewed(text: str) -> str:
    """The page with its tables as they are now."""
    for name, (rows, ours) in TABLES.items():
        begin, end = f"<!-- the {name}: python docs/from_trl.py -->\n", f"<!-- end of the {name} -->\n"
        before, rest = text.split(begin)
        text = before + begin + table(rows, ours) + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
