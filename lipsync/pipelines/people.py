"""Who is seen in a film: a picture of each, when, how usable, and how much of the speech is theirs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lipsync.config.schema import DubConfig
from lipsync.core.arrays import runs_of
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.html import html_environment, jpeg_text
from lipsync.core.progress import Hook, silent
from lipsync.core.segments import Segment
from lipsync.core.text import few_spans, format_duration
from lipsync.core.track import eye_distance_px
from lipsync.core.types import REASONS, Footage
from lipsync.store.cache import Cache
from lipsync.store.preflight import written_whole
from lipsync.store.receipt import own_version
from lipsync.target.analyse import follow_face, follow_people
from lipsync.target.speakers import find_speakers
from video.read import read_rows

#: Side of a thumbnail, pixels; eye distances that it shows.
THUMBNAIL_PX, THUMBNAIL_EYES = 160, 2.8
_NO_FACE = REASONS.index("no face")
#: A face lost for less is seen all the time (seconds).
_GAP_S = 0.5


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """One person of a film. index: as `face.index` counts; spans: [from, to] seconds on screen; share: of all frames;
    usable_share: of the frames on screen; unusable: {reason: frames}; speaking_share: of the film's speech; thumbnail:
    JPEG, base64; thumbnail_s: when it shows."""

    index: int
    spans: list[list[float]]
    share: float
    usable_share: float
    unusable: dict[str, int]
    eye_distance_px: float | None
    speaking_s: float | None
    speaking_share: float | None
    thumbnail: str
    thumbnail_s: float


@dataclass(frozen=True, slots=True)
class PeopleSheet:
    """Everybody who lasts in a film. main: who is dubbed where nobody is named; speech_s: seconds of speech in its
    sound, None = it has none; unseen_s: of it, those of nobody who is seen; turns: who speaks when."""

    path: str
    duration_s: float
    main: int
    speech_s: float | None
    unseen_s: float | None
    people: list[SeenPerson]
    turns: list[Segment] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        plain = asdict(self)
        plain["turns"] = [[float(one.start_s), float(one.end_s), one.person] for one in self.turns]
        return plain

    def lines(self) -> list[str]:
        """For a terminal of 80 columns."""
        n = len(self.people)
        spoken = "no sound" if self.speech_s is None else f"{self.speech_s:.1f} s of speech"
        head = f"{self.path}: {n} {'person' if n == 1 else 'people'} in {self.duration_s:.1f} s, {spoken}"
        table = ["face   on screen  usable   speaks  when seen"]
        for one in self.people:
            speaks = "-" if one.speaking_share is None else f"{100 * one.speaking_share:.0f} %"
            mark = "*" if one.index == self.main and n > 1 else " "
            table.append(
                f"{one.index:>3}{mark} {100 * one.share:>9.0f} % {100 * one.usable_share:>5.0f} % {speaks:>8}  "
                f"{few_spans(one.spans, 1)}"
            )
        more = [f"Nobody who is seen says {self.unseen_s:.1f} s of it."] if (self.unseen_s or 0) >= 0.5 else []
        return [head, *table, *more, *(["* is dubbed where nobody is named."] if n > 1 else [])]


def look_at_people(
    target: str | Path, config: DubConfig = DubConfig(), cache: Cache | None = None, hook: Hook = silent
) -> PeopleSheet:
    """Everybody who is seen in `target`. Raises as `follow_people` does. What is computed here is kept for the dub."""
    cache = cache or Cache.of(config.cache)
    films = follow_people(Path(target), config, cache, hook)
    clock, who, turns, speech_s = films[0].video.clock, None, [], None
    try:
        speakers = find_speakers(films, cache)
        who, turns = speakers.who(), speakers.turns(clock.duration_s)
        speech_s = float(speakers.voice.sum()) / 100
    except LipsyncError:  # no sound
        pass
    pictures = _thumbnails(films)
    return PeopleSheet(
        path=str(target),
        duration_s=float(clock.duration_s),
        main=follow_face(Path(target), config, cache, hook).person,
        speech_s=speech_s,
        unseen_s=None if who is None or speech_s is None else speech_s - float((who >= 0).sum()) / 100,
        people=[_seen(film, who, speech_s, picture) for film, picture in zip(films, pictures, strict=True)],
        turns=turns,
    )


def write_sheet(sheet: PeopleSheet, path: Path) -> None:
    """The sheet as a page that needs no network, or as JSON, by the ending of the name. UsageError: another ending."""
    if path.suffix.lower() == ".json":
        text = json.dumps(sheet.to_plain(), indent=1, ensure_ascii=False) + "\n"
    else:
        check_sheet(path)
        template = html_environment("lipsync.pipelines").get_template("people.html")
        rows = [(one, few_spans(one.spans, 1), _why(one)) for one in sheet.people]
        text = template.render(
            sheet=sheet, rows=rows, length=format_duration(sheet.duration_s), turns=sheet.turns, version=own_version()
        )
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def check_sheet(path: Path) -> None:
    """UsageError where a sheet cannot be written by this name: known before the work."""
    if path.suffix.lower() not in (".html", ".htm", ".json"):
        raise UsageError(f"-o {path}: the sheet is a page or JSON. Name it .html or .json.")


def _why(one: SeenPerson) -> str:
    return ", ".join(f"{n} {'frame' if n == 1 else 'frames'}: {reason}" for reason, n in one.unusable.items())


def _seen(film: Footage, who: np.ndarray | None, speech_s: float | None, picture: tuple[str, float]) -> SeenPerson:
    track, clock = film.track, film.video.clock
    seen = track.reason != _NO_FACE
    counts = np.bincount(track.reason[seen], minlength=len(REASONS))
    speaking_s = None if who is None else float((who == film.person).sum()) / 100
    return SeenPerson(
        index=film.person,
        spans=_spans(seen, track.shot, np.append(clock.seconds, float(clock.duration_s))),
        share=round(float(seen.mean()), 4),
        usable_share=round(float(track.valid.sum() / max(1, seen.sum())), 4),
        unusable={REASONS[i]: int(counts[i]) for i in range(1, len(REASONS)) if counts[i]},
        eye_distance_px=round(eye_distance_px(track), 1) if track.valid.any() else None,
        speaking_s=speaking_s,
        speaking_share=round(speaking_s / speech_s, 4) if speaking_s is not None and speech_s else None,
        thumbnail=picture[0],
        thumbnail_s=round(picture[1], 3),
    )


def _spans(seen: np.ndarray, shot: np.ndarray, edges: np.ndarray) -> list[list[float]]:
    """[from, to] seconds of every appearance; a face lost for a moment within a shot goes on. edges: (T+1,) seconds."""
    spans: list[tuple[int, int]] = []
    for first, stop in runs_of(seen):
        if spans and edges[first] - edges[spans[-1][1]] < _GAP_S and shot[first] == shot[spans[-1][1] - 1]:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((first, stop))
    return [[round(float(edges[first]), 2), round(float(edges[stop]), 2)] for first, stop in spans]


def _thumbnails(films: list[Footage]) -> list[tuple[str, float]]:
    """(JPEG in base64, its second) of each person's best frame."""
    best = [_best_frame(film) for film in films]
    order = sorted(range(len(films)), key=lambda i: best[i])
    found: dict[int, str] = {}
    for k, (_, frames) in enumerate(read_rows(films[0].stream, np.array([best[i] for i in order]), 1)):
        rgb = frames.rgb[0].permute(1, 2, 0).numpy()
        found[order[k]] = _jpeg(rgb, films[order[k]].track.landmarks[best[order[k]]])
    seconds = films[0].video.clock.seconds
    return [(found[i], float(seconds[best[i]])) for i in range(len(films))]


