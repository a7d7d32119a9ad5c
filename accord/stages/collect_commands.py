"""The commands `accord collect ...`: a part of COMMANDS."""

from accord.stages.collect_configs import (
    CollectDemoConfig,
    CollectExportConfig,
    CollectImportConfig,
    CollectInitConfig,
    CollectServeConfig,
    CollectSimulateConfig,
    CollectStatusConfig,
    CollectUserConfig,
)
from accord.stages.command import Command

COLLECT: dict[str, Command] = {
    "collect demo": Command(
        CollectDemoConfig,
        "accord.collect.commands.demo",
        "Try it",
        "Open a filled example of the labelling site in the browser: label, and look at what owners see.",
        "accord collect demo",
    ),
    "collect init": Command(
        CollectInitConfig,
        "accord.collect.commands.init",
        "Set up",
        "Make a labelling database, or bring one of an older version to this one; every row is kept.",
        "accord collect init --db sqlite:///prefs.db",
    ),
    "collect user": Command(
        CollectUserConfig,
        "accord.collect.commands.user",
        "Set up",
        "Make accounts and invitation links, change roles and passwords; without a name: list all.",
        "accord collect user anna --role admin",
        word="name",
    ),
    "collect import": Command(
        CollectImportConfig,
        "accord.collect.commands.importing",
        "Set up",
        "Bring groups into a project: any file that Accord reads, what accord sample wrote, or a peer's export.",
        "accord collect import samples.jsonl --project helpfulness --overlap 3",
        word="data",
    ),
    "collect serve": Command(
        CollectServeConfig,
        "accord.collect.commands.serve",
        "Run",
        "Serve the labelling site: one process on SQLite, several on PostgreSQL.",
        "accord collect serve --port 8080",
    ),
    "collect status": Command(
        CollectStatusConfig,
        "accord.collect.commands.status",
        "Run",
        "See how far labelling is, how far people agree, and who differs.",
        "accord collect status --project helpfulness",
    ),
    "collect export": Command(
        CollectExportConfig,
        "accord.collect.commands.exporting",
        "Use",
        "Write what people said: groups, pairs, demonstrations, or a table, with its SHA-256.",
        "accord collect export --output groups.jsonl",
    ),
    "collect simulate": Command(
        CollectSimulateConfig,
        "accord.collect.commands.simulate",
        "Try it",
        "Label a project with simulated annotators over HTTP, and see whether what was put in comes out.",
        "accord collect simulate --annotators 20",
    ),
}
GROUPS = {"collect": "Collect human judgements: a labelling site, its database, and what comes out of it."}
