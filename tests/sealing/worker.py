"""The app of a worker process."""

from __future__ import annotations

from tests.sealing import shop

app = shop.app()
