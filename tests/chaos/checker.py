"""The history checker: pure, from a run's log and tables to what broke which rule.

The rules are C1 to C26 of the reliability notes as far as their features exist: callbacks (C14, C21, C22), routing
alarms (C15), promotion lag (C18), counters (C25) and an audit trail (C26) are not here yet. C27 is for limits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos import rules_of_attempts as attempts
from tests.chaos import rules_of_chains as chains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.chaos.evidence import Evidence

__all__ = ["RULES", "Violation", "broken_rules", "check"]


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken, and by what."""

    rule: str
    words: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.words}"


def invariants_hold(evidence: Evidence) -> Iterator[str]:
    """The product's own invariants hold in the end."""
    yield from evidence.invariants


RULES: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "C1": chains.c1_no_loss,
    "C2": chains.c2_no_ghost_or_duplicate,
    "C3": attempts.c3_one_outcome,
    "C4": chains.c4_nothing_left_waiting,
    "C5": attempts.c5_attempts_contiguous,
    "C6": attempts.c6_one_at_a_time,
    "C7": attempts.c7_execution_count,
    "C8": chains.c8_nothing_left_processing,
    "C9": attempts.c9_claims_account_for_runs,
    "C10": chains.c10_poison_is_capped,
    "C11": attempts.c11_workers_consume,
    "C12": attempts.c12_isolation,
    "C13": attempts.c13_never_early,
    "C16": chains.c16_no_ghost_run,
    "C17": chains.c17_nothing_deleted,
    "C19": chains.c19_cancelled_is_cancelled,
    "C20": chains.c20_replayed_once,
    "C23": chains.c23_one_verdict,
    "C24": attempts.c24_tokens_go_on,
    "C27": attempts.c27_limits_hold,
    "invariants": invariants_hold,
}
"""Every rule, by its number."""


def check(evidence: Evidence) -> list[Violation]:
    """Everything that breaks a rule."""
    return [Violation(name, words) for name, rule in RULES.items() for words in rule(evidence)]


def broken_rules(violations: Iterable[Violation]) -> Counter[str]:
    """How often each rule was broken."""
    return Counter(violation.rule for violation in violations)
