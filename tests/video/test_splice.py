"""Smart cut: outside the drawn parts the packets are the target's, byte for byte, and decode to the same pictures;
inside is what was written; every frame at its time."""

from __future__ import annotations

import itertools
import os
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from tests.support.video_clips import click_file, find_click_s, number_of, numbered, read, write_clip
from video.clock import FrameClock
from video.nal_units import UNITS, HevcUnits, annexb_units, sample_units
from video.probe import probe
from video.splice import CannotSplice, SplicedWriter, plan_splice
from video.write import available_encoders

N, FROM, TO = 120, 40, 70  # 12 s at 10 frames a second; from 4 s to 7 s
CLOSED = "keyint=20:min-keyint=20:scenecut=0:bframes=3:open-gop=0"
OPEN = "keyint=20:min-keyint=20:scenecut=0:bframes=3:open-gop=1"


def clip(path, codec="libx264", params=CLOSED, n=N, **options):
    if codec not in available_encoders():
        pytest.skip(f"this FFmpeg has no {codec}")
    name = f"{codec.removeprefix('lib')}-params"
    settings = {"preset": "veryfast", name: f"{params}:log-level=error"}
    return write_clip(path, n, codec=codec, options=settings, base=Fraction(1, 10), **options)


def rows(n, *spans):
    touched = np.zeros(n, bool)
    for start, stop in spans:
        touched[start:stop] = True
    return touched


def drawn(i):
    """(3,H,W) what is written for frame i: the number of another."""
    return numbered(255 - i % 256).transpose(2, 0, 1)


def splice(target, out, touched, turn=None, **options):
    """The writer, done, and its plan. turn: makes a written picture as upright as the target is read."""
    stream = probe(target)
    plan = plan_splice(stream, touched, out.suffix)
    pts, end = stream.clock.pts - stream.clock.pts[0], stream.clock.end - int(stream.clock.pts[0])
    n = len(touched)
    clock = FrameClock(pts[:n], stream.clock.base, end if n == len(pts) else int(pts[n]))
    with SplicedWriter(out, plan, width=stream.width, height=stream.height, clock=clock, **options) as writer:
        for part in writer.todo:
            for i in range(part.start, part.stop):
                picture = drawn(i) if turn is None else turn(drawn(i))
                writer.write(torch.from_numpy(np.ascontiguousarray(picture))[None])
    return writer, plan


def packets(path):
    """(bytes, pts, dts, duration) of every packet, times in seconds."""
    with av.open(str(path)) as media:
        return [
            (bytes(p), p.pts * p.time_base, None if p.dts is None else p.dts * p.time_base, p.duration * p.time_base)
            for p in media.demux(media.streams.video[0])
            if p.size
        ]


def decoded(path):
    """(pictures, what the decoder complained of)."""
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as said, av.open(str(path)) as media:
            track = media.streams.video[0]
            track.thread_type, track.codec_context.thread_count = "NONE", 1  # messages of threads can lock up
            return [frame.to_ndarray() for frame in media.decode(track)], list(said)
    finally:
        av.logging.set_level(None)


def encoded_rows(plan, n):
    inside = np.zeros(n, bool)
    for part in plan.ranges:
        inside[part] = True
    return inside


