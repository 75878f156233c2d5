"""The command line: what it passes on, what it prints where, and its exit status. The dub itself is a stand-in here."""

import json
import os
import signal
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lipsync
from lipsync.cli.app import app
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from media import MediaError
from tests.support import ROOT


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LIPSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("target.mp4", "speech.wav", "more 1.mp4", "more 2.mp4"):
        (tmp_path / name).write_bytes(b"x")
    return lambda *args: CliRunner().invoke(app, [str(a) for a in args])


class Receipt:
    def to_plain(self):
        return {"made": "é"}

    def summary(self, verbose=False):
        return ["out.mp4: 10 frames", "all well", *(["as aac"] if verbose else [])]


@pytest.fixture
def calls(monkeypatch):
    """Stands in for lipsync.dub; the list of calls it got."""
    got = []
    module = types.ModuleType("lipsync.pipelines.dub")

    def dub(target, speech, out, config, **options):
        got.append((target, speech, out, config, options))
        options["hook"]("dub", 0, 10)
        options["hook"]("dub", 10, 10)
        return Receipt()

    module.dub = dub
    monkeypatch.setitem(sys.modules, "lipsync.pipelines.dub", module)
    return got


def test_every_option_reaches_the_dub(run, calls, tmp_path):
    (tmp_path / "my.toml").write_text("batch = 3\n[write]\ncrf = 10\n")
    result = run(
        "dub",
        "target.mp4",
        "speech.wav",
        "-o",
        "out.mp4",
        "--texture",
        "median",
        "--footage",
        "more 1.mp4",
        "--footage",
        "more 2.mp4",
        "--device",
        "cpu",
        "--face",
        2,
        "--face-at",
        "10,20.5",
        "--preview",
        2.5,
        "--length",
        "loop",
        "--timeline",
        "keep",
        "--config",
        "my.toml",
        "--set",
        "write.crf=12",
        "--set",
        "face.max_yaw_deg=30",
        "--force",
    )
    assert result.exit_code == 0, result.output
    (target, speech, out, config, options) = calls[0]
    assert (target, speech, out) == (Path("target.mp4"), Path("speech.wav"), Path("out.mp4"))
    assert (config.texture, config.device, config.batch, config.write.crf) == ("median", "cpu", 3, 12)
    assert (config.face.index, config.face.at, config.face.max_yaw_deg) == (2, (10.0, 20.5), 30.0)
    assert (config.retime.length, config.retime.timeline) == ("loop", "keep")
    assert (
        options["footage"] == (Path("more 1.mp4"), Path("more 2.mp4"))
        and options["preview_s"] == 2.5
        and options["force"] is True
    )
    assert options["cache"].folder == tmp_path / "cache"


def test_no_option_is_the_default(run, calls):
    assert run("dub", "target.mp4", "speech.wav", "-o", "out.mp4").exit_code == 0
    assert calls[0][3] == DubConfig() and calls[0][4]["preview_s"] is None and calls[0][4]["force"] is False


def test_a_part_of_the_target(run, calls):
    part = ("dub", "target.mp4", "speech.wav", "-o", "out.mp4", "--from", "0:04")
    assert run(*part, "--to", 7).exit_code == 0 and calls[0][4]["span"] == ("0:04", "7")
    assert run(*part).exit_code == 0 and calls[1][4]["span"] == ("0:04", None)
    result = run(*part, "--to", "7 s")
    assert result.exit_code == 2 and "'7 s' is no time" in result.stderr and len(calls) == 2


def test_summary_on_standard_output_progress_on_standard_error(run, calls):
    result = run("dub", "target.mp4", "speech.wav", "-o", "out.mp4")
    assert result.stdout == "out.mp4: 10 frames\nall well\n" and "dub  100 %" in result.stderr
    assert run("dub", "target.mp4", "speech.wav", "-o", "2.mp4", "-v").stdout.endswith("all well\nas aac\n")


