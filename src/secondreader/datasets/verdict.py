"""What a check of data sets came to: a table a person can act on, and the same as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Finding", "State", "Verdict"]

State = Literal["ok", "note", "broken"]
_SHOWN = 20  # files named in a row of the table; the JSON names them all


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a verdict.

    Parameters
    ----------
    dataset, check
        Which set, and what was looked at.
    state
        ``ok``, ``note`` (an oddity that costs nothing but this line) or ``broken``.
    got, expected, remedy
        What is there, what should be, what to do.
    count
        How many files or rows.
    files
        All of them.
    """

    dataset: str
    check: str
    state: State
    got: str
    expected: str
    remedy: str = ""
    count: int = 0
    files: tuple[str, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """Return set, state, check, got, expected, remedy and the first files, for a table."""
        shown = ", ".join(self.files[:_SHOWN])
        more = len(self.files) - _SHOWN
        files = f"{shown} and {more} more" if more > 0 else shown
        return self.dataset, self.state, self.check, self.got, self.expected, self.remedy, files


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings, what is broken first; ``sets`` is (data set, root, choices, fingerprint)."""

    sets: tuple[tuple[str, str, tuple[tuple[str, str], ...], str], ...]
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> bool:
        """Whether anything is broken: the command line exits with 1."""
        return any(finding.state == "broken" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        sets = [
            {"dataset": name, "root": root, "choices": dict(choices), "fingerprint": fingerprint}
            for name, root, choices, fingerprint in self.sets
        ]
        found = [asdict(finding) | {"files": list(finding.files)} for finding in self.findings]
        return {"sets": sets, "broken": self.broken, "findings": found}
