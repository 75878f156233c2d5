"""One face that turns into another where it is: morphs, wipes and dissolves that the picture as a whole does not give
away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lipsync.face.backend import overlap
from lipsync.face.people import Seen

#: Frames looked ahead, and frames over which a look must be steady on both sides.
AHEAD, STEADY = 44, 8
#: Another person: looks that correlate less than this, each steady, in one pose (nose against eyes, eye distances).
#: (One person turning within 44 frames: 0.71 and more on film, 0.46 on the drawn presenter; GRID speakers who turn into
#: others: 0.17 to 0.29.)
OTHER_LOOK, STEADY_LOOK, SAME_POSE = 0.4, 0.93, 0.25
#: A frame shows one of the two where it correlates this well with that one's look, and nothing of one where it
#: correlates no better than both do, by a little.
PLAIN, GONE = 0.96, 0.08


def other_person(before: Sequence[Seen], ahead: Sequence[list[Seen]]) -> tuple[int, int] | None:
    """Where the face last seen in `before` becomes somebody else's in the frames `ahead`: the first that is neither,
    and the first that shows the new one; None where it does not.

    before: the face in STEADY frames; ahead: all faces of the next frames, of which AHEAD are looked at. The face is
    followed by its place."""
    way = _followed(before[-1], ahead[:AHEAD])
    if len(before) < STEADY or len(way) < 2 * STEADY:
        return None
    old, new = _look(before), _look(way[-STEADY:])
    if float(old @ new) > OTHER_LOOK or _pose_apart(before[-1], way[-1]) > SAME_POSE:
        return None
    if not _steady(before) or not _steady(way[-STEADY:]):
        return None
    to_old, to_new = (np.array([float(look @ s.portrait) for s in way]) for look in (old, new))
    # somebody who moves is soon unlike his own other looks: then, as long as nothing of the other one shows, it is he
    nothing = (1 - GONE) * float(old @ new) + GONE
    stays, gone = to_new <= nothing, to_old <= nothing
    stays, gone = np.logical_and.accumulate(stays), np.logical_and.accumulate(gone[::-1])[::-1]
    shows_old = np.flatnonzero((to_old >= PLAIN) | stays)
    last_old = int(shows_old[-1]) if len(shows_old) else -1
    shows_new = np.flatnonzero((to_new >= PLAIN) | gone)
    return last_old + 1, int(shows_new[shows_new > last_old][0])


def _followed(face: Seen, ahead: Sequence[list[Seen]]) -> list[Seen]:
    """The face at the same place, frame after frame, for as long as there is one."""
    way = []
    for faces in ahead:
        near = max(faces, key=lambda f: overlap(f.box, face.box), default=None)
        if near is None or overlap(near.box, face.box) < 0.3:
            break
        way.append(near)
        face = near
    return way


def _steady(faces: Sequence[Seen]) -> bool:
    return float(faces[0].portrait @ faces[-1].portrait) >= STEADY_LOOK


def _look(faces: Sequence[Seen]) -> np.ndarray:
    """(d,) unit mean of their portraits."""
    mean = np.mean([face.portrait for face in faces], axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)


def _pose_apart(a: Seen, b: Seen) -> float:
    """How differently the nose tip lies against the eyes, in eye distances."""
    return float(np.linalg.norm(_nose(a) - _nose(b)))


def _nose(face: Seen) -> np.ndarray:
    left, right, tip = (face.landmarks[i] for i in (36, 45, 30))
    along = right - left
    across = np.array([-along[1], along[0]])
    return np.array([(tip - left) @ along, (tip - left) @ across]) / max(float(along @ along), 1e-6)
