"""Files to the Hugging Face Hub and from there."""

import glob
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from dreamzoo.common.environments.normalizer import NORMALIZER
from dreamzoo.envs.errors import requires_extra

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def hub_api(token: str | None = None) -> "HfApi":
    """
    Return the Hub's client.

    :param token: of an account; default: the one of ``hf auth login``
    :raises ImportError: without ``huggingface_hub``, with the line that installs it
    """
    with requires_extra("hub"):
        from huggingface_hub import HfApi
    return HfApi(token=token, library_name="dreamzoo")


def load_from_hub(
    repo_id: str,
    filename: str | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """
    Download a model, and the statistics of ``VecNormalize`` if some lie beside it.

    Files are kept in the cache of ``huggingface_hub`` and downloaded once. SB3's function of this
    name asks for ``TRUST_REMOTE_CODE``, since its models run code when they are loaded. Those of
    dreamzoo run none, and :func:`dreamzoo.load` refuses whatever would, so that nothing is asked.

    Example:
        >>> import dreamzoo
        >>> from dreamzoo.hub import load_from_hub
        >>> path = load_from_hub("someone/dreamer_v3-CartPole-v1")  # doctest: +SKIP
        >>> model = dreamzoo.load(path)  # doctest: +SKIP

    :param repo_id: of the repository: ``user/name``
    :param filename: of the model in it; default: the repository's name with ``.zip``, as
        SB3 and RL Zoo name them
    :param revision: branch, tag or commit; default: the newest
    :param token: of an account, for private repositories
    :return: path of the model; statistics lie beside it, where dreamzoo's commands look for them
    :raises FileNotFoundError: if the repository has no such file; names those it has
    :raises ImportError: without ``huggingface_hub``, with the line that installs it
    """
    api = hub_api(token)
    filename = f"{repo_id.rpartition('/')[2]}.zip" if filename is None else filename
    beside = str(PurePosixPath(filename).with_name(NORMALIZER))
    wanted = [glob.escape(name) for name in (filename, beside)]
    folder = api.snapshot_download(repo_id, revision=revision, allow_patterns=wanted)
    path = Path(folder, filename)
    if not path.is_file():
        files = api.list_repo_files(repo_id, revision=revision)
        zips = ", ".join(name for name in files if name.endswith(".zip"))
        raise FileNotFoundError(
            f"{repo_id} has no file {filename}. Its zip files: {zips or 'none'}."
        )
    return str(path)


def push_to_hub(
    repo_id: str,
    filename: str | Path,
    commit_message: str | None = None,
    token: str | None = None,
) -> str:
    """
    Upload a file, such as a saved model, to a repository, which is made if it does not exist.

    :func:`package_to_hub` uploads a model with all that others need to judge it.

    Example:
        >>> from dreamzoo.hub import push_to_hub
        >>> url = push_to_hub("me/dreamer_v3-CartPole-v1", "agent.zip")  # doctest: +SKIP

    :param repo_id: of the repository: ``user/name``
    :param filename: path of the file; in the repository it has its last part as a name
    :param commit_message: default: names the file
    :param token: of an account; default: the one of ``hf auth login``
    :return: address of the repository
    :raises FileNotFoundError: if there is no such file
    :raises ImportError: without ``huggingface_hub``, with the line that installs it
    """
    api = hub_api(token)
    path = Path(filename)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Nothing was uploaded.")
    url = api.create_repo(repo_id, exist_ok=True)
    api.upload_file(
        path_or_fileobj=path,
        path_in_repo=path.name,
        repo_id=url.repo_id,
        commit_message=commit_message or f"Upload {path.name}",
    )
    return str(url)