def test_the_first_dub_says_where_pictures_of_faces_are_kept(run, calls, tmp_path, monkeypatch):
    from lipsync.store.cache import Cache

    def dub(*args, cache, **options):
        cache.get_or_make("mouths", "k", lambda folder: (folder / "x").write_bytes(b"x" * 3000))
        return Receipt()

    monkeypatch.setattr(sys.modules["lipsync.pipelines.dub"], "dub", dub)
    words = ("dub", "target.mp4", "speech.wav", "-o", "out.mp4")
    said = run(*words).stdout.splitlines()[-1]
    assert "pictures of its faces" in said and str(tmp_path / "cache") in said and "`lipsync cache clear`" in said
    assert "3.2 kB" in said and "90 days" in said
    assert "pictures" not in run(*words).stdout, "once"
    Cache().clear()
    assert "pictures" not in run(*words, "--quiet").stdout


def test_quiet_is_silent(run, calls):
    result = run("dub", "target.mp4", "speech.wav", "-o", "out.mp4", "-q")
    assert (result.exit_code, result.output) == (0, "")


def test_json_output_is_json_alone(run, calls):
    result = run("dub", "target.mp4", "speech.wav", "-o", "out.mp4", "--json")
    assert json.loads(result.stdout) == {"made": "é"}
    assert [json.loads(line)["done"] for line in result.stderr.splitlines()] == [0, 10]


def raising(error):
    def dub(*args, **options):
        raise error

    return dub


@pytest.mark.parametrize(
    "error", [LipsyncError("No face in x.mp4. Use another."), MediaError("No face in x.mp4. Use another.")]
)
def test_a_failure_is_one_sentence_and_status_3(run, calls, monkeypatch, error):
    monkeypatch.setattr(sys.modules["lipsync.pipelines.dub"], "dub", raising(error))
    result = run("dub", "target.mp4", "speech.wav", "-o", "out.mp4")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "lipsync: No face in x.mp4. Use another.\n")
    result = run("dub", "target.mp4", "speech.wav", "-o", "out.mp4", "-v")
    assert (
        result.exit_code == 3
        and "Traceback" in result.stderr
        and result.stderr.endswith("lipsync: No face in x.mp4. Use another.\n")
    )


def test_our_own_faults_are_not_hidden(run, calls, monkeypatch):
    monkeypatch.setattr(sys.modules["lipsync.pipelines.dub"], "dub", raising(IndexError("a bug")))
    result = run("dub", "target.mp4", "speech.wav", "-o", "out.mp4")
    assert result.exit_code == 1 and isinstance(result.exception, IndexError)


def test_a_missing_system_library_gets_its_cure(run, calls, monkeypatch):
    missing = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    monkeypatch.setattr(sys.modules["lipsync.pipelines.dub"], "dub", raising(missing))
    result = run("dub", "target.mp4", "speech.wav", "-o", "out.mp4")
    assert result.exit_code == 3 and "apt-get install libgl1" in result.stderr and "Traceback" not in result.stderr


def test_interruption_is_one_line_and_status_130(run, calls, monkeypatch):
    monkeypatch.setattr(sys.modules["lipsync.pipelines.dub"], "dub", raising(KeyboardInterrupt()))
    result = run("dub", "target.mp4", "speech.wav", "-o", "out.mp4")
    assert result.exit_code == 130 and result.stderr.splitlines() == ["lipsync: interrupted; nothing was written."]


@pytest.mark.parametrize(
    "args",
    [
        ["dub"],
        ["dub", "target.mp4", "speech.wav"],
        ["dub", "target.mp4", "-o", "out.mp4"],
        ["dubb"],
        ["cache", "burn"],
        ["dub", "target.mp4", "speech.wav", "-o", "out.mp4", "--preview", "-1"],
        ["dub", "target.mp4", "speech.wav", "-o", "o.mp4", "--nonsense"],
        ["dub", "target.mp4", "speech.wav", "-o", "out.mp4", "--texture", "medain"],
        ["dub", "target.mp4", "speech.wav", "-o", "out.mp4", "--length", "forever"],
        ["dub", "target.mp4", "speech.wav", "-o", "out.mp4", "--face-at", "10"],
        ["analyse", "target.mp4", "--set", "face.indx=1"],
    ],
)
def test_wrong_usage_is_status_2(run, calls, args):
    result = run(*args)
    assert result.exit_code == 2 and "Traceback" not in result.output and calls == []


