"""Losses of classifiers on the numbers z of their labels, equation 2's P = softmax(h W_y) and equation 14.

N texts, L labels. A target is 1 where a label holds and 0 where it does not. Equation 14's surrogates
(`accord.maths.surrogates`) and its 0-1 loss take a margin m: by how much the truth is ahead.
"""

import torch
from torch import Tensor


def cross_entropy(z: Tensor, target: Tensor) -> Tensor:
    """(N, L), (N, L) one 1 in each row -> (N,) -log P(y | x), P = softmax(z): L_FT of equation 2."""
    return -(z.log_softmax(-1) * target).sum(-1)


def two_label_margin(z: Tensor, target: Tensor) -> Tensor:
    """(N, 2), (N, 2) one 1 in each row -> (N,) y f(x), f = z_2 - z_1, y = +1 where the second label holds, else -1.

    Its logistic loss is the cross-entropy of the two: P of the second label is sigma(f).
    """
    return (target[:, 1] - target[:, 0]) * (z[:, 1] - z[:, 0])


def own_margin(z: Tensor, target: Tensor) -> Tensor:
    """(N, L), (N, L) -> (N, L) y_l z_l, y_l = +1 where label l holds, else -1: each label for itself.

    Its logistic loss is the cross-entropy with P_l = sigma(z_l).
    """
    return (2 * target - 1) * z


def lead(z: Tensor, target: Tensor) -> Tensor:
    """(N, L), (N, L) one 1 in each row -> (N,) the number of the true label less the largest other one."""
    true = target > 0
    return z.masked_fill(~true, -torch.inf).amax(-1) - z.masked_fill(true, -torch.inf).amax(-1)


def zero_one(margin: Tensor) -> Tensor:
    """Eq. 14's 0-1 loss I(m < 0), any shape: 1 where something else is ahead of the truth. A figure, not a loss."""
    return (margin < 0).float()


def balanced(count: Tensor) -> Tensor:
    """(..., L) how often each label occurs -> (..., L) n / (L n_l): every label weighs as much as any other in sum.

    As scikit-learn's class_weight "balanced" (King and Zeng 2001). A label that does not occur weighs 0.
    """
    total = count.sum(-1, keepdim=True) / count.shape[-1]
    return torch.where(count > 0, total / count.clamp(min=torch.finfo(count.dtype).tiny), 0.0)
