"""`evaluate` in sentences: what each measure means, what the whole means, and what cannot be compared."""

import copy

import pytest

from lipsync.evaluation.evaluate import spread_by_second
from lipsync.evaluation.verdict import lines, sentences, verdict

GOOD = {
    "real": "real.mp4",
    "dubbed": "dub.mp4",
    "n_frames": {"real": 75, "dubbed": 75, "compared": 75, "usable": 70},
    "same_motion": True,
    "same_take": True,
    "lips": {"lmd": 0.005, "lmd_of_the_mean_shape": 0.02, "opening_r": 0.95, "articulation": 1.02},
    "silence": {"n_frames": 20, "closed_share": 0.95, "lip_std": 0.002, "lip_std_real": 0.003},
    "picture": {
        "sharpness": 0.95,
        "flicker": 1.05,
        "sharpness_real_spread": 0.02,
        "flicker_real_spread": 0.05,
        "ssim_mouth": 0.97,
        "psnr_mouth": 35.0,
        "same_mouth": False,
    },
    "untouched": {"luma_outside": 0.3, "n_frames": 70},
    "sync": {"end_difference_s": 0.0},
}


def changed(**changes):
    """GOOD with changes, "section__key" = value."""
    measures = copy.deepcopy(GOOD)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            measures[section][key] = value
        else:
            measures[section] = value
    return measures


def graded(measures, words):
    """The grade of the one sentence that holds these words."""
    (found,) = [one for one in sentences(measures) if words in one.text]
    return found.grade


def test_a_good_dub_is_good_in_everything():
    assert {one.grade for one in sentences(GOOD)} == {"good", None}
    assert "closely" in verdict(GOOD, sentences(GOOD)) and "as good as the real" in verdict(GOOD, sentences(GOOD))


@pytest.mark.parametrize(
    ("changes", "words", "grade"),
    [
        ({"lips__opening_r": 0.7}, "opens with", "typical"),
        ({"lips__opening_r": 0.59}, "opens with", "bad"),
        ({"lips__lmd": 0.0101}, "LMD", "typical"),
        ({"lips__lmd": 0.016}, "LMD", "bad"),
        ({"lips__lmd": 0.016, "lips__lmd_of_the_mean_shape": 0.04}, "LMD", "good"),
        ({"lips__articulation": 0.6}, "as wide", "bad"),
        ({"lips__articulation": 1.3}, "as wide", "typical"),
        ({"silence__closed_share": 0.6}, "In pauses", "bad"),
        ({"picture__sharpness": 0.3}, "softer than", "bad"),
        ({"picture__flicker": 0.5}, "steadier than", "bad"),
        ({"picture__flicker": 1.5}, "more restless than", "bad"),
        ({"picture__ssim_mouth": 0.9}, "SSIM", "typical"),
        ({"untouched__luma_outside": 4.0}, "Outside the face", "bad"),
    ],
)
def test_each_measure_has_its_grades(changes, words, grade):
    assert graded(changed(**changes), words) == grade


def test_the_real_videos_own_spread_widens_what_is_good():
    assert graded(changed(picture__flicker=0.7), "Flicker") == "typical"
    restless = changed(picture__flicker=0.7, picture__flicker_real_spread=0.31)
    assert graded(restless, "Flicker") == "good"
    assert graded(changed(picture__flicker=0.5, picture__flicker_real_spread=0.31), "Flicker") == "typical"
    assert "varies by 31 % from second to second" in " ".join(one.text for one in sentences(restless))


def test_of_different_takes_only_the_lips_are_judged():
    other = changed(same_take=False, untouched=None)
    assert "These two are different takes: only the lips can be compared." in verdict(other, sentences(other))
    assert {one.about for one in sentences(other)} == {"lips", "pauses", "sync"}


def test_the_verdict_is_that_of_the_worst():
    def said(measures):
        return verdict(measures, sentences(measures))

    assert "do not follow" in said(changed(lips__opening_r=0.2))
    assert "shapes are clearly off" in said(changed(lips__lmd=0.03))
    assert "as dubs usually do" in said(changed(lips__articulation=0.8))
    assert "clearly worse" in said(changed(picture__sharpness=0.2)) and "closely" in said(
        changed(picture__sharpness=0.2)
    )


def test_equal_pictures_are_the_same_pixels():
    texts = " ".join(one.text for one in sentences(changed(picture__same_mouth=True, picture__psnr_mouth=100.0)))
    assert "the same pixels" in texts and "100" not in texts.replace("1.00", "").split("SSIM")[1].split(",")[1]


@pytest.mark.parametrize("width", [40, 80, 100])
def test_lines_fit_the_terminal_and_end_with_the_legend(width):
    said = lines(changed(silence=None, sync={"end_difference_s": None}), width)
    assert max(map(len, said)) <= width
    text = " ".join(" ".join(said).split())
    assert "Verdict The lips" in text and "good: hardly told" in text and "All values: --json." in text
    assert "No pause of 0.3 s" in text and "The dub has no sound." in text


def test_the_spread_is_over_the_means_of_seconds():
    values = [(i / 25, v) for i, v in enumerate([1.0, 3.0] * 12 + [2.0])]  # one second around 2
    values += [(1 + i / 25, 4.0) for i in range(25)] + [(2 + i / 25, None) for i in range(25)]
    assert spread_by_second(values) is None, "two seconds are no spread"
    values += [(3.0, 6.0)]
    assert spread_by_second(values) == pytest.approx((8 / 3) ** 0.5 / 4, abs=0.01)
