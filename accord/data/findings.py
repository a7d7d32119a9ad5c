"""One table: what can be wrong with data, and at which stage that is an error, a warning, or nothing but data."""

from __future__ import annotations

from typing import Literal, NamedTuple

from accord.records import Origin, RecordError

Severity = Literal["error", "warning", "data"]
Stage = Literal["pretrain", "sft", "dpo", "kto", "reward", "classify", "rl", "evaluate"]
STAGES: tuple[Stage, ...] = ("pretrain", "sft", "dpo", "kto", "reward", "classify", "rl", "evaluate")
LETTERS: dict[str, Severity] = {"e": "error", "w": "warning", ".": "data"}
DROP = "drop the row, or run with --on_bad_row drop"


class Kind(NamedTuple):
    """A row of FINDINGS. at: a letter for each of STAGES, see LETTERS. what: for people. fix: what to do."""

    at: str
    what: str
    fix: str

    def severity(self, stage: Stage) -> Severity:
        return LETTERS[self.at[STAGES.index(stage)]]


# fmt: off
FINDINGS: dict[str, Kind] = {
    # the letters stand for pretrain, sft, dpo, kto, reward, classify, rl, evaluate
    # of the file
    "not_utf8": Kind("eeeeeeee", "bytes that are not UTF-8", "save the file as UTF-8"),
    "broken_json": Kind("eeeeeeee", "a line that is not JSON", DROP),
    "duplicate_key": Kind("eeeeeeee", "a JSON object that has a key twice", DROP),
    "lone_surrogate": Kind("eeeeeeee", "half a character", DROP),
    "too_large": Kind("eeeeeeee", "a row too large to be parsed", DROP),
    "unreadable": Kind("eeeeeeee", "a file that cannot be read to its end", "mend it, or fetch it again"),
    # of a row by itself
    "malformed": Kind(
        "eeeeeeee", "a row that is no group: a column missing, of the wrong type, an unknown role", DROP),
    "not_finite": Kind("eeeeeeee", "a number that is not finite", DROP),
    "duplicate_id": Kind("eeeeeeee", "an id that another row has", "give each row an id of its own, or none"),
    "empty_prompt": Kind("eeeeeeee", "a prompt without text", DROP),
    "empty_turn": Kind("eeeeeeee", "a turn without text", DROP),
    "empty_completion": Kind("eeeeee..", "a completion without text", DROP),
    "equal_sides": Kind(
        "..eee...", "completions that are all the same text, and yet judged", "drop the row, or rank it as a tie"),
    "not_judged": Kind(
        "eeeeee..", "nothing that this stage learns from: no ranks, ratings, labels or completion", DROP),
    "odd_roles": Kind(
        "wwwwwwww", "turns that do not alternate between user and assistant", "look at it: templates differ in them"),
    "several_turns": Kind(
        "..www..w", "compared completions that differ before their last turn", "compare single replies to one prompt"),
    "weighted": Kind("w.......", "a weight, which packed texts do not have", "give its source a weight in a mixture"),
    # of rows together
    "duplicate": Kind("wwwwwwww", "the same prompt with the same completions again", "keep one of them"),
    "near_duplicate": Kind("wwwwwwww", "nearly the same text as another row", "keep one of them"),
    "contradiction": Kind(
        "..wwww.w", "A is preferred to B here and B to A elsewhere, or a text has another label",
        "decide which; people may also disagree"),
    "shared_prompt": Kind(
        "eeeeeee.", "a prompt both trained on and held out",
        "remove it from one of the two, or --allow_shared_prompts"),
    "length_bias": Kind(
        "..www..w", "length alone tells which completion is preferred", "control for length when evaluating"),
    "annotator_imbalance": Kind(
        "..wwww.w", "one annotator gave most of the judgements", "weigh or collect judgements evenly"),
    # of tokens
    "refused_turns": Kind(
        "eeeeeeee", "turns that the chat template refuses", "drop the row, or another template: --chat_template FILE"),
    "not_prefix": Kind(
        "eeeeeeee", "a prompt that the template writes anew before a reply", "--chat_template FILE"),
    "left_out": Kind(
        "wwwwwwww", "a turn of which the chat template writes nothing", "--chat_template FILE, or take the turn out"),
    "double_bos": Kind("eeeeeeee", "BOS twice at the start", "--chat_template FILE, or take BOS out of the text"),
    "no_end": Kind(
        "wwwww...", "a completion that ends without a special token: no end can be learnt", "--chat_template FILE"),
    "control_string": Kind(
        "wwwwwwww", "control strings in somebody's words, which are tokenised as words", "nothing, if they are words"),
    "no_loss": Kind("eeeeee..", "no token that carries loss", DROP),
    "too_long": Kind("wwwwwwww", "longer than max_length", "raise --max_length, or --on_long truncate_prompt"),
    "many_too_long": Kind(".eeeeeee", "more too long rows than --max_dropped allows", "raise --max_length"),
    "equal_after_cut": Kind("..www...", "a pair that would be the same, cut at max_length", "raise --max_length"),
    "equal_tokens": Kind("..eee...", "a pair whose completions are the same tokens", DROP),
}
# fmt: on


class Finding(NamedTuple):
    """One thing found: `name` is its row in FINDINGS, `what` says it with this row's particulars."""

    name: str
    origin: Origin
    what: str
    field: str = ""
    id: str = ""
    fix: str = ""  # where this one needs another than its kind

    @property
    def kind(self) -> Kind:
        return FINDINGS[self.name]

    def error(self) -> RecordError:
        fix = self.fix or self.kind.fix
        return RecordError(self.what, origin=self.origin, field=self.field, fix=fix, finding=self.name)
