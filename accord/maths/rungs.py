"""Where the hinge loss of pairs ends: on whole numbers, found by linear programming. numpy and scipy inside."""

import numpy as np
import torch
from torch import Tensor


def rungs(win: Tensor, mu: Tensor) -> Tensor:
    """(..., S, S), (..., S) -> (..., S) whole numbers s, least 0, of which sum mu mu' P max(0, 1 - (s - s')) is least.

    Of a linear programme in differences alone every corner is whole (its matrix is that of a network): the hinge puts
    completions on the rungs of a ladder. P: the chance that the first is preferred to the second.
    """
    pairs, weights = win.reshape(-1, *win.shape[-2:]).numpy(), mu.reshape(-1, mu.shape[-1]).numpy()
    found = [_of_one(chance, weight) for chance, weight in zip(pairs, weights, strict=True)]
    return torch.from_numpy(np.stack(found)).reshape(mu.shape).to(mu.dtype)


def _of_one(win: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Scores s and slacks t >= 0: least sum of weights t, where t >= 1 - (s - s')."""
    from scipy.optimize import linprog  # slow to import, and every command imports the tables of losses
    from scipy.sparse import coo_array, eye_array, hstack

    count = len(mu)
    better, worse = np.nonzero(~np.eye(count, dtype=bool))
    rows = np.arange(len(better))
    ones = np.ones(len(better))
    differences = coo_array((np.r_[-ones, ones], (np.r_[rows, rows], np.r_[better, worse])), (len(better), count))
    cost = np.r_[np.zeros(count), (np.outer(mu, mu) * win)[better, worse]]
    bounds = [(0, 0), *[(None, None)] * (count - 1), *[(0, None)] * len(better)]
    solved = linprog(cost, hstack([differences, -eye_array(len(better))]), -ones, bounds=bounds, method="highs")
    scores = np.round(solved.x[:count])
    return np.asarray(scores - scores.min())
