"""The command `accord`: its words, its help, and the one line that ends every failure.

Typer draws the help and picks the command; the options come from the configs. Neither torch nor a stage is imported
before a command runs.
"""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer
from rich.markup import escape

from accord import __version__
from accord.errors import AccordError, InputError
from accord.stages.config import COMMANDS, execute
from accord.stages.resolve import Leaf, leaves, load, nearest, unknown

OVERVIEW = """[bold]From texts and human comparisons to an aligned model.[/bold]

Each stage takes the folder that the one before it wrote: [bold]init[/bold], [bold]pretrain[/bold], [bold]sft[/bold],
[bold]dpo[/bold]. With a model from the Hugging Face hub, start at sft, or at dpo if it already follows instructions.

Start with [bold]accord demo[/bold]. What a command takes: [bold]accord COMMAND --help[/bold]."""
SPELLING = (
    "Options are spelt with underscores or hyphens and with a space or =; true may be left out (--dry_run). What the "
    "command line gives wins over the file of --config, whose keys are the options without --."
)
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
        command = typer.main.get_command(application())
        chosen = command.main(args=spelled(words), prog_name="accord", standalone_mode=False)
        return run(chosen) if isinstance(chosen, Chosen) else int(chosen or 0)
    except (KeyboardInterrupt, Exception) as error:
        if "--debug" in words:
            traceback.print_exc()
        others = getattr(error, "others", ()) if isinstance(error, AccordError) else ()
        for line in (*others, ending(error)):
            print(str(line).replace("\n", "\\n"), file=sys.stderr)
        return exit_code(error)


def run(chosen: Chosen) -> int:
    """Checks the config and runs the command: 0, unless the result has an `exit_code` of its own."""
    config = load(COMMANDS[chosen.command].config, file=chosen.config, arguments=chosen.arguments)
    return int(getattr(execute(chosen.command, config, {}), "exit_code", 0))


def exit_code(error: BaseException) -> int:
    """DESIGN.md section 7; 1 for what nobody foresaw."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return error.code if isinstance(error, AccordError) else 1


def ending(error: BaseException) -> str:
    """The line that a failure ends with: `error[CODE] where: what: fix`."""
    if isinstance(error, KeyboardInterrupt):
        text = "interrupted"
    elif isinstance(error, AccordError):
        text = str(error)
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
    name = words[start]
    if name not in COMMANDS:
        near = nearest(name, COMMANDS)
        fix = f"did you mean {near!r}?" if near else f"the commands are {', '.join(COMMANDS)}"
        raise InputError(f"unknown command {name!r}", where="accord", fix=fix)
    return [*words[: start + 1], *_options(words[start + 1 :], leaves(COMMANDS[name].config))]


def _options(words: Sequence[str], known: Mapping[str, Leaf]) -> Iterator[str]:
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        key, equals, value = word.removeprefix("--").partition("=")
        key = key.replace("-", "_")
        if not word.startswith("--"):
            raise InputError("not an option", where=word, fix="every value needs its option before it, as --data FILE")
        if key == "help":
            yield "--help"
            continue
        if key not in ("config", *known):
            raise unknown(key, ("config", *known), f"--{key}")
        if not equals:
            has_value = bool(rest) and not rest[-1].startswith("--")
            value = rest.pop() if has_value else _bare(key, known)
        yield f"--{key}={value}"


def _bare(key: str, known: Mapping[str, Leaf]) -> str:
    """What an option without a value means."""
    if key in known and bool in known[key].types:
        return "true"
    kind = known[key].kind if key in known else "a YAML file"
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
    for name, row in COMMANDS.items():
        text = f"{row.help}\n\n[bold]{escape(row.example)}[/bold]"
        app.command(name, help=text, short_help=row.help, rich_help_panel=row.panel, epilog=SPELLING)(_command(name))
    return app


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

    def choose(config: str | None, debug: bool, **options: str | None) -> Chosen:
        return Chosen(name, config, {key: value for key, value in options.items() if value is not None})

    parameters = [_parameter(leaf) for leaf in leaves(COMMANDS[name].config).values()]
    choose.__signature__ = inspect.Signature([*OF_EVERY_COMMAND, *parameters])  # type: ignore[attr-defined]
    choose.__annotations__ = {}
    return choose


def _option(key: str, type_: object, default: object, **how: Any) -> inspect.Parameter:
    annotation = Annotated[type_, typer.Option(f"--{key}", **how)]  # type: ignore[valid-type]
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


OF_EVERY_COMMAND = (
    _option("config", str | None, None, metavar="FILE", help="A YAML file with options, one `key: value` a line."),
    _option("debug", bool, False, help="Show the traceback of a failure."),
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
    return [] if default in (None, {}) else [f"default {str(default).lower()}"]
