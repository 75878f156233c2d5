"""What `lipsync doctor` found of a machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. ok: usable; needed: a dub cannot run without it."""

    group: str
    name: str
    ok: bool
    needed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        """A dub can run."""
        return all(f.ok for f in self.findings if f.needed)

    @property
    def verdict(self) -> str:
        """One sentence."""
        missing = dict.fromkeys(f.name for f in self.findings if f.needed and not f.ok)
        return (
            f"A dub cannot run here before this is mended: {', '.join(missing)}." if missing else "A dub can run here."
        )

    def to_plain(self) -> dict:
        """For JSON."""
        return {"well": self.well, "verdict": self.verdict, "findings": [asdict(f) for f in self.findings]}

    def lines(self) -> list[str]:
        """For people: grouped, the verdict last."""
        lines, group = [], None
        for f in self.findings:
            if f.group != group:
                group = f.group
                lines.append(group)
            lines.append(f"  {'ok' if f.ok else 'MISSING' if f.needed else '-':<8}{f.name:<16} {f.text}")
        return [*lines, "", self.verdict]
