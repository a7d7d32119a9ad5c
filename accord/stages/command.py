"""What is known of a command: a row of COMMANDS."""

from typing import NamedTuple

from accord.stages.options import Config


class Command(NamedTuple):
    """A row of COMMANDS. `module` has `run(config, given) -> result`, and is imported only when it runs.

    word: the options that words without an option before them stand for, in order. hidden: not among the commands of
    the overview.
    """

    config: type[Config]
    module: str
    panel: str
    help: str
    example: str
    word: str = ""
    hidden: bool = False
