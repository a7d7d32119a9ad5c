"""A PostgreSQL cluster of the tests' own, in a temporary folder, and databases in it.

Debian's programs are used where they are installed (/usr/lib/postgresql/*/bin), as the user `postgres` where the tests
run as root, since the server refuses root. Where they are absent the tests are skipped, unless
ACCORD_REQUIRE_SERVERS=1 makes that a failure. It writes to the disk as a real one does (fsync on).
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = "/usr/lib/postgresql"
USER = "postgres"
_numbers = itertools.count(1)


def bin_folder() -> Path | None:
    """The newest version's programs; those on the path where there are none of Debian's."""
    found = sorted(Path(PROGRAMS).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def require(found: object, what: str) -> None:
    """Skips, saying what is missing; fails where servers are required."""
    if found:
        return
    if os.environ.get("ACCORD_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{what} is not installed, and ACCORD_REQUIRE_SERVERS=1")
    pytest.skip(f"{what} is not installed")


class Cluster:
    """A running server. Its socket lies in its folder; it listens to no network."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        self.as_other = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []

    def program(self, name: str, *words: object) -> str:
        command = [*self.as_other, str(self.programs / name), *map(str, words)]
        ended = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)
        assert ended.returncode == 0, f"{name} failed ({ended.returncode}): {ended.stdout}{ended.stderr}"
        return ended.stdout

    def start(self) -> None:
        if self.as_other:
            shutil.chown(self.folder, USER)
        self.folder.chmod(0o755)  # the tests, as root or not, go to the socket
        data = self.folder / "data"
        self.program("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        self.resume()

    def resume(self) -> None:
        """Starts what was stopped."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c max_connections=150"
        data = self.folder / "data"
        self.program("pg_ctl", "-D", data, "-w", "-t", 60, "-l", self.folder / "log", "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        self.program("pg_ctl", "-D", self.folder / "data", "-w", "-m", how, "stop")

    def new_database(self) -> str:
        """The address of an empty one."""
        name = f"accord_{os.getpid()}_{next(_numbers)}"
        self.program("psql", "-h", self.folder, "-U", USER, "-d", USER, "-qc", f"CREATE DATABASE {name}")
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def drop(self, url: str) -> None:
        name = url.split("@/")[1].split("?")[0]
        said = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
        self.program("psql", "-h", self.folder, "-U", USER, "-d", USER, "-qc", said)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """One server, stopped and removed at the end. (Paths of sockets have at most 107 bytes: hence /tmp.)"""
    programs = bin_folder()
    require(programs, "PostgreSQL (Debian: apt-get install postgresql)")
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="accord-pg-", dir="/tmp"))
    running = Cluster(folder, programs)
    try:
        running.start()
        yield running
    finally:
        with contextlib.suppress(AssertionError):
            running.stop()
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One cluster for each test process (pytest-xdist: each worker has its own)."""
    with cluster() as running:
        yield running


@pytest.fixture
def postgres_url(postgres: Cluster) -> Iterator[str]:
    """An empty database for one test."""
    url = postgres.new_database()
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address where nothing is yet: of both kinds of database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'prefs.db'}"
    return str(request.getfixturevalue("postgres_url"))
