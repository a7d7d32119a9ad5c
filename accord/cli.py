"""The command `accord`: its words, its help, and the one line that ends every failure.

Typer draws the help and picks the command; the options come from the configs. Neither torch nor a stage is imported
before a command runs.
"""

import inspect
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, Any, NamedTuple

import typer
from rich.markup import escape

from accord import __version__
from accord.errors import AccordError, InputError, Terminated, exit_code, ran_out_of_memory
from accord.stages.collect_commands import GROUPS
from accord.stages.command import Command
from accord.stages.commands import COMMANDS, execute
from accord.stages.leaves import Leaf, leaves
from accord.stages.resolve import load, nearest, unknown
from accord.stages.translate import OF_TRAINING, is_flag, is_trl
from accord.training.stop import to_nowhere

OVERVIEW = """[bold]From texts and human comparisons to an aligned model.[/bold]

Each stage takes the folder that the one before it wrote: [bold]init[/bold], [bold]pretrain[/bold], [bold]sft[/bold],
[bold]dpo[/bold]. With a model from the Hugging Face hub, start at sft, or at dpo if it already follows instructions.
Every loss of dpo is a command, too: [bold]kto[/bold], [bold]simpo[/bold], [bold]orpo[/bold], [bold]ipo[/bold] ...
([bold]accord losses[/bold] lists them).

Start with [bold]accord demo[/bold]. What a command takes: [bold]accord COMMAND --help[/bold]."""
SPELLING = (
    "Options are spelt with underscores or hyphens and with a space or =; true may be left out (--dry_run). What the "
    "command line gives wins over the file of --config, whose keys are the options without --."
)
TRL_WORKS = (
    " The names and values of trl sft, dpo, kto, reward, grpo and rloo work, too: docs/from_trl.md says which, and "
    "why not."
)
ALIAS = "trl"  # the hidden option that carries them past Typer, as NAME=VALUE
SEVERAL = ("loss_weights", "reward_funcs", "reward_clip_range")  # several words each in TRL, and no options of ours
OF_EVERY_STAGE = (
    "Training",
    "Adapter",
    "Run",
    "Best step",
)  # the last panels of the help: all stages have them
ROOT_OPTIONS = ("--help", "--version", "--install-completion", "--show-completion")


class Chosen(NamedTuple):
    """What a command line asks for."""

    command: str
    config: str | None
    arguments: dict[str, object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (`sys.argv` unless given) and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _terminating():
            command = typer.main.get_command(application())
            chosen = command.main(args=spelled(words), prog_name="accord", standalone_mode=False)
            return run(chosen) if isinstance(chosen, Chosen) else int(chosen or 0)
    except BrokenPipeError:  # who read standard output has seen enough, as head has
        to_nowhere(sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, Exception) as error:
        if "--debug" in words:
            traceback.print_exc()
        others = error.others if isinstance(error, AccordError) else ()
        hint = getattr(error, "hint", "")
        with suppress(OSError):  # nobody reads it, which changes nothing of how it ended
            for line in (*others, *([hint] if hint else []), ending(error)):
                print(str(line).replace("\n", "\\n"), file=sys.stderr)
        return exit_code(error)


@contextmanager
def _terminating() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise Terminated, unless they were ignored before, as under nohup.

    Only the main thread may ask for that.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGHUP) if is_main else ()
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, terminate) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(chosen: Chosen) -> int:
    """Checks the config and runs the command: 0, unless the result has an `exit_code` of its own."""
    config = load(COMMANDS[chosen.command].config, file=chosen.config, arguments=chosen.arguments)
    return int(getattr(execute(chosen.command, config, {}), "exit_code", 0))


def ending(error: BaseException) -> str:
    """The line that a failure ends with: `error[CODE] where: what: fix`."""
    if isinstance(error, KeyboardInterrupt):
        what = "terminated" if isinstance(error, Terminated) else "interrupted"
        text = f"{what}: nothing is left half-written: repeat the command, with --resume where its run had begun"
    elif isinstance(error, AccordError):
        text = str(error)
    elif ran_out_of_memory(error):
        line = str(error).split("\n")[0][:200]
        what = f"no memory was left ({type(error).__name__}{': ' + line if line else ''})"
        text = f"{what}: a smaller --max_tokens, --max_length or model, --gradient_checkpointing, or --dtype bf16"
    else:
        text = f"{type(error).__name__}: {error}: unexpected: repeat with --debug to see where"
    return f"error[{exit_code(error)}] {text}"


