"""Every item of the corpus (tests/corpus/corpus.py) dubbed and checked: what was expected, what came.

`python -m tests.corpus` prints the table."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections import Counter

from benchmarks.common import parser, report

COLUMNS = "{:44} {:28} {:34} {:>9} {:>7} {:>8} {:>6} {:>7}"


def main() -> None:
    from tests.corpus.corpus import ITEMS

    options = parser(__doc__)
    options.add_argument("--only", default="", help="items with this in their name")
    args = options.parse_args()
    folder = args.work / "corpus"
    shutil.rmtree(folder, ignore_errors=True)
    print(COLUMNS.format("item", "expected", "got", "length s", "sound", "mouth", "passed", "time s"), file=sys.stderr)
    rows = [_row(item, folder) for item in ITEMS if args.only in item.name]
    right = sum(not row["faults"] for row in rows)
    wrong = Counter(fault.split(":")[0] for row in rows for fault in row["faults"])
    outputs = sum(row["status"] == 0 for row in rows)
    report("corpus", {"items": len(rows), "right": right, "outputs": outputs, "wrong": dict(wrong), "rows": rows})


def _row(item, folder) -> dict:
    """One line of the table, printed at once, and the same as plain values."""
    from tests.corpus.check import run

    try:
        made = run(item, folder, folder / "cache")
    except Exception:
        faults = ["the check itself failed: " + traceback.format_exc(limit=-2)]
        row = {"item": item.name, "status": None, "faults": faults, "said": "", "seconds": 0.0}
    else:
        row = {
            "item": item.name,
            "status": made.status,
            "faults": made.faults,
            "said": _sentence(made.said, folder),
            "seconds": round(made.seconds, 2),
            **made.figures,
        }
    ms = {
        name: "" if row.get(f"{name}_ms") is None else f"{row[f'{name}_ms']:+.0f} ms"
        for name in ("sound_lag", "mouth_lag")
    }
    expected = f"refused, {item.status}" if item.says else f"{item.rate.limit_denominator(1001)} fps, whole speech"
    got = "; ".join(row["faults"]) or (f"refused, {row['status']}" if item.says else f"{row['frames']} frames")
    passed = f"{sum(row['passed'].values()):.0%}" if "passed" in row else ""
    length = f"{row['length_s']:.3f}" if "length_s" in row else ""
    cells = (item.name, expected, got, length, ms["sound_lag"], ms["mouth_lag"], passed, f"{row['seconds']:.1f}")
    print(COLUMNS.format(*cells), file=sys.stderr, flush=True)
    return row


def _sentence(said: str, folder) -> str:
    return said.replace(f"{folder}/", "").removeprefix("lipsync: ")


if __name__ == "__main__":
    main()
