"""Where a shot ends and the next one begins, which frames are blends of two, and which are odd ones out."""

from __future__ import annotations

from collections import deque
from enum import IntEnum

import numpy as np

from video.picture import Picture
from video.thumbs import Thumb, change, only_graphics
from video.transitions import HALF_LENGTHS, transition_around

# Root mean square difference in levels below which no join is seen: neighbours inside GRID clips stay under 2.4 (99.9
# %), a key frame of the shipped H.264 clip refreshes the picture by 3.2, joins of two takes lie over 4.4 (99.5 %).
_LEAST = 4.0
_SUDDEN = 2.6  # times the change seen just before: steady motion, zooms and noise explain themselves
_MEMORY = 8  # frames
_REPEATED = 0.5  # levels: a frame this near to the last one may be the same frame again, and says nothing of motion
_ODD_FRAMES = 5  # so many frames may be unlike those on both sides of them
_RETURNED = 0.5  # of the change away from a picture: the picture after is the one before
_AHEAD = 2 * max(HALF_LENGTHS)  # frames until the last word on a frame


class Mark(IntEnum):
    """What a frame is: it goes on with its shot, starts a new one, is an odd one out (a flash, a frame of something
    else), or a blend of two shots."""

    GOES_ON = 0
    CUT = 1
    ODD = 2
    BETWEEN = 3


class ShotDetector:
    """Tells of each frame what it is, some frames later. Thumbnails are remembered, nothing is decoded twice.

    A cut is a change of the thumbnail (overall brightness aside, per channel) that is visible and much larger than the
    changes beside it: so another take of the same person before the same wall is a cut, and noise, speech, pans,
    flashes and captions are not. A repeated frame is no still: motion is what is seen between different frames."""

    def __init__(self) -> None:
        self._thumbs: deque[Thumb] = deque()  # of frames self._first .. self._seen - 1
        self._changes: deque[float] = deque()  # from the frame before, of the same frames
        self._first = self._seen = 0
        self._marks: list[Mark] = []  # of the frames after those given back
        self._given = self._decided = self._searched = 0
        self._motion: deque[float] = deque(maxlen=_MEMORY)  # of the shot that is being decided on
        self._last = 0  # the newest frame decided on that is not odd
        self._fresh: deque[float] = deque(maxlen=_MEMORY)  # changes seen just now, for the first word

    def push(self, picture: Picture | np.ndarray) -> bool:
        """True if the picture, or (H,W,3) uint8 RGB, looks unlike the frame before it: what followed something there
        should look anew. Not the last word: that is in `settled`."""
        thumb = Thumb.of(picture)
        size = change(self._thumbs[-1], thumb) if self._thumbs else 0.0
        self._thumbs.append(thumb)
        self._changes.append(size)
        self._marks.append(Mark.GOES_ON)
        self._seen += 1
        usual = max(self._fresh, default=0.0)
        sudden = size > max(_LEAST, _SUDDEN * usual)
        if sudden and np.isfinite(size):
            sudden = not only_graphics(self._thumbs[-2], thumb, usual)
        self._fresh.append(size if np.isfinite(size) else 0.0)
        self._decide(ahead=_MEMORY + _ODD_FRAMES)
        self._search(ahead=max(HALF_LENGTHS))
        return bool(sudden)

    def settled(self) -> list[Mark]:
        """The marks of the next frames, in order, on which the last word is spoken."""
        return self._give(self._seen - _AHEAD)

    def finish(self) -> list[Mark]:
        """The marks of all frames that are left."""
        self._decide(ahead=0)
        self._search(ahead=0)
        return self._give(self._seen)

    def _give(self, until: int) -> list[Mark]:
        n = max(0, until - self._given)
        out, self._marks = self._marks[:n], self._marks[n:]
        self._given += n
        while self._first < self._given - _AHEAD:
            self._thumbs.popleft()
            self._changes.popleft()
            self._first += 1
        return out

    def _thumb(self, frame: int) -> Thumb:
        return self._thumbs[frame - self._first]

    def _change(self, frame: int) -> float:
        return self._changes[frame - self._first]

    def _mark(self, frame: int, mark: Mark) -> None:
        if frame >= self._given:
            self._marks[frame - self._given] = mark

    def _decide(self, ahead: int) -> None:
        """Cuts and odd frames, `ahead` frames behind the newest."""
        while self._decided < self._seen - ahead:
            i = self._decided
            self._decided += 1
            if i == 0:
                continue
            size = self._change(i) if self._last == i - 1 else change(self._thumb(self._last), self._thumb(i))
            if not self._is_sudden(i, size):
                if size >= _REPEATED:
                    self._motion.append(size)
                self._last = i
                continue
            if np.isfinite(size) and only_graphics(self._thumb(self._last), self._thumb(i), self._usual()):
                self._last = i
                continue
            odd = self._odd_from(i, size)
            for frame in range(i, i + odd):
                self._mark(frame, Mark.ODD)
            if odd:
                self._decided = i + odd
                continue
            self._mark(i, Mark.CUT)
            self._motion.clear()
            self._last = i

    def _is_sudden(self, i: int, size: float) -> bool:
        """A visible change, far larger than the motion before it; where little is known of that, than what follows."""
        if size <= max(_LEAST, _SUDDEN * self._usual()):
            return False
        if len(self._motion) >= 3 or not np.isfinite(size):
            return True
        # Just after a cut nothing is known of the new shot's motion; calling its second frame a cut would break a pan
        # into single frames.
        after = sorted(self._change(k) for k in range(i + 1, min(i + 1 + _MEMORY, self._seen)))
        return size > _SUDDEN * (after[-2] if len(after) > 1 else 0.0)

    def _usual(self) -> float:
        """The change from one frame to a different one, levels, as last seen in this shot."""
        return max(float(np.median(self._motion)), self._motion[-1]) if self._motion else 0.0

    def _odd_from(self, i: int, size: float) -> int:
        """How many frames from i on are unlike the picture before them, to which the next one returns; 0: it does
        not."""
        before = self._thumb(self._last)
        for n in range(1, min(_ODD_FRAMES, self._seen - 1 - i) + 1):
            if change(before, self._thumb(i + n)) < _RETURNED * size:
                return n
        return 0

    def _search(self, ahead: int) -> None:
        """Transitions, `ahead` frames behind the newest."""
        while self._searched < self._seen - ahead:
            at = self._searched
            self._searched += 1
            if at < self._given or self._marks[at - self._given] == Mark.BETWEEN:
                continue
            found = transition_around(at, self._thumb, self._first, self._seen - 1)
            if found is not None:
                for frame in range(*found):
                    self._mark(frame, Mark.BETWEEN)
                self._mark(found[1], Mark.CUT)
