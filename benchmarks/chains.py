"""Chains of a generated history, as lines of COPY: their rows keep every invariant that `celery_jobs` checks."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from benchmarks.mixes import DONE, Kind, Mix

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["JOB_COLUMNS", "MESSAGE_COLUMNS", "TASKS", "Chains"]

TASKS = tuple(f"shop.{verb}" for verb in ("charge", "ship", "invoice", "remind", "index", "resize", "export", "sync"))
QUEUES = ("payments", "shipping", "mail", "mail", "mail", "reports")
CUSTOMERS = tuple(f"customer-{number}" for number in range(500))
ERRORS = (
    ("shop.payments.CardDeclined", "the card was declined"),
    ("builtins.ConnectionError", "the warehouse does not answer"),
    ("builtins.TimeoutError", "the mail server took longer than 10 s"),
)
DELAYS = (60, 1800, 10800)
WORKERS = 16

NULL = "\\N"
JOB_COLUMNS = (
    *("id", "original_id", "message_id", "task_id", "attempt_number", "retries", "policy_retries", "max_attempts"),
    *("retries_enabled", "is_retry", "has_pending_retry", "queue", "task", "tags", "status", "final_status"),
    *("created_at", "scheduled_at", "sent_at", "send_count", "worker", "lease_token", "lease_expires_at"),
    *("started_at", "finished_at", "ended_at", "duration_ms", "result", "failure_reason", "error_type"),
    *("error_message", "traceback", "last_error_type", "last_error_message", "idempotency_scope", "idempotency_key"),
    *("dead_lettered_at", "replay_of", "replay_reason", "replayed_at", "replayed_as", "resolved_by"),
)
MESSAGE_COLUMNS = (
    *("id", "body", "content_type", "content_encoding", "headers", "properties", "exchange", "routing_key"),
    "delivery_mode",
)
BODY = '[[%d], {"customer": "%s"}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
HEADERS = (
    '{"lang": "py", "task": "%s", "id": "%s", "shadow": null, "eta": null, "expires": null, "group": null,'
    ' "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": "%s", "parent_id": null,'
    ' "argsrepr": "(%d,)", "kwargsrepr": "{\'customer\': \'%s\'}", "origin": "gen4711@web-1", "ignore_result": false,'
    ' "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}}'
)
PROPERTIES = '{"correlation_id": "%s", "reply_to": "e4eea456-a78b-3072-a455-a89e2d94a3ae", "priority": 6}'
TRACEBACK = "Traceback (most recent call last):" + "".join(
    f'\\n  File "/app/shop/{name}.py", line {40 + len(name)}, in {name}\\n    return {name}_of(order, customer)'
    for name in ("tasks", "orders", "accounts", "payments", "gateway")
)

Row = dict[str, str]


class Chains:
    """Makes chain after chain, their beginnings spread evenly over the mix's time."""

    def __init__(self, seed: int, mix: Mix, until: datetime, rows: int) -> None:
        self.dice = random.Random(seed)
        self.until = until.timestamp()
        self.mix = mix
        self._kinds = [kind for kind, _ in mix.kinds]
        self._weights = list(accumulate(weight for _, weight in mix.kinds))
        self._moment = self.until - mix.oldest * 86_400
        self._step = (mix.oldest - mix.newest) * 86_400 / max(1, rows) * self._rows_a_chain()
        self._number = 0
        self._workers = [self._id(self._moment) for _ in range(WORKERS)]

    def make(self, most: int) -> tuple[list[str], list[str]]:
        """The next chain, of at most so many rows: its lines for the table of jobs and for that of messages."""
        self._moment = min(self._moment + self._step, self.until - self.mix.newest * 86_400)
        kind = self.dice.choices(self._kinds, cum_weights=self._weights)[0]
        if len(kind.statuses) + kind.replayed > most:
            kind = DONE
        chain, message = self._chain(kind, self._moment)
        if not kind.replayed:
            return _lines(chain), [message]
        ended = chain[0]["ended_at"]
        again, its_message = self._chain(DONE, _seconds(ended) + self.dice.uniform(60, 600))
        again[0].update(replay_of=chain[0]["id"], replay_reason="fixed")
        chain[0].update(replayed_at=again[0]["created_at"], replayed_as=again[0]["id"])
        return _lines([*chain, *again]), [message, its_message]

    def _rows_a_chain(self) -> float:
        weight = sum(share for _, share in self.mix.kinds)
        return sum(share * (len(kind.statuses) + kind.replayed) for kind, share in self.mix.kinds) / weight

    def _chain(self, kind: Kind, begun: float) -> tuple[list[Row], str]:
        self._number += 1
        first = self._first(kind, begun)
        rows = [first]
        ready = begun
        for number, status in enumerate(kind.statuses, 1):
            if number > 1:
                rows.append(self._retry(first, number, ready))
                ready += DELAYS[number - 2]
            ready = self._attempt(rows[-1], kind, status, ready)
        self._conclude(rows, kind, ready)
        return rows, self._message(first)

    def _first(self, kind: Kind, begun: float) -> Row:
        id, queue = self._id(begun), self.mix.queue or self.dice.choice(QUEUES)
        keyed = self._number % 10 == 0
        return {
            "id": id,
            "original_id": id,
            "message_id": self._id(begun),
            "task_id": id,
            "attempt_number": "1",
            "retries": "0",
            "policy_retries": "0",
            "max_attempts": "4" if kind.retries_enabled else "1",
            "retries_enabled": "t" if kind.retries_enabled else "f",
            "is_retry": "f",
            "queue": queue,
            "task": self.dice.choice(TASKS),
            "tags": self._tags(),
            "created_at": _moment(begun),
            "idempotency_scope": queue if keyed else NULL,
            "idempotency_key": f"order-{self._number}" if keyed else NULL,
        }

    def _tags(self) -> str:
        """Two of five have tags: a list, or an object."""
        number = self._number % 5
        if number > 1:
            return NULL
        customer = CUSTOMERS[self.dice.randrange(len(CUSTOMERS))]
        return f'["nightly", "{customer}"]' if number else f'{{"customer": "{customer}", "plan": "pro"}}'

    def _retry(self, first: Row, number: int, made: float) -> Row:
        of_chain = {name: first[name] for name in _OF_CHAIN}
        count = str(number - 1)
        numbers = {"attempt_number": str(number), "retries": count, "policy_retries": count, "is_retry": "t"}
        return {**of_chain, **numbers, "id": self._id(made), "created_at": _moment(made)}

    def _attempt(self, row: Row, kind: Kind, status: str, due: float) -> float:
        """Fill in how an attempt went that was due at a moment; gives its end."""
        row["status"] = status
        if status == "pending":
            row.update(scheduled_at=_moment(self.until + self.dice.uniform(*self.mix.due)), send_count="0")
            return due
        started = due + self.dice.uniform(0.002, 2)
        finished = started + self.dice.expovariate(2)
        row.update(scheduled_at=_moment(due), sent_at=_moment(due), send_count="1", finished_at=_moment(finished))
        if status == "cancelled":
            row.update(final_status="cancelled", failure_reason=kind.reason or NULL)
            return finished
        row.update(
            worker=self._workers[self.dice.randrange(WORKERS)],
            lease_token=self._id(started),
            lease_expires_at=_moment(started + 1350),
            started_at=_moment(started),
            duration_ms=str(int((finished - started) * 1000)),
        )
        if status == "completed":
            row.update(final_status="success", result='{"sent": true}')
        else:
            error, said = ERRORS[self._number % len(ERRORS)]
            row.update(final_status="failed_with_retries", failure_reason=kind.reason, error_type=error)
            row.update(error_message=said, traceback=f"{TRACEBACK}\\n{error}: {said}\\n")
        return finished

    def _conclude(self, rows: Sequence[Row], kind: Kind, at: float) -> None:
        """What the original says of its chain."""
        original, latest = rows[0], rows[-1]
        if kind.verdict is None:
            if len(rows) > 1:
                original.update(final_status="retrying", has_pending_retry="t")
            return
        original.update(final_status=kind.verdict, ended_at=_moment(at))
        if kind.verdict == "success" and len(rows) > 1:
            original["resolved_by"] = latest["id"]
        if kind.verdict == "dead_lettered":
            original.update(dead_lettered_at=_moment(at), last_error_type=latest["error_type"])
            original["last_error_message"] = latest["error_message"]

    def _message(self, first: Row) -> str:
        task_id, customer = first["task_id"], CUSTOMERS[self._number % len(CUSTOMERS)]
        fields = (
            *(first["message_id"], BODY % (self._number, customer), "application/json", "utf-8"),
            HEADERS % (first["task"], task_id, task_id, self._number, customer),
            *(PROPERTIES % task_id, "", first["queue"], "2"),
        )
        return "\t".join(fields) + "\n"

    def _id(self, moment: float) -> str:
        """A UUID of version 7 that was made then."""
        milliseconds, fraction = divmod(moment * 1000, 1)
        time, tail = f"{int(milliseconds):012x}", f"{self.dice.getrandbits(62) | 2 << 62:016x}"
        return f"{time[:8]}-{time[8:]}-7{int(fraction * 4096):03x}-{tail[:4]}-{tail[4:]}"


_OF_CHAIN = ("original_id", "message_id", "task_id", "max_attempts", "retries_enabled", "queue", "task", "tags")

DEFAULTS = {"has_pending_retry": "f"}
_COLUMNS = [(name, DEFAULTS.get(name, NULL)) for name in JOB_COLUMNS]


def _lines(rows: Sequence[Row]) -> list[str]:
    return ["\t".join([row.get(name, default) for name, default in _COLUMNS]) + "\n" for row in rows]


def _moment(seconds: float) -> str:
    whole, fraction = divmod(seconds, 1)
    return f"{_second(int(whole))}.{int(fraction * 1_000_000):06d}+00"


@lru_cache(4096)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat(" ")[:19]


def _seconds(moment: str) -> float:
    return datetime.strptime(moment, "%Y-%m-%d %H:%M:%S.%f+00").replace(tzinfo=UTC).timestamp()
