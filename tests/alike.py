"""What differs between two run folders, but for what the clock says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accord.errors import IntegrityError
from accord.models import manifest
from accord.training import checkpoint

CLOCK = {"time", "tokens_per_second", "seconds_per_step", "seconds"}


def by_the_clock(key: str) -> bool:
    """Whether a figure of this name says how long something took; of rounds of samples there are several."""
    return key in CLOCK or key.startswith("seconds/")


def standing(place: Path, safe: int) -> int:
    """The step that a run goes on from. AssertionError where its checkpoints are not sound, or before step `safe`."""
    try:
        found, skipped = checkpoint.newest(place)
    except IntegrityError as error:
        raise AssertionError(f"unusable: {error}") from None
    assert not skipped, f"unusable: {skipped[0].path} bears a checkpoint's name: {skipped[0].reason}"
    step = found.step if found else 0
    assert step >= safe, f"lost: step {safe} had been saved, the newest checkpoint is of step {step}"
    return step


def differences(one: Path, other: Path) -> Iterator[str]:
    """What is not the same in two run folders, but for what the clock says."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        for number, (line, beside) in enumerate(zip(*_padded(_lines(one / name), _lines(other / name)), strict=True)):
            if line != beside:
                yield f"different: {name}:{number + 1}: {beside} instead of {line}"
                break
    if _summary(one) != _summary(other):
        yield f"different: summary.json: {_summary(other)} instead of {_summary(one)}"
    if (one / "data_report.json").read_bytes() != (other / "data_report.json").read_bytes():
        yield "different: data_report.json"
    yield from _unlike("the model", _hashes(one), _hashes(other))
    last, beside = (_last_checkpoint(folder / "checkpoints") for folder in (one, other))
    yield from _unlike(f"the checkpoint {last.name}", _hashes(last), _hashes(beside))
    yield from (f"left behind: {path.relative_to(other)}" for path in other.rglob(".*") if ".tmp" in path.name)


def _unlike(what: str, one: dict[str, str], other: dict[str, str]) -> Iterator[str]:
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            yield f"different: {what}: {name}"


def _hashes(directory: Path) -> dict[str, str]:
    """name -> sha256 of the files that the manifest names; of a checkpoint's state, which has times, nothing."""
    names = json.loads((directory / "MANIFEST.json").read_text())["files"]
    return {name: "" if name == checkpoint.STATE else manifest.sha256(directory / name) for name in names}


def _last_checkpoint(place: Path) -> Path:
    found = checkpoint.newest(place).checkpoint
    assert found is not None
    return found.path


def _padded(one: list[Any], other: list[Any]) -> tuple[list[Any], list[Any]]:
    longest = max(len(one), len(other))
    return one + [None] * (longest - len(one)), other + [None] * (longest - len(other))


def _lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{key: value for key, value in line.items() if not by_the_clock(key)} for line in found]


def _summary(directory: Path) -> dict[str, Any]:
    summary = json.loads((directory / "summary.json").read_text())
    metrics = {key: value for key, value in summary["metrics"].items() if not by_the_clock(key)}
    return {key: value for key, value in summary.items() if key not in CLOCK} | {"metrics": metrics}