def check(target, out, plan, n):
    """Everything that must hold of a spliced file."""
    inside = encoded_rows(plan, n)
    old, new = packets(target), packets(out)
    first = min(p[1] for p in old)
    by_time = {p[1]: p for p in new}
    shown = sorted(p[1] for p in old)[:n]
    assert [p[1] for p in sorted(new, key=lambda p: p[1])] == [t - first for t in shown]
    row_at = {t: i for i, t in enumerate(shown)}
    copied = [p for p in old if p[1] in row_at and not inside[row_at[p[1]]]]
    assert copied and all(p[0] == by_time[p[1] - first][0] for p in copied), "copied packets keep every byte"
    dts = [p[2] for p in new if p[2] is not None]
    assert all(a < b for a, b in itertools.pairwise(dts)) and all(p[2] is None or p[2] <= p[1] for p in new)
    before, (after, said) = decoded(target)[0], decoded(out)
    assert said == [] and len(after) == n
    assert all(np.array_equal(before[i], after[i]) for i in np.flatnonzero(~inside)), "and decode to the same"
    numbers = [number_of(picture) for picture in read(out).numpy()]
    assert numbers == [(255 - i % 256) if inside[i] else i % 256 for i in range(n)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("params", [CLOSED, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_only_the_touched_part_is_encoded(tmp_path, codec, params, suffix):
    target = clip(tmp_path / f"target{suffix}", codec, params)
    writer, plan = splice(target, tmp_path / f"out{suffix}", rows(N, (FROM, TO)))
    (part,) = plan.ranges
    assert FROM - 4 <= part.start <= FROM, "from the last frame before which nothing is needed of later ones"
    if (codec, params) == ("libx264", OPEN):  # its only IDR picture is the first
        assert part.stop == N and "because its GOPs are open" in writer.facts.notes[0]
    else:
        assert part.stop == 80, "to the next key frame"
        assert writer.facts.notes == (f"re-encoded {part.start / 10:.2f}-8.00 s; the rest of the picture was copied",)
    check(target, tmp_path / f"out{suffix}", plan, N)


def test_copied_packets_keep_their_times_of_decoding_and_durations(tmp_path):
    target, out = clip(tmp_path / "target.mp4"), tmp_path / "out.mp4"
    splice(target, out, rows(N, (FROM, TO)))
    assert [p[1:] for p in packets(out)[80:]] == [p[1:] for p in packets(target)[80:]]
    assert [p[2:] for p in packets(out)] == [p[2:] for p in packets(target)]


@pytest.mark.parametrize("suffixes", [(".mp4", ".mkv"), (".mkv", ".mov")])
def test_from_one_container_to_another(tmp_path, suffixes):
    target, out = clip(tmp_path / f"target{suffixes[0]}", "libx265", OPEN), tmp_path / f"out{suffixes[1]}"
    _, plan = splice(target, out, rows(N, (FROM, TO)))
    check(target, out, plan, N)


def test_several_parts_that_lie_close_are_one(tmp_path):
    target, out = clip(tmp_path / "target.mp4", "libx265", OPEN), tmp_path / "out.mp4"
    writer, plan = splice(target, out, rows(N, (5, 6), (8, 9), (20, 21), (85, 87)))
    assert [part.stop for part in plan.ranges] == [40, 100]
    assert writer.facts.notes == (
        f"re-encoded {plan.ranges[0].start / 10:.2f}-4.00 s, {plan.ranges[1].start / 10:.2f}-10.00 s; the rest of the "
        "picture was copied",
    )
    check(target, out, plan, N)


def test_decoding_starts_anew_at_a_copied_cra_picture(tmp_path):
    """Its number in order counts from an IDR picture 16 s before; after others than its own it means nothing."""
    target, out = clip(tmp_path / "target.mp4", "libx265", OPEN, n=200), tmp_path / "out.mp4"
    _, plan = splice(target, out, rows(200, (150, 152)))
    assert plan.ranges[0].start > 128 and plan.ranges[0].stop == 160
    check(target, out, plan, 200)
    kinds = [[unit[0] >> 1 & 63 for unit in sample_units(p[0])] for p in packets(out)]
    assert kinds[159][-1] == 36 and kinds[160][-1] == 21, "an end of sequence, then the CRA picture"
    assert sum(36 in kind for kind in kinds) == 1


def test_a_preview_ends_where_it_is_asked_to(tmp_path):
    target, out = clip(tmp_path / "target.mp4", n=60), tmp_path / "out.mp4"
    n = next(n for n in range(44, 60) if not np.array_equal(*(sorted(x) for x in (order(target)[:n], range(n)))))
    _, plan = splice(target, out, rows(n, (8, 12)))
    assert [part.stop for part in plan.ranges] == [20, n] and plan.ranges[1].start > 40
    check(target, out, plan, n)


def order(path):
    """Of every packet, which frame it is."""
    times = [p[1] for p in packets(path)]
    return [sorted(times).index(t) for t in times]


def test_nothing_drawn_is_all_copied(tmp_path):
    target, out = clip(tmp_path / "target.mp4", n=60), tmp_path / "out.mp4"
    writer, _ = splice(target, out, rows(60))
    assert writer.todo == [] and [p[0] for p in packets(out)] == [p[0] for p in packets(target)]
    assert writer.facts.notes == ("nothing was re-encoded; the picture was copied",) and writer.facts.n_frames == 60


@pytest.mark.parametrize(
    "codec,pix_fmt", [("libx264", "yuv422p10le"), ("libx264", "yuvj420p"), ("libx265", "yuv420p10le")]
)
def test_depth_and_range_are_those_of_the_target(tmp_path, codec, pix_fmt):
    target, out = clip(tmp_path / "target.mp4", codec, n=45, pix_fmt=pix_fmt), tmp_path / "out.mp4"
    writer, plan = splice(target, out, rows(45, (8, 12)))
    assert writer.facts.pix_fmt == probe(target).pix_fmt == probe(out).pix_fmt
    assert probe(out).colour == probe(target).colour
    check(target, out, plan, 45)


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_rotated_target_stays_rotated(tmp_path, angle):
    target, out = clip(tmp_path / "target.mp4", n=45, rotate=angle), tmp_path / "out.mp4"

    def turn(picture):
        return np.rot90(picture, {90: -1, 180: 2, 270: 1}[probe(target).rotation], (1, 2))

    _, plan = splice(target, out, rows(45, (8, 12)), turn)
    old, new = probe(target), probe(out)
    assert old.rotation and (old.orientation, old.width) == (new.orientation, new.width)
    back = {90: 1, 180: 2, 270: -1}[old.rotation]
    numbers = [number_of(np.rot90(picture, back, (1, 2))) for picture in read(out).numpy()]
    assert numbers == [255 - i if plan.ranges[0].start <= i < 20 else i for i in range(45)]


def test_variable_rate(tmp_path):
    pts = np.cumsum(np.random.default_rng(0).integers(30, 200, 45)).tolist()
    target = clip(tmp_path / "target.mp4", n=45, pts=pts)
    _, plan = splice(target, tmp_path / "out.mp4", rows(45, (8, 12)))
    check(target, tmp_path / "out.mp4", plan, 45)


def test_a_target_whose_beginning_was_trimmed_away_by_an_edit_list(tmp_path):
    whole, target, out = clip(tmp_path / "whole.mp4", n=60), tmp_path / "target.mp4", tmp_path / "out.mp4"
    with av.open(str(whole)) as media, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as cut:
        stream = cut.add_stream_from_template(media.streams.video[0])
        step = round(1 / (10 * media.streams.video[0].time_base))
        for packet in media.demux(media.streams.video[0]):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - 10 * step, packet.dts - 10 * step, stream
                cut.mux(packet)
    assert len(probe(target)) == 50, "ten frames are decoded, but not shown"
    _, plan = splice(target, out, rows(50, (35, 37)))
    assert plan.ranges[0] == slice(0, 10) and plan.ranges[1].stop == 50
    inside = encoded_rows(plan, 50)
    numbers = [number_of(picture) for picture in read(out).numpy()]
    assert numbers == [255 - i if inside[i] else i + 10 for i in range(50)] and decoded(out)[1] == []


def test_the_sound_starts_with_the_first_frame(tmp_path):
    speech = click_file(tmp_path / "speech.wav", "pcm_s16le", click_s=2.5, length_s=4.5)
    target, out = clip(tmp_path / "target.mp4", n=45), tmp_path / "out.mp4"
    writer, _ = splice(target, out, rows(45, (8, 12)), speech=speech, metadata={"title": "Ä"})
    assert writer.facts.audio == "encoded" and abs(find_click_s(out)[0] - 2.5) < 0.005
    with av.open(str(out)) as media:
        assert media.metadata["title"] == "Ä"


def test_the_same_again_is_the_same_file(tmp_path):
    target = clip(tmp_path / "target.mp4", "libx265", n=45)
    for name in ("a.mp4", "b.mp4"):
        splice(target, tmp_path / name, rows(45, (8, 12)))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_an_interrupt_leaves_nothing(tmp_path):
    stream = probe(clip(tmp_path / "target.mp4", n=45))
    plan = plan_splice(stream, rows(45, (8, 12)), ".mp4")
    with (
        pytest.raises(KeyboardInterrupt),
        SplicedWriter(tmp_path / "out.mp4", plan, width=144, height=64, clock=stream.clock) as writer,
    ):
        writer.write(torch.from_numpy(drawn(0))[None])
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["target.mp4"]


def test_too_few_frames_make_no_file(tmp_path):
    stream = probe(clip(tmp_path / "target.mp4", n=45))
    plan = plan_splice(stream, rows(45, (8, 12)), ".mp4")
    with (
        pytest.raises(ValueError, match="1 frames written"),
        SplicedWriter(tmp_path / "out.mp4", plan, width=144, height=64, clock=stream.clock) as writer,
    ):
        writer.write(torch.from_numpy(drawn(0))[None])
    assert os.listdir(tmp_path) == ["target.mp4"]


@pytest.mark.parametrize(
    "codec,suffix,to,span,reason",
    [
        ("libvpx-vp9", ".webm", ".mp4", (8, 12), "its codec is vp9"),
        ("libx264", ".mp4", ".webm", (8, 12), ".webm files do not take"),
        ("libx264", ".ts", ".mp4", (8, 12), "are not stored as"),
        ("libx264", ".mp4", ".mp4", (0, 45), "no key frame lies outside"),
    ],
)
def test_why_it_cannot_be_done(tmp_path, codec, suffix, to, span, reason):
    target = write_clip(tmp_path / f"target{suffix}", 45, codec=codec)
    with pytest.raises(CannotSplice, match=reason):
        plan_splice(probe(target), rows(45, span), to)


def test_coding_that_changes_on_the_way_is_not_copied(tmp_path):
    """Packets of two encodings under one number: the second's parameter sets stand in its packets only."""
    parts = [clip(tmp_path / f"{i}.mp4", n=60, params=f"{CLOSED}:ref={1 + 2 * i}:repeat-headers=1") for i in range(2)]
    target = tmp_path / "target.mp4"
    with av.open(str(parts[0])) as first, av.open(str(target), "w") as joined:
        stream = joined.add_stream_from_template(first.streams.video[0])
        step = round(1 / (10 * first.streams.video[0].time_base))
        for i, part in enumerate(parts):
            with av.open(str(part)) as media:
                for packet in media.demux(media.streams.video[0]):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + i * 60 * step, packet.dts + i * 60 * step
                        packet.stream = stream
                        joined.mux(packet)
    with pytest.raises(CannotSplice, match="changes on the way"):
        plan_splice(probe(target), rows(120, (8, 12)), ".mp4")


def test_renumbered_slices_are_a_byte_longer_and_parameter_sets_name_each_other(tmp_path):
    target = clip(tmp_path / "target.mp4", "libx265", n=10)
    with av.open(str(target)) as media:
        units = HevcUnits(bytes(media.streams.video[0].codec_context.extradata))
        sample = bytes(next(p for p in media.demux(media.streams.video[0]) if p.size))
    for unit in sample_units(sample):
        if units.is_slice(unit):
            longer = units.renumbered(unit)
            assert len(longer) == len(unit) + 1 and longer[4:] == unit[3:]
    own = HevcUnits(units.with_sets_of(b"".join(b"\0\0\1" + unit for unit in units.sets)))
    assert len(own.sets) == 2 * len(units.sets) and own.sets[::2] == units.sets


def test_damaged_records_and_packets_are_told():
    for name, kind in UNITS.items():
        for data in (b"", b"\1" * 5, b"\1" + b"\xff" * 40):
            with pytest.raises((ValueError, IndexError)):
                kind(data)
        assert name
    with pytest.raises(ValueError, match="leaves its packet"):
        list(sample_units(b"\0\0\0\7abc"))
    assert annexb_units(b"\0\0\0\1ab\0\0\1c\0\0") == [b"ab", b"c"]


@pytest.mark.parametrize("repeats", [False, True])
def test_files_say_whether_packets_hold_parameter_sets(tmp_path, repeats):
    """hev1 where packets do; hvc1, which Apple's players ask for, where they do not."""
    target = clip(tmp_path / "target.mp4", "libx265", f"{CLOSED}:repeat-headers={int(repeats)}", n=60)
    _, plan = splice(target, tmp_path / "out.mp4", rows(60, (25, 30)))
    with av.open(str(tmp_path / "out.mp4")) as media:
        tag = media.streams.video[0].codec_context.codec_tag
    assert plan.in_band == repeats and tag == ("hev1" if repeats else "hvc1")
