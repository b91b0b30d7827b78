"""Scripts, styles and the library of plots that our pages load: files of the package, from nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tornado.web import StaticFileHandler

__all__ = ["StaticFiles"]

FOLDER = Path(__file__).parent / "static"


class StaticFiles(StaticFileHandler):
    """Flower gives a route no arguments where it has a prefix, so the folder is known here."""

    def initialize(self, path: str = str(FOLDER), *_: Any, **__: Any) -> None:
        """Serve our folder."""
        super().initialize(path)

    def set_default_headers(self) -> None:
        """What is no script is never run as one."""
        self.set_header("X-Content-Type-Options", "nosniff")
