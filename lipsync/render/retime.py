"""Which target frame each output row shows: the head rests while the speech pauses.

The dynamic programme of Suwajanakorn, Seitz and Kemelmacher-Shlizerman, "Synthesizing Obama" (SIGGRAPH 2017), section
on retiming, with a free start, skips and seeks. A row shows a whole target frame f, or the half-step between f and f +
1. From one row to the next:

    step    f -> f + 1            costs nothing of its own
    repeat  f -> f half -> f + 1  one more row: half the motion in each, so f, f + 1/2, f + 1 is even; a half is always
    followed by f + 1 skip    f -> f + 2            only where both steps are small seek    f -> anywhere else    a
    visible jump: dear, dearer between unlike poses, in motion, and far dearer while voiced

A cut of the target (a change of `shot`) is crossed by a seek only. To these costs come, row by row, the motion shown in
pauses, minus that shown just after speech begins, frames whose mouth cannot be drawn while the voice sounds, and, a
little, frames whose own mouth is unlike the one to be drawn: less of it must be covered. All costs are of
`RetimeConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from lipsync.config.schema import RetimeConfig
from lipsync.core.arrays import runs_of
from lipsync.core.lips import opening
from lipsync.core.types import DubPlan

STEP, FROM_HALF, SKIP, SEEK = 0, 1, 2, 3
_CELL_LIMIT = 96  # poses told apart in seek costs
_TABLE_BYTES = 16 << 20  # back-pointers held at once; longer tables are computed twice, segment by segment


@dataclass(frozen=True, slots=True)
class Timing:
    """source: (N,) int64 target frame; half: (N,) bool, show the middle between source and source + 1; seeks: int64
    rows at which the picture jumps: seeks of the programme, the restart of "loop", and the target's own cuts."""

    source: np.ndarray
    half: np.ndarray
    seeks: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


def retime(
    voiced: np.ndarray,
    motion: np.ndarray,
    valid: np.ndarray,
    shot: np.ndarray,
    frame_rate: float,
    config: RetimeConfig = RetimeConfig(),
    pose: np.ndarray | None = None,
    origin: np.ndarray | None = None,
    mouths: tuple[np.ndarray, np.ndarray] | None = None,
) -> Timing:
    """The cheapest timing of N output rows over T target frames, by the dynamic programme.

    voiced: (N,) bool on the output clock. motion: (T,) head motion and blinks from frame t - 1 to t, eye distances.
    valid: (T,) bool. shot: (T,) int. frame_rate: frames per second. pose: (T,3) degrees and origin: (T,2) face position
    in eye distances, for the cost of a jump; None = any jump is alike. mouths: (N,2) wanted and (T,2) filmed
    `mouth_shape`; None = all are alike."""
    n, t = len(voiced), len(motion)
    if n == 0 or t == 0 or len(valid) != t or len(shot) != t:
        raise ValueError(
            f"retime: {n} rows from {t} frames of motion, {len(valid)} valid, {len(shot)} shot; 1 or more, alike"
        )
    if t == 1:
        return played(n, shot)
    costs = costs_of(np.asarray(voiced, bool), motion, valid, shot, frame_rate, config, pose, origin, mouths)
    return _cheapest(costs)


def mouth_shape(lips: np.ndarray) -> np.ndarray:
    """(N,2) opening and width of (N,18,2) lips, face frame."""
    return np.stack([opening(lips), np.linalg.norm(lips[:, 6] - lips[:, 0], axis=-1)], -1)


def pause_motion(
    timing: Timing | DubPlan, voiced: np.ndarray, motion: np.ndarray, valid: np.ndarray | None = None
) -> float:
    """Mean motion shown in silent rows, eye distances per frame; 0 without a silent row. The jump of a seek is not
    counted.

    valid: (T,) bool; rows that show other frames, whose motion is unknown, are left out.
    """
    source, half = timing.source, timing.half
    position = source + 0.5 * half
    cumulated = np.concatenate([[0.0], np.cumsum(motion[1:], dtype=np.float64)])
    path = np.interp(position, np.arange(len(motion)), cumulated)
    moved = np.abs(np.diff(path, prepend=path[0]))
    moved[timing.seeks] = 0
    silent = ~np.asarray(voiced[: len(source)], bool)
    if valid is not None:
        silent &= np.asarray(valid, bool)[source]
    return float(moved[silent].mean()) if silent.any() else 0.0


