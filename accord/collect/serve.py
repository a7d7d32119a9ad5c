"""The site, served: one process over SQLite, as many as wanted over PostgreSQL."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from accord.collect.database import Database, database_url, open_database
from accord.collect.hooks import Hooks
from accord.collect.schema import account
from accord.collect.web.config import ServerConfig, is_loopback
from accord.errors import InputError

VARIABLE = "ACCORD_COLLECT_SERVER"  # what a worker's process is told
LOOK = 1.0  # seconds between two looks whether the parent lives
GRACE = 10  # seconds for requests that are under way when the server is told to end
# Seconds until a thread that waits for Python's lock asks for it. Each statement to the database gives the lock up; at
# Python's 5 ms a transaction of ten waits 50 ms beside a busy event loop, and all writers behind it.
TURN = 0.0002


@dataclass(frozen=True)
class Serving:
    """How a site is served. host, port: where it listens; port 0 is any free one. url: what people type, where that is
    another address (behind a proxy); certfile, keyfile: of TLS without a proxy. hosts, proxies: see ServerConfig.
    """

    database: str
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    url: str | None = None
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    certfile: str | None = None
    keyfile: str | None = None
    upload_bytes: int = 200_000_000
    busy_seconds: float = 10.0
    demo: bool = False  # with a front page from which everybody enters

    def config(self, port: int) -> ServerConfig:
        """port: the one that it listens to in fact."""
        scheme = "https" if self.certfile else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        url = self.url or f"{scheme}://{host}:{port}"
        names = self.hosts if self.host not in ("0.0.0.0", "::") else (*self.hosts, socket.gethostname().lower())
        return ServerConfig(url, names, self.proxies, upload_bytes=self.upload_bytes)


def serve(serving: Serving, *, say: Callable[[str], None] = print, open_browser: bool = False, page: str = "/") -> None:
    """Serves until a signal ends it, no error. InputError: what cannot be served, before anything listens."""
    check(serving)
    listening = _listen(serving)
    port = listening.getsockname()[1]
    config = serving.config(port)
    for line in greeting(config, serving):
        say(line)
    if open_browser:
        threading.Timer(1.0, webbrowser.open, [config.origin + page]).start()
    try:
        if serving.workers > 1:
            _several(serving, listening)
        else:
            _alone(serving, listening)
    except KeyboardInterrupt:  # raised once all that was under way is done
        say("ended")
    finally:
        listening.close()


def check(serving: Serving) -> None:
    """InputError: the database is not of this version, nobody could log in, or several processes over SQLite."""
    url = database_url(serving.database)
    if serving.workers < 1:
        raise InputError("at least one process serves", where="--workers", fix="give 1 or more")
    if serving.workers > 1 and url.get_backend_name() == "sqlite":
        fix = "leave it at 1 (that is enough for some 200 annotators), or use a PostgreSQL database"
        raise InputError("SQLite is served by one process", where="--workers", fix=fix)
    if (serving.certfile is None) != (serving.keyfile is None):
        raise InputError("TLS needs both", where="--certfile, --keyfile", fix="give both, or neither")
    for path in filter(None, (serving.certfile, serving.keyfile)):
        if not Path(path).is_file():
            raise InputError("no such file", where=path, fix="check the path")
    database = open_database(serving.database)
    try:
        check_admin(database)
    finally:
        database.close()


def check_admin(database: Database) -> None:
    """InputError where no admin can log in: there is no default account, and nobody can make one from outside."""
    admins = select(func.count()).where(account.c.role == "admin", account.c.active, account.c.password.is_not(None))
    with database.read() as connection:
        if connection.execute(admins).scalar_one():
            return
    fix = f"make one: accord collect user YOUR_NAME --role admin --db {database.name}"
    raise InputError("no admin can log in", where=database.name, fix=fix)


def greeting(config: ServerConfig, serving: Serving) -> Iterator[str]:
    """What is said when it starts."""
    yield f"Accord's labelling site: {config.origin} (Ctrl-C ends it)"
    if config.insecure:
        yield (
            "warning: plain http beyond this machine: passwords and texts can be read on the way; put it behind a "
            "proxy with TLS and give --origin https://..., or give --certfile and --keyfile"
        )
    elif config.https and not serving.certfile and not is_loopback(serving.host):
        yield f"note: TLS ends before this server, which itself speaks plain http on {serving.host}"


def _listen(serving: Serving) -> socket.socket:
    """InputError: the port is taken, or not ours to take."""
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((serving.host, serving.port))
    except OSError as error:
        listening.close()
        where = f"{serving.host}:{serving.port}"
        raise InputError(
            f"cannot listen ({error.strerror})", where=where, fix="give another --port or --host"
        ) from error
    listening.listen(2048)
    listening.set_inheritable(True)
    return listening


def _settings(serving: Serving) -> dict[str, Any]:
    """Of uvicorn. Its own log says only what goes wrong; forwarded addresses are our business."""
    return {
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "lifespan": "on",
        "ws": "none",
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": GRACE,
        "ssl_certfile": serving.certfile,
        "ssl_keyfile": serving.keyfile,
    }


def _alone(serving: Serving, listening: socket.socket) -> None:
    import uvicorn

    application = _application(serving, listening.getsockname()[1])
    uvicorn.Server(uvicorn.Config(application, **_settings(serving))).run(sockets=[listening])


def _several(serving: Serving, listening: socket.socket) -> None:
    """Workers that die are replaced."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    told = {**asdict(serving), "listens": listening.getsockname()[1]}
    os.environ[VARIABLE] = json.dumps(told)
    named = "accord.collect.serve:worker"
    config = uvicorn.Config(named, factory=True, workers=serving.workers, **_settings(serving))
    Multiprocess(config, sockets=[listening]).run()


def worker() -> Any:
    """The application of one of several processes."""
    told = json.loads(os.environ[VARIABLE])
    port = told.pop("listens")
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    told.update({name: tuple(told[name]) for name in ("hosts", "proxies")})
    return _application(Serving(**told), port)


def _end_with(parent: int) -> None:
    """A worker whose parent was killed would keep the port, and nobody could end it."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)


def _application(serving: Serving, port: int) -> Any:
    """The site over its own connections, with the web hooks beside it; both end with it."""
    from accord.collect.web.app import create_app

    sys.setswitchinterval(TURN)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    database = open_database(serving.database, busy_seconds=serving.busy_seconds)
    app = create_app(database, serving.config(port))
    if serving.demo:
        from accord.collect.web import demo_pages

        app.include_router(demo_pages.router, include_in_schema=False)
    return _Lived(app, database)


class _Lived:
    """An application that begins and ends with its server."""

    def __init__(self, app: Any, database: Database) -> None:
        self._app, self._database, self._hooks = app, database, Hooks(database)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._hooks.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                self._hooks.stop()
                self._database.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
