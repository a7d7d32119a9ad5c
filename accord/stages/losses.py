"""Which loss the options ask for: rows of the tables with their hyper-parameters, checked against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from accord.data.take import Kind
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.pair import hyperparameters
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES
from accord.stages.loss_names import HYPERPARAMETERS
from accord.stages.options import Conflict
from accord.stages.resolve import nearest
from accord.training.preferences import Modifiers
from accord.training.scores import Term

if TYPE_CHECKING:
    from accord.stages.loss_options import LossOptions

TABLES: dict[Kind, Mapping[str, Any]] = {
    "pairs": PAIR_LOSSES,
    "labels": UNPAIRED_LOSSES,
    "rankings": RANKING_LOSSES,
}


class ChosenLoss(NamedTuple):
    """The terms of a run's loss, all of one kind."""

    kind: Kind
    terms: tuple[Term, ...]
    modifiers: Modifiers

    @property
    def needs_reference(self) -> bool:
        return any(term.row.needs_reference for term in self.terms)


def chosen_loss(options: LossOptions) -> ChosenLoss:
    """The loss that the options ask for. Conflict where they do not fit together."""
    asked = [_entry(entry) for entry in _listed(options.loss_type)]
    kinds = {kind_of(name) for name, _ in asked}
    if len(asked) > 1 and kinds != {"pairs"}:
        raise Conflict("loss_type", "only losses of pairs can be added up", "give one loss, or several of pairs")
    (kind,) = kinds
    taken: set[str] = set()
    terms = [_term(TABLES[kind][name], name, own, options, taken) for name, own in asked]
    _refuse_unused(options, taken, asked)
    if options.nll_weight:
        _only_pairs("nll_weight", kind)
        terms.append(Term(PAIR_LOSSES["sft"], {}, options.nll_weight))
    chosen = ChosenLoss(kind, tuple(terms), _modifiers(options))
    _check_modifiers(options, chosen, [name for name, _ in asked])
    return chosen


def kind_of(name: str) -> Kind:
    """The table that a loss is in. Conflict for a name in none."""
    for kind, table in TABLES.items():
        if name in table:
            return kind
    every = [name for table in TABLES.values() for name in table]
    near = nearest(name, every)
    fix = f"did you mean {near!r}? " if near else ""
    fix += f"loss_type must be one of {', '.join(every)}"
    raise Conflict("loss_type", f"{name!r} is not one of the choices", fix)


def names_of(options: LossOptions) -> list[str]:
    """The losses that the options name, in their order."""
    return [_entry(entry)[0] for entry in _listed(options.loss_type)]


def in_numbers(options: LossOptions) -> list[dict[str, Any]]:
    """Every term with its weight and its hyper-parameters as they are used, defaults of the tables filled in."""
    names = [*names_of(options), *(["sft"] if options.nll_weight else [])]
    terms = zip(names, chosen_loss(options).terms, strict=True)
    return [{"name": name, "weight": term.weight, **term.hyper} for name, term in terms]


def _listed(loss_type: object) -> list[Any]:
    if isinstance(loss_type, str):
        return [part.strip() for part in loss_type.split(",")]
    assert isinstance(loss_type, list)
    if not loss_type:
        raise Conflict("loss_type", "an empty list", "name at least one loss")
    return loss_type


