"""A target that says what is being said now: sound in, frames as they are due."""

from __future__ import annotations

import contextlib
import gc
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audio.live import LiveSound
from audio.load import RATE
from lipsync.config.schema import DubConfig
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import alone, drawing_threads, one_thread, opencv_on_one_thread
from lipsync.pipelines.dub import prepare
from lipsync.pipelines.marks import mark_for
from lipsync.pipelines.models import Prepared
from lipsync.render.live import Held, LiveStage, held_frames
from lipsync.render.mark import ID_DIGITS
from lipsync.speech.live import LiveLips
from lipsync.store.cache import Cache, step_key
from video.live import Gone, Screen
from video.prefetch import ahead

#: How long after the network could answer a frame is due: the time to draw and to hand on.
SLACK_S = 0.06
#: Sound that waits beyond what a frame needs, after a stall: more than this is left out, as far as silence stood in.
_SPARE_S = 0.1
#: How long before a frame is due its drawing begins at the latest: it takes so long on two cores.
_DRAWING_S = 0.04


@dataclass(frozen=True, slots=True)
class LiveReport:
    """What happened. frames: shown; dropped: drawn too late to be shown; silence_s: put in where no sound came;
    skipped_s: sound left out because it came after that; delay_s: from sound to frame: the network's and the rest, as
    (least, median, 95 %, most) of the frames; ahead_s: the network's."""

    frames: int
    dropped: int
    seconds: float
    silence_s: float
    skipped_s: float
    ahead_s: float
    delay_s: tuple[float, float, float, float]

    def to_plain(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        least, median, late, most = (round(x, 4) for x in self.delay_s)
        return {
            "frames": self.frames,
            "dropped": self.dropped,
            "seconds": round(self.seconds, 3),
            "silence_s": round(self.silence_s, 3),
            "skipped_s": round(self.skipped_s, 3),
            "network_delay_s": round(self.ahead_s, 4),
            "delay_s": {"least": least, "median": median, "p95": late, "most": most},
        }

    def lines(self) -> list[str]:
        """For people."""
        _, median, late, _ = self.delay_s
        said = (
            f"{self.frames} frames in {self.seconds:.1f} s, {self.dropped} dropped; from sound to frame "
            f"{1000 * median:.0f} ms (95 % within {1000 * late:.0f}), {1000 * self.ahead_s:.0f} of them the network's."
        )
        gap = f"No sound came for {self.silence_s:.1f} s, in which the mouth rested"
        late_sound = f"; {self.skipped_s:.1f} s came too late and were left out" if self.skipped_s else ""
        gaps = [f"{gap}{late_sound}."] if self.silence_s >= 0.05 else []
        return [said, *gaps]


@dataclass(frozen=True, slots=True)
class Ready:
    """A person of a target who is ready to speak live. held: the frames that play."""

    person: Prepared
    held: Held
    config: DubConfig


def prepare_live(
    target: str | Path, config: DubConfig = DubConfig(), *, cache: Cache | None = None, hook: Hook = silent
) -> Ready:
    """The person's lips are learnt by the causal network. Raises as `dub` does."""
    heard = replace(config.lips, network="causal", encoder="auto")
    config = replace(config, lips=heard, batch=1)
    person = prepare(target, config, cache=cache, hook=hook)
    return Ready(person, held_frames(person.subject, config, config.live.held_mib << 20), config)


@one_thread()
@opencv_on_one_thread()
def live(
    ready: Ready,
    sound: Iterator[np.ndarray],
    screen: Screen,
    seconds: float | None = None,
    listening: Callable[[], None] = lambda: None,
) -> LiveReport:
    """Shows the person saying the sound, until it ends, nobody watches any more or Ctrl-C, or for so many seconds.

    sound: blocks of (n,) float32 at 16,000 a second, as they come; screen: entered here; listening: called
    when everything is ready and the sound is about to be read. Frame n belongs to the sound
    n / rate seconds after the first, and is due when the network could have answered, and SLACK_S later. Where sound
    does not come in time, silence stands in; what comes after it in too great a heap is left out, so that speech is
    live again. A frame that is due before its drawing begins is dropped."""
    threads = drawing_threads(ready.person.device)
    with (
        ThreadPoolExecutor(threads, "live-drawing", alone) as drawing,
        ThreadPoolExecutor(1, "live-screen") as showing,
        _garbage_left_alone(),
    ):
        session = _Session(ready, screen, drawing, showing, threads)
        session.warm_up()  # before the clock starts
        with screen, LiveSound(sound) as source:
            listening()
            session.run(source, seconds)
    return session.report()


@contextlib.contextmanager
def _garbage_left_alone() -> Generator[None]:
    """What is in memory by now stays: looking through it for garbage would stop every thread for a frame or two."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Session:
    """Frame after frame, against the clock: heard here, drawn one a core, shown in order by a thread of its own."""

    def __init__(
        self, ready: Ready, screen: Screen, drawing: ThreadPoolExecutor, showing: ThreadPoolExecutor, threads: int
    ) -> None:
        """drawing: of so many threads; showing: of one."""
        person, self.rate, self.screen = ready.person, ready.held.rate, screen
        self.drawing, self.showing, self.threads = drawing, showing, threads
        self.model, self.lips = person.model, LiveLips(person.model)
        mark = mark_for(ready.config.mark, step_key("live", 1, None, [person.subject.video.sha256])[:ID_DIGITS])
        self.stage = LiveStage(ready.held, person.subject, person.method, ready.config, person.device, mark)
        self.began, self.ends_s = 0.0, float("inf")
        self.heard = self.silence = self.skipped = 0  # samples
        #: Sound of frames to come, and of frames dropped since the last.
        self.unsent = self.unshown = np.zeros(0, np.float32)
        self.frames = self.missed = self.late = self.sent = 0
        #: More would wait than can begin to be drawn in time, or than whoever watches takes.
        self.most_under_way = threads + ceil(SLACK_S * self.rate)
        self.under_way: deque[Future[None]] = deque()
        self.delays_s: list[float] = []

    def warm_up(self) -> None:
        """Everything compiled, in memory and known to every thread: a thread's first frame takes half a second."""
        rgb = self.stage.rgb(0)
        first = [self.drawing.submit(self.stage.drawing(0, self.lips.rest, rgb)) for _ in range(self.threads)]
        heard = LiveLips(self.model)
        heard.hear(np.zeros(RATE, np.float32))
        heard.at(0.0)
        for each in first:
            each.result()

    def run(self, source: LiveSound, seconds: float | None) -> None:
        source.wait(1)
        self.began = source.began or time.monotonic()
        self.ends_s = float("inf") if seconds is None else seconds
        try:
            with (
                contextlib.suppress(Gone, KeyboardInterrupt),
                contextlib.closing(ahead(self._coming(), 3)) as coming,
            ):
                for tick, rgb in coming:
                    if not self._tick(tick, rgb, source):
                        break
                while self.under_way:
                    self.under_way.popleft().result()
        finally:
            wait(self.under_way)  # they use the screen

    def _coming(self) -> Generator[tuple[int, torch.Tensor]]:
        """Frames of the target, decoded colours and all, before they are needed."""
        return ((tick, self.stage.rgb(tick)) for tick in count())

    def _tick(self, tick: int, rgb: torch.Tensor, source: LiveSound) -> bool:
        """One frame; False when everything is said."""
        second = float(tick / self.rate)
        due = self.began + second + self.lips.ahead_s + SLACK_S
        self._listen(ceil((second + self.lips.ahead_s) * RATE), due, source)
        if second >= self.ends_s:
            return False
        lips = self.lips.at(second)
        while self.under_way and self.under_way[0].done():
            self.under_way.popleft().result()
        if time.monotonic() > due or len(self.under_way) >= self.most_under_way:
            self.stage.miss(lips)
            self.missed += 1
            return True
        drawn = self.drawing.submit(_unless_late, self.stage.drawing(tick, lips, rgb), due)
        sound = self._sound_until(second + float(1 / self.rate))
        self.under_way.append(self.showing.submit(self._show, tick, drawn, sound, due))
        return True

    def _show(self, tick: int, drawn: Future[torch.Tensor | None], sound: np.ndarray, due: float) -> None:
        pictures, sound = drawn.result(), np.concatenate([self.unshown, sound])
        if pictures is None:
            self.late += 1
            self.unshown = sound
            return
        self.unshown = sound[:0]
        if self.screen.paced:
            time.sleep(max(0.0, due - time.monotonic()))
        self.screen.show(tick, pictures[0], sound)
        self.frames += 1
        self.delays_s.append(time.monotonic() - self.began - float(tick / self.rate))

    def _listen(self, until: int, due: float, source: LiveSound) -> None:
        """Hears the sound up to a sample, when it is its time; silence where it does not come."""
        wanted = until - self.heard
        time.sleep(max(0.0, self.began + until / RATE - time.monotonic()))  # a file plays in its own time
        source.wait(wanted, due - _DRAWING_S)
        late = min(source.waiting - wanted - round(_SPARE_S * RATE), self.silence - self.skipped)
        if late > 0:
            self.skipped += len(source.take(late))
        samples = source.take(wanted)
        if len(samples) < wanted:
            if source.ended:
                self.ends_s = min(self.ends_s, (self.heard + len(samples)) / RATE)
            else:
                self.silence += wanted - len(samples)
            samples = np.pad(samples, (0, wanted - len(samples)))
        self.heard = until
        self.lips.hear(samples)
        self.unsent = np.concatenate([self.unsent, samples])

    def _sound_until(self, second: float) -> np.ndarray:
        """What was heard up to a moment and not handed out."""
        n = max(0, round(min(second, self.ends_s) * RATE) - self.sent)
        sound, self.unsent = self.unsent[:n], self.unsent[n:]
        self.sent += len(sound)
        return sound

    def report(self) -> LiveReport:
        delays = np.array(self.delays_s or [0.0])
        least, median, late, most = (float(x) for x in np.quantile(delays, [0, 0.5, 0.95, 1]))
        return LiveReport(
            self.frames,
            self.missed + self.late,
            self.sent / RATE,
            self.silence / RATE,
            self.skipped / RATE,
            self.lips.ahead_s,
            (least, median, late, most),
        )


def _unless_late(draw: Callable[[], torch.Tensor], due: float) -> torch.Tensor | None:
    """What is drawn; None where it is due by now."""
    return None if time.monotonic() > due else draw()
