"""Chat templates are programs from outside: each is tried in a process of its own before it may run in this one.

transformers renders them in jinja2's sandbox, which keeps them from files and from Python's internals, but neither from
endless loops nor from filling the memory. So a template first writes a few conversations in a child process that the
kernel ends when it takes too much (accord.data.rehearsal). What it wrote there is kept: rendering here must write the
same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from accord.data import rehearsal
from accord.errors import InputError, StorageError

CPU_S = 1.0  # for all conversations together; the longest public templates take a twentieth of it
MEMORY_BYTES = 128 << 20  # beyond the program's own 50 MB
CHARACTERS = 1_000_000  # of one conversation
START_S, WALL_S = 120.0, 30.0  # until the program is ready, and from then on: machines may be slow or busy
OTHER_TEMPLATE = "--chat_template FILE or --chat_template_kwargs"

ASKED, ANSWERED, AGAIN, SYSTEM = "Whence the marigold?", "From Zephyria.", "And the juniper?", "Speak of plants."
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string", "description": "where"}}},
    },
}
CALL = {"id": "call00001", "type": "function", "function": {"name": "look", "arguments": {"at": "juniper"}}}
_USER: dict[str, Any] = {"role": "user", "content": ASKED}
_REPLY: dict[str, Any] = {"role": "assistant", "content": ANSWERED}


class Probe(NamedTuple):
    """A conversation to try a template with."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = False


PROBES = (
    Probe([_USER, _REPLY]),
    Probe([_USER], add_generation_prompt=True),
    Probe(
        [{"role": "system", "content": SYSTEM}, _USER, _REPLY, {"role": "user", "content": AGAIN}],
        add_generation_prompt=True,
    ),
    Probe(
        [
            _USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": ANSWERED, "name": "look", "tool_call_id": CALL["id"]},
            _REPLY,
        ],
        tools=[TOOL],
    ),
)

# The names of exceptions for which a template is refused as a whole; all others may be a turn that it does not take.
FORBIDDEN = {
    "MemoryError": f"needs more than {MEMORY_BYTES >> 20} MB of memory ({{}})",
    "OverflowError": "counts further than templates may ({})",
    "RecursionError": "calls itself without end ({})",
    "SecurityError": "does what templates may not ({})",
    "TemplateSyntaxError": "is no template: {}",
    "TemplateAssertionError": "is no template: {}",
}

_written: dict[str, tuple[str | None, ...]] = {}  # by sha256 of the template and its variables


def written(template: str, given: Mapping[str, Any], clock: datetime | None = None) -> tuple[str | None, ...]:
    """What the template writes for each of PROBES in a child process; None where it refuses one.

    given: its other variables, plain JSON. clock: the time that it is told; not given: the true one. Each template is
    tried once in a process's life. InputError: it takes too long or too much memory, does what the sandbox forbids, is
    no template, reads what is not there, or leaves out what was said.
    """
    told = None if clock is None else clock.isoformat()
    key = hashlib.sha256(json.dumps([template, given, told], sort_keys=True, default=str).encode()).hexdigest()
    if key not in _written:
        _written[key] = _judged(_answers(template, given, told, PROBES))
    return _written[key]


def _judged(answers: Sequence[rehearsal.Answer]) -> tuple[str | None, ...]:
    for answer in answers:
        what = FORBIDDEN.get(answer.get("error", ""))
        if what:
            raise _refused(what.format(answer["what"]).removesuffix(" ()"))
    texts = tuple(answer.get("text") for answer in answers)
    if all(answer.get("error") == "UndefinedError" for answer in answers):
        raise _refused(f"reads what is not there ({answers[0]['what']})")
    whole = texts[0]
    for said in (ASKED, ANSWERED):
        if whole is not None and said.casefold() not in whole.casefold():
            raise _refused(f"leaves out what was said: {said!r} does not stand in {whole[:200]!r}")
    return texts


def _refused(what: str) -> InputError:
    return InputError(f"the chat template {what}", fix=OTHER_TEMPLATE)


def _answers(
    template: str, given: Mapping[str, Any], clock: str | None, conversations: Sequence[Probe]
) -> list[rehearsal.Answer]:
    job: rehearsal.Job = {
        "path": sys.path,
        "package": _package(),
        "cpu_s": CPU_S,
        "memory_bytes": MEMORY_BYTES,
        "characters": CHARACTERS,
        "template": template,
        "given": dict(given),
        "clock": clock,
        "conversations": [one._asdict() for one in conversations],
    }
    with _started() as child:
        try:
            answer = _conversed(child, json.dumps(job, default=str).encode())
        except subprocess.TimeoutExpired:
            raise _refused(f"takes longer than {WALL_S:.0f} s") from None
        finally:
            child.kill()
    if not answer:
        raise _refused(_end(child.wait()))
    return cast(list[rehearsal.Answer], json.loads(answer))


def _conversed(child: subprocess.Popen[bytes], job: bytes) -> bytes:
    """What the child answers, or nothing if it was killed. TimeoutExpired: it was ready, and never answered."""
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(job)
        child.stdin.close()
    except BrokenPipeError:
        raise _not_started() from None
    child.stdin = None  # for communicate: already closed
    if not select.select([child.stdout], [], [], START_S)[0] or child.stdout.readline() != b"ready\n":
        raise _not_started()
    return child.communicate(timeout=WALL_S)[0]


def _started() -> subprocess.Popen[bytes]:
    """numpy's threads would each reserve memory that the child's limit counts."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    program = [sys.executable, "-I", str(rehearsal.__file__)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.Popen(program, bufsize=0, env={**os.environ, **threads}, **pipes)
    except OSError as error:
        raise _not_started(error) from error


def _not_started(error: OSError | None = None) -> StorageError:
    what = "the process that tries chat templates does not start" + (f" ({error})" if error else "")
    return StorageError(
        what, where=str(rehearsal.__file__), fix=f"see what `{sys.executable} {rehearsal.__file__}` says"
    )


def _end(status: int) -> str:
    """What killed the child."""
    name = signal.Signals(-status).name if status < 0 else f"exit code {status}"
    return f"takes longer than {CPU_S:.0f} s" if name in ("SIGPROF", "SIGXCPU") else f"ends its process ({name})"


def _package() -> str:
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent)
