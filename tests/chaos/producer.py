"""A producer: enqueues jobs of all kinds, some twice under a key, and cancels and replays what it has enqueued.

Every call is written down before it is made, and after: it returned (ok), was refused (fail), or nobody knows (info).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.chaos import terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KINDS = {
    **{"ok": 58, "long": 9, "flaky": 14, "fail": 6, "give_up": 2},
    **{"hang": 2, "overrun": 3, "suicide": 3, "poison": 1.5, "refused": 1.5},
}
"""What jobs do, and how many of a hundred do it; `refused` is a job that no enqueue takes."""


KEYED = 0.25
"""The part of the jobs that have one of two concurrency keys, whose jobs run one at a time."""


class Producer:
    """One producer, with the jobs that it knows."""

    def __init__(self, draw: random.Random) -> None:
        from tests.chaos import shop

        self.shop = shop
        self.draw = draw
        self.ids: list[str] = []

    def enqueue(self, number: int, kind: str, options: dict[str, Any]) -> None:
        """One job; ours takes a delay, a key, a tag with its number."""
        seconds = round(self.draw.uniform(0.6, 1.8) if kind == "long" else self.draw.uniform(0, 0.15), 3)
        call = {"number": number, "kind": kind, "seconds": seconds}
        if kind == "overrun":
            options["soft_time_limit"] = terms.SOFT_LIMIT
        if kind == "refused":
            call["kind"], options["delay"] = "ok", -1
        facts = {"number": number, "task": kind, "key": options.get("idempotency_key"), "delay": options.get("delay")}
        if not self.shop.BARE:
            options["tags"] = {"number": number}
        done = self._told("enqueue", facts, lambda: self.shop.perform.apply_async(kwargs=call, **options), _of_result)
        if done is not None:
            self.ids.append(done["job"])

    def administer(self) -> None:
        """Cancel, or replay, one of the last jobs."""
        from celery_jobs import Jobs

        job = self.draw.choice(self.ids[-30:])
        jobs, verb = Jobs(self.shop.app), self.draw.choice(["cancel", "replay", "replay"])
        act = jobs.cancel if verb == "cancel" else jobs.replay
        self._told(verb, {"op": uuid4().hex, "of": job}, lambda: act(job), _of_run)

    def _told(
        self, kind: str, facts: dict[str, Any], act: Callable[[], Any], read: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any] | None:
        from celery_jobs.errors import JobsError, StoreUnavailable

        self.shop.log.write(kind, "invoke", **facts)
        try:
            done = read(act())
        except Exception as error:
            known = isinstance(error, JobsError) and not isinstance(error, StoreUnavailable)
            raised = {"error": type(error).__name__, "words": str(error)[:200]}
            self.shop.log.write(kind, "fail" if known else "info", **facts, **raised)
            return None
        self.shop.log.write(kind, "ok", **facts, **done)
        return done

    def produce(self, numbers: Iterable[int], kinds: dict[str, float], until: float, count: int) -> None:
        """Enqueue the numbers, evenly spread until the moment, with what else a producer does between them."""
        pause = max(0.0, until - time.monotonic()) / count
        for number in numbers:
            begun = time.monotonic()
            kind = self.draw.choices(list(kinds), list(kinds.values()))[0]
            self.enqueue(number, kind, {} if self.shop.BARE else self._options(number))
            if self.ids and not self.shop.BARE and self.draw.random() < 0.06:
                self.administer()
            time.sleep(max(0.0, pause * self.draw.uniform(0.4, 1.6) - (time.monotonic() - begun)))

    def _options(self, number: int) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.draw.random() < 0.15:
            options["delay"] = round(self.draw.uniform(0.2, 4), 2)
        if self.draw.random() < 0.1:
            # A key is shared by the producers, and drawn again by a later job or two.
            options["idempotency_key"] = f"key-{number // 40}-{self.draw.randrange(2)}"
        if self.draw.random() < KEYED:
            options["concurrency_key"] = f"shelf-{number % 2}"
        return options


def _of_result(result: Any) -> dict[str, Any]:
    return {"job": getattr(result, "job_id", result.id), "deduplicated": bool(getattr(result, "deduplicated", False))}


def _of_run(run: Any) -> dict[str, Any]:
    return {"job": run.id, "final_status": run.final_status}


def main() -> None:
    """Produce as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", type=json.loads, default={})
    parser.add_argument("--probe", nargs="*", default=[])
    asked = parser.parse_args()
    producer = Producer(random.Random(f"{asked.seed} {asked.first}"))
    if asked.probe:
        for index, slot in enumerate(asked.probe):
            producer.enqueue(terms.FIRST_PROBE + index, "ok", {"queue": f"probe-{slot}"})
        return
    until = time.monotonic() + asked.seconds
    numbers = range(asked.first, asked.first + asked.count * asked.step, asked.step)
    producer.produce(numbers, asked.kinds or KINDS, until, asked.count)


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing is owed to anybody: no pool, no connection is to be waited for
