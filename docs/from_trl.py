"""Writes the table of docs/from_trl.md anew, from the table that the program itself uses: python docs/from_trl.py"""

from __future__ import annotations

from pathlib import Path

from accord.stages.aliases import ANY, LEFT_OUT, OLD, ROWS, Joined, Renamed, Row, Same
from accord.stages.commands import COMMANDS
from accord.stages.leaves import leaves

PAGE = Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- the table: python docs/from_trl.py -->\n", "<!-- end of the table -->\n"
FEW = 4  # words of a value that are listed
# What an option is worth where it is not given, by TRL's name; of the stages that have it.
OURS = leaves(COMMANDS["reward"].config) | leaves(COMMANDS["dpo"].config)
OF_THE_LOSS = [leaf.key for leaf in OURS.values() if leaf.group == "preference" and leaf.default is None]


def shown(value: object) -> str:
    """A value as one would write it in YAML."""
    if value is OLD:
        return "(earlier versions)"
    if value == "":
        return "empty"
    return "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def here(name: str, row: Row) -> tuple[str, str]:
    """(what it is here, what is to be said of it)."""
    if isinstance(row, Joined):
        return f"`{row.to}`", row.why
    if isinstance(row, Same | Renamed):
        target = row.to if isinstance(row, Renamed) else name
        pairs = [f"{key} is {'not given' if value is LEFT_OUT else shown(value)}" for key, value in row.values.items()]
        default = OURS[target].default
        pairs = pairs if len(pairs) < FEW else []
        differs = isinstance(row, Same) and row.default != default and name not in ("output_dir", "learning_rate")
        own = [f"default here {'that of the loss' if name in OF_THE_LOSS else shown(default)}"] if differs else []
        return "the same" if target == name else f"`{target}`", "; ".join(
            [*([row.why] if row.why else []), *pairs, *own]
        )
    takes = "any value, without effect" if row.takes is ANY else "only " + ", ".join(map(shown, row.takes))
    return takes, row.why


def table() -> str:
    """Every option of TRL's, in alphabetical order."""
    lines = ["| TRL | default there | here | note |", "| --- | --- | --- | --- |"]
    for name in sorted(ROWS):
        what, note = here(name, ROWS[name])
        lines.append(f"| `{name}` | {shown(ROWS[name].default)} | {what} | {note} |")
    return "\n".join(line.replace("  |", " |") for line in lines) + "\n"


def renewed(text: str) -> str:
    """The page with its table as it is now."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
