"""Triangles to samples: a z-buffer rasteriser and the shading of each sample (numba, one core)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

#: Materials; those from EYE on have detail finer than a pixel.
SKIN, LINING, TEETH, GUM, TONGUE, CAVITY, CLOTH, HAND, EYE, LASH, HAIR = range(11)


@njit(cache=True)
def hash01(x, y):
    """Noise in [0, 1) for integer coordinates."""
    h = (np.uint32(x) * np.uint32(0x9E3779B1)) ^ (np.uint32(y) * np.uint32(0x85EBCA6B))
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    h = h ^ (h >> np.uint32(15))
    return np.float64(h & np.uint32(0xFFFFFF)) / 16777216.0


@njit(cache=True)
def streak(u, v, fine, salt):
    """Smooth noise in [0, 1): `fine` cells across u, few along v."""
    x, y = u * fine, v * 3.0
    i, j = math.floor(x), math.floor(y)
    f, g = x - i, y - j
    f, g = f * f * (3 - 2 * f), g * g * (3 - 2 * g)
    a, b = hash01(i, j + salt), hash01(i + 1, j + salt)
    c, d = hash01(i, j + 1 + salt), hash01(i + 1, j + 1 + salt)
    return (a * (1 - f) + b * f) * (1 - g) + (c * (1 - f) + d * f) * g


@njit(cache=True)
def _kept(material, u, v):
    """False where hair and lashes are see-through."""
    if material == LASH:
        cell = u * 26.0
        k = math.floor(cell)
        offset = abs(cell - k - 0.5 - 0.25 * (hash01(k, 7) - 0.5))
        return offset < 0.34 * (1 - v) and v < 0.55 + 0.45 * hash01(k, 9)
    if material == HAIR:
        if v > 0.93 and streak(u, v, 220.0, 3) < (v - 0.93) / 0.07:
            return False
        if u < 0.05:
            return streak(u, v, 500.0, 5) > 0.85 - u / 0.05
    return True


@njit(cache=True)
def rasterise(points, triangles, material, uv, depth, index, x0, y0, x1, y1):
    """Write the nearest triangle of every sample into `index` (H,W), its depth into `depth`. points: (n,3) samples x, y
    and depth."""
    for t in range(len(triangles)):
        a, b, c = triangles[t]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        left = max(x0, math.floor(min(ax, bx, cx) - 0.5))
        right = min(x1 - 1, math.ceil(max(ax, bx, cx) - 0.5))
        top = max(y0, math.floor(min(ay, by, cy) - 0.5))
        bottom = min(y1 - 1, math.ceil(max(ay, by, cy) - 0.5))
        inv = 1.0 / area
        az, bz, cz = points[a, 2], points[b, 2], points[c, 2]
        m = material[t]
        test = m in (LASH, HAIR)
        for r in range(top, bottom + 1):
            y = r + 0.5
            for q in range(left, right + 1):
                x = q + 0.5
                w0 = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inv
                w1 = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inv
                w2 = 1.0 - w0 - w1
                if w0 < -1e-7 or w1 < -1e-7 or w2 < -1e-7:
                    continue
                z = w0 * az + w1 * bz + w2 * cz
                if z >= depth[r, q]:
                    continue
                if test and not _kept(
                    m, w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0], w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
                ):
                    continue
                depth[r, q] = z
                index[r, q] = t


def tone_curve() -> np.ndarray:
    """(4096,) sRGB 0..1 of linear light 0..2, with a soft shoulder."""
    x = np.linspace(0, 2, 4096)
    x = x / (1 + 0.18 * x) * 1.18
    return np.where(x < 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055).astype(np.float32)


@njit(cache=True)
def _texel(texture, u, v, n, out):
    h, w = texture.shape[0], texture.shape[1]
    x = min(max(u * w - 0.5, 0.0), w - 1.001)
    y = min(max(v * h - 0.5, 0.0), h - 1.001)
    i, j = int(x), int(y)
    f, g = x - i, y - j
    for c in range(n):
        out[c] = (texture[j, i, c] * (1 - f) + texture[j, i + 1, c] * f) * (1 - g) + (
            texture[j + 1, i, c] * (1 - f) + texture[j + 1, i + 1, c] * f
        ) * g


@njit(cache=True)
def _flat_colour(m, u, v, base, out):
    """Reflectance of every material but skin into out[:3]; out[3] = gloss."""
    out[3] = 0.04
    if m == EYE:
        r = math.sqrt(u * u + v * v)
        angle = math.atan2(v, u)
        ring = streak(angle / 6.2832 + 0.5, r * 2, 90.0, 11)
        white = 1 - 0.10 * streak(angle / 6.2832 + 0.5, r * 3, 24.0, 12)
        out[0], out[1], out[2] = 0.72 * white, 0.66 * white, 0.63 * white
        edge = min(max((0.415 - r) / 0.05, 0.0), 1.0)
        for c in range(3):
            iris = base[EYE, c] * (0.45 + 0.9 * ring) * (1.15 if r < 0.25 else 1.0) * (0.35 if r > 0.355 else 1.0)
            out[c] = out[c] * (1 - edge) + iris * edge
        pupil = min(max((0.165 - r) / 0.02, 0.0), 1.0)
        for c in range(3):
            out[c] *= 1 - 0.96 * pupil
        out[3] = 0.5
    elif m == HAIR:
        tone = (
            0.12
            + 0.75 * streak(u, v * 0.5, 260.0, 21)
            + 0.50 * streak(u, v * 0.3, 46.0, 22)
            + 0.35 * streak(u, v * 0.2, 14.0, 23)
        )
        tone *= 0.35 + 0.65 * min(v / 0.05, 1.0)  # the parting
        out[0], out[1], out[2] = base[m, 0] * tone, base[m, 1] * tone, base[m, 2] * tone
        out[3] = 0.16 * tone * tone
    elif m == CLOTH:
        knit = 0.86 + 0.14 * math.sin(u * 150.0) * math.sin(v * 110.0 + 1.5 * math.sin(u * 75.0))
        out[0], out[1], out[2] = base[m, 0] * knit, base[m, 1] * knit, base[m, 2] * knit
        out[3] = 0.0
    else:
        out[0], out[1], out[2] = base[m, 0], base[m, 1], base[m, 2]
        if m == TEETH:
            out[3] = 0.10
        elif m in (LINING, TONGUE, GUM):
            out[3] = 0.09


@njit(cache=True, fastmath=True)
def _shade_one(x, y, t, scene, work, out):
    """Colour of triangle t at sample position (x, y) into out[:3], sRGB 0..1. work: (4, 8) scratch."""
    points, triangles, material, uv, normals, light, texture, base, lights = scene
    skin, colour, near, n = work[0], work[1], work[2], work[3]
    a, b, c = triangles[t]
    ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
    inv = 1.0 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    w0 = min(max(((bx - x) * (cy - y) - (by - y) * (cx - x)) * inv, 0.0), 1.0)
    w1 = min(max(((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inv, 0.0), 1.0 - w0)
    w2 = 1.0 - w0 - w1
    u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
    v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
    for k in range(3):
        n[k] = w0 * normals[a, k] + w1 * normals[b, k] + w2 * normals[c, k]
    ambient = w0 * light[a, 0] + w1 * light[b, 0] + w2 * light[c, 0]
    key = w0 * light[a, 1] + w1 * light[b, 1] + w2 * light[c, 1]
    m = material[t]
    if m == SKIN:
        th, tw = texture.shape[0], texture.shape[1]
        _texel(texture, u, v, 5, skin)
        _texel(texture, u + 1.0 / tw, v, 5, near)
        n[0] -= near[4] - skin[4]
        _texel(texture, u, v + 1.0 / th, 5, near)
        n[1] -= near[4] - skin[4]
        for k in range(4):
            colour[k] = skin[k]
    else:
        _flat_colour(m, u, v, base, colour)
    size = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-9
    if n[2] > 0 and m != SKIN and m != CLOTH:  # sheets seen from behind
        size = -size
        if m == HAIR:
            ambient, key = 0.30 * ambient, 0.12 * key
    for k in range(3):
        n[k] /= size
    _illuminate(m, n, ambient, key, lights, colour, out)


@njit(cache=True, fastmath=True)
def _illuminate(m, n, ambient, key, lights, colour, out):
    """Light of the three lamps and the room on a surface with unit normal n; skin lets red light wrap around."""
    flesh = m in (SKIN, HAND)
    sky = 0.5 - 0.5 * n[1]
    shine, red, green, blue = 0.0, 0.0, 0.0, 0.0
    wr, wg, wb = (0.34, 0.16, 0.11) if flesh else ((0.3, 0.3, 0.3) if m == HAIR else (0.08, 0.08, 0.08))
    for s in range(3):
        dot = n[0] * lights[s, 0] + n[1] * lights[s, 1] + n[2] * lights[s, 2]
        reach = key if s == 0 else ambient
        red += lights[s, 3] * max((dot + wr) / (1 + wr), 0.0) * reach
        green += lights[s, 4] * max((dot + wg) / (1 + wg), 0.0) * reach
        blue += lights[s, 5] * max((dot + wb) / (1 + wb), 0.0) * reach
        if s < 2 or m == HAIR:
            hx, hy, hz = lights[s, 0], lights[s, 1], lights[s, 2] - 1.0
            if m == EYE:  # a low window, so that its reflection is not hidden by the lid
                hx, hy = 0.5 * hx, 0.28 * hy
            d = max((n[0] * hx + n[1] * hy + n[2] * hz) / (math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9), 0.0)
            if d > 0.5:
                d2 = d * d
                d8 = d2 * d2 * d2 * d2
                d16 = d8 * d8
                d48 = d16 * d16 * d16
                if m == EYE:
                    d192 = d48 * d48 * d48 * d48
                    shine += d192 * d192 * d192 * d192 * 2.2 * lights[s, 3]
                elif flesh:
                    shine += (0.55 * d16 + 0.9 * d48) * lights[s, 3] * reach
                elif m == HAIR:
                    shine += d16 * lights[s, 3] * reach
                else:
                    shine += 2.0 * d48 * lights[s, 3] * reach
    red += (lights[3, 0] * sky + lights[4, 0] * (1 - sky)) * ambient
    green += (lights[3, 1] * sky + lights[4, 1] * (1 - sky)) * ambient
    blue += (lights[3, 2] * sky + lights[4, 2] * (1 - sky)) * ambient
    out[0] = colour[0] * red + colour[3] * shine
    out[1] = colour[1] * green + colour[3] * shine
    out[2] = colour[2] * blue + colour[3] * shine


@njit(cache=True)
def _cover(index, depth, material, r, q, times):
    """(how many samples of pixel (r, q) a triangle covers, whether they all belong to one smooth surface)"""
    first = index[r * times, q * times]
    simple = first >= 0 and material[first] < EYE
    z, covered = depth[r * times, q * times], 0
    for i in range(r * times, (r + 1) * times):
        for j in range(q * times, (q + 1) * times):
            t = index[i, j]
            covered += t >= 0
            simple = simple and t >= 0 and material[t] == material[first] and abs(depth[i, j] - z) < 0.05
    return covered, simple


@njit(cache=True, fastmath=True)
def shade(scene, depth, index, tone, times, picture, box):
    """Draw the covered pixels of `box` (x0, y0, x1, y1) over what `picture` (H,W,3; sRGB 0..1) holds.

    scene: points, triangles, material, uv, normals, light, texture, base, lights. points, depth, index: in samples,
    `times` per pixel side. uv of skin runs 0..1 over texture (h,w,5: linear RGB, gloss, height). light: (n,2) share of
    ambient and of key light that arrives. lights: rows key, fill, rim: direction (3), colour (3); then sky and ground.
    tone: (4096,) sRGB of linear 0..2. A pixel inside one smooth surface is shaded once, others once per sample."""
    work, out, total = np.zeros((4, 8)), np.zeros(3), np.zeros(3)
    share = 1.0 / (times * times)
    for r in range(box[1], box[3]):
        for q in range(box[0], box[2]):
            covered, simple = _cover(index, depth, scene[2], r, q, times)
            if covered == 0:
                continue
            total[:] = 0.0
            if simple:
                t = index[r * times + times // 2, q * times + times // 2]
                _shade_one((q + 0.5) * times, (r + 0.5) * times, t, scene, work, out)
                for k in range(3):
                    total[k] = tone[min(int(max(out[k], 0.0) * 2047.5), 4095)]
            else:
                for i in range(r * times, (r + 1) * times):
                    for j in range(q * times, (q + 1) * times):
                        if index[i, j] < 0:
                            for k in range(3):
                                total[k] += picture[r, q, k] * share
                            continue
                        _shade_one(j + 0.5, i + 0.5, index[i, j], scene, work, out)
                        for k in range(3):
                            total[k] += tone[min(int(max(out[k], 0.0) * 2047.5), 4095)] * share
            for k in range(3):
                picture[r, q, k] = total[k]