def spelled(words: Sequence[str]) -> list[str]:
    """The command line in the one spelling that Typer gets: `--some_key=value`, and no --debug.

    Raises InputError for a command or option that does not exist, or an option without its value.
    """
    words = ["--help" if word == "-h" else word for word in words if word != "--debug"]
    start = next((index for index, word in enumerate(words) if not word.startswith("-")), len(words))
    for word in words[:start]:
        if word not in ROOT_OPTIONS:
            raise unknown(word.removeprefix("--"), (option.removeprefix("--") for option in ROOT_OPTIONS), word)
    if start == len(words):
        return words
    name, end = words[start], start + 1
    if name in GROUPS:
        if end == len(words) or words[end] == "--help":
            return [*words[:end], "--help"]
        name, end = f"{name} {words[end]}", end + 1
    if name not in COMMANDS:
        raise _no_command(name)
    return [*words[:end], *_options(words[end:], COMMANDS[name])]


def _no_command(name: str) -> InputError:
    """Names the nearest one, or all: those of its group, where it has one."""
    group, _, own = name.rpartition(" ")
    inside = {other.rpartition(" ")[2]: row for other, row in COMMANDS.items() if other.rpartition(" ")[0] == group}
    near = nearest(own, [*inside, *(() if group else GROUPS)])
    shown = ", ".join([*(other for other, row in inside.items() if not row.hidden), *(() if group else GROUPS)])
    fix = f"did you mean {near!r}?" if near else f"the commands are {shown}"
    return InputError(f"unknown command {own!r}", where=f"accord {group}".strip(), fix=fix)


def _options(words: Sequence[str], command: Command) -> Iterator[str]:
    known = leaves(command.config)
    rest, places = list(reversed(words)), command.word.split()
    given: set[str] = set()
    while rest:
        word = rest.pop()
        key, equals, value = word.removeprefix("--").partition("=")
        key = key.replace("-", "_")
        if not word.startswith("--"):
            if not places:
                fix = "every value needs its option before it, as --data FILE; a pattern is put in quotes"
                raise InputError("not an option", where=word, fix=fix)
            key, equals = places.pop(0), "="
            value = _several(word, rest) if not places and known[key].is_list else word
        if key == "help":
            yield "--help"
            continue
        if key not in ("config", *known):
            key, is_false = _of_trl(key, known)
            equals, value = ("=", "false") if is_false else (equals, value)
        if key in given:
            raise InputError("given twice", where=f"--{key}", fix="keep one of the two")
        given.add(key)
        if not equals:
            value = _value(key, known, rest)
        # TRL's names are no options of Typer's, which are those in the help.
        yield f"--{key}={value}" if key in ("config", *known) else f"--{ALIAS}={key}={value}"


def _several(word: str, rest: list[str]) -> str:
    """The words that a list is given as, where no option stands before them: all that follow each other."""
    following = [word]
    while rest and not rest[-1].startswith("--"):
        following.append(rest.pop())
    return word if len(following) == 1 else json.dumps(following)


def _of_trl(key: str, known: Mapping[str, Leaf]) -> tuple[str, bool]:
    """The name that TRL knows this by, and whether it is said to be false, as by --no_bf16."""
    if OF_TRAINING in known:
        if is_trl(key, known):
            return key, False
        positive = key.removeprefix("no_")
        if positive != key and is_trl(positive, known) and is_flag(positive, known):
            return positive, True
    raise unknown(key, ("config", *known), f"--{key}")


def _value(key: str, known: Mapping[str, Leaf], rest: list[str]) -> str:
    """The value that follows an option; several, where it takes a list."""
    following: list[str] = []
    several = key in SEVERAL or (key in known and known[key].is_list)
    while rest and not rest[-1].startswith("--") and (several or not following):
        following.append(rest.pop())
    if not following:
        return _bare(key, known)
    return following[0] if len(following) == 1 else json.dumps(following)


