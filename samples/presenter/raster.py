"""Triangles to samples: a z-buffer rasteriser and the shading of each sample (numba, one core)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

SKIN, LINING, TEETH, GUM, TONGUE, CAVITY, EYE, LASH, HAIR, CLOTH, HAND = range(11)


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
    x, y = u * fine, v * 3.0 + hash01(int(math.floor(u * fine)), salt) * 0.0
    i, j = int(math.floor(x)), int(math.floor(y))
    f, g = x - i, y - j
    f, g = f * f * (3 - 2 * f), g * g * (3 - 2 * g)
    a, b = hash01(i, j + salt), hash01(i + 1, j + salt)
    c, d = hash01(i, j + 1 + salt), hash01(i + 1, j + 1 + salt)
    return (a * (1 - f) + b * f) * (1 - g) + (c * (1 - f) + d * f) * g


@njit(cache=True)
def _kept(material, u, v):
    """False where hair and lashes are see-through."""
    if material == LASH:
        cell = u * 34.0
        k = int(math.floor(cell))
        offset = abs(cell - k - 0.5 - 0.25 * (hash01(k, 7) - 0.5))
        return offset < 0.42 * (1 - v) and v < 0.55 + 0.45 * hash01(k, 9)
    if material == HAIR:
        if v > 0.86:
            return streak(u, v, 160.0, 3) > (v - 0.86) / 0.14
        if u < 0.035:
            return streak(u, v, 420.0, 5) > 0.75 - u / 0.035
    return True


@njit(cache=True)
def rasterise(points, triangles, material, uv, depth, index, x0, y0, x1, y1):
    """Write the nearest triangle of every sample into `index` (H,W), its depth into `depth`. points: (n,3) samples x, y and depth."""
    for t in range(len(triangles)):
        a, b, c = triangles[t]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        left = max(x0, int(math.floor(min(ax, bx, cx) - 0.5)))
        right = min(x1 - 1, int(math.ceil(max(ax, bx, cx) - 0.5)))
        top = max(y0, int(math.floor(min(ay, by, cy) - 0.5)))
        bottom = min(y1 - 1, int(math.ceil(max(ay, by, cy) - 0.5)))
        inv = 1.0 / area
        az, bz, cz = points[a, 2], points[b, 2], points[c, 2]
        m = material[t]
        test = m == LASH or m == HAIR
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
                if test and not _kept(m, w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0], w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]):
                    continue
                depth[r, q] = z
                index[r, q] = t


@njit(cache=True)
def _srgb(x):
    x = x / (1.0 + 0.18 * x) * 1.18 if x > 0 else 0.0
    return 12.92 * x if x < 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055


@njit(cache=True)
def _texel(texture, u, v, out):
    h, w = texture.shape[0], texture.shape[1]
    x = min(max(u * w - 0.5, 0.0), w - 1.001)
    y = min(max(v * h - 0.5, 0.0), h - 1.001)
    i, j = int(x), int(y)
    f, g = x - i, y - j
    for c in range(out.shape[0]):
        out[c] = ((texture[j, i, c] * (1 - f) + texture[j, i + 1, c] * f) * (1 - g)
                  + (texture[j + 1, i, c] * (1 - f) + texture[j + 1, i + 1, c] * f) * g)


@njit(cache=True)
def _flat_colour(m, u, v, nz, base, out):
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
        tone = 0.45 + 0.55 * streak(u, v * 0.5, 260.0, 21) + 0.35 * streak(u, v * 0.3, 40.0, 22)
        out[0], out[1], out[2] = base[m, 0] * tone, base[m, 1] * tone, base[m, 2] * tone
        out[3] = 0.12 * tone
    elif m == CLOTH:
        knit = 0.86 + 0.14 * math.sin(u * 150.0) * math.sin(v * 110.0 + 1.5 * math.sin(u * 75.0))
        out[0], out[1], out[2] = base[m, 0] * knit, base[m, 1] * knit, base[m, 2] * knit
        out[3] = 0.0
    else:
        out[0], out[1], out[2] = base[m, 0], base[m, 1], base[m, 2]
        if m == TEETH:
            out[3] = 0.10
        elif m == LINING or m == TONGUE or m == GUM:
            out[3] = 0.09


@njit(cache=True)
def shade(points, triangles, material, uv, normals, light, index, texture, base, lights, picture, x0, y0, x1, y1):
    """Colours of covered samples into picture (H,W,3) float32, sRGB 0..1.

    uv of skin runs 0..1 over `texture` (h,w,5: linear RGB, gloss, height). light: (n,2) share of ambient and of key light that arrives.
    lights: rows key, fill, rim: direction towards it (3), colour (3); last rows: sky and ground colour in columns 0-2.
    """
    skin = np.zeros(texture.shape[2])
    colour = np.zeros(4)
    near = np.zeros(texture.shape[2])
    n = np.zeros(3)
    lit = np.zeros(3)
    th, tw = texture.shape[0], texture.shape[1]
    for r in range(y0, y1):
        for q in range(x0, x1):
            t = index[r, q]
            if t < 0:
                continue
            a, b, c = triangles[t]
            ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
            inv = 1.0 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
            x, y = q + 0.5, r + 0.5
            w0 = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inv
            w1 = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inv
            w2 = 1.0 - w0 - w1
            u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
            v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
            for k in range(3):
                n[k] = w0 * normals[a, k] + w1 * normals[b, k] + w2 * normals[c, k]
            ambient = w0 * light[a, 0] + w1 * light[b, 0] + w2 * light[c, 0]
            key = w0 * light[a, 1] + w1 * light[b, 1] + w2 * light[c, 1]
            m = material[t]
            if m == SKIN:
                _texel(texture, u, v, skin)
                _texel(texture, u + 1.0 / tw, v, near)
                slope_x = near[4] - skin[4]
                _texel(texture, u, v + 1.0 / th, near)
                slope_y = near[4] - skin[4]
                n[0] -= slope_x
                n[1] -= slope_y
                colour[0], colour[1], colour[2], colour[3] = skin[0], skin[1], skin[2], skin[3]
            else:
                _flat_colour(m, u, v, n[2], base, colour)
            size = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-9
            if n[2] > 0 and (m == HAIR or m == LASH):
                size = -size
            n[0], n[1], n[2] = n[0] / size, n[1] / size, n[2] / size
            sky = 0.5 - 0.5 * n[1]
            for k in range(3):
                lit[k] = (lights[3, k] * sky + lights[4, k] * (1 - sky)) * ambient
            shine = 0.0
            for s in range(3):
                dot = n[0] * lights[s, 0] + n[1] * lights[s, 1] + n[2] * lights[s, 2]
                reach = key if s == 0 else ambient
                for k in range(3):
                    wrap = (0.34, 0.16, 0.11)[k] if m == SKIN or m == HAND else (0.3 if m == HAIR else 0.08)
                    lit[k] += lights[s, 3 + k] * max((dot + wrap) / (1 + wrap), 0.0) * reach
                if s < 2 or m == HAIR:
                    hx, hy, hz = lights[s, 0], lights[s, 1], lights[s, 2] - 1.0
                    hs = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
                    d = max((n[0] * hx + n[1] * hy + n[2] * hz) / hs, 0.0)
                    if m == EYE:
                        shine += (d ** 400) * 2.2 * lights[s, 3] * 0.6
                    elif m == SKIN or m == HAND:
                        shine += (0.55 * d**14 + 0.9 * d**48) * lights[s, 3] * reach
                    elif m == HAIR:
                        shine += d**10 * lights[s, 3] * reach
                    else:
                        shine += 2.0 * d**60 * lights[s, 3] * reach
            for k in range(3):
                picture[r, q, k] = _srgb(colour[k] * lit[k] + colour[3] * shine)


@njit(cache=True)
def reduce_samples(picture, index, background, times, out):
    """Average times x times samples per pixel over the background (H,W,3) where nothing was hit; out (H,W,3) float32."""
    share = 1.0 / (times * times)
    for r in range(out.shape[0]):
        for q in range(out.shape[1]):
            for k in range(3):
                out[r, q, k] = 0.0
            for i in range(r * times, (r + 1) * times):
                for j in range(q * times, (q + 1) * times):
                    for k in range(3):
                        out[r, q, k] += (background[r, q, k] if index[i, j] < 0 else picture[i, j, k]) * share
