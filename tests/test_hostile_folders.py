"""What somebody else put into a folder neither breaks `accord runs` and `accord verify` nor reaches the terminal."""

import json
import os
import signal
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from accord.models import manifest
from accord.training.run import RunFolder

EVIL = "x\x1b]0;title\x07\x1b[2J\r[/bold]"


def named(place: Path, name: str = "run", **about: object) -> Path:
    with RunFolder(place / name) as folder:
        folder.claim("sft")
        folder.record(**about)
        folder.log(1, 0.1, {"loss": 1.0})
    return place / name


def with_manifest(place: Path, **said: object) -> None:
    own = json.dumps(said, sort_keys=True)
    (place / manifest.NAME).write_text(json.dumps({**said, "self": manifest._self(json.loads(own))}))


def pipe(name: str) -> Callable[[Path], object]:
    """Who opens it waits for ever."""

    def make(place: Path) -> None:
        path = named(place) / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return make


FOLDERS: dict[str, Callable[[Path], object]] = {
    "an evil name": lambda place: named(place, EVIL.replace("/", "")),
    "markup in the name": lambda place: named(place, "a[/b]"),
    "a name that is no UTF-8": lambda place: named(place, os.fsdecode(b"r\xff")),
    "an evil error": lambda place: named(place, ended={"state": "failed", "code": EVIL, "error": EVIL + "\nmore"}),
    "an evil total": lambda place: named(place, total=EVIL),
    "an evil lock": lambda place: (named(place) / "run.lock").write_text(EVIL),
    "an evil option": lambda place: (named(place) / "run.yaml").write_text(f"{EVIL}: <object>\n"),
    "a list for a command": lambda place: named(place, command=["sft"]),
    "a date without end": lambda place: named(place, started=10**400),
    "a loss without end": lambda place: (named(place) / "metrics.jsonl").write_text(f'{{"loss": 1{"0" * 400}}}\n'),
    "a deep line": lambda place: (named(place) / "metrics.jsonl").write_text('{"loss": ' + "[" * 100_000 + "\n"),
    "deep options": lambda place: (named(place) / "run.yaml").write_text("output_dir: " + "[" * 5000 + "\n"),
    "an evil file in a manifest": lambda place: with_manifest(named(place), format=1, files={EVIL: {"bytes": 1}}),
    "a manifest of a list": lambda place: with_manifest(named(place), format=1, files=[]),
    "a manifest of no format": lambda place: with_manifest(named(place), files={}),
    **{f"a pipe for {name}": pipe(name) for name in ("run.json", "metrics.jsonl", "run.lock", "run.yaml")},
}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_hostile_folder_is_shown_and_nothing_in_it_obeyed(what: str, tmp_path: Path, capsys: Any) -> None:
    FOLDERS[what](tmp_path)
    signal.alarm(60)  # where it waited it would wait for ever
    named(tmp_path, "another")
    for command in (["runs"], ["runs", "--json=-"], ["verify"], ["verify", "--json=-"]):
        code = main([command[0], str(tmp_path), *command[1:]])
        out, err = capsys.readouterr()
        assert code in ((0,) if command[0] == "runs" else (0, 6)), err
        assert "another" in out
        assert not {one for one in out if unicodedata.category(one) in ("Cc", "Cf", "Cs")} - {"\n"}
        if "--json=-" in command:
            json.loads(out)
    signal.alarm(0)
