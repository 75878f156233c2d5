"""Mouths fused by weights and flows that a network gives for every place, compiled: what `hybrid` draws, in one pass
over rows of pixels, without pictures of each candidate in between.

Positions are rounded to 1/256 of a pixel; a picture's three colours lie in one 64-bit number, 16 bits each, so that one
multiplication weighs all three. What is coarser than the picture is enlarged bilinearly: a warp's nodes lie on pixels,
a network's pixels in the middle of several (torch's `align_corners`, with and without)."""

from __future__ import annotations

import numpy as np

from lipsync.core.compiled import compiled
from lipsync.textures.warped_median import BLUE, GREEN, NODE_STEP

_COLOUR, _LOW, _ALL = np.uint64(0xFFFF), np.uint64(0xFF), np.uint64(256)
_ONE, _HALF_BYTE, _BYTE = np.uint64(1), np.uint64(128), np.uint64(8)
_LOG2_E, _NEAREST = np.float32(1.4426950408889634), np.float32(0.5 / 256)
_ZERO, _HALF, _UNIT, _TWO = (np.float32(v) for v in (0, 0.5, 1, 2))


@compiled
def fused_mouth(pictures, which, field, placed, made, strongest, spans, out):  # pragma: no cover - compiled
    """out (3,H,W) in [0,1]: the weighted mean of the moved candidates, in the generator's light and with what it drew
    itself; between `spans` (H,2) of each row, the rest stays.

    pictures: `warped_median.packed`; which: (C,) rows of them; field: (C,h,w,2) nodes of the warp; placed:
    (C,3,h',w') log weight and flow, crop pixels, across and down; made: (7,h'',w'') picture, its share and light before
    their squashing; strongest: the light that this allows."""
    n, height, width = len(which), out.shape[1], out.shape[2]
    node, node_part = _nodes(width)
    place, place_part = _enlarging(placed.shape[3], width)
    dot, dot_part = _enlarging(made.shape[2], width)
    place_row, place_down = _enlarging(placed.shape[2], height)
    dot_row, dot_down = _enlarging(made.shape[1], height)
    line = np.empty(max(field.shape[2], placed.shape[3], made.shape[2]) + 1, np.float32)
    for y in range(height):
        x0, x1 = max(spans[y, 0], 0), min(spans[y, 1], width)
        size = max(x1 - x0, 0)
        node_at, node_to = node[x0:x1], node_part[x0:x1]
        place_at, place_to = place[x0:x1], place_part[x0:x1]
        dot_at, dot_to = dot[x0:x1], dot_part[x0:x1]
        share, mean, drawn = (
            np.empty((n, size), np.float32),
            np.zeros((3, size), np.float32),
            np.empty((7, size), np.float32),
        )
        across, down = np.empty(size, np.float32), np.empty(size, np.float32)
        offset, fraction = np.empty(size, np.int32), np.empty(size, np.int32)
        for k in range(n):
            _between(placed[k, 0], place_row[y], place_down[y], line)
            _enlarge(line, place_at, place_to, share[k])
        total = _shares(share)
        for k in range(n):
            _between(placed[k, 1], place_row[y], place_down[y], line)
            _enlarge(line, place_at, place_to, across)
            _between(placed[k, 2], place_row[y], place_down[y], line)
            _enlarge(line, place_at, place_to, down)
            _between_nodes(field[k, :, :, 0], y, line)
            _enlarge_onto(line, node_at, node_to, across)
            _between_nodes(field[k, :, :, 1], y, line)
            _enlarge_onto(line, node_at, node_to, down)
            _sources(across, down, (x0, y), (height, width), offset, fraction)
            _add(pictures[which[k]], width, offset, fraction, share[k], mean)
        for c in range(7):
            _between(made[c], dot_row[y], dot_down[y], line)
            _enlarge(line, dot_at, dot_to, drawn[c])
        _finish(mean, total, drawn, strongest, out[:, y, x0:x1])


@compiled
def _nodes(width):  # pragma: no cover - compiled
    """Between which nodes each of so many pixels lies: the first of two, and how far it is to the next."""
    first, part = np.empty(width, np.uint32), np.empty(width, np.float32)
    for x in range(width):
        first[x] = x // NODE_STEP
        part[x] = np.float32(x % NODE_STEP) / np.float32(NODE_STEP)
    return first, part


