"""The losses by name, in words, for help texts; what they compute is in the tables of `accord.maths`.

Here and not there, as help must not import torch. A test holds the names against the tables.
"""

PAIRS = {
    "sigmoid": "DPO: the logistic loss of the log-ratio gap; the usual one.",
    "cdpo": "Conservative DPO: some labels are taken to be flipped.",
    "hinge": "SLiC: a margin of 1, and no more.",
    "ipo": "IPO: the gap is to be a fixed number; resists overfitting.",
    "exponential": "The exponential loss: stresses wrongly ordered pairs.",
    "robust": "Robust DPO: unbiased under labels flipped at a known rate.",
    "exo_pair": "EXO: the reverse KL to smoothed labels.",
    "discopop": "DiscoPOP: a blend of logistic and exponential, found by search.",
    "sigmoid_norm": "DPO on means per token (length-normalised).",
    "nca_pair": "NCA: keeps the chosen one's likelihood from falling.",
    "bco_pair": "BCO on pairs: a classifier with a shift.",
    "sppo_hard": "SPPO: each side has a target of its own.",
    "aot": "AOT: orders the distributions of margins.",
    "aot_unpaired": "AOT: orders the distributions of log-ratios.",
    "apo_zero": "APO: chosen up, rejected down; for chosen ones better than the model.",
    "apo_down": "APO: both down, rejected more; for chosen ones worse than the model.",
    "simpo": "SimPO: means per token with a margin; no reference.",
    "orpo": "ORPO: likelihood and odds ratio in one; no reference, no SFT before it.",
    "cpo": "CPO: DPO without a reference, with the chosen one's likelihood.",
    "sft": "The likelihood of the chosen completion alone.",
}
LABELS = {
    "kto": "KTO: single completions called good or bad, against a baseline of other prompts.",
    "bco": "BCO: a classifier of single completions, with a shift.",
    "apo_zero_unpaired": "APO on single completions.",
    "npo": "NPO: unlearns the bad completions.",
    "logistic": "The logistic loss of single completions.",
    "exponential_unpaired": "The exponential loss of single completions.",
    "hinge_unpaired": "The hinge loss of single completions.",
}
RANKINGS = {"plackett_luce": "Plackett-Luce: a whole ranking of K completions at once."}

NAMES = {**PAIRS, **LABELS, **RANKINGS}
# Of accord reward; its `davidson` is chosen by the option ties.
REWARDS = {
    "bradley_terry": "Bradley-Terry: the logistic loss of all pairs of a group; the usual one.",
    "hinge": "A margin of 1, and no more.",
    "exponential": "The exponential loss: stresses wrongly ordered pairs.",
    "davidson": "Bradley-Terry with ties as an outcome of their own: --ties davidson.",
    "plackett_luce": "Plackett-Luce: a whole ranking of K completions at once.",
}
# Losses that are commands too; `sft` is a stage of its own.
COMMANDS = {name: text for name, text in NAMES.items() if name != "sft"}

# The losses' own numbers that are options.
HYPERPARAMETERS = (
    "beta", "label_smoothing", "gamma_beta_ratio", "cpo_alpha", "discopop_tau", "desirable_weight",
    "undesirable_weight",
)  # fmt: skip
