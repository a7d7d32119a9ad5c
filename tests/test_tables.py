"""Tables on narrow terminals: long words are folded, numbers stay whole. And texts in files: whole or not at all."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from accord.errors import StorageError
from accord.stages.tables import put, show

INTERVAL = "+0.526 to +0.961"


def rows(name: str) -> list[dict[str, object]]:
    """A leaderboard's columns."""
    one = {"rank": 1, "ranks": "1 to 2", "model": name, "strength": "+0.744", "standard_error": "0.111"}
    return [one | {"95 % interval": INTERVAL, "elo": 1129, "n": "5,635"}]


@pytest.mark.parametrize("columns", [60, 76, 80, 100])
@pytest.mark.parametrize("length", [5, 19, 28, 90])
def test_only_what_is_long_is_folded(columns: int, length: int, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    show(rows("m" * length), title="strengths")
    lines = capsys.readouterr().out.splitlines()
    body = lines[next(i for i, line in enumerate(lines) if "──" in line) + 1 :]
    assert INTERVAL in body[0] and body[0].split()[-2:] == ["1129", "5,635"]
    assert sum(line.count("m") for line in body) == length
    if columns >= 80:
        assert max(map(len, lines)) <= columns
        assert any("m" * min(length, 20) in line for line in body)


def test_columns_that_are_short_all_are_never_cut(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    show([{f"column {i}": f"{1000 + i}.25 MB" for i in range(6)}], title="many")
    line = next(line for line in capsys.readouterr().out.splitlines() if "MB" in line)
    assert all(f"{1000 + i}.25 MB" in line for i in range(6))


def test_a_text_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="No space left on device"):
        put(tmp_path / "table.json", "new")
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(pipe.read_text)
        put(pipe, "new")
        assert reader.result(timeout=10) == "new"
    assert pipe.is_fifo()


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    link.symlink_to(file)
    put(link, "new")
    assert link.is_symlink() and file.read_text() == "new"
