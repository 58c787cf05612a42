"""A binary glTF 2.0 file (.glb) as it grows: accessors, images and the JSON that names them.

Only what a face needs, without a dependency and without an extension: float32 geometry, normalised integers where the
core specification allows them, and sparse accessors for morph targets. Every call appends, nothing depends on time or
on hash order, so the same calls give the same bytes.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
_COMPONENT_TYPES = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121}
_SHAPE_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_MAGIC, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


class GlbBuilder:
    """Collects the binary chunk and the top-level JSON arrays of one ``.glb``.

    ``add`` appends any other top-level object (node, mesh, material, ...) and gives its index.
    """

    def __init__(self) -> None:
        self._binary = bytearray()
        self._json: dict[str, list[dict[str, Any]]] = {}
        self._zeros: dict[int, int] = {}

    def add(self, kind: str, **fields: Any) -> int:
        """Append an object to a top-level array such as ``"nodes"``; fields that are None are left out."""
        entries = self._json.setdefault(kind, [])
        entries.append({name: value for name, value in fields.items() if value is not None})
        return len(entries) - 1

    def add_accessor(
        self, array: np.ndarray, *, target: int | None = None, normalised: bool = False, bounds: bool = False
    ) -> int:
        """Append an array (N, ...) of float32 or unsigned integers; ``bounds`` writes its minimum and maximum.

        ``target`` is ``ARRAY_BUFFER`` for vertex attributes, ``ELEMENT_ARRAY_BUFFER`` for indices, None otherwise.
        """
        return self.add(
            "accessors",
            bufferView=self._add_view(array.tobytes(), target),
            componentType=_COMPONENT_TYPES[array.dtype.name],
            normalized=True if normalised else None,
            count=len(array),
            type=_SHAPE_TYPES[array.shape[1:]],
            **(_bounds(array) if bounds else {}),
        )

    def add_sparse(self, count: int, indices: np.ndarray, *values: np.ndarray) -> list[int]:
        """Append one accessor of ``count`` float32 vectors per array of ``values`` (M, 3); zero but at ``indices``
        (M,).

        The accessors share the indices. Without any index they are plain zero accessors, which need no bytes at all.
        """
        if not len(indices):
            return [self._zero_accessor(count)] * len(values)
        narrow = indices.astype(np.uint16 if count <= 0xFFFF else np.uint32)
        where = {
            "bufferView": self._add_view(narrow.tobytes()),
            "componentType": _COMPONENT_TYPES[narrow.dtype.name],
        }
        return [self._add_sparse_values(count, where, array) for array in values]

    def _add_sparse_values(self, count: int, indices: dict[str, int], values: np.ndarray) -> int:
        seen = values if len(values) == count else np.concatenate([values, np.zeros((1, 3), np.float32)])
        return self.add(
            "accessors",
            componentType=_COMPONENT_TYPES["float32"],
            count=count,
            type="VEC3",
            sparse={
                "count": len(values),
                "indices": indices,
                "values": {"bufferView": self._add_view(values.astype(np.float32).tobytes())},
            },
            **_bounds(seen),
        )

    def _zero_accessor(self, count: int) -> int:
        if count not in self._zeros:
            zero = [0.0, 0.0, 0.0]
            self._zeros[count] = self.add(
                "accessors", componentType=_COMPONENT_TYPES["float32"], count=count, type="VEC3", min=zero, max=zero
            )
        return self._zeros[count]

    def add_texture(self, name: str, encoded: bytes, mime_type: str, sampler: int) -> int:
        """Append an encoded JPEG or PNG picture and a texture that uses it."""
        image = self.add("images", name=name, bufferView=self._add_view(encoded), mimeType=mime_type)
        return self.add("textures", name=name, source=image, sampler=sampler)

    def _add_view(self, raw: bytes, target: int | None = None) -> int:
        self._binary.extend(b"\0" * (-len(self._binary) % 4))
        offset = len(self._binary)
        self._binary.extend(raw)
        return self.add("bufferViews", buffer=0, byteOffset=offset, byteLength=len(raw), target=target)

    def to_bytes(self, **top_level: Any) -> bytes:
        """The finished file; ``top_level`` adds single objects such as ``asset`` and ``scene``."""
        self._binary.extend(b"\0" * (-len(self._binary) % 4))
        document = {**top_level, **self._json, "buffers": [{"byteLength": len(self._binary)}]}
        text = json.dumps(document, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self._binary)
        return b"".join(
            (
                struct.pack("<III", _MAGIC, 2, length),
                struct.pack("<II", len(text), _JSON_CHUNK) + text,
                struct.pack("<II", len(self._binary), _BINARY_CHUNK) + bytes(self._binary),
            )
        )


def _bounds(array: np.ndarray) -> dict[str, list[float]]:
    flat = array.reshape(len(array), -1)
    return {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
