"""`--push_to_hub`: the trained model to the Hugging Face hub; nothing here runs unless it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from accord.errors import InputError, ServiceError
from accord.stages.setup import say

# The transport's own errors come through as they are, and have no base that all versions of the library share.
FAILURES = (Exception,)


def check_hub(repository: str) -> None:
    """Before training: the name, the network, the token; makes the repository, private, if it is not there yet.

    InputError for what the user can put right, ServiceError where the hub refuses or does not answer.
    """
    where = "push_to_hub"
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"{repository!r} is no repository ({error})", where=where, fix="as USER/NAME") from error
    if constants.HF_HUB_OFFLINE:
        raise InputError("HF_HUB_OFFLINE is set", where=where, fix="unset it, or leave push_to_hub out")
    if get_token() is None:
        raise InputError("no token of the hub", where=where, fix="run `hf auth login`, or set HF_TOKEN")
    try:
        HfApi().create_repo(repository, private=True, exist_ok=True)
    except FAILURES as error:
        what = f"{repository} cannot be written to ({_line(error)})"
        raise ServiceError(what, where=where, fix="check name, token and network, or leave push_to_hub out") from error


def push(repository: str, folder: Path, names: Sequence[str]) -> None:
    """Uploads these files of a folder. ServiceError where that fails; the folder can then be uploaded by hand."""
    try:
        HfApi().upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(names),
            commit_message="Trained by Accord",
        )
    except FAILURES as error:
        included = " ".join(f"--include {name}" for name in names)
        raise ServiceError(
            f"{repository}: upload failed ({_line(error)}); the model is saved in {folder}",
            where="push_to_hub",
            fix=f"repeat with --resume, or `hf upload {repository} {folder} . {included}`",
        ) from error
    say(f"uploaded {len(names)} files to {repository}")


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