@compiled
def _enlarging(n, width):  # pragma: no cover - compiled
    """The same between n pixels that fill the width; beyond the middle of the outer ones these count alone."""
    first, part = np.empty(width, np.uint32), np.empty(width, np.float32)
    scale = np.float32(n) / np.float32(width)
    for x in range(width):
        at = max((np.float32(x) + _HALF) * scale - _HALF, _ZERO)
        first[x] = min(np.int32(at), n - 1)
        part[x] = at - np.float32(first[x])
    return first, part


@compiled
def _between(rows, first, part, line):  # pragma: no cover - compiled
    """line: (h,w) `rows` between two of them, the last value twice."""
    a, b = rows[first], rows[min(first + 1, rows.shape[0] - 1)]
    for x in range(len(a)):
        line[x] = a[x] + part * (b[x] - a[x])
    line[len(a)] = line[len(a) - 1]


@compiled
def _between_nodes(nodes, y, line):  # pragma: no cover - compiled
    a, b, part = nodes[y // NODE_STEP], nodes[y // NODE_STEP + 1], np.float32(y % NODE_STEP) / np.float32(NODE_STEP)
    for x in range(len(a)):
        line[x] = a[x] + part * (b[x] - a[x])


@compiled
def _enlarge(line, first, part, out):  # pragma: no cover - compiled
    for x in range(len(out)):
        i = first[x]
        out[x] = line[i] + part[x] * (line[i + np.uint32(1)] - line[i])


@compiled
def _enlarge_onto(line, first, part, out):  # pragma: no cover - compiled
    for x in range(len(out)):
        i = first[x]
        out[x] += line[i] + part[x] * (line[i + np.uint32(1)] - line[i])


@compiled
def _exp(x):  # pragma: no cover - compiled
    """e to the x, to 1 in 10^6: 2 to the whole part is an exponent, 2 to the rest a polynomial."""
    t = min(max(x * _LOG2_E, np.float32(-126)), np.float32(126))
    whole = np.floor(t + _HALF)
    r = t - whole
    p = np.float32(1.5403530e-4) * r + np.float32(1.3333558e-3)
    p = p * r + np.float32(9.6181291e-3)
    p = p * r + np.float32(5.5504109e-2)
    p = p * r + np.float32(2.4022651e-1)
    p = p * r + np.float32(6.9314718e-1)
    p = p * r + _UNIT
    return p * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled
def _shares(share):  # pragma: no cover - compiled
    """Makes weights of (C,size) log weights; their sums."""
    n, size = share.shape
    most, total = share[0].copy(), np.zeros(size, np.float32)
    for k in range(1, n):
        row = share[k]
        for x in range(size):
            most[x] = max(most[x], row[x])
    for k in range(n):
        row = share[k]
        for x in range(size):
            row[x] = _exp(row[x] - most[x])
            total[x] += row[x]
    return total


@compiled
def _sources(across, down, corner, size, offset, fraction):  # pragma: no cover - compiled
    """Where each pixel of a row that begins at `corner` comes from in a picture of `size`: offset of the upper left of
    four pixels, and 256ths of a pixel beyond it (x above bit 8, y below)."""
    (left, top), (height, width) = corner, size
    end_x, end_y = np.int32(256 * (width - 1)), np.int32(256 * (height - 1))
    low, bits, fine, none = np.int32(255), np.int32(8), np.float32(256), np.int32(0)
    beside, here = np.float32(left) + _NEAREST, np.float32(top) + _NEAREST
    for x in range(len(across)):
        qx = min(max(np.int32((np.float32(x) + beside + across[x]) * fine), none), end_x)
        qy = min(max(np.int32((here + down[x]) * fine), none), end_y)
        offset[x] = (qy >> bits) * np.int32(width) + (qx >> bits)
        fraction[x] = ((qx & low) << bits) | (qy & low)


@compiled
def _add(picture, width, offset, fraction, share, mean):  # pragma: no cover - compiled
    """Onto mean (3,size): bilinear values, 256ths of grey levels, times their share."""
    below, (red, green, blue) = np.uint64(width), mean
    for x in range(len(share)):
        o, both = np.uint64(offset[x]), np.uint64(fraction[x])
        u, v = both >> _BYTE, both & _LOW
        uv = (u * v + _HALF_BYTE) >> _BYTE
        value = picture[o] * (_ALL - u - v + uv) + picture[o + _ONE] * (u - uv)
        value += picture[o + below] * (v - uv) + picture[o + below + _ONE] * uv
        red[x] += share[x] * np.float32(np.int32(value & _COLOUR))
        green[x] += share[x] * np.float32(np.int32((value >> GREEN) & _COLOUR))
        blue[x] += share[x] * np.float32(np.int32((value >> BLUE) & _COLOUR))


@compiled
def _finish(mean, total, drawn, strongest, out):  # pragma: no cover - compiled
    """out (3,size): the mean, with light, and the drawn picture as far as it takes part."""
    level, size = np.float32(1 / (256 * 255)), len(total)
    part = drawn[3]
    for x in range(size):
        total[x] = level / total[x]
        part[x] = _UNIT / (_UNIT + _exp(-part[x]))
    for c in range(3):
        real, own, light, row = mean[c], drawn[c], drawn[4 + c], out[c]
        for x in range(size):
            filmed = real[x] * total[x] + strongest * (_TWO / (_UNIT + _exp(-_TWO * light[x])) - _UNIT)
            row[x] = filmed + part[x] * (_UNIT / (_UNIT + _exp(-own[x])) - filmed)


@compiled
def small_mouths(pictures, which, flow, weights, out, mean):  # pragma: no cover - compiled
    """out (C,h,w,3) float32 pictures, each pixel fetched, bilinear, from where its flow (pixels) points, and their
    weighted mean (h,w,3).

    pictures: (N,3,h,w) float32; which: (C,) of them; flow: (C,2,h,w); weights: (C,)."""
    height, width = pictures.shape[2:]
    end_x, end_y = np.float32(width - 1), np.float32(height - 1)
    mean[:] = 0
    for k in range(len(which)):
        red, green, blue = pictures[which[k]]
        for y in range(height):
            across, down, total, row = flow[k, 0, y], flow[k, 1, y], mean[y], out[k, y]
            for x in range(width):
                at_x = min(max(np.float32(x) + across[x], _ZERO), end_x)
                at_y = min(max(np.float32(y) + down[x], _ZERO), end_y)
                left, top = np.uint32(at_x), np.uint32(at_y)
                u, v = at_x - np.float32(left), at_y - np.float32(top)
                right, under = min(left + 1, width - 1), min(top + 1, height - 1)
                a, b, c, d = (_UNIT - u) * (_UNIT - v), u * (_UNIT - v), (_UNIT - u) * v, u * v
                row[x, 0] = a * red[top, left] + b * red[top, right] + c * red[under, left] + d * red[under, right]
                row[x, 1] = (
                    a * green[top, left] + b * green[top, right] + c * green[under, left] + d * green[under, right]
                )
                row[x, 2] = a * blue[top, left] + b * blue[top, right] + c * blue[under, left] + d * blue[under, right]
            for x in range(width):
                for i in range(3):
                    total[x, i] += weights[k] * row[x, i]


@compiled
def mean_and_spread(small, log_weights, out):  # pragma: no cover - compiled
    """out (h,w,6): the weighted mean of (C,h,w,3) pictures and how far they lie from it on average. log_weights:
    (C,h',w')."""
    n, height, width, _ = small.shape
    place, part = _enlarging(log_weights.shape[2], width)
    row_at, row_to = _enlarging(log_weights.shape[1], height)
    line, share = np.empty(log_weights.shape[2] + 1, np.float32), np.empty((n, width), np.float32)
    mean, away, level = np.empty((width, 3), np.float32), np.empty((width, 3), np.float32), _UNIT / np.float32(n)
    for y in range(height):
        for k in range(n):
            _between(log_weights[k], row_at[y], row_to[y], line)
            _enlarge(line, place, part, share[k])
        total = _shares(share)
        mean[:], away[:] = 0, 0
        for k in range(n):
            row = small[k, y]
            for x in range(width):
                weight = share[k, x] / total[x]
                for i in range(3):
                    mean[x, i] += weight * row[x, i]
        for k in range(n):
            row = small[k, y]
            for x in range(width):
                for i in range(3):
                    away[x, i] += abs(row[x, i] - mean[x, i])
        for x in range(width):
            for i in range(3):
                out[y, x, i], out[y, x, 3 + i] = mean[x, i], level * away[x, i]
