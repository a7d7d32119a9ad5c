"""Figures of the labelling site as tables: head and rows, each figure beside what is asked for."""

from __future__ import annotations

from typing import Any

from report import judged

LOAD_ASKED = {
    "next": (150.0, False, "ms"),
    "submit": (150.0, False, "ms"),
    "errors": (0.0, False, ""),
    "lost": (0.0, False, ""),
    "over": (0.0, False, ""),
}
LARGE_ASKED = {
    "next": (20.0, False, "ms"),
    "import": (60.0, False, "s"),
    "export": (60.0, False, "s"),
    "memory": (1.5, False, "times"),
}


def load_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Of bench/collect_load.py."""
    what = (
        f"{found['annotators']} annotators, {found['rate']:g} submissions a second for {found['seconds']:g} s, SQLite"
    )
    counts = {"errors": "requests that failed", "lost": "acknowledged, but not stored", "over": "groups over-assigned"}
    figures = {}
    for name, call in (("next", "next group"), ("submit", "submit")):
        one = found[name]
        spread = f"median {one['p50']:.1f}, 90 % {one['p90']:.1f}, longest {one['max']:.0f} ms of {one['count']:,}"
        figures[name] = (f'"{call}", 99 % of them within ({what}; {spread})', one["p99"])
    figures |= {name: (words, float(found[name])) for name, words in counts.items()}
    return judged(figures, LOAD_ASKED)


def large_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Of bench/collect_large.py."""
    figures = {}
    for name, one in found["next"].items():
        words = (
            f'"next group" {name}, of {found["groups"]:,} groups x 4 outputs, 99 % within (median {one["p50"]:.1f} ms)'
        )
        figures[words] = (words, one["p99"])
    asked = dict.fromkeys(figures, LARGE_ASKED["next"])
    for name in ("import", "export"):
        one = found[name]
        words = f"{name} of {found['groups']:,} groups, {found['size'] / 1e6:.0f} MB of JSON lines"
        figures[f"{name} seconds"] = (words, one["seconds"])
        few = found[f"{name} of few"]
        words = f"memory of that, {one['memory'] / 1e6:.0f} MB, beside {name} of {found['few']:,} groups"
        figures[f"{name} memory"] = (words, one["memory"] / few["memory"])
        asked |= {f"{name} seconds": LARGE_ASKED[name], f"{name} memory": LARGE_ASKED["memory"]}
    return judged(figures, asked)


def peer_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Of bench/label_studio.py: a row for each call, and what both took together."""
    head = ["call", "Accord, ms", "Label Studio, ms", "times as fast", "asked for", "verdict"]
    body = []
    for name, words in (("next", "next task"), ("submit", "submit"), ("both", "both, one after the other")):
        ours, theirs = found["ours"][name], found["theirs"][name]
        times = theirs["mean"] / ours["mean"]
        verdict = "reached" if times >= 5 else "missed"
        cells = [f"{one['p50']:.1f} (99 %: {one['p99']:.1f})" for one in (ours, theirs)]
        body.append([words, *cells, f"{times:.1f}", "at least 5", verdict])
    return head, body
