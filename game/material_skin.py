"""Skin with lips, brows, beard, make-up and the scalp under the hair.

A point of skin is shaded in two steps: :func:`gather_skin` interpolates the mesh and looks the textures up, and writes what it
found into a batch; :func:`shade_skins` lights a full batch, in one loop without branches that becomes vector instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from game import labels
from game.kernels import BATCH, DEVICE, whole_below
from game.lighting import lit_share, normalised, smoothstep
from game.materials import (
    BLUE,
    CHUNK,
    EARS,
    GREEN,
    LIDS,
    NORMAL,
    NOSE,
    OCCLUSION,
    POSITION,
    RED,
    blend,
    cosines,
    coverage,
    cylinder,
    detail_at,
    gloss,
    soft_light,
)

_F = np.float32

# What light loses under the skin: red goes far and comes back, blue does not.
_WRAP = (_F(0.42), _F(0.20), _F(0.12))
_BLEED = (_F(0.30), _F(0.06), _F(0.02))
_SKIN_REFLECTANCE = _F(0.030)

# Rows of a batch of skin; each is CHUNK numbers long.
(
    _NX, _NY, _NZ, _PX, _PY, _PZ, _LIT, _OCCLUSION, _TX, _TY, _TZ, _EARS, _LIDS, _LIP, _BROW, _BEARD, _SCALP, _FRECKLE,
    _BUMP_X, _BUMP_Y, _FINE, _COARSE,
) = (CHUNK * row for row in range(22))  # fmt: skip


@njit(**DEVICE)
def _bump(x, y, z):
    """A smooth hill of height 1 about 0, down to nothing at a distance of about 2."""
    fall = max(_F(1.0) - (x * x + y * y + z * z) * _F(0.25), _F(0.0))
    fall *= fall
    return fall * fall


@njit(**DEVICE)
def _blush(tx, ty, tz, ears):
    """Where the blood shows: cheeks, nose tip, ears, chin. 0 to about 1."""
    side = abs(tx)
    cheeks = _bump((side - _F(0.46)) * _F(4.5), (ty - _F(6.95)) * _F(5.5), _F(0.0))
    nose = _bump(tx * _F(6.0), (ty - _F(6.94)) * _F(7.0), (tz - _F(1.62)) * _F(4.0))
    chin = _bump(tx * _F(5.0), (ty - _F(6.26)) * _F(7.0), _F(0.0)) * smoothstep(_F(0.9), _F(1.2), tz)
    return _F(0.7) * cheeks + _F(0.7) * nose + _F(0.25) * chin + _F(0.6) * ears


@njit(**DEVICE)
def _complexion(paint, tx, ty, tz, ears, lids, fine, coarse, freckle):
    """Albedo of bare skin: mottled, redder where the blood shows, darker round the eyes, freckled, made up."""
    red = paint.redness * (_blush(tx, ty, tz, ears) + _F(0.25) * coarse)
    below_eye = _bump((abs(tx) - _F(0.27)) * _F(5.0), (ty - _F(7.18)) * _F(11.0), _F(0.0))
    socket = paint.eye_sockets * max(
        below_eye, _F(0.6) * _bump((abs(tx) - _F(0.30)) * _F(4.4), (ty - _F(7.28)) * _F(8.0), _F(0.0))
    )
    tone = (_F(1.0) + _F(0.06) * fine + _F(0.07) * coarse) * (_F(1.0) - _F(0.26) * socket)
    tone *= _F(1.0) - _F(0.50) * paint.freckles * freckle
    r = paint.skin[0] * tone * (_F(1.0) + _F(0.05) * red)
    g = paint.skin[1] * tone * (_F(1.0) - _F(0.26) * red - _F(0.12) * socket)
    b = paint.skin[2] * tone * (_F(1.0) - _F(0.24) * red - _F(0.05) * socket)
    liner = smoothstep(_F(0.55), _F(0.95), lids) * paint.eye_liner
    above = smoothstep(_F(0.02), _F(0.55), lids) * paint.eye_shadow * smoothstep(_F(7.22), _F(7.30), ty)
    cover = max(liner, above)
    return (
        r + (paint.liner[0] * (_F(0.2) + _F(2.0) * r) - r) * cover,
        g + (paint.liner[1] * (_F(0.2) + _F(2.0) * g) - g) * cover,
        b + (paint.liner[2] * (_F(0.2) + _F(2.0) * b) - b) * cover,
    )


@njit(**DEVICE)
def skin_label(paint, tx, ty, tz, lip, brow, scalp, nose, ears, neck):
    """The class of a skin sample from its masks."""
    if lip > _F(0.5):
        return labels.UPPER_LIP if ty > paint.mouth_line else labels.LOWER_LIP
    if brow > _F(0.34) and scalp < _F(0.5):
        return labels.BROW_LEFT if tx > 0 else labels.BROW_RIGHT
    if scalp > _F(0.6):
        return labels.HAIR
    if ears > _F(0.4):
        return labels.EARS
    if neck > _F(0.5):
        return labels.NECK
    if nose > _F(0.42) and tz > _F(1.2):
        return labels.NOSE
    return labels.SKIN


@njit(**DEVICE)
def gather_skin(batch, i, packed, a, b, c, u, v, w, tx, ty, tz, neck, lights, shadow_map, paint, textures):
    """Put a point of the skin into place ``i`` of a batch; returns its label. (tx, ty, tz): its place on the template."""
    nx, ny, nz = (
        blend(packed, a, b, c, u, v, w, NORMAL),
        blend(packed, a, b, c, u, v, w, NORMAL + 1),
        blend(packed, a, b, c, u, v, w, NORMAL + 2),
    )
    px, py, pz = (
        blend(packed, a, b, c, u, v, w, POSITION),
        blend(packed, a, b, c, u, v, w, POSITION + 1),
        blend(packed, a, b, c, u, v, w, POSITION + 2),
    )
    ears = blend(packed, a, b, c, u, v, w, EARS)
    batch[_NX + i], batch[_NY + i], batch[_NZ + i] = nx, ny, nz
    batch[_PX + i], batch[_PY + i], batch[_PZ + i] = px, py, pz
    batch[_LIT + i] = lit_share(lights, shadow_map, px, py, pz, nx, ny, nz)
    batch[_OCCLUSION + i] = blend(packed, a, b, c, u, v, w, OCCLUSION)
    batch[_TX + i], batch[_TY + i], batch[_TZ + i] = tx, ty, tz
    batch[_EARS + i] = ears
    batch[_LIDS + i] = blend(packed, a, b, c, u, v, w, LIDS)
    s, t = cylinder(tx, ty, tz)
    detail = detail_at(textures.detail, _F(4.0) * s + paint.detail_shift, _F(2.0) * t)
    batch[_BUMP_X + i], batch[_BUMP_Y + i], batch[_FINE + i], batch[_COARSE + i] = detail
    lip = brow = beard = scalp = freckle = _F(0.0)
    in_front = tz > _F(0.5)
    if in_front and ty > _F(6.2) and ty < _F(7.0):
        lip = coverage(textures.lips, s, t)
    if in_front and ty > _F(7.2) and ty < _F(7.9):
        brow = coverage(textures.brow, s, t) * paint.brow_density
    if paint.beard_density > 0 and ty < _F(7.5):
        beard = coverage(textures.beard, s, t) * paint.beard_density
    if paint.scalp > 0:
        scalp = coverage(textures.scalp, s, t) * paint.scalp
    if paint.freckles > 0 and in_front:
        freckle = coverage(textures.freckles, s, t)
    off_ear = smoothstep(_F(0.5), _F(0.3), ears)
    batch[_LIP + i], batch[_BROW + i], batch[_FRECKLE + i] = lip, brow, freckle
    batch[_BEARD + i], batch[_SCALP + i] = beard * off_ear, scalp * off_ear
    nose = blend(packed, a, b, c, u, v, w, NOSE)
    return skin_label(paint, tx, ty, tz, lip, brow, scalp * off_ear, nose, ears, neck)


@njit(**DEVICE)
def _ridges(tx, coarse):
    """Fine upright folds of the lips: a wave of height 1 across the mouth."""
    phase = tx * _F(36.0) + coarse
    share = abs(phase - _F(whole_below(phase)) - _F(0.5)) * _F(4.0) - _F(1.0)
    return share * (_F(1.5) - _F(0.5) * share * share)


@njit(**DEVICE)
def _over(colour, paint, share):
    """A paint laid over a colour."""
    return (
        colour[0] + (paint[0] - colour[0]) * share,
        colour[1] + (paint[1] - colour[1]) * share,
        colour[2] + (paint[2] - colour[2]) * share,
    )


@njit(**DEVICE)
def _scaled(colour, factor):
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


@njit(**DEVICE)
def _fine_normal(paint, normal, bump_x, bump_y):
    """A normal tilted by the slopes of the skin's height along theta (the person's left) and y (up), turned with the head."""
    nx, ny, nz = normal
    head = paint.head
    ax, ay, az = normalised(head[1] * nz - head[2] * ny, head[2] * nx - head[0] * nz, head[0] * ny - head[1] * nx)
    ux, uy, uz = ny * az - nz * ay, nz * ax - nx * az, nx * ay - ny * ax
    return normalised(nx - ax * bump_x - ux * bump_y, ny - ay * bump_x - uy * bump_y, nz - az * bump_x - uz * bump_y)


@njit(**DEVICE)
def _skin_gloss(lights, paint, towards, normal, view, lit, occlusion, tx, ty, fine, edge, bare):
    """Specular radiance: oilier on forehead and nose, wet on the lips, none where hair covers."""
    zone = _bump(tx * _F(3.2), _F(0.0), _F(0.0)) * smoothstep(_F(6.75), _F(6.95), ty)
    oil = paint.oil * (_F(0.55) + _F(0.75) * zone) * bare * (_F(1.0) + _F(0.5) * fine)
    rough = _F(0.58) - _F(0.14) * paint.oil * zone
    rough += (_F(0.42) - _F(0.16) * paint.lip_gloss - rough) * edge
    scale = (_F(0.35) + _F(1.7) * oil) * (_F(1.0) - edge) + (_F(0.5) + _F(1.9) * paint.lip_gloss) * edge
    r, g, b = gloss(lights, towards, normal, view, rough, lit, occlusion)
    scale *= _SKIN_REFLECTANCE
    return r * scale, g * scale, b * scale


@njit(**DEVICE)
def mixed(first, second, share):
    """Three numbers between two triples."""
    keep = _F(1.0) - share
    return (
        first[0] * keep + second[0] * share,
        first[1] * keep + second[1] * share,
        first[2] * keep + second[2] * share,
    )


@njit(**BATCH)
def shade_skins(batch, count, lights, paint, eye_point):
    """Light the first ``count`` points of a batch of skin: fills its rows RED, GREEN and BLUE with radiance."""
    ambient = lights.ambient
    for i in range(count):
        tx, ty, fine, coarse = batch[_TX + i], batch[_TY + i], batch[_FINE + i], batch[_COARSE + i]
        brow, scalp, lit, occlusion = batch[_BROW + i], batch[_SCALP + i], batch[_LIT + i], batch[_OCCLUSION + i]
        edge = smoothstep(_F(0.30), _F(0.70), batch[_LIP + i])
        ridge = _ridges(tx, coarse)
        hair = min(max(brow, batch[_BEARD + i] * (_F(1.0) - edge)), _F(0.97))
        colour = _complexion(paint, tx, ty, batch[_TZ + i], batch[_EARS + i], batch[_LIDS + i], fine, coarse, batch[_FRECKLE + i])
        tone = _F(1.0) + _F(0.14) * fine + _F(0.08) * ridge
        colour = _over(colour, _scaled(paint.lip, tone), edge * paint.lip_cover)
        colour = _over(colour, paint.brow, hair)
        colour = _over(colour, _scaled(paint.hair, _F(0.62) + _F(0.25) * fine), scalp)

        normal = normalised(batch[_NX + i], batch[_NY + i], batch[_NZ + i])
        view = normalised(eye_point[0] - batch[_PX + i], eye_point[1] - batch[_PY + i], eye_point[2] - batch[_PZ + i])
        strength = paint.pores * (_F(1.0) - _F(0.5) * edge) + _F(0.5) * hair
        bump_x = batch[_BUMP_X + i] * strength - edge * _F(0.12) * ridge
        tilted = _fine_normal(paint, normal, bump_x, batch[_BUMP_Y + i] * strength)

        # Red light wanders furthest under the skin and sees the pores least; in creases what light is left is red.
        smooth_to, fine_to = cosines(lights, normal), cosines(lights, tilted)
        bare = (_F(1.0) - _F(0.8) * hair) * (_F(1.0) - _F(0.75) * scalp)
        cavity = occlusion * (_F(1.0) - _F(0.25) * hair)
        light_r = soft_light(lights, 0, _WRAP[0], _BLEED[0] * bare, lit, mixed(smooth_to, fine_to, _F(0.45)), tilted, cavity)
        deeper = cavity * (_F(0.8) + _F(0.2) * cavity)
        light_g = soft_light(lights, 1, _WRAP[1], _BLEED[1] * bare, lit, mixed(smooth_to, fine_to, _F(0.75)), tilted, deeper)
        deeper = cavity * (_F(0.7) + _F(0.3) * cavity)
        light_b = soft_light(lights, 2, _WRAP[2], _BLEED[2] * bare, lit, fine_to, tilted, deeper)
        shine = _skin_gloss(lights, paint, fine_to, tilted, view, lit, occlusion, tx, ty, fine, edge, bare)
        facing = _F(1.0) - max(normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2], _F(0.0))
        sheen = _F(0.07) * facing * facing * facing * facing * occlusion * (_F(1.0) - scalp)
        batch[RED + i] = colour[0] * light_r + shine[0] + sheen * ambient[0][0]
        batch[GREEN + i] = colour[1] * light_g + shine[1] + sheen * ambient[0][1]
        batch[BLUE + i] = colour[2] * light_b + shine[2] + sheen * ambient[0][2]
