"""The classes of the label picture that the renderer draws beside every head. *Left* and *right* are the person's own."""

LABELS = (
    "background",
    "skin",
    "brow_left",
    "brow_right",
    "eye_left",
    "eye_right",
    "nose",
    "upper_lip",
    "lower_lip",
    "teeth",
    "mouth_interior",
    "ears",
    "neck",
    "hair",
    "cloth",
    "glasses",
)
(
    BACKGROUND,
    SKIN,
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    NOSE,
    UPPER_LIP,
    LOWER_LIP,
    TEETH,
    MOUTH_INTERIOR,
    EARS,
    NECK,
    HAIR,
    CLOTH,
    GLASSES,
) = range(len(LABELS))

MIRRORED = tuple(
    LABELS.index(name.replace("left", "right") if "left" in name else name.replace("right", "left")) for name in LABELS
)
"""For every class the class that it becomes in the mirror."""

COLOURS = (
    (30, 30, 34), (236, 190, 160), (122, 62, 24), (176, 104, 48), (250, 250, 250), (190, 215, 250), (202, 122, 84),
    (222, 42, 62), (168, 20, 92), (240, 236, 190), (90, 10, 24), (240, 230, 110), (226, 130, 210), (96, 150, 90),
    (72, 76, 200), (60, 184, 184),
)  # fmt: skip
"""One sRGB colour per class, for pictures of labels."""
