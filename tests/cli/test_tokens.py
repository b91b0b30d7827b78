from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.plugin import plugin_of
from celery_jobs.tokens import verify
from tests.cli.conftest import lines

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Run


def test_a_token_is_made_shown_once_listed_and_revoked(app: Celery, run: Run) -> None:
    told = run("tokens", "make", "ci", "--scope", "read", "--scope", "enqueue", "--queue", "plain", "--expires", "90d")
    assert (told.exit_code, told.stderr) == (0, "keep it: it is not shown again\n")
    token = verify(plugin_of(app), told.stdout.strip())
    assert (token.scopes, token.queues) == (["read", "enqueue"], ["plain"])
    listed = run("tokens", "list")
    assert f"cjk_{token.prefix}…{token.last4}" in listed.stdout
    assert told.stdout.strip() not in listed.stdout
    assert run("tokens", "revoke", token.prefix).stdout == "the token ci is revoked\n"
    assert "revoked" in run("tokens", "list").stdout
    assert [token["name"] for token in lines(run("tokens", "list", "--json").stdout)] == ["ci"]


def test_what_is_wrong_with_a_token_is_said(run: Run) -> None:
    assert run("tokens", "make", "ci").exit_code == 2
    assert run("tokens", "make", "ci", "--scope", "all").exit_code == 2
    told = run("tokens", "make", "ci", "--scope", "admin", "--queue", "plain")
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith("Error: queues: ")
    assert run("tokens", "revoke", "nobody").exit_code == 3
    assert run("tokens", "list").stderr == "no tokens\n"


def test_what_the_command_line_does_is_in_the_audit_log(run: Run) -> None:
    assert run("audit").stderr == "no acts\n"
    (job,) = lines(run("enqueue", "cli.add", "--args", "[1]", "--delay", "1h", "--json").stdout)
    run("cancel", job["id"])
    run("cancel", "--queue", "celery", "--dry-run")
    run("list")
    cancel, enqueue = lines(run("audit", "--json").stdout)
    assert (enqueue["action"], enqueue["door"]) == ("enqueue_many", "cli")
    assert enqueue["target"]["tasks"] == ["cli.add"]
    assert cancel["action"] in ("cancel", "cancel_many")
    assert "@" in cancel["actor"]
    table = run("audit", "--door", "cli", "--action", "enqueue_many")
    assert "enqueue" in table.stdout
    assert "cancel" not in table.stdout
