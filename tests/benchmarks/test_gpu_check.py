"""benchmarks.gpu_check keeps what a section found before it failed, or before its time was over, and says why."""

import argparse
import sys

import pytest

from benchmarks import gpu_check


@pytest.fixture
def args(tmp_path):
    return argparse.Namespace(
        device="cpu", train_seconds=1.0, rows=1.0, seconds=100.0, out=tmp_path / "out.json", work=tmp_path
    )


def section(monkeypatch, code):
    """Sections are this program instead."""
    whole = f"import sys; file = open(sys.argv[sys.argv.index('--rows-file') + 1], 'w', 1); {code}"
    real = gpu_check.subprocess.run

    def run(words, **options):
        return real([sys.executable, "-c", whole, *words[3:]], **options)

    monkeypatch.setattr(gpu_check.subprocess, "run", run)


def test_what_was_found_before_a_failure_stays(args, tmp_path, monkeypatch):
    section(monkeypatch, "print('{\"a\": 1}', file=file); raise SystemExit('it broke')")
    found = gpu_check.run_section("tests", 30, args, tmp_path, None)
    assert found["rows"] == [{"a": 1}] and "it broke" in found["error"]


def test_what_was_found_before_the_time_was_over_stays(args, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "_LEAST_S", 0.0)
    section(monkeypatch, 'print(\'{"a": 1}\\n{"b":\', file=file); import time; time.sleep(60)')
    found = gpu_check.run_section("tests", 1.5, args, tmp_path, None)
    assert found["rows"] == [{"a": 1}] and "stopped after" in found["error"]


def test_what_went_well_has_no_error(args, tmp_path, monkeypatch):
    section(monkeypatch, "print('{\"a\": 1}', file=file)")
    assert gpu_check.run_section("tests", 30, args, tmp_path, None).keys() == {"rows", "seconds"}


def test_a_section_without_time_is_told(args, tmp_path):
    assert "no time" in gpu_check.run_section("tests", 1.0, args, tmp_path, None)["error"]


def test_an_unknown_section_is_refused():
    with pytest.raises(SystemExit, match="no section 'tost'"):
        gpu_check.chosen("tests,tost")
