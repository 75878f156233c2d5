"""`evaluate` pairs frames by time, and finds in a doctored copy exactly what was done to it."""

from fractions import Fraction

import numpy as np
import pytest

from lipsync.evaluation.evaluate import evaluate, paired
from tests.support import DATA
from video.clock import FrameClock

CLIPS = DATA / "grid" / "s1"


def test_rows_are_paired_by_time():
    slow, fast = FrameClock.constant(5, Fraction(25)), FrameClock.constant(12, Fraction(50))
    assert paired(slow, fast).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert paired(fast, slow).tolist() == [1, 3, 5, 7, 9]
    assert paired(slow, slow).tolist() == [0, 1, 2, 3, 4]
    uneven = FrameClock(np.array([0, 40, 200], np.int64), Fraction(1, 1000), 240)
    assert paired(uneven, FrameClock.constant(6, Fraction(25))).tolist() == [0, 1, 1, 1, 1, 2]


def write(path, frames):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def frames():
    if not CLIPS.exists():
        pytest.skip("real footage is absent (LIPSYNC_DATA)")
    from video.probe import probe
    from video.read import read_frames

    stream = probe(CLIPS / "bbaf4p.mpg")
    return [rgb.permute(1, 2, 0).numpy() for batch in read_frames(stream, start=18, stop=40) for rgb in batch.rgb]


def test_evaluate_finds_what_was_done(frames, tmp_path):
    noise = np.random.default_rng(0).normal(0, 3, (len(frames), *frames[0].shape))
    real = write(tmp_path / "real.mkv", frames)
    noisy = write(
        tmp_path / "noisy.mkv",
        [np.clip(np.round(f + n), 0, 255).astype(np.uint8) for f, n in zip(frames, noise, strict=True)],
    )
    found = evaluate(real, noisy)
    assert (
        found["same_motion"]
        and found["same_take"]
        and found["n_frames"] == {"real": 22, "dubbed": 22, "compared": 22, "usable": 22}
    )
    assert (
        found["lips"]["opening_r"] > 0.97
        and found["lips"]["lmd"] < 0.012
        and 0.85 < found["lips"]["articulation"] < 1.15
    )
    assert found["picture"]["psnr_whole"] == pytest.approx(20 * np.log10(255 / 3), abs=0.4)
    assert found["picture"]["upper_face"] == pytest.approx(2.4 * 0.67, abs=0.5), "noise of 3 in each channel, as luma"
    assert not found["picture"]["same_mouth"] and found["picture"]["sharpness_real_spread"] is None
    assert found["picture"]["flicker"] > 1.5 and found["picture"]["sharpness"] > 1.2
    assert found["silence"] is None and found["sync"]["audio_duration_s"] is None


def test_another_take_is_known_by_the_upper_face(frames, tmp_path):
    real = write(tmp_path / "real.mkv", frames)
    other = write(tmp_path / "other.mkv", [np.roll(f, (4, 6), (0, 1)) for f in frames])
    found = evaluate(real, other)
    assert not found["same_take"] and found["lips"]["opening_r"] > 0.9
    assert evaluate(real, real)["same_take"] and evaluate(real, real)["picture"]["same_mouth"]


def test_what_a_dub_changes_outside_the_face_is_told(frames, tmp_path):
    from lipsync.store.cache import content_hash
    from lipsync.store.receipt import InputFile, Inputs, PlannedRows, Receipt

    target, order = write(tmp_path / "target.mkv", frames), [3, 4, 5, 5, 4, 8]
    lighter = [np.clip(frames[i].astype(int) + 2, 0, 255).astype(np.uint8) for i in order]
    lighter[3] = frames[0]  # a half-step, which is not looked at
    dubbed = write(tmp_path / "dubbed.mkv", lighter)
    assert evaluate(target, dubbed)["untouched"] is None
    plan = PlannedRows(order, [0, 0, 0, 1, 0, 0])
    Receipt(inputs=Inputs(target=InputFile("t", content_hash(target))), plan=plan).save(tmp_path / "dubbed.mkv.json")
    found = evaluate(target, dubbed)["untouched"]
    assert found["luma_outside"] == pytest.approx(2, abs=0.3) and found["n_frames"] == 5
