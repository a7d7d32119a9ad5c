"""What the runs were started with, and what repeats them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence

from accord.evaluate.report.families import Family
from accord.evaluate.report.page import Code, Folded, Grid, Notice, Part, Section
from accord.evaluate.report.ran import Ran
from accord.evaluate.report.values import Json, number
from accord.stages.commands import COMMANDS
from accord.stages.leaves import Leaf, leaves
from accord.stages.resolve import OBJECT

# They differ, and change nothing of what is learned.
OF_THE_PLACE = ("output_dir", "run_name", "project", "report_to", "resume")
DIFFER = "Runs of the same stage, and the options in which they differ; everything else is the same for all of them."
SET = "What was chosen; all other options have their defaults."
DIGITS = 16
REPEAT = (
    "What repeats each run: the options that were given, every other one having its default in this version. Run it in "
    "the directory named by cd, to which paths are relative. The same data, version and kind of machine give the same "
    "numbers."
)


def section(families: Sequence[Family]) -> Section | None:
    """None where no run has a config."""
    parts = [part for family in families for part in _of_family(family)]
    everything: list[Part] = [
        Code(_yaml(ran.options), ran.name) for family in families for ran in family.runs if ran.options
    ]
    if not everything:
        return None
    return Section("options", "Options", "", [*parts, Folded("Every option of every run", everything)])


def _of_family(family: Family) -> Iterator[Part]:
    runs = [ran for ran in family.runs if ran.options]
    keys = list(dict.fromkeys(key for ran in runs for key in ran.options if key not in OF_THE_PLACE))
    differing = [key for key in keys if len({_text(ran.options[key]) for ran in runs if key in ran.options}) > 1]
    known = {key: leaf for ran in runs for key, leaf in leaves(COMMANDS[ran.command].config).items()}
    if differing:
        yield _grid(f"{family.title}: what differs between the runs", differing, runs, known, DIFFER)
    elif len(runs) > 1:
        yield Notice(f"{family.title}: these runs have the same options.", "note")
    chosen = [key for key in keys if key not in differing and any(key in given(ran) for ran in runs)]
    if chosen:
        what = "what all of them share and is no default" if len(runs) > 1 else f"what {runs[0].name} was given"
        owner = {key: next(ran for ran in runs if key in ran.options) for key in chosen}
        rows = [[_explained(key, known), _text(owner[key].options[key])] for key in chosen]
        yield Folded(f"{family.title}: {what}", [Grid(SET, ["option", "value"], rows)])


def _grid(title: str, keys: Sequence[str], runs: Sequence[Ran], known: Mapping[str, Leaf], note: str) -> Grid:
    """Empty where the command of a run has no such option."""
    rows = [
        [_explained(key, known), *(_text(ran.options[key]) if key in ran.options else "" for ran in runs)]
        for key in keys
    ]
    return Grid(title, ["option", *(ran.name for ran in runs)], rows, note)


def _explained(key: str, known: Mapping[str, Leaf]) -> str:
    return f"{key}\n{known[key].help}" if key in known else key


def given(ran: Ran) -> dict[str, object]:
    """The options of a run that are not at the default of its command."""
    known = leaves(COMMANDS[ran.command].config)
    return {
        key: value
        for key, value in ran.options.items()
        if key in known and (known[key].required or value != known[key].default)
    }


def _text(value: object) -> str:
    """As the command line takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _yaml(options: Json) -> str:
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())


def repeating(runs: Sequence[Ran]) -> Section | None:
    """The commands, versions and digests. None where no run has a config."""
    known = [ran for ran in runs if ran.options and ran.command in COMMANDS]
    if not known:
        return None
    parts: list[Part] = [Code(command_of(ran), ran.name) for ran in known]
    unsaid = [ran.name for ran in known if OBJECT in ran.options.values()]
    if unsaid:
        parts.append(Notice(f"Begun from Python with objects, which no command line can name: {', '.join(unsaid)}."))
    return Section("repeat", "To repeat it", REPEAT, [*parts, *_versions(known), *_digests(known)])


def command_of(ran: Ran) -> str:
    """One option a line. Its folder is a new one, beside that of the run."""
    chosen = {**given(ran), "output_dir": f"{ran.options.get('output_dir', ran.folder)}-again"}
    chosen = {key: value for key, value in chosen.items() if key != "resume"}
    options = [f"--{key}={shlex.quote(_text(value))}" for key, value in chosen.items()]
    home = ran.about.get("directory")
    place = f"cd {shlex.quote(home)}\n" if isinstance(home, str) else ""
    return place + " \\\n    ".join([f"accord {ran.command}", *options])


def _versions(runs: Sequence[Ran]) -> Iterator[Part]:
    names = ("code", "torch", "transformers", "python", "device", "threads")
    rows = [[ran.name, *(str(ran.versions.get(name, "")) for name in names)] for ran in runs if ran.versions]
    if rows:
        yield Grid("What the runs were computed by", ["run", *names], rows, "From their last checkpoints.")


def _digests(runs: Sequence[Ran]) -> Iterator[Part]:
    rows = [[ran.name, str(ran.summary["data"]["fingerprint"])[:DIGITS], *_weights(ran)] for ran in runs if _told(ran)]
    if rows:
        note = f"The first {DIGITS} digits. Data: of the tokens that were learned from. Weights: SHA-256 of the file."
        yield Grid("Digests", ["run", "data", "weights", "seed"], rows, note)
    lines = {
        ran.name: "\n".join(f"{digest}  {file}" for file, digest in ran.digests.items()) for ran in runs if ran.digests
    }
    if lines:
        yield Folded("SHA-256 of every file of the models", [Code(text, name) for name, text in lines.items()])


def _told(ran: Ran) -> bool:
    data = ran.summary.get("data")
    return isinstance(data, dict) and isinstance(data.get("fingerprint"), str)


def _weights(ran: Ran) -> tuple[str, str]:
    digest = next((digest for file, digest in ran.digests.items() if file.endswith(".safetensors")), "")
    seed = number(ran.options.get("seed"))
    return digest[:DIGITS], "" if seed is None else f"{seed:.0f}"
