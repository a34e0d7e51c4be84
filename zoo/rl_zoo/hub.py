"""What RL Zoo 2.9 expects of SB3's integration with the Hub, and version 3.2 of it has no more."""

import functools
import importlib
from typing import Any


def mend_hub() -> None:
    """
    Let the Zoo's ``push_to_hub`` and ``load_from_hub`` find what they ask for, in this process.

    They import a function by the name that it had, and take a file that a repository lacks, such
    as the statistics of an agent without any, for an error of ``requests``.
    """
    integration = importlib.import_module("huggingface_sb3")
    pushing = importlib.import_module("huggingface_sb3.push_to_hub")
    if not hasattr(pushing, "generate_metadata"):
        made = pushing._generate_metadata
        pushing.__dict__["generate_metadata"] = lambda *args: made(*args).to_dict()
    integration.__dict__["load_from_hub"] = _as_requests_says(integration.load_from_hub)


def _as_requests_says(load: Any) -> Any:
    missing = importlib.import_module("huggingface_hub.errors").HfHubHTTPError
    expected = importlib.import_module("requests.exceptions").HTTPError

    @functools.wraps(load)
    def load_from_hub(*args: Any, **kwargs: Any) -> Any:
        try:
            return load(*args, **kwargs)
        except missing as error:
            raise expected(str(error)) from error

    return load_from_hub
