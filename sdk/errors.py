"""Every error this package raises on purpose. One tree, so that ``except FaceParamError`` catches all of it.

::

    FaceParamError
    ├── InputError                    the photo cannot be used as it is: the caller can fix it
    │   ├── ImageReadError            missing file, directory, no permission, unreadable file object
    │   ├── ImageDecodeError          empty, truncated or corrupt picture
    │   ├── UnsupportedImageError     another format (GIF, HEIC, text, ...), an animation, a wrong kind of array
    │   └── ImageTooLargeError        more bytes or pixels than the limit (checked before decoding)
    ├── FaceRejected                  a good picture, but no face in it that can be solved: ask for another photo
    │   └── NoFaceError               nothing in it is a face
    ├── ModelError                    this installation cannot infer: the operator can fix it
    │   ├── ModelNotFoundError        no model repository, or a model file is missing from it
    │   └── ModelContractError        a model file is broken, or its inputs and outputs are not those of `sdk.contract`
    ├── ServiceError                  the server did not answer this photo; `request_id` finds it in the server's log
    │   ├── ServiceConnectionError    it cannot be reached, or the connection broke (also a ConnectionError)
    │   ├── ServiceTimeoutError       no answer before the deadline (also a TimeoutError)
    │   ├── ServiceOverloadedError    its queue is full, or the photo waited in it too long: try later
    │   ├── ServiceNotReadyError      it is starting, or lacks the models
    │   ├── ContractMismatchError     its models do not speak this client's contract or schema
    │   └── ServerError               it failed in another way
    ├── MissingDependencyError        an optional package is not installed (also an ImportError)
    ├── ClientClosedError             `infer` on a closed client (also a RuntimeError)
    └── SchemaError                   a schema, or values checked against it, are wrong (also a ValueError)

Messages say which input was wrong, how, and what to do about it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TypeVar


class FaceParamError(Exception):
    """Base of every error of this package. ``photo`` says which of several photos it was, from 0; None if there was one."""

    photo: int | None = None


_Error = TypeVar("_Error", bound=FaceParamError)


class InputError(FaceParamError, ValueError):
    """The photo cannot be used as it is."""


class ImageReadError(InputError):
    """The photo could not be read: missing file, directory, no permission."""


class ImageDecodeError(InputError):
    """The photo is empty, truncated or corrupt."""


class UnsupportedImageError(InputError):
    """The photo is of a format or kind of array that is not supported."""


class ImageTooLargeError(InputError):
    """The photo has more bytes or pixels than the limit; ``value`` and ``limit`` are in ``unit``."""

    def __init__(self, message: str, *, value: float, limit: float, unit: str) -> None:
        super().__init__(message)
        self.value = value
        self.limit = limit
        self.unit = unit

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


@dataclass(frozen=True)
class Reason:
    """Why a face was rejected.

    ``code`` is for programs and never changes meaning; ``value`` was measured and lies on the wrong side of ``limit``;
    ``message`` is for people.
    """

    code: str
    value: float
    limit: float
    message: str

    def to_dict(self) -> dict[str, Any]:
        """``{"code", "value", "limit", "message"}``."""
        return asdict(self)


class FaceRejected(FaceParamError):
    """No face in the photo can be solved. ``reasons`` says why, worst first; ``faces`` is the number of faces found."""

    def __init__(self, message: str, *, reasons: tuple[Reason, ...], faces: int) -> None:
        super().__init__(message)
        self.reasons = reasons
        self.faces = faces

    def to_dict(self) -> dict[str, Any]:
        """``{"faces", "reasons": [{"code", "value", "limit", "message"}, ...]}``, to send to whoever took the photo."""
        return {"faces": self.faces, "reasons": [reason.to_dict() for reason in self.reasons]}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class NoFaceError(FaceRejected):
    """Nothing in the photo is a face."""


class ModelError(FaceParamError):
    """This installation cannot infer."""


class ModelNotFoundError(ModelError):
    """There is no model repository, or a file is missing from it."""


class ModelContractError(ModelError):
    """A model file is broken, or its inputs and outputs are not those that :mod:`sdk.contract` states."""


class ServiceError(FaceParamError):
    """The server did not answer this photo. ``request_id`` is what the server knows the request by, empty if it never
    got there."""

    def __init__(self, message: str, *, request_id: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class ServiceConnectionError(ServiceError, ConnectionError):
    """The server cannot be reached, or the connection broke."""


class ServiceTimeoutError(ServiceError, TimeoutError):
    """The server did not answer before the deadline."""


class ServiceOverloadedError(ServiceError):
    """The server's queue is full, or the photo waited in it too long."""


class ServiceNotReadyError(ServiceError):
    """The server is starting, or lacks the models."""


class ContractMismatchError(ServiceError):
    """The server's models do not speak this client's contract or schema; the message names what differs."""


class ServerError(ServiceError):
    """The server failed in another way; the message is its own."""


class MissingDependencyError(FaceParamError, ImportError):
    """An optional package is not installed."""


class ClientClosedError(FaceParamError, RuntimeError):
    """The client has been closed."""


class SchemaError(FaceParamError, ValueError):
    """A schema, or a value checked against a schema, is wrong. The message names the field."""


def _restore(kind: type[_Error], args: tuple[Any, ...], state: dict[str, Any]) -> _Error:
    # Exceptions with keyword-only arguments do not unpickle by themselves, but worker processes send theirs back.
    error = kind.__new__(kind, *args)
    error.args = args  # OSErrors leave that to their __init__
    error.__dict__.update(state)
    return error


def to_message(error: InputError) -> str:
    """An error as one line of JSON, for a server to send; :func:`from_message` reads it."""
    return json.dumps({"error": type(error).__name__, "message": str(error), **error.__dict__})


def from_message(message: str) -> InputError | None:
    """The error that :func:`to_message` wrote, wherever it stands in a server's message; None if there is none."""
    start = message.find('{"error": ')
    if start < 0:
        return None
    try:
        state, _ = json.JSONDecoder().raw_decode(message[start:])
    except ValueError:
        return None
    kind = {kind.__name__: kind for kind in InputError.__subclasses__()}.get(state.pop("error"), InputError)
    return _restore(kind, (state.pop("message", ""),), state)
