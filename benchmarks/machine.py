"""Where a run took place: processor, memory, versions, and how busy the machine was."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from redis import Redis

from benchmarks.contenders import PEERS
from benchmarks.environments import Unavailable, bin_of
from benchmarks.stage import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.contenders import Peer
    from benchmarks.stage import Stage

__all__ = ["facts", "load"]

OWN = ("celery-jobs", "celery", "kombu", "redis", "sqlalchemy", "psycopg")


def facts(stage: Stage, contenders: Iterable[str]) -> dict[str, Any]:
    """What a reader needs to know to repeat a run."""
    with Redis.from_url(stage.valkey.url) as client:
        server: Any = client.info("server")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1024**3),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": stage.postgres.version(),
        "postgresql_settings": {"fsync": "on", "synchronous_commit": "on", **SETTINGS},
        "valkey": server.get("valkey_version") or server["redis_version"],
        "packages": {name: version(name) for name in OWN},
        "peers": _versions(contenders),
    }


def load() -> float:
    """The load average of the last minute: above what the run itself makes, somebody else was at work."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in file.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of the peers that took part, as their environments have them."""
    peers = [PEERS[name] for name in names if name in PEERS]
    return {peer.name: _version(peer) for peer in peers if peer.packages}


def _version(peer: Peer) -> str:
    ask = f"from importlib.metadata import version; print(version({peer.package!r}))"
    try:
        command = [str(bin_of(peer) / "python"), "-c", ask]
    except Unavailable:
        return "not installed"
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