def test_version(run):
    assert run("--version").stdout == f"lipsync {lipsync.__version__}\n"


def test_config_prints_what_it_was_given(run):
    result = run("config", "--set", "write.crf=9")
    assert result.exit_code == 0 and tomllib.loads(result.stdout)["write"]["crf"] == 9


def test_analyse_prints_what_it_saw(run, monkeypatch):
    module = types.ModuleType("lipsync.pipelines.inspect")
    look = types.SimpleNamespace(to_plain=lambda: {"faces": 1}, lines=lambda: ["one face"])
    module.inspect_target = lambda target, config, cache, hook: look if config.face.index == 1 else None
    monkeypatch.setitem(sys.modules, "lipsync.pipelines.inspect", module)
    assert run("analyse", "target.mp4", "--face", 1).stdout == "one face\n"
    assert json.loads(run("analyse", "target.mp4", "--face", 1, "--json").stdout) == {"faces": 1}


def test_evaluate_speaks_in_sentences_and_keeps_raw_keys_for_programs(run, monkeypatch):
    from tests.lipsync.evaluation.test_verdict import GOOD

    monkeypatch.setenv("COLUMNS", "80")
    module = types.ModuleType("lipsync.evaluation.evaluate")
    module.evaluate = lambda real, dubbed, hook: GOOD
    monkeypatch.setitem(sys.modules, "lipsync.evaluation.evaluate", module)
    lines = run("evaluate", "target.mp4", "more 1.mp4").stdout.splitlines()
    assert max(map(len, lines)) <= 80 and any(line.startswith("Verdict  The lips follow") for line in lines)
    assert json.loads(run("evaluate", "target.mp4", "more 1.mp4", "--json").stdout) == GOOD


def test_cache_commands(run, tmp_path):
    from lipsync.store.cache import Cache

    Cache().get_or_make("faces", "k", lambda folder: (folder / "x").write_bytes(b"x" * 2000), label="my target.mp4")
    assert "my target.mp4" in run("cache", "list").stdout
    assert json.loads(run("cache", "list", "--json").stdout)["entries"][0]["step"] == "faces"
    head, row, total, limits = run("cache", "list").stdout.splitlines()
    assert head.split() == ["step", "size", "age", "made", "from"] and head.index("made from") == row.index("my target")
    assert total.startswith("1 result, ") and "20 GiB" in limits and "90 days" in limits
    assert run("cache", "clear", "--step", "lips").stdout.startswith("0 results")
    wrong = run("cache", "clear", "--step", "mouth")
    assert wrong.exit_code == 2 and "no step 'mouth'. Did you mean 'mouths'?" in wrong.stderr
    assert "faces, fitted speech, lips, look" in wrong.stderr and "teeth" in wrong.stderr
    assert run("cache", "clear").stdout.startswith("1 result removed, 2.")
    assert run("cache", "list", "--set", f"cache.folder={tmp_path / 'other'}").stdout.startswith("0 results")


