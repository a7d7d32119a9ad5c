"""`accord collect demo`: a filled example, opened in the browser."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from accord.collect.example_site import fill
from accord.collect.migrate import create_database
from accord.collect.serve import Serving, serve
from accord.collect.web.config import is_loopback
from accord.errors import InputError
from accord.stages.collect_configs import CollectDemoConfig
from accord.training.progress import say


def run(config: CollectDemoConfig, given: Mapping[str, object]) -> None:
    """Until it is told to end. InputError: beyond this machine, where everybody could enter."""
    about = config.demo
    if not is_loopback(about.host):
        fix = "accord collect init and serve are for others; the example lets everybody in"
        raise InputError("not an address of this machine alone", where=f"--host {about.host}", fix=fix)
    if about.directory is not None:
        Path(about.directory).mkdir(parents=True, exist_ok=True)
        _serve(config, Path(about.directory))
        return
    with tempfile.TemporaryDirectory(prefix="accord-example-") as folder:
        _serve(config, Path(folder))


def _serve(config: CollectDemoConfig, folder: Path) -> None:
    file = folder / "example.db"
    if not file.exists():
        say("filling the example ...")
        database = create_database(f"sqlite:///{file.resolve()}")
        try:
            fill(database, time.time())
        finally:
            database.close()
    serving = Serving(f"sqlite:///{file.resolve()}", host=config.demo.host, port=config.demo.port, demo=True)
    serve(serving, say=say, open_browser=config.demo.open, page="/demo")