def _entry(entry: str | dict[str, Any]) -> tuple[str, dict[str, float]]:
    """(name, its own weight and hyper-parameters)."""
    if isinstance(entry, str):
        return entry, {}
    own = dict(entry)
    name = own.pop("name", None)
    if not isinstance(name, str):
        raise Conflict("loss_type", f"{entry} has no name", "write {name: sigmoid, weight: 1.0}")
    known = ("weight", *hyperparameters(TABLES[kind_of(name)][name].loss))
    for key, value in own.items():
        if key not in known:
            raise Conflict("loss_type", f"{name} has no {key!r}", f"it takes {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise Conflict("loss_type", f"{key} of {name} is {value!r}", "give a number that is not negative")
    return name, own


def _term(row: Any, name: str, own: Mapping[str, float], options: LossOptions, taken: set[str]) -> Term:
    """taken: gets the options that this loss takes; what its entry says itself it does not take from them."""
    hyper = {}
    for key, default in hyperparameters(row.loss).items():
        given = getattr(options, key)
        if key not in own:
            taken.add(key)
        hyper[key] = own.get(key, default if given is None else given)
        _check_range(name, key, hyper[key])
    return Term(row, hyper, own.get("weight", 1.0))


def _check_range(name: str, key: str, value: float) -> None:
    if key in ("beta", "discopop_tau") and value <= 0:
        raise Conflict("loss_type", f"{key} of {name} is {value:g}", f"{key} must be greater than 0")
    if key == "label_smoothing" and not 0 <= value < 0.5:
        raise Conflict("loss_type", f"label_smoothing of {name} is {value:g}", "it must be at least 0 and below 0.5")
    if (name, key, value) == ("exo_pair", "label_smoothing", 0):
        raise Conflict("label_smoothing", "0 makes exo_pair infinite", "give a small number such as 0.001")


def _refuse_unused(options: LossOptions, taken: set[str], asked: list[tuple[str, dict[str, float]]]) -> None:
    for key in HYPERPARAMETERS:
        if getattr(options, key) is not None and key not in taken:
            names = ", ".join(name for name, _ in asked)
            fix = f"leave it out; {names} takes {', '.join(sorted(taken)) or 'no such numbers'}"
            raise Conflict(key, f"not used by the loss {names}", fix)
    if options.f_alpha_divergence_coef is not None and options.f_divergence_type != "alpha_divergence":
        fix = "leave it out, or give f_divergence_type alpha_divergence"
        raise Conflict("f_alpha_divergence_coef", f"not used by {options.f_divergence_type}", fix)


def _modifiers(options: LossOptions) -> Modifiers:
    divergence: Callable[[Tensor], Tensor] | None = None
    if options.f_divergence_type != "reverse_kl":
        divergence = DIVERGENCES[options.f_divergence_type].score
        if options.f_alpha_divergence_coef is not None:
            divergence = partial(divergence, f_alpha_divergence_coef=options.f_alpha_divergence_coef)
    return Modifiers(divergence, options.ld_alpha, options.use_weighting)


def _check_modifiers(options: LossOptions, chosen: ChosenLoss, names: list[str]) -> None:
    changed = [key for key in ("ld_alpha", "use_weighting", "f_divergence_type") if _changed(options, key)]
    for key in changed:
        _only_pairs(key, chosen.kind)
    if chosen.modifiers.divergence is not None:
        _check_divergence(names)
    if options.use_weighting and any(term.row.coupled for term in chosen.terms):
        raise Conflict("use_weighting", "the loss has no pairs of its own to weigh", "leave one of the two out")
    for key in ("reference", "sync_reference", "ld_alpha", "f_divergence_type"):
        if _changed(options, key) and not chosen.needs_reference:
            raise Conflict(key, f"not used, as {', '.join(names)} has no reference", "leave it out")
    moves = getattr(options, "sync_reference", "none")  # accord online-dpo has no such option
    for key in ("sync_steps", "sync_alpha"):
        if _changed(options, key) and moves == "none":
            raise Conflict(key, "not used, as the reference does not move", "give sync_reference soft or hard")
    if _changed(options, "sync_alpha") and moves == "hard":
        raise Conflict("sync_alpha", "not used, as a hard reference moves wholly", "leave it out, or move it softly")


def _check_divergence(names: list[str]) -> None:
    for name in names:
        if PAIR_LOSSES[name].needs_reference and not PAIR_LOSSES[name].divergence:
            able = ", ".join(name for name, row in PAIR_LOSSES.items() if row.divergence)
            raise Conflict("f_divergence_type", f"{name} does not take one", f"losses that do: {able}")


def _changed(options: LossOptions, key: str) -> bool:
    field = type(options).model_fields.get(key)
    return field is not None and getattr(options, key) != field.default


def _only_pairs(key: str, kind: Kind) -> None:
    if kind != "pairs":
        raise Conflict(key, f"changes losses of pairs, and this is one of {kind}", "leave it out")
