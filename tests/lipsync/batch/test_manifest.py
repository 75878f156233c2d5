"""Jobs from manifests and from patterns: the three formats say the same, faults stay with their job, nothing leaves its
folder."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lipsync.batch.manifest import jobs_from_globs, out_path, read_manifest
from lipsync.batch.readers import MAX_BYTES
from lipsync.config.load import load
from lipsync.core.errors import LipsyncError, UsageError
from tests.support import ROOT

steady = settings(
    deadline=None, derandomize=True, database=None, max_examples=60, suppress_health_check=list(HealthCheck)
)
PAGE = ROOT / "docs" / "batch.md"


def written(folder, name, text):
    file = Path(folder) / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def faults(jobs):
    return [job.fault for job in jobs]


# The formats


def test_toml(tmp_path):
    file = written(
        tmp_path,
        "jobs.toml",
        """
[defaults]
write.crf = 20
footage = "more.mp4"
[[job]]
target = "a.mp4"
speech = "sub/b.wav"
"write.preset" = "slow"
[[job]]
target = "s3://bucket/a.mp4?version=2"
speech = "/elsewhere/c.wav"
out = "x//y/./z.mov"
footage = []
[job.write]
crf = 3
""",
    )
    one, two = read_manifest(file)
    assert (one.target, one.speech, one.out) == (str(tmp_path / "a.mp4"), str(tmp_path / "sub/b.wav"), "a-b.mp4")
    assert one.footage == (str(tmp_path / "more.mp4"),) and (one.config.write.crf, one.config.write.preset) == (
        20,
        "slow",
    )
    assert (two.target, two.speech, two.out, two.footage) == (
        "s3://bucket/a.mp4?version=2",
        "/elsewhere/c.wav",
        "x/y/z.mov",
        (),
    )
    assert (two.config.write.crf, two.config.write.preset) == (3, "veryfast")
    assert (one.line, two.line) == ("jobs.toml, line 5", "jobs.toml, line 9") and not any(faults([one, two]))


def test_csv(tmp_path):
    file = written(
        tmp_path,
        "jobs.csv",
        "\ufefftarget, speech,out,write.crf,footage,face.at,train_texture\r\n"
        'a.mp4, "b, c.wav",,18,"x.mp4; y z.mp4","3,4.5",true\r\n\r\n,,,,,,\r\n"q ""1"".mp4",b.wav,o.mp4\r\n',
    )
    one, two = read_manifest(file)
    assert (one.speech, one.out) == (str(tmp_path / "b, c.wav"), "a-b, c.mp4")
    assert one.footage == (str(tmp_path / "x.mp4"), str(tmp_path / "y z.mp4"))
    assert (one.config.write.crf, one.config.face.at, one.config.train_texture) == (18, (3.0, 4.5), True)
    assert two.target == str(tmp_path / 'q "1".mp4') and two.config == load() and two.line == "jobs.csv, line 5"


def test_json_lines(tmp_path):
    file = written(
        tmp_path,
        "jobs.ndjson",
        '{"target": "a", "speech": "b\u2028c", "write": {"crf": 3}, "out": null}\r\n\n'
        '{"target": "a", "speech": "d", "write.crf": 3, "write.preset": "slow", "face.at": null, "footage": "e"}',
    )
    one, two = read_manifest(file)
    assert one.speech == str(tmp_path / "b\u2028c") and one.config.write.crf == 3 and not one.fault
    assert (two.config.write.crf, two.config.write.preset, two.footage) == (
        3,
        "slow",
        (str(tmp_path / "e"),),
    ) and two.line == "jobs.ndjson, line 3"


def test_the_examples_of_the_page(tmp_path):
    blocks = re.findall(r"^```(toml|csv|jsonl)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert [kind for kind, _ in blocks] == ["toml", "csv", "jsonl"]
    for kind, text in blocks:
        jobs = read_manifest(written(tmp_path, f"page.{kind}", text))
        assert len(jobs) == 3 and not any(faults(jobs))
        assert {job.config.write.crf for job in jobs} >= {16} and jobs[2].config.face.at == (640, 360)


def test_more_special_wins(tmp_path):
    general = written(
        tmp_path, "my.toml", "[write]\ncrf = 1\npreset = 'slow'\ncodec = 'libx265'\n[composite]\nlevels = 3\n"
    )
    file = written(
        tmp_path,
        "jobs.toml",
        "[defaults]\nwrite.crf = 3\ncomposite.levels = 6\n[[job]]\ntarget='a'\nspeech='b'\n"
        "[[job]]\ntarget='a'\nspeech='c'\nwrite.crf = 4\n",
    )
    one, two = read_manifest(
        file, general, ["write.crf=2", "write.preset=medium", "composite.levels=5"], {"device": "cpu", "texture": None}
    )
    assert (one.config.write.crf, two.config.write.crf) == (3, 4)
    assert (one.config.write.preset, one.config.write.codec, one.config.composite.levels, one.config.device) == (
        "medium",
        "libx265",
        6,
        "cpu",
    )


def test_a_wrong_option_of_the_command_is_not_the_jobs_fault(tmp_path):
    file = written(tmp_path, "jobs.jsonl", '{"target": "a", "speech": "b"}')
    with pytest.raises(UsageError, match=r"write\.crf must be from 0 to 63"):
        read_manifest(file, settings=["write.crf=99"])


def test_equal_configurations_are_one_object(tmp_path):
    file = written(tmp_path, "jobs.csv", "target,speech,write.crf\n" + "".join(f"a,{i},{i % 3}\n" for i in range(300)))
    jobs = read_manifest(file)
    assert (
        len({id(job.config) for job in jobs}) == 3
        and len({id(job.target) for job in jobs}) == 1
        and not any(faults(jobs))
    )


# Faults of one job


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"speech": "b"}, "The target is missing"),
        ({"target": "a", "speech": ""}, "The speech is missing"),
        ({"target": 3, "speech": "b"}, "target must be the name of a file"),
        ({"taget": "a", "speech": "b"}, "Unknown key 'taget'. Did you mean 'target'?"),
        ({"target": "a", "speech": "b", "write.cfr": 1}, "Did you mean 'write.crf'?"),
        ({"target": "a", "speech": "b", "write": {"cfr": 1}}, "Did you mean 'write.crf'?"),
        ({"target": "a", "speech": "b", "write": 3}, "'write' is"),
        ({"target": "a", "speech": "b", "write.crf": {"x": 1}}, "write.crf"),
        ({"target": "a", "speech": "b", "write.crf": "18"}, "write.crf must be a whole number, not '18'"),
        ({"target": "a", "speech": "b", "write.crf": 1e400}, "write.crf must be a whole number"),
        ({"target": "a", "speech": "b", "composite.softness": 10**400}, "composite.softness must be a number"),
        ({"target": "a", "speech": "b", "write.crf": 18, "write": {"crf": 18}}, "'write.crf' is given twice"),
        ({"target": "a", "speech": "b", "texture": "medain"}, "Did you mean 'median'?"),
        ({"target": "a", "speech": "b", "texture": "own.py"}, "own.py does not exist"),
        ({"target": "a", "speech": "b", "texture_weights": "w.safetensors"}, "w.safetensors do not exist"),
        ({"target": "a", "speech": "b", "lips.model": "x" * 5000}, "The lip model"),
        ({"target": "a", "speech": "b", "cache.folder": "c"}, "cache.* is set for the whole batch"),
        ({"target": "a", "speech": "b", "sandbox": {"enabled": False}}, "sandbox.* is set for the whole batch"),
        ({"target": "a", "speech": "b", "sign.key": "k"}, "sign.* is set for the whole batch"),
        ({"target": "a", "speech": "b", "footage": [3]}, "footage must be"),
        ({"target": "a\0", "speech": "b"}, "control characters"),
        ({"target": "a", "speech": "b\ud800"}, "not UTF-8"),
        ({"target": "a", "speech": "b", "texture": "no\n\u202e\u00ad\x1b[31m"}, "Unknown texture"),
        ({"target": "a", "speech": "b", "out": 3}, "out must be the name of a file"),
        *(
            ({"target": "a", "speech": "b", "out": out}, "within the batch's folder")
            for out in ("../x.mp4", "/x.mp4", "a/../b.mp4", "a\\b.mp4", "s3://b/x")
        ),
        *(({"target": "a", "speech": "b", "out": out}, "is a folder") for out in ("x/", ".", "./", "x/.")),
        ({"target": "a", "speech": "b", "out": "x" * 201}, "too long"),
        ({"target": "a", "speech": "b", "out": "x\n.mp4"}, "control characters"),
    ],
)
def test_a_fault_stays_with_its_job(tmp_path, job, says):
    file = written(tmp_path, "jobs.jsonl", json.dumps(job) + '\n{"target": "a", "speech": "c"}\n')
    bad, good = read_manifest(file)
    assert bad.fault.startswith("jobs.jsonl, line 1: ") and says in bad.fault and not good.fault
    assert bad.fault.isprintable() and len(bad.fault) <= 500


def test_faults_of_rows_and_lines(tmp_path):
    jobs = read_manifest(written(tmp_path, "jobs.csv", "target,speech\na,b\n,c\na,d,e\n"))
    assert [job.fault[:26] for job in jobs] == ["", "jobs.csv, line 3: The targ", "jobs.csv, line 4: This row"]
    jobs = read_manifest(
        written(
            tmp_path,
            "jobs.jsonl",
            '{"target": "a", "speech": "b"}\n{"target": \n[1]\n{"target": "a", "target": "b", "speech": "c"}\n'
            + "[" * 10**5,
        )
    )
    assert (
        not jobs[0].fault
        and "not JSON" in jobs[1].fault
        and "an object" in jobs[2].fault
        and "given twice" in jobs[3].fault
        and "deep" in jobs[4].fault
    )


def test_one_output_twice(tmp_path):
    rows = ["a,b,x/One.mp4", "a,c,x/one.MP4", "a,d,x", "a,e,x/one.mp4/in.mp4", "a,f,./x//ONE.mp4", "a,g,two.mp4"]
    jobs = read_manifest(written(tmp_path, "jobs.csv", "target,speech,out\n" + "\n".join(rows)))
    assert [bool(job.fault) for job in jobs] == [False, True, True, True, True, False]
    assert all("taken by jobs.csv, line 2" in job.fault for job in jobs[1:5]) and "line 3" in jobs[1].fault


# Whole files


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("j.toml", "", "is empty"),
        ("j.toml", "[[job]\n", "line 1"),
        ("j.toml", "[[jobs]]\ntarget='a'\n", r"Did you mean \[\[job\]\]"),
        ("j.toml", "job = 3\n", "every job is a table"),
        ("j.toml", "[defaults]\nwrite.crf = 3\n", "has no jobs"),
        ("j.toml", "[defaults]\nwrite.cfr = 3\n[[job]]\n", r"\[defaults\]: .*write.crf"),
        ("j.toml", "[defaults]\nout = 'x'\n[[job]]\n", "each job's own"),
        ("j.toml", "a = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("j.csv", "target,speech\n", "has no jobs"),
        ("j.csv", "a:b\nc:d\n", "no column target. The first row names the columns"),
        ("j.csv", "target,speach\na,b\n", "no column speech. Did you mean the column 'speach'"),
        ("j.toml", '[[job]]\ntarget = "C:\\Users\\a.mp4"\n', "line 2: .* single quotes, or with slashes"),
        ("j.csv", "target,speech,target\n", "twice"),
        ("j.csv", "target,speech,write.cfr\na,b,\n", "line 1: .*write.crf"),
        ("j.csv", 'target,speech\na,b\nc,"d"e\n', "line 3: this is not CSV"),
        ("j.csv", "target,speech\na,\xe4\n".encode("latin-1"), "line 2: this is not UTF-8"),
        ("j.jsonl", "\n \n", "is empty"),
        ("j.jsonl", "{nothing\n", "line 1"),
        ("j.txt", "a", "Name it .toml, .csv or .jsonl"),
    ],
)
def test_what_is_no_manifest_is_said_with_its_place(tmp_path, name, text, says):
    with pytest.raises(UsageError, match=says) as caught:
        read_manifest(written(tmp_path, name, text))
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_manifest_that_is_too_large_or_not_there(tmp_path):
    with (tmp_path / "big.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for name, says in (
        ("big.csv", "larger than 64 MiB"),
        ("none.csv", "cannot be read"),
        ("folder.csv", "cannot be read"),
    ):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=says):
            read_manifest(tmp_path / name)


# Roots


def test_files_stay_within_the_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "root2"
    for folder in (root / "sub", outside):
        folder.mkdir(parents=True)
    written(outside, "secret.wav", "x")
    (root / "link").symlink_to(outside)
    (root / "link.wav").symlink_to(outside / "secret.wav")
    (root / "inner.wav").symlink_to(root / "sub")
    speeches = [
        "b.wav",
        "sub/../b.wav",
        "inner.wav",
        str(root / "b.wav"),
        "../root2/secret.wav",
        str(outside / "secret.wav"),
        "link/secret.wav",
        "link.wav",
        "file:///etc/passwd",
        "s3://a/b",
    ]
    lines = [json.dumps({"target": "a.mp4", "speech": speech, "out": f"{i}.mp4"}) for i, speech in enumerate(speeches)]
    more = [
        {"footage": ["a.mp4", "../x.mp4"]},
        {"texture": "own.py"},
        {"limits": {"hours": 99}},
        {"texture_weights": "link.wav"},
        {"lips.model": "link.wav"},
        {"lips": {"prior": "../p"}},
        {"face.dlib_predictor": "/etc/passwd"},
        {"mark.badge_font": "/etc/passwd"},
    ]
    lines += [
        json.dumps({"target": "a.mp4", "speech": "b.wav", "out": f"x{i}.mp4"} | job) for i, job in enumerate(more)
    ]
    file = written(root, "jobs.jsonl", "\n".join(lines))
    jobs = read_manifest(file, root=root)
    assert [bool(job.fault) for job in jobs] == [False] * 4 + [True] * (len(jobs) - 4)
    assert all("--root" in job.fault for job in jobs[4:]), faults(jobs)
    assert not any(job.fault for job in read_manifest(file)[:10])
    own = written(tmp_path, "own.py", "")
    assert not read_manifest(file, settings=[f"texture={own}", "cache.folder=/anywhere"], root=root)[0].fault
    with pytest.raises(UsageError, match=r"\[defaults\].*--root"):
        read_manifest(
            written(root, "d.toml", "[defaults]\nlimits.hours = 9\n[[job]]\ntarget='a'\nspeech='b'"), root=root
        )
    with pytest.raises(UsageError, match="is not a folder"):
        read_manifest(file, root=tmp_path / "none")


def test_outputs_stay_within_their_folder(tmp_path):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "away").symlink_to(tmp_path)
    (out / "file.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (out / "near").symlink_to(out / "sub")
    assert (
        out_path(out, "sub/x.mp4") == out / "sub/x.mp4"
        and out_path(out, "near/x.mp4") == out / "near/x.mp4"
        and out_path(out, "new/x.mp4")
    )
    for name in ("away/x.mp4", "away/new/x.mp4", "file.mp4"):
        with pytest.raises(UsageError, match="through a link"):
            out_path(out, name)


# Patterns


def test_patterns(tmp_path):
    for name in ("v/a.mp4", "v/b.mp4", "v/deep/a.mov", "s/a.wav", "s/c.wav", "s/[x].wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        written(tmp_path, name, "x")
    jobs = jobs_from_globs(f"{tmp_path}/v/*.mp4", f"{tmp_path}/s/?.wav", settings=["write.crf=3"])
    assert (
        [job.out for job in jobs] == ["a-a.mp4", "a-c.mp4", "b-a.mp4", "b-c.mp4"]
        and not any(faults(jobs))
        and jobs[0].config.write.crf == 3
    )
    jobs = jobs_from_globs(f"{tmp_path}/v/**", f"{tmp_path}/s/a.wav")
    assert [(job.out, bool(job.fault)) for job in jobs] == [("a-a.mp4", False), ("b-a.mp4", False), ("a-a.mp4", True)]
    assert jobs_from_globs(f"{tmp_path}/v/a.mp4", f"{tmp_path}/s/[x].wav")[0].out == "a-[x].mp4"
    jobs = jobs_from_globs(f"{tmp_path}/v/*.mp4", f"{tmp_path}/s/?.wav", "name")
    assert [(Path(job.target).name, Path(job.speech).name, job.out) for job in jobs] == [
        ("a.mp4", "a.wav", "a.mp4"),
        ("b.mp4", "", ""),
        ("", "c.wav", ""),
    ]
    assert "No speech file" in jobs[1].fault and "No target" in jobs[2].fault
    for wrong in ((f"{tmp_path}/none*", "s"), ("s3://bucket/*.mp4", "s")):
        with pytest.raises(UsageError):
            jobs_from_globs(*wrong)


# Properties

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/;"), min_size=1, max_size=12
).filter(lambda name: name == name.strip() and name.strip("."))
options = st.fixed_dictionaries(
    {},
    optional={
        "write.crf": st.integers(0, 63),
        "composite.softness": st.floats(-1e300, 1e300, allow_subnormal=False),
        "train_texture": st.booleans(),
        "device": st.sampled_from(["cpu", "auto", "cuda:1"]),
        "write.preset": names,
        "face.at": st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
        "median.fade": st.lists(st.floats(-9, 9), min_size=1, max_size=4),
    },
)
wishes = st.lists(st.tuples(names, names, st.lists(names, max_size=3), options), min_size=1, max_size=6)


def toml_value(value):
    return (
        f"[{', '.join(map(toml_value, value))}]"
        if isinstance(value, (list, tuple))
        else json.dumps(value, ensure_ascii=False)
    )


@steady
@given(wishes, st.booleans())
def test_random_jobs_read_back_equal_in_all_formats(wishes, nested):
    jobs = [
        {"target": t, "speech": s, "out": f"{i}.mp4", "footage": list(f)} | o for i, (t, s, f, o) in enumerate(wishes)
    ]
    columns = list(dict.fromkeys(key for job in jobs for key in job))
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(columns)
    for job in jobs:
        cells = job | {"footage": ";".join(job["footage"])}
        cells = {
            key: ",".join(map(repr, value)) if isinstance(value, (list, tuple)) else str(value)
            for key, value in cells.items()
        }
        rows.writerow([cells.get(key, "") for key in columns])

    def tree(job):
        plain = {key: value for key, value in job.items() if "." not in key}
        for key, value in ((key, value) for key, value in job.items() if "." in key):
            plain.setdefault(key.split(".")[0], {})[key.split(".")[1]] = value
        return plain if nested else job

    quoted = (lambda key: key) if nested else json.dumps
    toml = "".join(
        "[[job]]\n" + "".join(f"{quoted(key)} = {toml_value(value)}\n" for key, value in job.items()) for job in jobs
    )
    with tempfile.TemporaryDirectory() as folder:
        read = [
            read_manifest(written(folder, name, text))
            for name, text in (
                ("j.toml", toml),
                ("j.csv", table.getvalue()),
                ("j.jsonl", "\n".join(json.dumps(tree(job)) for job in jobs)),
            )
        ]
    plain = [[(job.target, job.speech, job.out, job.footage, job.config, job.fault) for job in jobs] for jobs in read]
    assert plain[0] == plain[1] == plain[2] and not any(one[5] for one in plain[0])
    assert [one[3] for one in plain[0]] == [
        tuple(os.path.join(folder, name) for name in job["footage"]) for job in jobs
    ]
    assert all(one[4].write.crf == job.get("write.crf", 12) for one, job in zip(plain[0], jobs, strict=True))


SEEDS = [
    *("[[job]]\ntarget='a'\nspeech='b'\n", "[defaults]\nwrite.crf=1\n", "target,speech,out\na,b,c\n"),
    *('{"target":"a","speech":"b"}\n', '"', "{", "[", "\n", "\0", "=", "=0x" + "f" * 5000, "1e999", ",", "..", "'" * 3),
    *("\ufeff", "\r", '{"write":{"crf":', "\ud800".encode("utf-8", "surrogatepass")),
]
pieces = st.one_of(st.sampled_from(SEEDS), st.text(max_size=10), st.binary(max_size=10))


@settings(steady, max_examples=250)
@given(st.sampled_from(["j.toml", "j.csv", "j.jsonl"]), st.lists(pieces, max_size=8))
@example("j.toml", ["[[job]]\ntarget='a'\nspeech='b'\nwrite.crf=0x" + "f" * 5000])
@example("j.toml", ["[[job]]\ntarget='a'\nspeech='b'\n" + ".".join("a" * 3000) + "=1\n"])
@example("j.toml", ["[[job]]\ntarget='a'\nspeech='b'\nwrite." + ".".join("a" * 3000) + "=1\n"])
@example(
    "j.jsonl", ['{"target":"a","speech":"b"}\n{"target":"a","speech":"c","write":' + '{"a":' * 900 + "1" + "}" * 901]
)
@example("j.jsonl", ['{"target":"a","speech":"c","write.crf":' + "1" * 5000 + "}"])
@example("j.csv", ["target,speech\n" + "a" * 200000])
def test_any_bytes_are_jobs_or_a_usage_error(name, parts):
    raw = b"".join(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts)
    with tempfile.TemporaryDirectory() as folder:
        try:
            jobs = read_manifest(written(folder, name, raw))
        except UsageError as error:
            assert "\n" not in str(error) and str(error).isprintable()
            return
    assert jobs and all(job.fault or (job.target and job.speech and job.out) for job in jobs)
    assert all(job.fault.isprintable() for job in jobs)


crumbs = st.lists(
    st.sampled_from(
        ["..", ".", "", "a", "link", "up", "file", "root", "/", "\\", "~", "s3:", "a.mp4", "%2e%2e", "\u2024\u2024"]
    ),
    min_size=1,
    max_size=6,
)


@steady
@given(crumbs, crumbs, st.booleans())
def test_no_path_escapes_the_root_or_the_output_folder(speech, out, absolute):
    with tempfile.TemporaryDirectory() as top:
        root, folder = Path(top) / "root", Path(top) / "out"
        for place in (root, folder):
            (place / "a").mkdir(parents=True)
            (place / "link").symlink_to(place / "a")
            (place / "up").symlink_to(top)
            (place / "file").symlink_to(Path(top) / "file")
        text = ("/" if absolute else "") + "/".join(speech)
        job = read_manifest(
            written(root, "j.jsonl", json.dumps({"target": "a.mp4", "speech": text, "out": "/".join(out)})), root=root
        )[0]
        if job.fault:
            return
        assert Path(job.speech).resolve().is_relative_to(root.resolve())
        try:
            path = out_path(folder, job.out)
        except LipsyncError:
            return
        assert path.resolve().is_relative_to(folder.resolve()) and path.resolve() != folder.resolve()


def test_toml_lines_are_not_made_up(tmp_path):
    text = "[defaults]\ntarget = '''\n[[job]]\n'''\n[[job]]\nspeech = 'b'\n"
    assert tomllib.loads(text)["job"] == [{"speech": "b"}]
    assert read_manifest(written(tmp_path, "j.toml", text))[0].line == "j.toml, job 1"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("parted_by", [",", ";", "\t"])
def test_spreadsheets_of_windows_are_read(tmp_path, encoding, parted_by):
    lines = ["target,speech,footage", 'a.mp4,ü.wav,"b.mp4;c.mp4"', "d.mp4,e.wav,"]
    text = "\r\n".join(line.replace(",", parted_by) for line in lines)
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    file = tmp_path / "j.csv"
    file.write_bytes((mark + text).encode(encoding))
    first, second = read_manifest(file)
    assert not first.fault and first.speech.endswith("/ü.wav") and first.target.endswith("/a.mp4")
    assert [Path(name).name for name in first.footage] == ["b.mp4", "c.mp4"] and second.footage == ()


def test_names_of_any_bytes_are_jobs(tmp_path):
    name = os.fsdecode(b"gr\xfc\xdfe")
    (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "s.wav").touch()
    [job] = jobs_from_globs(str(tmp_path / "*.mp4"), str(tmp_path / "s.wav"))
    assert not job.fault and job.out == f"{name}-s.mp4" and "\\xfc" in job.line
