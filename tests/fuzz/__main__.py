"""Damaged files of every kind, given to the functions that read them: the right answer or a sentence, never a crash, a
hang or a traceback.

`python -m tests.fuzz` is the nightly run: 20,000 inputs in a few minutes on two cores. The same seed makes the
same inputs."""

from __future__ import annotations

import argparse
import datetime
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.pool import FINE, Input, Outcome, make_seeds, run

KEPT_OF_ONE_CAUSE = 3


def all_kinds() -> dict:
    from tests.fuzz.readers import KINDS

    return KINDS


def inputs_of(names: Sequence[str], n: int, seed: int, kinds: dict) -> Iterator[Input]:
    """n inputs, spread over the kinds by their shares."""
    given = dict.fromkeys(names, 0)
    for _ in range(n):
        name = min(names, key=lambda k: (given[k] + 1) / kinds[k].share)
        yield Input(name, given[name], seed)
        given[name] += 1


def fuzz(names: Sequence[str], n: int, seed: int, minutes: float, keep: Path | None) -> dict:
    """Counts by kind and verdict, and the findings; those are kept as files with their bytes where a folder is
    named."""
    kinds, start = all_kinds(), time.monotonic()
    counts, slowest, findings = {name: Counter() for name in names}, {}, []
    with tempfile.TemporaryDirectory(prefix="lipsync-fuzz-seeds-") as folder:
        make_seeds(kinds, names, Path(folder))
        until = start + 60 * minutes
        given = (one for one in inputs_of(names, n, seed, kinds) if time.monotonic() < until)
        for outcome in run(given, all_kinds, Path(folder)):
            name = outcome.input.kind
            counts[name][outcome.verdict] += 1
            slowest[name] = max(slowest.get(name, 0.0), outcome.seconds)
            if outcome.verdict not in FINE:
                _keep(outcome, findings, keep, kinds, Path(folder))
            done = sum(c.total() for c in counts.values())
            if done % 500 == 0:
                print(f"{done} inputs, {len(findings)} findings, {time.monotonic() - start:.0f} s", file=sys.stderr)
    seconds, cpu = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    done = sum(c.total() for c in counts.values())
    return {
        "seed": seed,
        "inputs": done,
        "requested": n,
        "seconds": round(seconds, 1),
        "inputs_per_s": round(done / seconds, 1),
        "cpu_s": round(cpu.ru_utime + cpu.ru_stime, 1),
        "kinds": {name: dict(c) | {"slowest_s": round(slowest.get(name, 0.0), 2)} for name, c in counts.items()},
        "findings": len(findings),
        "causes": dict(Counter(o.signature for o in findings).most_common()),
        "first": [f"{o.input.kind}-{o.input.number}: {o.verdict}" for o in findings[:50]],
    }


def _keep(outcome: Outcome, findings: list[Outcome], keep: Path | None, kinds: dict, folder: Path) -> None:
    alike = sum(other.signature == outcome.signature for other in findings)
    findings.append(outcome)
    if keep is None or alike >= KEPT_OF_ONE_CAUSE:
        return
    keep.mkdir(parents=True, exist_ok=True)
    whole, suffix = outcome.input.bytes_of(kinds, folder)
    name = f"{outcome.input.kind}-{outcome.input.number}"
    (keep / f"{name}{suffix}").write_bytes(whole)
    text = f"seed {outcome.input.seed}\n{outcome.verdict}\n{outcome.seconds:.1f} s\n{outcome.text}\n"
    (keep / f"{name}.txt").write_text(text, encoding="utf-8", errors="replace")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=20_000)
    options.add_argument(
        "--seed", type=int, default=datetime.date.today().toordinal(), help="default: a new one every day"
    )
    options.add_argument("--minutes", type=float, default=60.0, help="no input is begun after so many")
    options.add_argument("--kinds", nargs="+", choices=sorted(all_kinds()), default=sorted(all_kinds()))
    options.add_argument("--keep", type=Path, help="folder for the findings and their bytes")
    args = options.parse_args()
    from benchmarks.common import report

    measures = fuzz(args.kinds, args.inputs, args.seed, args.minutes, args.keep)
    report("fuzz", measures)
    sys.exit(1 if measures["findings"] else 0)


if __name__ == "__main__":
    main()
