"""What the measures of `evaluate` mean, in sentences for people: each good, typical or bad, and a verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Grade: TypeAlias = Literal["good", "typical", "bad"]
#: Where a measure is still good, and from where it is bad. LMD: as a share of what a mouth that never moves would get;
#: the next four: how far from 1; shares of pauses; grey levels.
LMD, OPENING_R, ARTICULATION = (0.5, 0.8), (0.85, 0.6), (0.15, 0.35)
SHARPNESS, FLICKER = (0.15, 0.35), (0.15, 0.35)
CLOSED, SSIM, OUTSIDE = (0.9, 0.7), (0.95, 0.85), (1.5, 3.0)
LEGEND = (
    "good: hardly told from the real video. typical: what dubs usually reach; a careful viewer sees it. "
    "bad: anybody sees it. Eye distance: between the outer corners of the eyes. r: correlation, 1 = moves alike. "
    "PSNR and SSIM: likeness of pictures, more is better. All values: --json."
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One measure in words. about: "lips", "picture" or "pauses"; grade None = a fact that is neither good nor bad."""

    about: str
    grade: Grade | None
    text: str


def lines(measures: Mapping, width: int = 80) -> list[str]:
    """The answer of `evaluate` for a terminal of so many columns: what was compared, the verdict, a sentence for each
    measure, the legend."""
    found = sentences(measures)
    n = measures["n_frames"]
    what = (
        f"{measures['dubbed']} against {measures['real']}: {n['compared']} frames compared, "
        f"{n['usable']} show a usable face in both."
    )
    parts = [*textwrap.wrap(what, width), *_wrapped("Verdict", verdict(measures, found), width), ""]
    for one in found:
        parts += _wrapped(one.grade or "", one.text, width)
    return [*parts, "", *textwrap.wrap(LEGEND, width)]


def _wrapped(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=f"{head:<9}", subsequent_indent=" " * 9)


def verdict(measures: Mapping, found: list[Sentence]) -> str:
    """Two or three sentences on the whole."""
    said = {
        "good": "The lips follow the real ones closely.",
        "typical": "The lips follow the real ones as dubs usually do.",
        "bad": "The mouth moves with the real one, but its shapes are clearly off.",
    }[_worst(found, "lips") or "typical"]
    if _high(measures["lips"]["opening_r"], OPENING_R) == "bad":
        said = "The lips do not follow the real ones."
    if not measures["same_take"]:
        return f"{said} These two are different takes: only the lips can be compared."
    picture = _worst(found, "picture")
    seen = {
        "good": "The picture is as good as the real one's.",
        "typical": "The picture is a little off the real one's.",
        "bad": "The picture is clearly worse than the real one's.",
    }
    return " ".join([said, *([seen[picture]] if picture else [])])


def sentences(measures: Mapping) -> list[Sentence]:
    """All that can be said of the measures; pictures only where both videos are of one take."""
    found = _of_lips(measures["lips"]) + _of_pauses(measures["silence"])
    if measures["same_take"]:
        found += _of_picture(measures["picture"])
    if measures["untouched"]:
        value = measures["untouched"]["luma_outside"]
        text = f"Outside the face the dub is {value:.2f} grey levels from the target it was made of"
        found.append(Sentence("picture", _low(value, OUTSIDE), f"{text} (good up to {OUTSIDE[0]:g})."))
    return found + _of_sync(measures["sync"])


def _of_lips(lips: Mapping) -> list[Sentence]:
    still = lips["lmd_of_the_mean_shape"]
    share, r, wide = lips["lmd"] / max(still, 1e-9), lips["opening_r"], lips["articulation"]
    return [
        Sentence(
            "lips",
            _high(r, OPENING_R),
            f"The mouth opens with the real one: r {r:.2f} (good from {OPENING_R[0]:g}, bad below {OPENING_R[1]:g}).",
        ),
        Sentence(
            "lips",
            _low(share, LMD),
            f"The lips lie {lips['lmd']:.4f} eye distances from the real ones (LMD). The real ones spread {still:.4f} "
            f"about their mean, which is what a mouth that never moves would get (good up to {LMD[0]:g} of that, bad "
            f"from {LMD[1]:g}).",
        ),
        Sentence(
            "lips",
            _near_one(wide, ARTICULATION),
            f"The mouth opens {_times(wide)} as wide as the real one (good {_band(ARTICULATION[0])}, bad beyond "
            f"{_band(ARTICULATION[1])}).",
        ),
    ]