def test_an_intruder_is_named(tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "__init__.py").write_text("raise RuntimeError('not ours')")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = subprocess.run(
        [sys.executable, "-m", "lipsync", "cache", "list"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert result.returncode == 3 and str(tmp_path / "audio") in result.stderr and "Traceback" not in result.stderr


def test_a_replaced_package_is_named(monkeypatch, tmp_path):
    from importlib import metadata

    from lipsync.core import installation as doctor

    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "__init__.py").write_text("somebody else's")
    for name, hashed in (("lipsync_dub", "sha256=AAAA"), ("intruder", "")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"audio/__init__.py,{hashed},\n")
    there = {d.metadata["Name"]: d for d in metadata.distributions(path=[str(tmp_path)])}
    monkeypatch.setattr(doctor.metadata, "files", lambda name: there[name].files)
    monkeypatch.setattr(doctor.metadata, "distributions", lambda: there.values())
    assert doctor.overwritten() == [
        "audio/__init__.py was replaced by intruder. Install lipsync-dub in an environment of its own (pipx does)."
    ]


def test_doctor_finds_this_machine_well(run):
    result = run("doctor", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0 and report["well"]
    found = {(f["group"], f["name"]): f["ok"] for f in report["findings"]}
    assert found["encoders", "libx264"] and found["faces", "mediapipe"] and found["files", "cache"]


def test_doctor_says_what_is_missing(run, monkeypatch):
    monkeypatch.setenv("LIPSYNC_CACHE", "/dev/null/cache")
    monkeypatch.setattr("lipsync.cli.doctor._backend", lambda name, face: "not tried here")
    result = run("doctor")
    assert (
        result.exit_code == 3
        and "A dub cannot run here before this is mended: cache." in result.stdout
        and "LIPSYNC_CACHE" in result.stdout
    )


def test_the_bug_report_names_nobody(run, monkeypatch, tmp_path):
    monkeypatch.setattr("lipsync.cli.doctor._backend", lambda name, face: "not tried here")
    (tmp_path / "anna keys").write_text("")
    monkeypatch.setenv("LIPSYNC_CACHE", str(tmp_path / "anna keys" / "cache"))
    options = ["texture=hybrid", "lips.model=/films/anna.safetensors", "mark.consent=Anna Keys, 2026", "write.crf=13"]
    said = run("doctor", "--report", *(word for option in options for word in ("--set", option)))
    assert said.exit_code == 0 and said.stdout.startswith("```\nlipsync     ") and said.stdout.endswith("\n```\n")
    for private in ("anna", "Anna", "films", str(Path.home()), str(tmp_path), str(ROOT)):
        assert private not in said.stdout
    facts = json.loads(run("doctor", "--report", "--json", *(w for o in options for w in ("--set", o))).stdout)
    assert facts["options"] == {
        "texture": "hybrid",
        "lips.model": "(given)",
        "mark.consent": "(given)",
        "write.crf": 13,
    }
    assert facts["packages"]["numpy"][0].isdigit() and facts["environment"]["LIPSYNC_CACHE"] == "(given)"
    assert any(line.startswith("files, cache: ") for line in facts["missing"])


@pytest.mark.parametrize(
    "said, want",
    [
        (f"in {ROOT}/samples", "in <lipsync>"),
        (f"no {Path.home()}/my films/a.mp4.", "no <path> films/a.mp4."),
        ("C:\\Users\\anna\\x.dat is none", "<path> is none"),
        ("~/x and /mnt/y: gone", "<path> and <path>: gone"),
        ("2/3 of avc1/mp4a, https://pypi.example", "2/3 of avc1/mp4a, https://pypi.example"),
    ],
)
def test_paths_are_taken_out(said, want):
    from lipsync.cli.bug_report import anonymous

    assert anonymous(said) == want


@pytest.mark.parametrize("shell, word", [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete --command")])
def test_completion_for_each_shell(shell, word):
    def complete(**environment):
        command = [sys.executable, "-c", "from lipsync.cli.app import app; app(prog_name='lipsync')"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        return subprocess.run(command, env=env, capture_output=True, text=True).stdout

    assert word in complete(_LIPSYNC_COMPLETE=f"source_{shell}")
    asked = {"_LIPSYNC_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}

    def offered(line):
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_TYPER_COMPLETE_ARGS": line}
        return complete(**asked, **words)

    assert "doctor" in offered("lipsync do") and "dub" not in offered("lipsync do")
    assert "write.crf=" in offered("lipsync dub --set write.c")
    assert "pix2pix-hd" in offered("lipsync dub --texture pix2")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_real_process_with_130(tmp_path, sent):
    for name in ("target.mp4", "speech.wav"):
        (tmp_path / name).write_bytes(b"x")
    code = (
        "import sys, time, types\nm = types.ModuleType('lipsync.pipelines.dub')\n"
        "def dub(*a, **k):\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "m.dub = dub\nsys.modules['lipsync.pipelines.dub'] = m\n"
        "sys.argv = ['lipsync', 'dub', 'target.mp4', 'speech.wav', '-o', 'out.mp4']\n"
        "from lipsync.cli.app import main\nmain()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(sent)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and said == "lipsync: interrupted; nothing was written.\n"


@pytest.mark.parametrize(
    ("options", "shown"), [((), "\\u65e5\\u672c gr\\xfc"), (("--json",), "\\u65e5\\u672c gr\\\\xfc")]
)
def test_a_console_that_is_not_unicode_gets_escapes(tmp_path, options, shown):
    folder = os.fsencode(tmp_path / "日本 gr") + b"\xfc"
    env = os.environ | {"PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "lipsync", "cache", "list", *options, "--set", b"cache.folder=" + folder]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True)
    assert result.returncode == 0 and not result.stderr and shown in result.stdout.decode("cp1252")
    if options:
        assert json.loads(result.stdout)["folder"].endswith("日本 gr\\xfc")


def test_a_cache_at_home(monkeypatch, tmp_path):
    from lipsync.store.cache import Cache

    monkeypatch.setenv("LIPSYNC_CACHE", "~/kept")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache().folder == tmp_path / "kept"


def test_a_film_can_give_the_lips(run, calls, tmp_path):
    result = run("dub", "target.mp4", "--lips-from", "more 1.mp4", "-o", "out.mp4", "--allow-undubbed")
    assert result.exit_code == 0, result.output
    [(_, speech, _, config, options)] = calls
    assert speech is None and options["lips_from"] == Path("more 1.mp4") and config.allow_undubbed
    assert run("dub", "target.mp4", "speech.wav", "--lips-from", "more 1.mp4", "-o", "o.mp4").exit_code == 0
    assert calls[1][1] == Path("speech.wav")
    nothing = run("dub", "target.mp4", "-o", "out.mp4")
    assert nothing.exit_code == 2 and "Name a SPEECH, --lips-from VIDEO" in nothing.stderr
    missing = run("dub", "target.mp4", "--lips-from", "none.mp4", "-o", "out.mp4")
    assert missing.exit_code == 3 and "film of --lips-from none.mp4 does not exist" in missing.stderr


def test_each_length_has_its_line_in_the_help(run):
    lines = [line.strip() for line in run("dub", "--help").stdout.splitlines()]
    for name in ("target", "speech", "cut", "loop", "bounce", "hold", "auto"):
        assert any(line.startswith(f"{name}  ") and len(line) <= 50 for line in lines), name


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ([], 2, "Say where the sound comes from"),
        (["--microphone", "--speech", "-"], 2, "Say where the sound comes from"),
        (["--speech", "-", "--rate", 100], 2, "--rate 100"),
        (["--speech", "nowhere.wav", "--to", "a.mkv"], 3, "nowhere.wav does not exist"),
        (["--speech", "speech.wav", "--to", "more 1.mp4"], 3, "exists"),
        (["--speech", "speech.wav", "--to", "more 1.mp4", "--force"], 3, "live pictures go to"),
        (["--speech", "speech.wav", "--to", "target.mp4", "--force"], 3, "target.mp4"),
    ],
)
def test_live_says_what_is_wrong_before_any_work(run, options, status, sentence, tmp_path):
    result = run("live", "target.mp4", *options)
    assert (result.exit_code, sentence in result.output) == (status, True), result.output
    assert (tmp_path / "target.mp4").read_bytes() == b"x"
