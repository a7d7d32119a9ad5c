"""The configs of the commands that compare and examine models."""

from accord.stages.agreement_options import AgreementOptions, OpinionOptions, PicturedOutput
from accord.stages.options import Config
from accord.stages.winrate_options import ComparedOptions, WinRateOptions, WinRateOutput


class WinrateConfig(Config):
    """`accord winrate`."""

    compared: ComparedOptions
    win_rate: WinRateOptions
    output: WinRateOutput


class AgreementConfig(Config):
    """`accord agreement`."""

    opinions: OpinionOptions
    agreement: AgreementOptions
    output: PicturedOutput