def _of_pauses(silence: Mapping | None) -> list[Sentence]:
    if silence is None:
        return [Sentence("pauses", None, "No pause of 0.3 s in the dub's sound: nothing to say of a closed mouth.")]
    closed, spread, real = silence["closed_share"], silence["lip_std"], silence["lip_std_real"]
    text = f"In pauses the mouth is closed in {100 * closed:.0f} % of {silence['n_frames']} frames"
    own = "" if real is None else f", where the real one moves by {real:.4f}"
    return [
        Sentence(
            "pauses",
            _high(closed, CLOSED),
            f"{text}, and its opening moves by {spread:.4f} eye distances{own} (good from {100 * CLOSED[0]:.0f} %, bad "
            f"below {100 * CLOSED[1]:.0f} %).",
        )
    ]


def _of_picture(picture: Mapping) -> list[Sentence]:
    found = []
    for name, limits, less, more in (
        ("sharpness", SHARPNESS, "softer than", "sharper than"),
        ("flicker", FLICKER, "steadier than", "more restless than"),
    ):
        value, spread = picture[name], picture.get(f"{name}_real_spread")
        if value is None:
            continue
        limits = limits if spread is None else (max(limits[0], spread), max(limits[1], 2 * spread))
        how = "like" if _near_one(value, limits) == "good" else less if value < 1 else more
        own = "" if spread is None else f" The real one itself varies by {100 * spread:.0f} % from second to second."
        text = (
            f"{name.capitalize()} of the mouth: {_times(value)} that of the real one, {how} it "
            f"(good {_band(limits[0])}, bad beyond {_band(limits[1])})."
        )
        found.append(Sentence("picture", _near_one(value, limits), text + own))
    if "ssim_mouth" in picture:
        same = picture.get("same_mouth")
        psnr = "the same pixels" if same else f"PSNR {picture['psnr_mouth']:.1f} dB"
        found.append(
            Sentence(
                "picture",
                _high(picture["ssim_mouth"], SSIM),
                f"The mouth's pixels against the real ones: SSIM {picture['ssim_mouth']:.3f}, {psnr} "
                f"(SSIM good from {SSIM[0]:g}, bad below {SSIM[1]:g}).",
            )
        )
    return found


def _of_sync(sync: Mapping) -> list[Sentence]:
    late = sync["end_difference_s"]
    if late is None:
        return [Sentence("sync", None, "The dub has no sound.")]
    text = f"The sound ends {abs(late):.2f} s {'after' if late > 0 else 'before'} the picture."
    return [Sentence("sync", None, "Sound and picture end together." if abs(late) < 0.05 else text)]


def _worst(found: list[Sentence], about: str) -> Grade | None:
    grades = {one.grade for one in found if one.about == about}
    order: tuple[Grade, ...] = ("bad", "typical", "good")
    return next((grade for grade in order if grade in grades), None)


def _high(value: float, limits: tuple[float, float]) -> Grade:
    return "good" if value >= limits[0] else "typical" if value >= limits[1] else "bad"


def _low(value: float, limits: tuple[float, float]) -> Grade:
    return "good" if value <= limits[0] else "typical" if value < limits[1] else "bad"


def _near_one(value: float, limits: tuple[float, float]) -> Grade:
    return _low(abs(value - 1), limits)


def _band(off: float) -> str:
    return f"{max(0.0, 1 - off):.2f}-{1 + off:.2f}"


def _times(value: float) -> str:
    return f"{value:.2f} times"
