"""A program: renders a chat template for a few conversations, under limits on time and memory, and exits.

accord.data.sandbox starts it as a process of its own. It reads one JSON object from standard input (`Job`), writes the
line "ready" once everything is imported and the limits hold, and then one JSON object (`answer`). Standard library only
until the job says where packages are found.
"""

import contextlib
import datetime
import importlib
import json
import math
import os
import resource
import signal
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

Answer = dict[str, str]  # "text": what was written; or "error": the name of the exception, "what": its message


class Job(TypedDict):
    path: list[str]  # the starter's sys.path
    package: str  # the folder of transformers
    cpu_s: float
    memory_bytes: int  # beyond what the program needs by itself
    characters: int  # the longest text that may come of one conversation
    template: str
    given: dict[str, Any]  # the template's other variables
    clock: str | None  # the time that it is told, ISO 8601; none: the true one
    conversations: list[dict[str, Any]]  # messages, tools, add_generation_prompt


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever else is printed is no answer
    job: Job = json.loads(sys.stdin.read())
    sys.path[:] = job["path"]
    renderer = _renderer(job["package"])
    _limit(job)
    print("ready", file=out, flush=True)
    print(json.dumps(list(answers(renderer, job))), file=out, flush=True)
    os._exit(0)  # nothing to tidy, and it takes a while


def answers(renderer: Any, job: Job) -> Iterator[Answer]:
    """What becomes of each conversation."""
    _tell(renderer, job)
    for conversation in job["conversations"]:
        try:
            messages = conversation.pop("messages")
            (text,), _ = renderer.render_jinja_template(
                [messages], chat_template=job["template"], **conversation, **job["given"]
            )
        except Exception as error:  # whatever it is, the template has caused it
            yield {"error": type(error).__name__, "what": _said(error)}
            continue
        if len(text) > job["characters"]:
            yield {"error": "MemoryError", "what": f"{len(text)} characters for one conversation"}
        else:
            yield {"text": text}


def _tell(renderer: Any, job: Job) -> None:
    if job["clock"] is not None:
        with contextlib.suppress(Exception):  # no template, or transformers has changed: rendering says so
            clock = datetime.datetime.fromisoformat(job["clock"])
            renderer._compile_jinja_template(job["template"]).globals["strftime_now"] = clock.strftime


def _said(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    return str(error)[:500] + (f" (line {line})" if line else "")


def _renderer(package: str) -> Any:
    """transformers.utils.chat_template_utils. Its packages' own imports take half a second and are not needed for it:
    empty ones in their place; or, should a version need them, the whole."""
    for name, folder in (("transformers", Path(package)), ("transformers.utils", Path(package) / "utils")):
        stand_in = types.ModuleType(name)
        stand_in.__path__ = [str(folder)]
        sys.modules[name] = stand_in
    try:
        return importlib.import_module("transformers.utils.chat_template_utils")
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
            del sys.modules[name]
        return importlib.import_module("transformers.utils.chat_template_utils")


def _limit(job: Job) -> None:
    """From here on: so much processor time, so much more memory, no file and no core dump. The kernel kills."""
    signal.setitimer(signal.ITIMER_PROF, job["cpu_s"])
    limits = {
        resource.RLIMIT_CPU: math.ceil(time.process_time() + job["cpu_s"]),
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    with contextlib.suppress(OSError):  # where there is no /proc
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + job["memory_bytes"]
    for kind, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # a limit that is already lower stays
            resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main()