def played(n: int, shot: np.ndarray, policy: str = "bounce") -> Timing:
    """N output rows that show the target of (T,) `shot` from its start at its own pace. policy, when it runs out:
    "bounce" runs back and forth, "loop" starts over, "hold" keeps the last frame; "cut" gives min(N, T) rows."""
    t, shot = len(shot), np.asarray(shot)
    row = np.arange(min(n, t) if policy == "cut" else n, dtype=np.int64)
    if policy == "loop":
        row = row % t
    elif policy == "bounce" and t > 1:
        row = (t - 1) - np.abs((t - 1) - row % (2 * t - 2))
    row = np.minimum(row, t - 1)
    step = np.abs(np.diff(row, prepend=row[0]))
    jumps = (step > 1) | (np.diff(shot[row], prepend=shot[row[0]]) != 0)
    return Timing(row, np.zeros(len(row), bool), np.flatnonzero(jumps))


@dataclass(frozen=True, slots=True)
class Costs:
    """Everything the programme reads. Per row: `motion_weight` times the motion shown, `voiced` (0 or 1) times bad
    frames, `jump` per seek. Per frame: `motion` (normalised), `bad`, `repeat`, `leaving`, `landing` (inf = forbidden),
    `start`; `joined` f and f + 1 are one shot, `skippable` f -> f + 2 may be; `cell` pose cell; `between` (C,C) cost of
    a jump from cell to cell; `wanted` (N,2) and `filmed` (T,2) mouths, whose differences are the cost of a row."""

    motion_weight: np.ndarray
    voiced: np.ndarray
    jump: np.ndarray
    motion: np.ndarray
    bad: np.ndarray
    repeat: np.ndarray
    skip: float
    leaving: np.ndarray
    landing: np.ndarray
    start: np.ndarray
    joined: np.ndarray
    skippable: np.ndarray
    cell: np.ndarray
    between: np.ndarray
    wanted: np.ndarray
    filmed: np.ndarray


def costs_of(voiced, motion, valid, shot, frame_rate, config, pose=None, origin=None, mouths=None) -> Costs:
    """The numbers the programme adds up; see `retime` for the arguments. Costs of a row are scaled to rows of 1/25
    s."""
    t, per_row = len(motion), 25.0 / frame_rate
    valid, shot = np.asarray(valid, bool), np.asarray(shot)
    moves = _normalised(np.asarray(motion, np.float64), valid, per_row)
    pausing = _pauses(voiced, round(config.pause_s * frame_rate))
    motion_weight = per_row * (
        config.motion_cost * pausing - config.onset * _onsets(pausing, round(config.onset_s * frame_rate))
    )

    joined = np.append(shot[1:] == shot[:-1], False)
    ahead = np.append(moves[1:], 0.0)
    small = ahead <= config.skip_motion
    skippable = joined & small & np.append(joined[1:] & small[1:], False)

    around = _mean_around(moves, round(0.1 * frame_rate))
    calm = config.seek_motion * around
    bad = per_row * config.invalid * ~valid
    cell, between, off_cell = _pose_cells(pose, origin, t, config)
    wanted, filmed = (np.zeros((len(voiced), 2)), np.zeros((t, 2))) if mouths is None else mouths
    can_land = _may_land(joined, round(config.seek_landing_s * frame_rate))
    return Costs(
        motion_weight=motion_weight,
        voiced=(~pausing).astype(np.float64),
        jump=config.seek + config.seek_voiced * ~pausing,
        motion=moves,
        bad=bad,
        repeat=per_row * (config.repeat + config.repeat_motion * ahead),
        skip=per_row * config.skip,
        leaving=calm + off_cell,
        landing=np.where(can_land, calm + off_cell + config.seek * ~valid, np.inf),
        start=config.start * np.arange(t) / frame_rate,
        joined=joined,
        skippable=skippable,
        cell=cell,
        between=between,
        wanted=per_row * config.mouth * np.asarray(wanted, np.float64),
        filmed=per_row * config.mouth * np.asarray(filmed, np.float64),
    )


def _normalised(motion: np.ndarray, valid: np.ndarray, per_row: float) -> np.ndarray:
    """1 = a lively frame of this target (its 90th percentile), at most 2; a frame without a face counts as lively, the
    first as still. A target that hardly moves is not magnified: the unit is at least 0.005 eye distances in 1/25 s."""
    lively = np.quantile(motion[valid], 0.9) if valid.any() else 0.0
    moves = np.minimum(motion / max(lively, 0.005 * per_row), 2.0)
    moves[~valid] = np.maximum(moves[~valid], 1.0)
    moves[0] = 0.0
    return moves


