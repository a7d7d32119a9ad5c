"""What a frontier is: points of each method, where it bends, and the curves that were fitted; to JSON and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from accord.errors import InputError
from accord.evaluate.measured import ends, known
from accord.maths.overoptimisation import FORMS, Curve, Fit, Knee
from accord.maths.statistics import Estimate, Interval
from accord.models.directory import read_object

Json = dict[str, Any]
NAME, PICTURE = "frontier.json", "frontier.png"


class Point(NamedTuple):
    """A policy. kl: nats an answer from the model; without a standard error where it is the bound of the best of n.

    figures: proxy, gold, k3, k1, tokens, ended, those that there are. error: why there are none.
    """

    name: str
    method: str
    setting: str  # beta or n
    value: float
    folder: str  # of its run; empty where none trained it
    kl: Estimate | None
    figures: Mapping[str, Estimate]
    error: str = ""

    def to_json(self) -> Json:
        return {
            **{key: getattr(self, key) for key in ("name", "method", "setting", "value", "folder", "error")},
            "kl": self.kl and of_estimate(self.kl),
            "figures": {name: of_estimate(one) for name, one in self.figures.items()},
        }

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Point:
        figures = {name: to_estimate(one) for name, one in held["figures"].items()}
        own = {key: held[key] for key in ("name", "method", "setting", "value", "folder", "error")}
        return cls(**own, kl=held["kl"] and to_estimate(held["kl"]), figures=figures)


class Line(NamedTuple):
    """A method. knee: names of points in the place of numbers; None where there is no gold score, or too few points.

    fit: of the gold score's gain over the model. why_no_fit: why there is none.
    """

    method: str
    form: str
    knee: Knee | None
    knee_names: tuple[str, str]  # the knee and the later point; empty where there is none
    fit: Fit | None
    why_no_fit: str

    def to_json(self) -> Json:
        return {
            "method": self.method,
            "knee": self.knee and _knee(self.knee, self.knee_names),
            "form": FORMS[self.form].written,
            "fit": self.fit and _fit(self.fit),
            "why_no_fit": self.why_no_fit,
        }


@dataclass(frozen=True)
class Frontier:
    """All of it. Python gets this. start: the model itself, at distance 0. exit_code: of the first run that failed."""

    model: str
    reward: str
    gold: str | None
    kl: str  # the estimator that points lie at: k3 or k1
    prompts: int
    level: float
    start: Point
    points: Sequence[Point]
    lines: Sequence[Line]
    notes: Sequence[str]
    options: Mapping[str, Any]
    exit_code: int = 0

    def __repr__(self) -> str:
        return f"<Frontier: {len(self.points)} points of {len(self.lines)} methods on {self.prompts:,} prompts>"

    def of(self, method: str) -> list[Point]:
        """The points of a method that there is something of, the nearest first."""
        found = [one for one in self.points if one.method == method and one.kl is not None]
        return sorted(found, key=lambda one: one.kl.mean if one.kl is not None else math.inf)

    def picture(self, kind: str = "png") -> bytes:
        """The picture as the bytes of a png, pdf or svg file."""
        from accord.evaluate.frontier.plot import picture  # here, not above: matplotlib takes half a second

        return picture(self, kind)

    def to_json(self) -> Json:
        """null stands for what there is none of, or what cannot be known."""
        return {
            "model": self.model,
            "reward": self.reward,
            "gold": self.gold,
            "kl": self.kl,
            "prompts": self.prompts,
            "level": self.level,
            "start": self.start.to_json(),
            "points": [one.to_json() for one in self.points],
            "methods": [one.to_json() for one in self.lines],
            "notes": list(self.notes),
            "options": dict(self.options),
            "exit_code": self.exit_code,
        }

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Frontier:
        """The reverse of `to_json`."""
        plain = {
            key: held[key] for key in ("model", "reward", "gold", "kl", "prompts", "level", "options", "exit_code")
        }
        return cls(
            **plain,
            start=Point.from_json(held["start"]),
            points=[Point.from_json(one) for one in held["points"]],
            lines=[_line(one) for one in held["methods"]],
            notes=held["notes"],
        )


def read(folder: str | Path) -> Frontier:
    """The frontier that a folder holds. InputError: it holds none."""
    path = Path(folder) / NAME
    try:
        return Frontier.from_json(read_object(path))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"no frontier ({error})", where=str(path), fix="name a folder of accord frontier") from error


def of_estimate(one: Estimate) -> Json:
    return {"mean": known(one.mean), "standard_error": known(one.standard_error), "interval": ends(one.interval)}


def to_estimate(held: Mapping[str, Any]) -> Estimate:
    return Estimate(_number(held["mean"]), _number(held["standard_error"]), Interval(*map(_number, held["interval"])))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _knee(knee: Knee, names: tuple[str, str]) -> Json:
    return {
        "point": names[0],
        "later": names[1] or None,
        "over_optimised": knee.sure,
        "places": [knee.place, knee.later],
        "proxy": knee.proxy and of_estimate(knee.proxy),
        "gold": knee.gold and of_estimate(knee.gold),
    }


def _fit(fit: Fit) -> Json:
    return {
        **{"a": fit.curve.a, "b": fit.curve.b, "a_error": known(fit.a_error), "b_error": known(fit.b_error)},
        **{"scatter": known(fit.scatter), "points": fit.points, "peak_kl": fit.curve.peak},
    }


def _line(held: Mapping[str, Any]) -> Line:
    form = next(name for name, form in FORMS.items() if form.written == held["form"])
    return Line(held["method"], form, *_knee_of(held["knee"]), _fit_of(held["fit"], form), held["why_no_fit"])


def _knee_of(held: Mapping[str, Any] | None) -> tuple[Knee | None, tuple[str, str]]:
    if held is None:
        return None, ("", "")
    sides = (None if held[name] is None else to_estimate(held[name]) for name in ("proxy", "gold"))
    place, later = held["places"]
    return Knee(place, later, *sides), (held["point"], held["later"] or "")


def _fit_of(held: Mapping[str, Any] | None, form: str) -> Fit | None:
    if held is None:
        return None
    a_error, b_error, scatter = (_number(held[key]) for key in ("a_error", "b_error", "scatter"))
    return Fit(Curve(form, held["a"], held["b"]), a_error, b_error, scatter, held["points"])
