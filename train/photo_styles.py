"""Styles and colours of photos, measured from their own pixels.

Styles learnt on renders alone do not carry over to photos. So each aligned picture, photo or render, is *measured*:
robust Lab medians of skin, lips, hair and eyes, how much scalp shows, whether hair hangs beside the jaw, how dark and
rough the beard region is against the cheeks, how dark and thick the brows are. On renders the true options are known,
which gives for every option the distribution of the measurements (a Gaussian per option with a pooled covariance); on
photos that yields the *evidence* for each option, P(measurements | option) relative to the best one. Training then
asks that the network's probabilities agree with it. The evidence is soft: styles that look alike to these rulers stay
equally likely, and the network decides among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sdk.contract import CROP_EYE_DISTANCE, CROP_SIZE
from sdk.schema import REFERENCE, Schema
from train.data import PhotoShards, RenderShards, Shards
from train.kept_arrays import FloatArray, kept

CHEEKS = ((117, 118, 101, 36, 205, 187, 123, 116), (346, 347, 330, 266, 425, 411, 352, 345))
FOREHEAD = (109, 10, 338, 337, 9, 108)
LIPS = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
LIPS_INSIDE = (78, 82, 13, 312, 308, 317, 14, 87)
MOUSTACHE = (167, 164, 393, 269, 267, 0, 37, 39)
CHIN = (182, 83, 18, 313, 406, 369, 377, 152, 148, 140)
JAWS = ((215, 138, 135, 169, 136, 172, 58), (435, 367, 364, 394, 365, 397, 288))
BROWS = (((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)), ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)))
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
TOP, CHIN_TIP = 10, 152
EAR_SIDES = (234, 454)
"""FaceMesh numbers of the regions."""

SCALP = 0.6
"""Height in eye distances above the forehead's edge up to which skin may go before the head counts as bald there."""
STRICTNESS = 0.5
"""Share of the log likelihood that is believed: the measurements are correlated and photos are not renders."""
FLOOR = 0.03
"""Least evidence of any option, relative to the best: the rulers are sometimes wrong."""
EXPOSURE = 1.5
"""How far cameras pull the lightness of skin towards the middle: dark skin that the game's lights show at L 43 measures
50 on photos, while light skin measures about the same on both."""
WHITE_BALANCE = 6.0
"""Standard deviation that photos add to a and b of skin: between photos its hue tells the camera, not the person."""
RARE = {
    "hair_colour": {"platinum": 0.4, "red": 0.5},
    "lip": {"rose": 0.7, "coral": 0.5, "red": 0.5, "berry": 0.4},
}
"""Options that photos show more seldom than the game's random characters wear them: the share of their evidence that
counts."""
SHORN = ("bald", "buzz")
"""Hair styles on which the colour of the hair is not measured."""
RENDER_SAMPLE = 4000
"""Renders measured to learn what each option measures like."""


@dataclass(frozen=True, eq=False)
class _Picture:
    """A crop in Lab, its grey texture, and the skin found on it."""

    lab: FloatArray  # (256, 256, 3): L in 0..100, a and b
    rough: FloatArray  # (256, 256): local contrast of L
    skin: FloatArray  # (3,): median of the lighter half of cheeks and forehead
    all_skin: FloatArray  # (3,): median of all of them
    points: FloatArray  # (468, 2)

    @classmethod
    def of(cls, image: npt.NDArray[np.uint8], points: FloatArray) -> _Picture:
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        rough = np.abs(lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), 2.5))
        patches = [p for ids in (*CHEEKS, FOREHEAD) if len(p := _pixels(lab, points[list(ids)]))] or [lab.reshape(-1, 3)]
        # The lighter half: shadow, hair and glasses darken skin, little lightens it.
        skin = np.concatenate([p[p[:, 0] >= np.median(p[:, 0])] for p in patches])
        return cls(lab, cv2.blur(rough, (5, 5)), np.median(skin, 0), np.median(np.concatenate(patches), 0), points)

    def difference(self, polygon: FloatArray) -> FloatArray:
        """(4,) median L, a, b of a region minus the skin's, and its roughness."""
        pixels, rough = _pixels(self.lab, polygon), _pixels(self.rough, polygon)
        if not len(pixels):
            return np.zeros(4, np.float32)
        return np.append(np.median(pixels, 0) - self.skin, np.median(rough)).astype(np.float32)

    def skin_like(self) -> npt.NDArray[np.bool_]:
        """(256, 256) pixels that could be this face's skin."""
        d = self.lab - self.skin
        return (np.abs(d[..., 0]) < 22) & (np.hypot(d[..., 1], d[..., 2]) < 12) & (self.rough < 2.5)


