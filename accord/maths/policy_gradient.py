"""Policy gradients: from rewards to advantages, and from advantages to losses. Equations 15 and 16.

R rows (one episode or completion each), T tokens (or steps) of a row, G groups of K completions of one prompt.
Log-probabilities and KL terms are in nats. A mask (R, T) is right-padded: true from the first token to the last, then
false; what stands in the padding does not matter, and 0 comes out there. Losses are to be minimised, one per element
and not averaged. All gradients are left on: the caller detaches advantages, baselines, old values and targets.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from accord.maths.divergence import k2
from accord.maths.finite import finite_exp


def per_token_reward(score: Tensor, kl: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """(R,) scores, (R, T) k1 = log(pi / pi_ref), (R, T) -> (R, T): -beta k1 at every token, the score at the last one.

    Ziegler et al. 2019, Eq. 2, told token by token: a row sums to r(x, y) - beta log(pi(y|x) / pi_ref(y|x)), whose mean
    is the objective, Eq. 9. With these rewards there is no KL term in the loss. A row without tokens has no place for
    its score.
    """
    last = mask & ~pad(mask[:, 1:], (0, 1))
    return torch.where(mask, -beta * kl, 0.0) + torch.where(last, score.unsqueeze(1), 0.0)


def gae(reward: Tensor, value: Tensor, mask: Tensor, *, gamma: float, lam: float) -> Tensor:
    """(R, T), (R, T), (R, T) -> (R, T) advantages. Schulman et al. 2016, Eq. 16. Not whitened.

    A_t = sum_l (gamma lam)^l delta_{t+l}, delta_t = r_t + gamma V(s_{t+1}) - V(s_t), V = 0 after the last token: a row
    that was cut off, and not ended, wants gamma V(what would follow) added to its last reward. lam = 1: the Monte-Carlo
    return minus the value; lam = 0: the TD error. The critic's target is advantage + value.
    """
    value = torch.where(mask, value, 0.0)
    delta = torch.where(mask, reward + gamma * pad(value[:, 1:], (0, 1)) - value, 0.0)
    ahead = torch.zeros_like(delta[:, 0])
    backwards = []
    for now in reversed(delta.unbind(1)):
        ahead = now + gamma * lam * ahead
        backwards.append(ahead)
    return torch.stack(backwards[::-1], dim=1)


def discounted_return(reward: Tensor, mask: Tensor, *, gamma: float) -> Tensor:
    """(R, T), (R, T) -> (R, T) G_t = sum_l gamma^l r_{t+l}, to the end of the row."""
    return gae(reward, torch.zeros_like(reward), mask, gamma=gamma, lam=1.0)


def leave_one_out(reward: Tensor) -> Tensor:
    """(G, K) -> (G, K) r_i minus the mean of the others' rewards, K >= 2. RLOO: Kool et al. 2019; Ahmadian et al. 2024.

    The others say nothing of completion i, so the gradient keeps its mean. It is K/(K-1) times r_i minus the mean of
    all K: with that one, which completion i is part of, the gradient of the reward would be (K-1)/K of what it should
    be, against a KL term in full, and the optimum that of a larger beta. ValueError: K < 2.
    """
    k = reward.shape[-1]
    if k < 2:
        raise ValueError(f"leave-one-out needs at least 2 completions of a prompt, not {k}")
    return k / (k - 1) * _less_the_mean(reward)


def group_advantage(reward: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    """(G, K) -> (G, K) (r_i - mean) / (std + epsilon) of the group. GRPO as published: Shao et al. 2024, section 4.1.2.

    std divides by K - 1, as in TRL's and verl's code (the paper does not say). Divided by the spread, rewards lose
    their size, and near ties weigh as much as clear wins: the optimum is not Eq. 10's. `leave_one_out` is the unbiased
    form. ValueError: K < 2.
    """
    k = reward.shape[-1]
    if k < 2:
        raise ValueError(f"a group's spread needs at least 2 completions of a prompt, not {k}")
    return _less_the_mean(reward) / (reward.std(-1, keepdim=True) + epsilon)


def _less_the_mean(reward: Tensor) -> Tensor:
    """(G, K) -> (G, K). Equal rewards come to exactly 0: the mean of equal numbers may differ from them by rounding."""
    apart = reward - reward[..., :1]
    return apart - apart.mean(-1, keepdim=True)


def moving_mean(held: Tensor, new: Tensor, *, decay: float = 0.9) -> Tensor:
    """decay held + (1 - decay) new, any shape: the baseline of REINFORCE (Williams 1992) after rewards of mean `new`.

    Only the one held before a completion was drawn may be subtracted from its reward: then the gradient keeps its mean,
    whatever is held.
    """
    return decay * held + (1 - decay) * new


def whiten(x: Tensor, mask: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) over the true entries of the mask, same shape; 0 elsewhere.

    Biased variance, as Huang et al. 2024 (The N+ implementation details). The entries given are taken as all there
    are: give it the whole global batch. One entry alone becomes 0.
    """
    mean, variance = masked_moments(x, mask)
    return torch.where(mask, (x - mean) * torch.rsqrt(variance + epsilon), 0.0)


