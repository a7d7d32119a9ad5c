"""`accord check`: what a data set holds, and what is wrong with it, before a model is trained on it."""

from __future__ import annotations

from typing import cast

from accord.data.sources import Source
from accord.stages import check_fix, check_report, tables
from accord.stages.checked import Checked
from accord.stages.config import CheckConfig
from accord.stages.examine import Given, examine


def run(config: CheckConfig, given: Given) -> Checked:
    """Reads the data once; prints, and on request writes and draws, what was found."""
    checked = examine(config, given)
    if config.check.fix is not None:
        source = cast(Source, given.get("data", config.check.data))
        checked.fixed = check_fix.write(checked, source, config.check.fix, split=config.check.split)
    if config.check.plot is not None:
        from accord.stages import check_plot

        check_plot.draw(checked, config.check.plot)
        checked.drawn = config.check.plot
    if not tables.written(checked.to_json(), config.check.json):
        check_report.show(checked)
    return checked
