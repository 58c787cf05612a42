"""Sizes of networks by name, as frozen dataclasses: ``--preset`` and checkpoints name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Preset = TypeVar("Preset")


def named(presets: Mapping[str, Preset], name: str) -> Preset:
    """One of the presets; :class:`ValueError` names those that there are."""
    if name not in presets:
        raise ValueError(f"--preset {name!r} is unknown; there are {', '.join(presets)}")
    return presets[name]


def restored(kind: type[Preset], fields: Mapping[str, Any]) -> Preset:
    """A preset from the fields that a checkpoint holds, in which its tuples may be lists."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
