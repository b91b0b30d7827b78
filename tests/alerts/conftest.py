"""The callbacks' shop and receiver: Apprise's JSON service posts to the same server."""

from __future__ import annotations

from tests.callbacks.conftest import receiver, shop

__all__ = ["receiver", "shop"]
