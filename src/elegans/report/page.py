"""What a report shows: everything about one finished (or half finished) run of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elegans.lab.engine import Failure
    from elegans.stats import Verdict
    from elegans.study import Arm, Claim, Results, Study


@dataclass(frozen=True, kw_only=True)
class StudyPage:
    """One study as it was run: its arms with all overrides applied, its results and its verdicts."""

    study: Study
    scale: str
    seeds: tuple[int, ...]
    arms: Mapping[str, Arm]
    results: Results
    verdicts: Sequence[Verdict]
    command: str
    overrides: tuple[str, ...] = ()
    """What was changed from the preset, as given on the command line: ``cot.config.lam=12.6``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """Compute time of all jobs together."""
    failed: Sequence[Failure] = ()
    """Jobs that failed."""

    def judged(self) -> list[tuple[Claim, Verdict]]:
        """Every claim that has a verdict, with it, in the study's order."""
        found = {verdict.claim: verdict for verdict in self.verdicts}
        return [(claim, found[claim.name]) for claim in self.study.claims if claim.name in found]