def _best_frame(film: Footage) -> int:
    """The frame that shows this face best: usable, large, from the front, eyes open."""
    track = film.track
    size = np.linalg.norm(track.landmarks[:, 45] - track.landmarks[:, 36], axis=-1)
    usable = track.valid if track.valid.any() else track.reason != _NO_FACE
    turned = np.abs(track.pose[:, :2]).sum(1) / 45
    eyes = np.minimum(track.eyes / max(float(np.median(track.eyes[usable])), 1e-6), 1)
    return int(np.argmax(np.where(usable, size / size[usable].max() - turned + eyes, -np.inf)))


def _jpeg(rgb: np.ndarray, landmarks: np.ndarray) -> str:
    """The face of an (H,W,3) uint8 frame, upright, as a small picture in base64."""
    import cv2

    eye = float(np.linalg.norm(landmarks[45] - landmarks[36]))
    scale = THUMBNAIL_PX / (THUMBNAIL_EYES * eye)
    x, y = landmarks[[27, 33]].mean(0)  # between the eyes and below the nose
    small_from_pixel = np.array([[scale, 0, THUMBNAIL_PX / 2 - scale * x], [0, scale, THUMBNAIL_PX / 2 - scale * y]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.warpAffine(rgb, small_from_pixel, (THUMBNAIL_PX, THUMBNAIL_PX), flags=how)
    return jpeg_text(picture, 88)
