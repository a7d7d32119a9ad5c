"""Losses with other numbers, other labels or something beside them: what these change of an end, and what not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from accord.evaluate.theory.ends import Meant
from accord.evaluate.theory.expected import both, exact, of_pairs
from accord.evaluate.theory.offline import Method
from accord.evaluate.theory.world import BETA, World, logits_of, token_logp
from accord.maths import pair_ends
from accord.maths.ends import RESTS, Claim, Setting, policy, tilted
from accord.maths.optimum import optimum
from accord.maths.preference import PAIR_LOSSES
from accord.maths.reference_free import nll
from accord.maths.weighting import alignment_weight, pair_weight

KIND = "losses, modified"
EPS, ALPHA = 0.1, 0.2


def _with(name: str, claim: Claim, text: str, **hyper: float) -> Callable[[str, World], Method]:
    """A row of PAIR_LOSSES with these numbers."""

    def make(title: str, world: World) -> Method:
        of = exact(world)
        return Method(Meant(title, KIND, text, hyper["beta"]), claim, of, hyper, of_pairs(PAIR_LOSSES[name], of, hyper))

    return make


def _flipped(name: str, title: str, world: World) -> Method:
    """Labels that are wrong EPS of the time."""
    clean, hyper = exact(world), {"beta": BETA, "label_smoothing": EPS}
    of = clean._replace(win=(1 - EPS) * clean.win + EPS * (1 - clean.win))

    def end(of: Setting, *, beta: float, label_smoothing: float) -> Tensor:
        return tilted(of.reference, of.reward / beta)

    text = f"pi*, from labels of which {EPS:g} are wrong"
    return Method(Meant(title, KIND, text), policy(end), of, hyper, of_pairs(PAIR_LOSSES[name], of, hyper))


def _of_the_reference(title: str, world: World) -> Method:
    """nca_pair where its claim is exact: beta = 1 and pairs of the reference itself."""
    of, hyper = exact(world)._replace(mu=world.reference.exp()), {"beta": 1.0}

    def end(of: Setting, *, beta: float) -> Tensor:
        return of.reference + (2 * of.w).log()

    meant = Meant(title, KIND, "2 w(y) pi_ref(y|x)", 1.0)
    return Method(meant, policy(end), of, hyper, of_pairs(PAIR_LOSSES["nca_pair"], of, hyper))


def _with_likelihood(title: str, world: World) -> Method:
    """DPO and ALPHA times the likelihood of what was chosen."""
    of = exact(world)
    weight = (of.mu.unsqueeze(-1) * of.mu.unsqueeze(-2) * of.win).flatten()
    dpo, length = of_pairs(PAIR_LOSSES["sigmoid"], of, {"beta": BETA}), both(of.length)

    def loss(logits: Tensor) -> Tensor:
        likelihood = (weight * nll(both(logits.log_softmax(-1)).chosen, length.chosen)).sum() / weight.sum()
        return dpo(logits) + ALPHA * likelihood

    text = "beta sum mu' (sigma(beta h) - P) = alpha (w / |y| - pi C / mu), C(x) the mean of w / |y|"
    hyper = {"beta": BETA, "alpha": ALPHA}
    return Method(Meant(title, KIND, text), policy(pair_ends.dpo_with_nll), of, hyper, loss)


def _weighted(title: str, world: World) -> Method:
    """WPO: the weight of a pair changes with the policy, and no gradient flows through it."""
    of = exact(world)
    weight = (of.mu.unsqueeze(-1) * of.mu.unsqueeze(-2) * of.win).flatten()
    fixed = both(of.reference), both(of.length)

    def loss(logits: Tensor) -> Tensor:
        logp = logits.log_softmax(-1)
        found = PAIR_LOSSES["sigmoid"].loss(both(logp), *fixed, beta=BETA)
        factor = pair_weight(both(_alignment(world, logp.detach())))
        total: Tensor = (weight * factor * found).sum()
        return total

    return Method(
        Meant(title, KIND, "pi*: weights of pairs cannot move it"), policy(pair_ends.dpo), of, {"beta": BETA}, loss
    )


def _alignment(world: World, logp: Tensor) -> Tensor:
    """(G, S) how likely the policy is to have written each completion, per token."""
    table = logits_of(world, logp)
    token = token_logp(world, table)
    collision = (2 * table).exp().sum(-1)[:, world.place]
    owner = torch.arange(logp.numel()).reshape(*logp.shape, 1).expand_as(token)
    kept = world.mask.expand_as(token)
    return alignment_weight(token[kept], collision[kept], owner[kept], logp.numel()).reshape(logp.shape)


def _from_optimum(title: str, world: World) -> Method:
    """discopop from elsewhere: it has another end there."""
    of, row, hyper = exact(world), PAIR_LOSSES["discopop"], {"beta": BETA, "discopop_tau": 0.05}
    best = optimum(world.reference, world.reward, beta=BETA)
    text = "another end than from pi_ref, and a lower one: short of pi*"
    return Method(Meant(title, KIND, text), RESTS, of, hyper, of_pairs(row, of, hyper), best)


MODIFIED: Mapping[str, Callable[[str, World], Method]] = {
    "sigmoid, label_smoothing 0.1": _with(
        "sigmoid", policy(pair_ends.dpo), "as cdpo: y wins eps + (1 - 2 eps) w(y)", beta=BETA, label_smoothing=EPS
    ),
    "robust, labels flipped": lambda title, world: _flipped("robust", title, world),
    "simpo, gamma 0": _with(
        "simpo", policy(pair_ends.simpo), "exp(|y| (r(x, y) / beta - c(x)))", beta=BETA, gamma_beta_ratio=0.0
    ),
    "cpo, cpo_alpha 0": _with("cpo", policy(pair_ends.cpo), "exp(r(x, y) / beta) / Z(x)", beta=BETA, cpo_alpha=0.0),
    "nca_pair, beta 1, mu = pi_ref": _of_the_reference,
    "sigmoid + 0.2 likelihood": _with_likelihood,
    "sigmoid, weighted (WPO)": _weighted,
    "discopop, from pi*": _from_optimum,
}


def make(name: str, world: World) -> Method:
    return MODIFIED[name](name, world)