def _pauses(voiced: np.ndarray, shortest: int) -> np.ndarray:
    """(N,) bool silent runs of at least `shortest` rows."""
    pausing = np.zeros(len(voiced), bool)
    for begin, end in runs_of(~voiced):
        pausing[begin:end] = end - begin >= shortest
    return pausing


def _onsets(pausing: np.ndarray, n_rows: int) -> np.ndarray:
    """(N,) bool voiced rows at most `n_rows` after a pause or the beginning."""
    rows = np.arange(len(pausing))
    last_pause = np.maximum.accumulate(np.where(pausing, rows, -1))
    return ~pausing & (rows - last_pause <= n_rows)


def _mean_around(values: np.ndarray, radius: int) -> np.ndarray:
    padded = np.pad(values, radius, mode="edge")
    return np.convolve(padded, np.full(2 * radius + 1, 1 / (2 * radius + 1)), mode="valid")


def _may_land(joined: np.ndarray, n_frames: int) -> np.ndarray:
    """(T,) bool frames with at least `n_frames` more of their shot to come (or as many as the longest shot can
    give)."""
    cuts = np.flatnonzero(~joined)
    frames = np.arange(len(joined))
    remaining = cuts[np.searchsorted(cuts, frames)] - frames
    return remaining >= min(n_frames, int(remaining.max()))


