"""The pictures of `docs/concepts.md`, from a dub of the synthetic presenter:  python -m docs.generate.pictures"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from docs.generate.hooks import ROOT
from lipsync.config.schema import DubConfig
from lipsync.core.texture import MouthTexture
from lipsync.pipelines.asked import Asked
from lipsync.pipelines.dub import Speaker, _speaker, dub, prepare
from lipsync.pipelines.sound import DubSound
from lipsync.render.composite import composite
from lipsync.render.plan import build_query, frames_along
from lipsync.render.teeth import sharpen_teeth
from lipsync.store.cache import Cache
from lipsync.store.receipt import Receipt

OUT = ROOT / "docs" / "pictures"
TARGET, SPEECH = ROOT / "samples" / "target.mp4", ROOT / "samples" / "speech.wav"
CANDIDATES = 3


def main() -> None:
    OUT.mkdir(exist_ok=True)
    config = DubConfig()
    cache = Cache.of(config.cache)
    ready = prepare(TARGET, config, cache=cache)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        receipt = dub(TARGET, SPEECH, out, config, cache=cache, prepared=ready)
        asked = Asked.of(TARGET, SPEECH, out, config, (), (), None, None, DubSound.of(None, None), None)
        _, script, _ = asked.checked(config, True, ready, cache)
        one = _speaker(None, ready, script, cache, None)
    row = widest(one)
    mouths_picture(one, row)
    composite_picture(one, row, config)
    timeline_picture(receipt, one)


def widest(one: Speaker) -> int:
    """The drawn row in which the wanted mouth is most open."""
    lips = one.plan.lips.points
    opening = lips[:, 14:, 1].max(1) - lips[:, 12:, 1].min(1)
    return int(np.argmax(np.where(one.faces.strength > 0.99, opening, 0)))


def frame_of(one: Speaker, row: int) -> torch.Tensor:
    """(1,3,H,W) uint8 the target's frame under a row."""
    stream = one.ready.subject.films[0].stream
    return next(iter(frames_along(stream, one.plan, 1, row, row + 1)))[1]


def drawn_mouth(one: Speaker, row: int, frame: torch.Tensor) -> MouthTexture:
    ready, rows = one.ready, slice(row, row + 1)
    query = build_query(one.plan, one.faces, ready.subject.bank.space, rows, frame, ready.method, one.said.embedding)
    return ready.method.render(query)


def mouths_picture(one: Speaker, row: int) -> None:
    """The real mouths nearest to the wanted lips with their weights, and their weighted median."""
    ready, rows = one.ready, slice(row, row + 1)
    frame = frame_of(one, row)
    query = build_query(one.plan, one.faces, ready.subject.bank.space, rows, frame, ready.method, None)
    index, weight = ready.method.candidates.for_query(query)
    crops = ready.method.candidates.crops(index[0, :CANDIDATES]).permute(0, 2, 3, 1).numpy()
    space, lips = ready.subject.bank.space, one.plan.lips.points[row]
    shown = [np.ascontiguousarray(crop) for crop in crops]
    points = cv2.perspectiveTransform(lips[None].astype(np.float64), space.mouth_from_face)[0]
    fused = np.ascontiguousarray((drawn_mouth(one, row, frame).rgb[0].permute(1, 2, 0) * 255).round().byte().numpy())
    for picture in (*shown, fused):
        for x, y in points:
            cv2.circle(picture, (round(x * 16), round(y * 16)), 24, (60, 230, 120), -1, cv2.LINE_AA, 4)
    names = [f"{100 * share:.0f} %" for share in weight[0, :CANDIDATES].tolist()]
    save(OUT / "mouths.jpg", [*zip(names, shown, strict=True), ("drawn", fused)])


def composite_picture(one: Speaker, row: int, config: DubConfig) -> None:
    """The filmed frame, the drawn mouth put into it, and what changed."""
    ready, rows, frame = one.ready, slice(row, row + 1), frame_of(one, row)
    lips = one.plan.lips.points[rows]
    space = ready.subject.bank.space
    mouth = sharpen_teeth(drawn_mouth(one, row, frame), ready.subject.teeth, lips, space, config.teeth)
    result = composite(frame, mouth, lips, one.faces, rows, space, config.composite)
    before, after = (each[0].permute(1, 2, 0).numpy() for each in (frame, result))
    changed = np.abs(before.astype(int) - after).max(-1)
    rows_at, columns = np.nonzero(changed)
    top, left = max(rows_at.min() - 150, 0), max(columns.min() - 80, 0)
    part = np.s_[top : rows_at.max() + 60, left : columns.max() + 80]
    shown = np.repeat(np.clip(255 - 3 * changed, 0, 255).astype(np.uint8)[..., None], 3, -1)
    shown[changed == 0] = 244
    named = [("filmed", before[part]), ("dubbed", after[part]), ("what changed", shown[part])]
    save(OUT / "composite.jpg", named)


def save(path: Path, named: list[tuple[str, np.ndarray]]) -> None:
    """Pictures side by side with words under them, as a small JPEG."""
    height = 200
    columns = []
    for name, picture in named:
        scaled = cv2.resize(
            picture, (round(picture.shape[1] * height / picture.shape[0]), height), interpolation=cv2.INTER_AREA
        )
        under = np.full((28, scaled.shape[1], 3), 255, np.uint8)
        cv2.putText(under, name, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
        columns += [np.vstack([scaled, under]), np.full((height + 28, 6, 3), 255, np.uint8)]
    cv2.imwrite(str(path), np.hstack(columns[:-1])[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def timeline_picture(receipt: Receipt, one: Speaker) -> None:
    """Along the output: the wanted opening and the voice, which target second is shown, and the doubt of each frame."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lipsync"
    import matplotlib.pyplot as plt

    seconds = one.plan.clock.seconds
    shown_s = one.ready.subject.video.clock.seconds[one.plan.source].astype(float)
    shown_s[one.plan.seeks] = np.nan
    figure, (opening, source, doubt) = plt.subplots(3, 1, figsize=(8, 5), sharex=True, layout="constrained")
    lips = one.plan.lips.points
    opening.plot(seconds, np.ptp(lips[:, 12:, 1], axis=1), color="#2563af")
    opening.fill_between(
        seconds,
        0,
        1,
        where=one.said.voiced[: len(seconds)],
        transform=opening.get_xaxis_transform(),
        color="#2563af",
        alpha=0.12,
    )
    opening.set_ylabel("opening of the\nwanted lips")
    source.plot(seconds, shown_s, color="#c85c26")
    source.set_ylabel("second of the\ntarget shown")
    doubt.plot(seconds, receipt.doubt.curve, color="#884a9e")
    doubt.axhline(receipt.doubt.limit, color="#888", linestyle="--", linewidth=1)
    doubt.set_ylabel("doubt")
    doubt.set_ylim(0, 1)
    doubt.set_xlabel("second of the dub (shaded: somebody speaks; dashed: above it a frame is told of)")
    figure.savefig(OUT / "timeline.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