def _bare(key: str, known: Mapping[str, Leaf]) -> str:
    """What an option without a value means."""
    if bool in known[key].types if key in known else key != "config" and is_flag(key, known):
        return "true"
    kind = known[key].kind if key in known else "a YAML file" if key == "config" else "one"
    raise InputError("has no value", where=f"--{key}", fix=f"give {kind}, after = if it begins with --")


def application() -> typer.Typer:
    """The commands and their help."""
    app = typer.Typer(
        help=OVERVIEW,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        invoke_without_command=True,
        callback=_root,
    )
    inside = {name: typer.Typer(rich_markup_mode="rich", no_args_is_help=True) for name in GROUPS}
    for name, group in inside.items():
        app.add_typer(group, name=name, help=GROUPS[name], rich_help_panel="Beside them")
    for name, row in COMMANDS.items():
        text = f"{row.help}\n\n[bold]{escape(row.example)}[/bold]"
        how: dict[str, Any] = {"short_help": row.help, "rich_help_panel": row.panel, "hidden": row.hidden}
        required = {leaf.key for leaf in leaves(row.config).values() if leaf.required}
        places = [word.upper() if word in required else f"[{word.upper()}]" for word in row.word.split()]
        usage = " ".join((*places, "[OPTIONS]"))
        within, _, own = name.rpartition(" ")
        to = inside[within] if within else app
        to.command(own, help=text, epilog=_epilog(row), options_metavar=usage, **how)(_command(name))
    return app


def _epilog(row: Command) -> str:
    return SPELLING + (TRL_WORKS if OF_TRAINING in leaves(row.config) else "")


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="The version of Accord.")] = False,
) -> None:
    if version:
        print(f"accord {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def _command(name: str) -> Callable[..., Chosen]:
    """A function whose signature is the command's options, as Typer wants it; it only says what was chosen."""

    def choose(config: str | None, debug: bool, trl: list[str] | None, **options: str | None) -> Chosen:
        named: dict[str, object] = {}
        for pair in trl or ():
            key, _, named[key] = pair.partition("=")
        return Chosen(name, config, named | {key: value for key, value in options.items() if value is not None})

    inside = sorted(leaves(COMMANDS[name].config).values(), key=lambda leaf: leaf.panel in OF_EVERY_STAGE)
    parameters = [_parameter(leaf) for leaf in inside]
    choose.__signature__ = inspect.Signature([*OF_EVERY_COMMAND, *parameters])  # type: ignore[attr-defined]
    choose.__annotations__ = {}
    return choose


def _option(key: str, type_: object, default: object, **how: Any) -> inspect.Parameter:
    annotation = Annotated[type_, typer.Option(f"--{key}", **how)]  # type: ignore[valid-type]
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


OF_EVERY_COMMAND = (
    _option("config", str | None, None, metavar="FILE", help="A YAML file with options, one `key: value` a line."),
    _option("debug", bool, False, help="Show the traceback of a failure."),
    _option(ALIAS, list[str] | None, None, hidden=True),
)


def _parameter(leaf: Leaf) -> inspect.Parameter:
    choices = f" One of {', '.join(leaf.choices)}." if leaf.choices else ""
    notes = [*(["required"] if leaf.required else _shown(leaf.default)), *([leaf.bounds] if leaf.bounds else [])]
    kinds = {bool: "true|false", int: "INTEGER", float: "NUMBER"}
    return _option(
        leaf.key,
        str | None,
        None,
        metavar=leaf.title or next((kinds[member] for member in leaf.types if member in kinds), "NAME"),
        help=escape(leaf.help + choices + (f" [{', '.join(notes)}]" if notes else "")),
        rich_help_panel=leaf.panel,
    )


def _shown(default: object) -> list[str]:
    """A default as one would type it, as far as there is one."""
    if isinstance(default, list | tuple):
        default = ",".join(str(one) for one in default)
    return [] if default in (None, {}, "") else [f"default {str(default).lower()}"]
