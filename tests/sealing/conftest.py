"""Apps with keys, and all that a database or a broker holds as one text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from tests.apps import end
from tests.processes import SOURCE, Worker
from tests.sealing.shop import make_shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery


@pytest.fixture
def shop(broker_url: str, database_url: str) -> Iterator[Callable[..., Celery]]:
    """Makes apps with keys on one broker and one database, which has to be healthy at the end."""
    made: list[Celery] = []

    def new(*keys: str, **conf: Any) -> Celery:
        made.append(make_shop(broker_url, database_url, list(keys), **conf))
        return made[-1]

    yield new
    for app in made:
        end(app)


@pytest.fixture
def start(broker_url: str, database_url: str, tmp_path: Path) -> Callable[..., Worker]:
    """Makes workers of the shop with keys."""

    def new(*keys: str) -> Worker:
        folder = tmp_path / f"worker-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        env = {
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
            "SHOP_BROKER_URL": broker_url,
            "SHOP_DATABASE_URL": database_url,
            "SHOP_KEYS": " ".join(keys),
        }
        return Worker("tests.sealing.worker:app", folder, broker_url=broker_url, concurrency=2, env=env)

    return new


def carried(broker_url: str) -> str:
    """All that lies in the broker's lists, as it is and out of base64."""
    import base64
    import json

    found = []
    with Redis.from_url(broker_url) as client:
        for name in client.scan_iter(_type="list"):
            for item in client.lrange(name, 0, -1):
                message = json.loads(item)
                found += [item.decode(), base64.b64decode(message["body"]).decode("utf-8", "replace")]
    return "\n".join(found)