def _pixels(channels: FloatArray, polygon: FloatArray) -> FloatArray:
    """Pixels of (256, 256, C) inside a polygon (N, 2): (M, C)."""
    mask = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    cv2.fillPoly(mask, [np.round(polygon - 0.5).astype(np.int32)], 1)
    return channels[mask > 0]


def _box(x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
    """Rows and columns between two corners, at least one pixel of the crop."""

    def span(low: float, high: float) -> slice:
        start = int(np.clip(round(low), 0, CROP_SIZE - 1))
        return slice(start, int(np.clip(round(high), start + 1, CROP_SIZE)))

    return span(y0, y1), span(x0, x1)


def measure(image: npt.NDArray[np.uint8], landmarks: FloatArray) -> dict[str, FloatArray]:
    """Measurements per style slot of one aligned crop (256, 256, 3) uint8 RGB with FaceMesh landmarks (468, 2) in its
    pixels."""
    picture = _Picture.of(image, np.asarray(landmarks, np.float32))
    hair, hair_lab = _hair(picture)
    lips = _without(picture, LIPS, LIPS_INSIDE)
    beard = np.concatenate(
        [picture.difference(picture.points[list(ids)]) for ids in (MOUSTACHE, CHIN)]
        + [np.mean([picture.difference(picture.points[list(ids)]) for ids in JAWS], 0)]
    )
    return {
        "hair": hair,
        "brow": _brows(picture),
        "beard": beard,
        "skin": picture.all_skin.astype(np.float32),
        "hair_colour": hair_lab,
        "iris": _irises(picture),
        "lip": np.concatenate([lips - picture.skin, picture.skin[1:]]).astype(np.float32),
    }


def _without(picture: _Picture, outside: tuple[int, ...], inside: tuple[int, ...]) -> FloatArray:
    mask = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    for ids, value in ((outside, 1), (inside, 0)):
        cv2.fillPoly(mask, [np.round(picture.points[list(ids)] - 0.5).astype(np.int32)], value)
    return np.median(picture.lab[mask > 0], 0) if mask.any() else picture.skin


def _hair(picture: _Picture) -> tuple[FloatArray, FloatArray]:
    """Measurements of the hair style, all shares: of columns above the forehead that stay skin up to the skull's top,
    of the forehead that is hair, and, for the person's right and left, of the areas beside temple, jaw and neck that
    are hair, and of what is farther away, beside the jaw and beside the forehead, that looks like hair too. And the
    hair's Lab median, NaN without hair."""
    unit = CROP_EYE_DISTANCE
    skin = picture.skin_like()
    x, top = picture.points[TOP]
    columns = np.clip(np.linspace(x - 0.4 * unit, x + 0.4 * unit, 11).round().astype(int), 0, CROP_SIZE - 1)
    start = int(np.clip(top + 0.1 * unit, 4, CROP_SIZE - 1))
    bald = 0.0
    for column in columns:
        ahead = skin[:start, column][::-1]  # from the forehead upwards
        hairline = next((y for y in range(len(ahead) - 3) if not ahead[y : y + 3].any()), len(ahead))
        bald += (hairline > SCALP * unit) / len(columns)
    above = _box(x - 0.45 * unit, top - 0.6 * unit, x + 0.45 * unit, top - 0.2 * unit)
    pixels = picture.lab[above].reshape(-1, 3)
    apart = np.square((pixels - picture.skin) / [2, 1, 1]).sum(1)
    seen = bald < 0.5
    # The half that is least like skin: a high forehead may reach up there.
    hair = np.median(pixels[apart >= np.median(apart)], 0) if seen else picture.skin
    from_hair, from_skin = ((((picture.lab - colour) / [16, 8, 8]) ** 2).sum(2) for colour in (hair, picture.skin))
    alike = (from_hair < 1.5**2) & (from_hair < from_skin)
    forehead = _box(x - 0.5 * unit, top + 0.05 * unit, x + 0.5 * unit, top + 0.4 * unit)
    chin = picture.points[CHIN_TIP, 1]
    sides: list[float] = []
    for ear, away in zip(EAR_SIDES, (-1, 1), strict=True):
        edge, height = picture.points[ear]
        jaw = (height + 0.35 * unit, height + 0.95 * unit)
        for near, far, (y0, y1) in (
            (0.05, 0.4, (height - 0.5 * unit, height)),
            (0.08, 0.4, jaw),
            (-0.1, 0.35, (chin, chin + 0.6 * unit)),
            (1.2, 1.7, jaw),
            (1.2, 1.7, (height - 1.0 * unit, height - 0.3 * unit)),
        ):
            x0, x1 = sorted((edge + away * near * unit, edge + away * far * unit))
            sides.append(float(alike[_box(x0, y0, x1, y1)].mean()))
    colour = hair.astype(np.float32) if seen else np.full(3, np.nan, np.float32)
    return np.array([bald, alike[forehead].mean(), *sides], np.float32), colour


def hair_evidence(measured: FloatArray, options: tuple[str, ...]) -> FloatArray:
    """(N, options) from the measurements (N, 12) of :func:`_hair`, by rule: bald, cropped, to the ears, long, or
    fringe.

    Not from renders like the rest: hairlines of photos recede further than those of the game's styles.
    """
    bald, forehead = measured[:, 0], measured[:, 1]
    right, left = measured[:, 2:7], measured[:, 7:12]
    beside = np.maximum(np.minimum(right[:, 1], left[:, 1]), 0.7 * np.maximum(right[:, 1], left[:, 1]))
    # A background that is as dark as the hair, at the jaw's and at the forehead's height: nothing can be said.
    behind = np.minimum(right[:, 3:].min(1), left[:, 3:].min(1))
    hanging = _rise(beside, 0.25, 0.6) * (1 - _rise(behind, 0.2, 0.6))
    unsure = _rise(behind, 0.2, 0.6) * _rise(beside, 0.1, 0.3)
    none, fringe = _rise(bald, 0.45, 0.8), _rise(forehead, 0.2, 0.5)
    groups = {
        "bald": none,
        "buzz": np.maximum(0.6 * none, (1 - hanging) * (1 - fringe) * 0.8),
        **dict.fromkeys(("short", "parted", "slicked_back", "spiky", "curly"), (1 - none) * (1 - hanging) * (1 - 0.7 * fringe)),
        "fringe": (1 - none) * fringe,
        "bob": (1 - none) * np.maximum(hanging, 0.4 * fringe),
        "long": (1 - none) * hanging * (1 - 0.5 * fringe),
        "wavy": (1 - none) * hanging * (1 - 0.5 * fringe),
    }
    evidence = np.stack([np.maximum(groups.get(option, np.ones_like(bald)), 0) for option in options], 1)
    evidence = np.maximum(evidence, unsure[:, None] * 0.5 * (1 - none[:, None]))
    return np.maximum(evidence / evidence.max(1, keepdims=True), FLOOR).astype(np.float32)


def _rise(values: FloatArray, low: float, high: float) -> FloatArray:
    return np.clip((values - low) / (high - low), 0, 1)


def _brows(picture: _Picture) -> FloatArray:
    """Darkness, thickness and slope of the brows, mean of both: in L against the skin, in eye distances, rise over
    run."""
    rows = []
    for upper, lower in BROWS:
        middle = (picture.points[list(upper)] + picture.points[list(lower)]) / 2
        offsets = np.arange(-9, 10, dtype=np.float32)
        columns = np.linspace(0, len(middle) - 1, 13)
        x = np.interp(columns, np.arange(len(middle)), middle[:, 0])
        y = np.interp(columns, np.arange(len(middle)), middle[:, 1])
        lightness = cv2.remap(
            picture.lab[..., 0],
            np.repeat(x[None], len(offsets), 0).astype(np.float32) - 0.5,
            (y[None] + offsets[:, None]).astype(np.float32) - 0.5,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        dark = np.clip(picture.skin[0] - lightness, 0, None)  # (19, 13)
        depth = float(np.percentile(dark, 90))
        inside = dark > max(0.5 * depth, 4)
        centre = (inside * offsets[:, None]).sum(0) / np.maximum(inside.sum(0), 1) + y
        slope = np.polyfit(np.abs(x - x[-1]), centre, 1)[0]
        bend = centre[3:10].mean() - (centre[:3].mean() + centre[-3:].mean()) / 2
        rows.append([depth / 20, inside.sum(0).mean() / 6, dark.mean() / 10, -slope * 3, -bend / 4])
    return np.mean(rows, 0).astype(np.float32)


def _irises(picture: _Picture) -> FloatArray:
    """Lab of the middle of the eyes against the skin."""
    colours = []
    for ids in EYES:
        x, y = picture.points[list(ids)].mean(0)
        colours.append(np.median(picture.lab[_box(x - 3, y - 2, x + 3, y + 3)].reshape(-1, 3), 0))
    return (np.mean(colours, 0) * [0.5, 1, 1]).astype(np.float32)


def measure_all(shards: Shards, indices: npt.NDArray[np.intp]) -> dict[str, FloatArray]:
    """Measurements (N, features) per slot of some pictures, read with FaceMesh's landmarks."""
    rows = [measure(shards.picture(int(index)), shards.mesh(index)) for index in indices]
    return {slot: np.stack([row[slot] for row in rows]) for slot in rows[0]}


@dataclass(frozen=True, eq=False)
class Rulers:
    """What each option of each slot measures like on renders: means (options, F) and a whitening (F, F) per slot."""

    means: dict[str, FloatArray]
    whiten: dict[str, FloatArray]

    @classmethod
    def fit(cls, measured: dict[str, FloatArray], style: npt.NDArray[np.int64], schema: Schema = REFERENCE) -> Rulers:
        """From measurements (N, F) per slot and true option numbers (N, slots)."""
        means, whiten = {}, {}
        hair = schema.slot("hair")
        shorn = np.isin(style[:, schema.style.index(hair)], [hair.index(name) for name in SHORN])
        for k, slot in enumerate(schema.style):
            seen = np.isfinite(measured[slot.name]).all(1)
            if slot.name == "hair_colour":
                seen &= ~shorn
            values, truth = measured[slot.name][seen], style[seen, k]
            groups = [values[truth == option] for option in range(len(slot.options))]
            mean = np.stack([np.median(group, 0) if len(group) else np.median(values, 0) for group in groups])
            left = values - mean[truth]
            covariance = np.cov(left.T) + 0.05 * np.diag(values.var(0)) + 1e-4 * np.eye(values.shape[1])
            if slot.name == "skin":
                covariance += np.diag([0, WHITE_BALANCE**2, WHITE_BALANCE**2])
            means[slot.name] = mean
            whiten[slot.name] = np.linalg.inv(np.linalg.cholesky(covariance)).T
        return cls(means, whiten)

    def evidence(self, measured: dict[str, FloatArray], schema: Schema = REFERENCE) -> FloatArray:
        """(N, options of all slots side by side): likelihood of each option relative to the slot's best, FLOOR to 1;
        1 for all where nothing was seen.

        Beards, brows and lips of photos measure darker and rougher than those of renders throughout, so their median
        is moved: for beards onto no beard and for lips onto natural ones (most people's), for brows onto the middle of
        all. The lightness of skin is stretched about its median by EXPOSURE."""
        columns = []
        for slot, mean in self.means.items():
            values = measured[slot]
            if slot == "hair":
                columns.append(hair_evidence(values, schema.slot(slot).options))
                continue
            middle = np.median(values, 0)
            if slot in ("beard", "brow", "lip"):
                values = values - middle + (mean.mean(0) if slot == "brow" else mean[0])
            elif slot == "skin":
                values = middle + (values - middle) * np.array([EXPOSURE, 1, 1], np.float32)
            z = (values[:, None] - mean[None]) @ self.whiten[slot]
            distance = (z**2).sum(2)
            common = np.array([RARE.get(slot, {}).get(option, 1.0) for option in schema.slot(slot).options], np.float32)
            relative = common * np.exp(-0.5 * STRICTNESS * (distance - distance.min(1, keepdims=True)))
            relative = relative / relative.max(1, keepdims=True)
            columns.append(np.where(np.isfinite(relative), np.maximum(relative, FLOOR), 1.0))
        return np.concatenate(columns, 1).astype(np.float32)


def photo_evidence(photos: PhotoShards, renders: RenderShards, folder: Path) -> FloatArray:
    """Evidence (N, options of all slots) for every photo; kept in `folder`."""

    def measured() -> FloatArray:
        chosen = np.random.default_rng(0).permutation(len(renders))[:RENDER_SAMPLE]
        rulers = Rulers.fit(measure_all(renders, chosen), renders.arrays["style"][chosen])
        return rulers.evidence(measure_all(photos, np.arange(len(photos))))

    return kept(folder, "evidence", (photos.arrays["key"], renders.arrays["key"], renders.arrays["style"]), measured)