def _pose_cells(pose, origin, t: int, config: RetimeConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T,) int32 cell, (C,C) cost between cells, (T,) cost from a frame to the centre of its cell.

    Cells make a row's seeks O(T + C²) instead of O(T²). Their sum is never below the true distance, and equal to it
    while T <= C."""
    columns = [np.zeros((t, 1))]
    if pose is not None:
        columns.append(np.asarray(pose, np.float64) / config.jump_deg)
    if origin is not None:
        columns.append(np.asarray(origin, np.float64) / config.jump_distance)
    place = np.concatenate(columns, 1)
    centres, cell = [0], np.zeros(t, np.int32)
    off = np.linalg.norm(place - place[0], axis=1)
    while len(centres) < _CELL_LIMIT and off.max() > 0:
        centres.append(int(off.argmax()))
        distance = np.linalg.norm(place - place[centres[-1]], axis=1)
        cell[distance < off] = len(centres) - 1
        off = np.minimum(off, distance)
    at = place[centres]
    return cell, config.jump * np.linalg.norm(at[:, None] - at[None], axis=2), config.jump * off


def _cheapest(costs: Costs) -> Timing:
    """Forward through all rows in segments, remembering the costs at each segment's start; then back, segment by
    segment, each computed again unless it is the last. Memory: one segment's table and one pair of cost rows per
    segment."""
    n, t = len(costs.motion_weight), len(costs.motion)
    n_cells = len(costs.between)
    length = min(n, max(_TABLE_BYTES // (t + 8 * n_cells), int(np.sqrt(16 * n)), 1))
    table = np.empty((length, t), np.uint8)
    sources = np.empty((length, n_cells, 2), np.int32)
    begins = list(range(0, n, length))
    entry = [_entry(costs)]
    for begin in begins:
        whole, half = (a.copy() for a in entry[-1])
        _run(costs, begin, min(begin + length, n), whole, half, table, sources)
        entry.append((whole, half))

    whole, half = entry.pop()
    in_half = bool(half.min() < whole.min())
    at = int((half if in_half else whole).argmin())
    source, halves, jumped = np.empty(n, np.int64), np.zeros(n, bool), np.zeros(n, bool)
    for begin in reversed(begins):
        end = min(begin + length, n)
        if end < n:
            whole, half = entry[begin // length]
            _run(costs, begin, end, whole, half, table, sources)
        for row in range(end - 1, begin - 1, -1):
            source[row], halves[row] = at, in_half
            if row == 0:
                break
            move = STEP if in_half else table[row - begin, at]
            if in_half:
                in_half = False
            elif move == SEEK:
                jumped[row] = True
                first, second = sources[row - begin, costs.cell[at]]
                at = int(first if first != at else second)
            else:
                in_half = bool(move == FROM_HALF)
                at -= 2 if move == SKIP else 1
    return Timing(source, halves, np.flatnonzero(jumped))


def _entry(costs: Costs) -> tuple[np.ndarray, np.ndarray]:
    """Costs after row 0: any whole frame may start."""
    unlike = np.abs(costs.wanted[0] - costs.filmed).sum(1)
    return costs.start + costs.voiced[0] * costs.bad + unlike, np.full(len(costs.motion), np.inf)


def _run(costs: Costs, begin: int, end: int, whole, half, table, sources) -> None:
    c = costs
    _compiled()(
        begin,
        end,
        whole,
        half,
        table,
        sources,
        c.motion_weight,
        c.voiced,
        c.jump,
        c.motion,
        c.bad,
        c.repeat,
        c.skip,
        c.leaving,
        c.landing,
        c.joined,
        c.skippable,
        c.cell,
        c.between,
        c.wanted,
        c.filmed,
    )


@cache
def _compiled():
    import numba

    try:
        return numba.njit(cache=True)(_rows)
    except RuntimeError:  # numba finds no writable folder for its cache
        return numba.njit(_rows)


def _rows(
    begin,
    end,
    whole,
    half,
    table,
    sources,
    motion_weight,
    voiced,
    jump,
    motion,
    bad,
    repeat,
    skip,
    leaving,
    landing,
    joined,
    skippable,
    cell,
    between,
    wanted,
    filmed,
):
    """Costs of rows begin..end - 1 (row 0 is the start), `whole` and `half` in place; how each whole frame was reached
    into `table`, and for seeks the two best frames to leave for each cell into `sources` (two, as a frame may not
    seek to itself). In plain loops: to compile assignments to whole arrays takes seconds."""
    n_frames, n_cells = len(motion), len(between)
    new_whole, new_half, unlike = np.empty(n_frames), np.empty(n_frames), np.empty(n_frames)
    near, near_from = np.empty((n_cells, 2)), np.empty((n_cells, 2), np.int32)
    far = np.empty((n_cells, 2))
    for row in range(max(begin, 1), end):
        far_from = sources[row - begin]
        for c in range(n_cells):
            for i in range(2):
                near[c, i], near_from[c, i] = np.inf, -1
                far[c, i], far_from[c, i] = np.inf, -1
        for f in range(n_frames):
            cost, c = whole[f] + leaving[f], cell[f]
            if cost < near[c, 0]:
                near[c, 1], near_from[c, 1] = near[c, 0], near_from[c, 0]
                near[c, 0], near_from[c, 0] = cost, f
            elif cost < near[c, 1]:
                near[c, 1], near_from[c, 1] = cost, f
        for c in range(n_cells):
            for d in range(n_cells):
                for i in range(2):
                    cost = near[d, i] + between[d, c]
                    if cost < far[c, 0]:
                        far[c, 1], far_from[c, 1] = far[c, 0], far_from[c, 0]
                        far[c, 0], far_from[c, 0] = cost, near_from[d, i]
                    elif cost < far[c, 1]:
                        far[c, 1], far_from[c, 1] = cost, near_from[d, i]
        weight = motion_weight[row]
        for f in range(n_frames):
            unlike[f] = abs(wanted[row, 0] - filmed[f, 0]) + abs(wanted[row, 1] - filmed[f, 1])
        for f in range(n_frames):
            best, move = np.inf, STEP
            if f > 0 and joined[f - 1]:
                best = whole[f - 1] + weight * motion[f]
                cost = half[f - 1] + 0.5 * weight * motion[f]
                if cost < best:
                    best, move = cost, FROM_HALF
            if f > 1 and skippable[f - 2]:
                cost = whole[f - 2] + skip + weight * (motion[f - 1] + motion[f])
                if cost < best:
                    best, move = cost, SKIP
            c = cell[f]
            cost = far[c, 1] if far_from[c, 0] == f else far[c, 0]
            cost += landing[f] + jump[row]
            if cost < best:
                best, move = cost, SEEK
            table[row - begin, f] = move
            new_whole[f] = best + voiced[row] * bad[f] + unlike[f]
            new_half[f] = np.inf
            if joined[f]:
                cost = whole[f] + repeat[f] + 0.5 * weight * motion[f + 1] + 0.5 * (unlike[f] + unlike[f + 1])
                new_half[f] = cost + voiced[row] * max(bad[f], bad[f + 1])
        for f in range(n_frames):
            whole[f], half[f] = new_whole[f], new_half[f]
