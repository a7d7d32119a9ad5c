"""`accord collect serve`: the site, until it is told to end."""

from __future__ import annotations

from collections.abc import Mapping

from accord.collect.serve import Serving, serve
from accord.stages.collect_configs import CollectServeConfig
from accord.training.progress import say


def run(config: CollectServeConfig, given: Mapping[str, object]) -> None:
    """InputError: a database that is not there or has no admin, or a port that is taken."""
    about = config.serve
    serving = Serving(
        config.database.db,
        host=about.host,
        port=about.port,
        workers=about.workers,
        url=about.origin,
        proxies=("127.0.0.1", "::1") if about.behind_proxy else (),
        certfile=about.certfile,
        keyfile=about.keyfile,
        upload_bytes=about.upload_mb * 10**6,
    )
    serve(serving, say=say, open_browser=about.open)
