"""What the messenger's threads import: a child that is forked meanwhile would wait for that module for ever."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import trustme

from celery_jobs.store.db import Database
from tests.outgoing.http2 import answers_in_http2
from tests.outgoing.servers import answer, answers, refusing_port, serving
from tests.processes import SOURCE
from tests.store.conftest import complete, store

if TYPE_CHECKING:
    from pathlib import Path


def test_the_threads_that_send_import_nothing_first(database_url: str, tmp_path: Path) -> None:
    db = Database(database_url)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ok = answers(answer(b"ok"))
    with (
        serving(ok) as plain,
        serving(ok, tls=tls(authority)) as encrypted,
        serving(answers_in_http2(b"ok"), tls=tls(authority, "h2")) as modern,
        serving(ok, tls=tls(trustme.CA())) as strange,
        refusing_port() as closed,
    ):
        ports = [plain.port, encrypted.port, modern.port, strange.port, closed]
        for port in ports:
            scheme = "http" if port in (plain.port, closed) else "https"
            complete(db, store(db, callback_url=f"{scheme}://localhost:{port}/hook"))
        said = send(database_url, len(ports), str(tmp_path / "ca.pem"))
    db.dispose()
    assert sorted(kind for kind, _ in said["told"]) == ["job.callback_failed"] * 2 + ["job.callback_sent"] * 3
    assert said["imported"] == []


def tls(authority: trustme.CA, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(list(protocols) or ["http/1.1"])
    return context


def send(database_url: str, count: int, ca_file: str) -> dict[str, list[list[str]]]:
    path = os.pathsep.join([str(SOURCE), str(SOURCE.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.callbacks.imports", database_url, str(count)],
        env={**os.environ, "PYTHONPATH": path, "SSL_CERT_FILE": ca_file},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, list[list[str]]] = json.loads(done.stdout.splitlines()[-1])
    return said
