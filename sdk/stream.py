"""Video: one face over many frames, smoothed with the One-Euro filter.

Casiez, Roussel and Vogel, "1 € Filter", CHI 2012: a low-pass filter whose cutoff rises with speed, so that a resting
face does not tremble and a blink is not late. Identity and style belong to the person: they are averaged over seconds.
"""

from __future__ import annotations

import time as clock
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdk.face_params import FaceParams, Parameters, StyleChoice, Styles, frozen_array

if TYPE_CHECKING:
    from sdk.async_client import AsyncFaceParamClient
    from sdk.client import FaceParamClient
    from sdk.photo_input import PhotoInput

SPEED_CUTOFF = 1.0
"""Cutoff in Hz of the filter on the speed itself, as the paper has it."""


@dataclass(frozen=True)
class OneEuro:
    """Settings of one filter.

    Attributes:
        cutoff: Hz, at rest. Lower trembles less and settles later.
        speed: how many Hz the cutoff rises per unit a second. Higher is less late in fast motion.
    """

    cutoff: float
    speed: float = 0.0

    def __post_init__(self) -> None:
        if not self.cutoff > 0 or self.speed < 0:
            raise ValueError(f"cutoff must be above 0 and speed at least 0, not {self.cutoff} and {self.speed}")


@dataclass(frozen=True)
class Smoothing:
    """Settings of a :class:`FaceStream`.

    Attributes:
        identity: seconds over which sliders and styles are averaged.
        expression, pose, landmarks: filters of action units, degrees, and landmarks in widths of the face.
        forget: seconds without a face after which the next one is taken for a new one.
    """

    identity: float = 2.0
    expression: OneEuro = OneEuro(1.5, 1.0)
    pose: OneEuro = OneEuro(1.0, 0.05)
    landmarks: OneEuro = OneEuro(1.5, 1.0)
    forget: float = 1.0

    def __post_init__(self) -> None:
        if not self.identity > 0 or not self.forget > 0:
            raise ValueError(f"identity and forget must be above 0 seconds, not {self.identity} and {self.forget}")


@dataclass
class _Mean:
    """The state of a mean over the last seconds: of all values at first, so that the first one is not clung to."""

    seconds: float
    value: NDArray[np.float64] | float = 0.0
    count: int = 0

    def update(self, value: NDArray[Any], seconds: float) -> NDArray[np.float64]:
        """The mean; `seconds` passed since the last value."""
        self.count += 1
        share = max(1 - np.exp(-seconds / self.seconds), 1 / self.count)
        self.value = np.asarray(self.value + share * (value - self.value), np.float64)
        return self.value


@dataclass
class _Filter:
    """The state of one filter over an array."""

    settings: OneEuro
    value: NDArray[np.float64] | None = None
    speed: NDArray[np.float64] | float = 0.0

    def update(self, value: NDArray[Any], seconds: float) -> NDArray[np.float64]:
        """The filtered value; `seconds` passed since the last."""
        if self.value is None:
            self.value = value.astype(np.float64)
            return self.value
        speed = (value - self.value) / seconds
        self.speed = self.speed + _share(SPEED_CUTOFF, seconds) * (speed - self.speed)
        cutoff = self.settings.cutoff + self.settings.speed * np.abs(self.speed)
        self.value = self.value + _share(cutoff, seconds) * (value - self.value)
        return self.value


def _share(cutoff: Any, seconds: float) -> Any:
    """How much of the new value a low-pass filter takes."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * seconds))


@dataclass
class Track:
    """One face over time: :meth:`update` takes what was found in a frame and gives it back smoothed."""

    smoothing: Smoothing = field(default_factory=Smoothing)
    _filters: dict[str, _Filter | _Mean] = field(default_factory=dict, repr=False)
    _last: FaceParams | None = field(default=None, repr=False)
    _time: float = field(default=-np.inf, repr=False)

    def update(self, params: FaceParams, time: float) -> FaceParams:
        """What was found at `time` (seconds), smoothed with what was found before.

        The first face, one that follows a gap, and one that jumps by more than its width begin anew.

        Raises:
            ValueError: `time` is not later than that of the frame before.
        """
        if time <= self._time:
            raise ValueError(f"frames must come in order: {time:.3f} s after {self._time:.3f} s")
        if self._last is None or time - self._time > self.smoothing.forget or _jumped(self._last, params):
            self._filters = {}
        seconds = time - self._time
        self._last, self._time = params, time
        width = _width(params)

        def smooth(name: str, settings: OneEuro | float, value: NDArray[Any]) -> NDArray[np.float64]:
            if name not in self._filters:
                self._filters[name] = _Filter(settings) if isinstance(settings, OneEuro) else _Mean(settings)
            return self._filters[name].update(value, seconds)

        def parameters(name: str, settings: OneEuro | float) -> Parameters:
            found: Parameters = getattr(params, name)
            return Parameters(found.names, smooth(name, settings, found.array))

        def style(name: str, choice: StyleChoice) -> StyleChoice:
            *mean, visible = smooth(name, self.smoothing.identity, np.append(choice.probabilities, choice.visible)).tolist()
            return chosen(choice, np.array(mean), visible)

        return replace(
            params,
            identity=parameters("identity", self.smoothing.identity),
            expression=parameters("expression", self.smoothing.expression),
            pose=parameters("pose", self.smoothing.pose),
            style=Styles(tuple(style(name, choice) for name, choice in params.style.items())),
            face=replace(
                params.face,
                landmarks=frozen_array(smooth("landmarks", self.smoothing.landmarks, params.face.landmarks / width) * width),
            ),
        )


def chosen(choice: StyleChoice, probabilities: NDArray[Any], visible: float) -> StyleChoice:
    """The choice among the same options with other probabilities."""
    return StyleChoice(choice.slot, int(np.argmax(probabilities)), probabilities, min(max(float(visible), 0.0), 1.0))


def _width(params: FaceParams) -> float:
    """Of the face in pixels of the photo."""
    x0, _, x1, _ = params.face.box
    return max(1.0, x1 - x0)


def _jumped(before: FaceParams, now: FaceParams) -> bool:
    centres = [np.mean(np.reshape(params.face.box, (2, 2)), 0) for params in (before, now)]
    return float(np.linalg.norm(centres[1] - centres[0])) > _width(before)


class FaceStream:
    """One player's video, solved frame after frame with a client. Not to be shared between threads.

    ::

        stream = client.stream()
        for frame in camera:                  # RGB arrays
            params = stream.infer(frame)
    """

    def __init__(self, client: FaceParamClient, smoothing: Smoothing | None = None) -> None:
        self._client = client
        self._track = Track(smoothing or Smoothing())

    def infer(self, frame: PhotoInput, time: float | None = None) -> FaceParams:
        """Solve a frame and smooth it with those before.

        Args:
            time: when it was taken, in seconds from any start; now, if not given.

        Raises:
            FaceRejected: as for a photo; the face is waited for as long as `Smoothing.forget` says.
            ValueError: frames do not come in order.
        """
        time = clock.monotonic() if time is None else time
        return self._track.update(self._client.infer(frame), time)


class AsyncFaceStream:
    """:class:`FaceStream` in asyncio. One frame at a time."""

    def __init__(self, client: AsyncFaceParamClient, smoothing: Smoothing | None = None) -> None:
        self._client = client
        self._track = Track(smoothing or Smoothing())

    async def infer(self, frame: PhotoInput, time: float | None = None) -> FaceParams:
        """Solve a frame and smooth it with those before; see :meth:`FaceStream.infer`."""
        time = clock.monotonic() if time is None else time
        return self._track.update(await self._client.infer(frame), time)