def scale_to_unit(x: Tensor, mask: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """As `whiten`, but the mean stays: only the spread becomes 1. What Huang et al. 2024 do to rewards."""
    mean, _ = masked_moments(x, mask)
    return torch.where(mask, whiten(x, mask, epsilon=epsilon) + mean, 0.0)


def masked_moments(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Same shapes -> () mean and () biased variance of the true entries, in float64; 0 and 0 of none.

    In float32 the mean of equal entries may differ from them in its last digit, which whitening would blow up.
    """
    wide, count = x.double(), mask.sum().clamp(min=1)
    mean = torch.where(mask, wide, 0.0).sum() / count
    return mean, torch.where(mask, wide - mean, 0.0).square().sum() / count


def log_ratio(logp: Tensor, old: Tensor) -> Tensor:
    """log(pi / pi_old), same shapes, in float32 at least: a difference of two bf16 would be rounded to 8 bits."""
    wide = torch.promote_types(logp.dtype, torch.float32)
    return logp.to(wide) - old.to(wide)


def reinforce(logp: Tensor, advantage: Tensor) -> Tensor:
    """-A log pi, same shapes: tokens with their advantages, or whole completions with theirs.

    Eq. 15, Williams 1992: its gradient is -A grad log pi, in the mean minus that of E[R] where A is R minus a baseline.
    """
    return -advantage * logp


def ppo_clip(logp: Tensor, old: Tensor, advantage: Tensor, *, cliprange: float = 0.2) -> Tensor:
    """-min(rho A, clip(rho, 1 - eps, 1 + eps) A), rho = pi / pi_old of each element, eps = cliprange; same shapes.

    Eq. 16, Schulman et al. 2017, Eq. 7. Of tokens, the ratio that practice takes; of completions it is
    `ppo_clip_sequence`. At rho = 1 value and gradient are -A and -A grad log pi. Beyond log rho = 40 rho goes on along
    its tangent, as float32 has no such numbers.
    """
    ratio = finite_exp(log_ratio(logp, old))
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - cliprange, 1 + cliprange))


def ppo_clip_sequence(logp: Tensor, old: Tensor, advantage: Tensor, *, cliprange: float = 0.2) -> Tensor:
    """(R,) log pi(y|x), (R,) log pi_old(y|x), (R,) advantages of whole completions -> (R,) clipped losses.

    Eq. 16 as its derivation from the objective writes it: rho = pi(y|x) / pi_old(y|x), the importance weight of the
    whole completion. Exact, but rho is a product over all tokens: its spread grows with the length, and the clip binds
    sooner than with a ratio per token.
    """
    return ppo_clip(logp, old, advantage, cliprange=cliprange)


def clipped(logp: Tensor, old: Tensor, advantage: Tensor, *, cliprange: float = 0.2) -> Tensor:
    """Same shapes -> bool: where `ppo_clip` is clipped, and has no gradient. Its mean is policy/clipfrac_avg."""
    ratio = finite_exp(log_ratio(logp, old))
    return ((advantage > 0) & (ratio > 1 + cliprange)) | ((advantage < 0) & (ratio < 1 - cliprange))


def approx_kl(logp: Tensor, old: Tensor) -> Tensor:
    """(log(pi / pi_old))^2 / 2, same shapes: k2 of how far the policy has gone from the one that sampled.

    Its mean over tokens is TRL's policy/approxkl_avg: an estimate of KL(pi_old || pi) per token, good while small.
    """
    return k2(log_ratio(logp, old), torch.zeros_like(old))


def value_loss(value: Tensor, old: Tensor, target: Tensor, *, cliprange_value: float = 0.2) -> Tensor:
    """max((V - R)^2, (clip(V, V_old - eps, V_old + eps) - R)^2) / 2, eps = cliprange_value; same shapes.

    The critic's loss of PPO's authors (OpenAI baselines, ppo2), not in the paper; values and eps are in the unit of the
    rewards. R is the return, advantage + V_old.
    """
    near = old + (value - old).clamp(-cliprange_value, cliprange_value)
    return 0.5 * torch.maximum((value - target).square(), (near - target).square())


def value_clipped(value: Tensor, old: Tensor, target: Tensor, *, cliprange_value: float = 0.2) -> Tensor:
    """Same shapes -> bool: where `value_loss` is clipped, and has no gradient. Its mean is val/clipfrac_avg."""
    near = old + (value - old).clamp(-cliprange_value, cliprange_value)
    return (near - target).square() > (value - target).square()


def explained_variance(value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Same shapes -> () 1 - Var[R - V] / Var[R] over the true entries of the mask.

    1: the critic knows every return; 0: it is worth no more than a constant; below 0: less than that. A constant error
    does not count. NaN where the returns do not vary, or there are none: nothing is there to be explained.
    """
    _, unexplained = masked_moments(target - value, mask)
    _, variance = masked_moments(target, mask)
    varies = torch.where(mask, target, torch.inf).amin() < torch.where(mask, target, -torch.inf).amax()
    return torch.where(varies, 1 - unexplained / variance, torch.nan)
