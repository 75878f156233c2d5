"""What is kept of the pixels of lower faces from frame to frame (`lipsync.face.graphics`), in compiled loops."""

from __future__ import annotations

import math

import numpy as np

from lipsync.core.compiled import compiled

#: Levels, and share of the slope, within which a pixel is the same as before; misses in a row after which it is not;
#: frames it stays at least.
SAME, SAME_SLOPE, MISSES, LASTS = 12, 0.35, 2, 8
#: A stroke's surroundings differ by so many levels. It would have changed by so many had it moved with the face, and
#: the face did move so far across it (mask pixels); or it came, and went, with a jump of so many, while the face moved
#: no farther.
CONTRAST, MOVED, LEAST_MOVE, JUMP, AT_REST = 90, 60.0, 1.5, 60, 1.0
#: Frames after which a pixel not looked at is forgotten.
FORGOTTEN = 12


@compiled
def compare(
    grey, slope_x, slope_y, level, held_x, held_y, contrast, jump, missed, since, seen, x, y, proof, frame, at_x, at_y,
    off, same, over, forgotten,
):  # fmt: skip
    """Fills off (levels, uint8), and same, over, forgotten (bool), all (h,w): what each pixel is to what is held of it.
    at_x, at_y: the face's place. True where something that was held may have been a graphic and is over."""
    ended = False
    for r in range(grey.shape[0]):
        for c in range(grey.shape[1]):
            apart = abs(np.int64(grey[r, c]) - np.int64(level[r, c]))
            sx, sy = slope_x[r, c], slope_y[r, c]
            tx, ty = sx - held_x[r, c], sy - held_y[r, c]
            may = max(np.float32(SAME), np.float32(SAME_SLOPE) * math.sqrt(sx * sx + sy * sy))
            goes_on = apart <= SAME and math.sqrt(tx * tx + ty * ty) <= may
            gone = frame - seen[r, c] > FORGOTTEN
            missed[r, c] = 0 if goes_on else missed[r, c] + 1
            ends = missed[r, c] >= MISSES or gone
            off[r, c], same[r, c], over[r, c], forgotten[r, c] = apart, goes_on, ends, gone
            end = np.int64(seen[r, c]) + 1 if gone else frame - MISSES + 1
            if ends and contrast[r, c] >= CONTRAST and end - since[r, c] >= LASTS:
                rests = math.hypot(at_x - x[r, c], at_y - y[r, c]) <= AT_REST
                came_and_went = not gone and rests and min(np.int64(jump[r, c]), apart) >= JUMP
                ended |= proof[r, c] >= MOVED or came_and_went
    return ended


@compiled
def renew(
    grey, slope_x, slope_y, around, stroke, off, same, over, forgotten, level, held_x, held_y, contrast, strokes, jump,
    missed, since, seen, x, y, proof, frame, at_x, at_y,
):  # fmt: skip
    """Holds what begins, and what is known by now of what goes on. around: contrast about each pixel; stroke: whether
    it lies on one. True where something is proven not to move with the face."""
    strong = False
    for r in range(grey.shape[0]):
        for c in range(grey.shape[1]):
            sx, sy = slope_x[r, c], slope_y[r, c]
            if over[r, c]:
                level[r, c], held_x[r, c], held_y[r, c] = grey[r, c], sx, sy
                jump[r, c] = 0 if forgotten[r, c] else off[r, c]
                since[r, c] = frame if forgotten[r, c] else frame - (MISSES - 1)
                x[r, c], y[r, c] = at_x, at_y
                proof[r, c], missed[r, c], contrast[r, c] = 0, 0, around[r, c]
            elif same[r, c] and around[r, c] < contrast[r, c]:
                contrast[r, c] = around[r, c]  # an edge that only passes by is none of its own
            seen[r, c] = frame
            if same[r, c] or over[r, c]:
                strokes[r, c] = stroke[r, c]
                gone = abs((at_x - x[r, c]) * sx + (at_y - y[r, c]) * sy)
                if gone >= np.float32(LEAST_MOVE) * math.sqrt(sx * sx + sy * sy):
                    proof[r, c] = max(proof[r, c], min(gone, np.float32(around[r, c])))
            strong |= proof[r, c] >= MOVED
    return strong
