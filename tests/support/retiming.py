"""What every retiming must keep, and its cost by brute force."""

from __future__ import annotations

import numpy as np

from lipsync.config.schema import RetimeConfig

SMALL = RetimeConfig(
    pause_s=0.04, onset_s=0.08, seek_landing_s=0.04, seek=1.5, seek_voiced=1.0, skip_motion=1.0, jump=0.3
)


def cost_of_path(path, c):
    """Total cost of [(frame, half), ...], or inf where a move is not allowed; written from the definition, not from the
    programme."""
    (f, h), total = path[0], 0.0
    if h:
        return np.inf
    total += c.start[f] + c.voiced[0] * c.bad[f]
    for row, (g, gh) in enumerate(path):
        shown = [g, min(g + 1, len(c.bad) - 1)] if gh else [g]
        total += float(np.mean([np.abs(c.wanted[row] - c.filmed[k]).sum() for k in shown]))
    for row in range(1, len(path)):
        g, gh = path[row]
        total += c.voiced[row] * (max(c.bad[g], c.bad[min(g + 1, len(c.bad) - 1)]) if gh else c.bad[g])
        if gh:
            if h or g != f or not c.joined[f]:
                return np.inf
            total += c.repeat[f] + c.motion_weight[row] * c.motion[f + 1] / 2
        elif h:
            if g != f + 1:
                return np.inf
            total += c.motion_weight[row] * c.motion[g] / 2
        else:
            ways = [np.inf]
            if g == f + 1 and c.joined[f]:
                ways.append(c.motion_weight[row] * c.motion[g])
            if g == f + 2 and c.skippable[f]:
                ways.append(c.skip + c.motion_weight[row] * (c.motion[f + 1] + c.motion[g]))
            if g != f:
                ways.append(c.leaving[f] + c.landing[g] + c.jump[row] + c.between[c.cell[f], c.cell[g]])
            total += min(ways)
        f, h = g, gh
    return total


def check_promises(timing, shot, n):
    source, half = timing.source, timing.half
    assert source.shape == half.shape == (n,) and source.dtype == np.int64
    assert source.min() >= 0 and source.max() < len(shot)
    step = np.diff(source)
    jumps = np.zeros(n, bool)
    jumps[timing.seeks] = True
    plain = ~jumps[1:]
    assert ((step[plain] >= 0) & (step[plain] <= 2)).all()
    assert not (half[1:] & half[:-1]).any()
    assert ((step == 0) <= (half[1:] | jumps[1:])).all()  # a repeated frame is the half step
    assert (step[half[:-1]] == 1).all()  # and the next whole frame follows it
    assert not (half & (source == len(shot) - 1)).any()
    assert (shot[source[1:]] == shot[source[:-1]])[plain].all()
    same = source[2:] == source[:-2]
    assert not same[plain[1:] & plain[:-1]].any()
