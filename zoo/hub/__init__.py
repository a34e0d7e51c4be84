"""
Models on the Hugging Face Hub.

``load_from_hub``, ``push_to_hub`` and ``package_to_hub`` take what SB3's ``huggingface_sb3`` does.
"""

from dreamzoo.hub.package import package_to_hub
from dreamzoo.hub.transfer import load_from_hub, push_to_hub

__all__ = ["load_from_hub", "package_to_hub", "push_to_hub"]
