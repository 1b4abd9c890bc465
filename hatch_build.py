"""The README in the metadata: a package index shows it alone, where links to files of the repository lead nowhere."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]*)\)")
"""A link, or a picture, to a file of the repository."""


def alone(readme: str, base: str | None = None) -> str:
    """Return a README whose links lead somewhere by themselves.

    Args:
        readme: The text.
        base: Where the files of the repository are to be seen; without it a link becomes its text, and a picture goes.
    """

    def follow(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if base is not None:
            return f"{picture}[{text}]({base}/{target})"
        return "" if picture else text

    return LINK.sub(follow, readme)


class ReadmeHook(MetadataHookInterface):
    """Gives hatchling the README; the base is that of ``[project.urls]``, if there is one."""

    def update(self, metadata: dict) -> None:
        """Add the README to the metadata."""
        text = (Path(self.root) / "README.md").read_text()
        base = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": alone(text, base and f"{base}/blob/v{metadata.get('version')}"),
        }
