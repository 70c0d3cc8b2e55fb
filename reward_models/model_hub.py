"""Models by their name on the Hugging Face Hub: asked for before the download, and why one cannot be had."""

import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi, constants, errors, is_offline_mode, try_to_load_from_cache

from reward_models.errors import ArtifactError
from reward_models.model_folders import ADAPTER, CONFIG, lacking

SECONDS = 10.0
"""For the Hub's first answer; a Hub that cannot be reached is not asked again and again."""
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w][\w.-]*)?", re.ASCII)


def is_path(source: str | Path) -> bool:
    """Whether a source is a place on this machine: it exists, is a `Path`, or is no name that the Hub could have."""
    return isinstance(source, Path) or Path(source).expanduser().exists() or not _NAME.fullmatch(source)


def cached_folder(name: str) -> Path | None:
    """The folder of a named model where only what was downloaded before can be had; None if the Hub can send it.

    The Hub is asked for the list of the model's files, unless the environment forbids the network. Raises ArtifactError
    for a model that the Hub does not have, whose files are no model, or which was not downloaded before while the Hub
    cannot be reached.
    """
    try:
        found = HfApi().model_info(name, timeout=SECONDS)
    # What a network can do wrong has classes that change with each release of the library beneath.
    except Exception as error:
        gone = isinstance(error, errors.RepositoryNotFoundError | errors.DisabledRepoError)
        if isinstance(error, errors.HfHubHTTPError) and not gone and error.response.status_code < 500:
            return None  # a mirror that has files and no lists of them
        cached = None if gone else try_to_load_from_cache(name, CONFIG)
        if isinstance(cached, str):
            return Path(cached).parent
        raise ArtifactError(why(name, error)) from error
    files = {file.rfilename for file in found.siblings or ()}
    cause = lacking(files)
    if ADAPTER in files:
        cause = "it holds an adapter, no model; load its base, and put the downloaded adapter on with load_adapter"
    if files and cause is not None:
        raise ArtifactError(f"no model could be read from '{name}' on the Hub: {cause}")
    return None


def why(name: str, error: BaseException) -> str:
    """One sentence on why a name gave no model, by the first of its causes that is known."""
    chain = list(_causes(error))
    answers = [cause for cause in chain if isinstance(cause, errors.HfHubHTTPError)]
    start = f"no model could be read from '{name}': it is no folder here, and"
    if is_offline_mode() or any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in chain):
        return (
            f"{start} it was not downloaded before, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids the network; "
            "give a local folder, or unset both"
        )
    for kind, cause in (
        (errors.GatedRepoError, "its owner lets only some accounts have it; ask there, then set HF_TOKEN"),
        (errors.DisabledRepoError, "the Hub has switched it off; give another model"),
        (
            errors.RepositoryNotFoundError,
            "the Hub has no model of that name, or a private one (401 or 404); check the name, or set HF_TOKEN",
        ),
    ):
        if any(isinstance(one, kind) for one in chain):
            return f"{start} {cause}"
    if answers:
        return f"{start} the Hub answered {answers[0].response.status_code}; try again later, or give a local folder"
    return (
        f"{start} the Hub ({constants.ENDPOINT}) could not be reached ({_last(chain)}); check the network, or give a "
        "local folder"
    )


def is_network(error: BaseException) -> bool:
    """Whether an error comes from the way to the Hub."""
    kinds = (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__


def _last(chain: list[BaseException]) -> str:
    text = str(chain[-1]).strip().splitlines()
    return text[0] if text else type(chain[-1]).__name__
