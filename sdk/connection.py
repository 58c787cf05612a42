"""How to reach a server: address, deadline, retries, TLS, token; and what gRPC is told about it.

Nothing here talks to anyone, and NumPy is not needed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

MAX_MESSAGE_BYTES = 72 * 2**20
"""Of a request or an answer: the largest photo, and room for the rest."""
MAX_RETRIES = 4
"""gRPC makes at most five attempts."""
_PREFIX = "FACEPARAM_"


@dataclass(frozen=True)
class Connection:
    """How to reach a server. Each field can be set by the environment too: ``FACEPARAM_URL``, ``FACEPARAM_TIMEOUT``, ...

    Attributes:
        url: ``host:port`` of its gRPC endpoint; ``grpcs://host:port`` for TLS with the system's certificates;
            ``dns:///host:port`` spreads requests over all addresses of the name.
        timeout: seconds that a photo may take in all: connecting, waiting in queues and retries included.
        max_retries: how often a call that the server did not take (UNAVAILABLE) is repeated, 0 to 4, after 0.1 s,
            then twice as long.
        root_certificates, private_key, certificate_chain: PEM files. The first alone: TLS; all three: mutual TLS.
        token: sent as ``authorization: Bearer TOKEN``; needs TLS unless a proxy on this machine adds it.
    """

    url: str = "127.0.0.1:8001"
    timeout: float = 2.0
    max_retries: int = 2
    root_certificates: Path | None = None
    private_key: Path | None = None
    certificate_chain: Path | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if self.url.startswith(("http://", "https://")):
            raise ValueError(
                f"url {self.url!r}: this client speaks gRPC, Triton's port 8001: pass host:port or grpcs://host:port"
            )
        if not self.target or " " in self.target:
            raise ValueError(f"url must be host:port, not {self.url!r}")
        if not 0 < self.timeout < float("inf"):
            raise ValueError(f"timeout must be a number of seconds above 0, not {self.timeout}")
        if not 0 <= self.max_retries <= MAX_RETRIES:
            raise ValueError(f"max_retries must be 0 to {MAX_RETRIES}, not {self.max_retries}")
        if bool(self.private_key) != bool(self.certificate_chain):
            raise ValueError("private_key and certificate_chain belong together")
        if self.private_key and not self.root_certificates and not self.secure:
            raise ValueError("private_key needs TLS: pass root_certificates, or a url grpcs://host:port")

    @classmethod
    def from_environment(cls, **given: Any) -> Connection:
        """What is given and not None, then the environment, then the defaults.

        Raises:
            ValueError: a value cannot be; the message names the variable if it came from the environment.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            variable = _PREFIX + field.name.upper()
            if given.get(field.name) is not None:
                values[field.name] = given[field.name]
            elif text := os.environ.get(variable):
                kind = {"timeout": float, "max_retries": int, "url": str, "token": str}.get(field.name, Path)
                try:
                    values[field.name] = kind(text)
                except ValueError:
                    raise ValueError(f"{variable} is {text!r}, which is not a number") from None
        return cls(**values)

    @property
    def target(self) -> str:
        """What gRPC calls the address."""
        return self.url.removeprefix("grpcs://").removeprefix("grpc://").rstrip("/")

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.url.startswith("grpcs://") or self.root_certificates is not None

    def channel_options(self) -> list[tuple[str, Any]]:
        """gRPC's options: message sizes, keepalive, retries, all addresses of a name in turn."""
        method: dict[str, Any] = {"name": [{"service": "inference.GRPCInferenceService"}]}
        if self.max_retries:
            method["retryPolicy"] = {
                "maxAttempts": self.max_retries + 1,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
        config = {"methodConfig": [method], "loadBalancingConfig": [{"round_robin": {}}]}
        return [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.min_reconnect_backoff_ms", 100),  # a server that was restarted is found again soon
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.service_config", json.dumps(config)),
        ]

    def certificates(self) -> dict[str, bytes]:
        """Keyword arguments of ``grpc.ssl_channel_credentials``: the contents of the PEM files.

        Raises:
            ValueError: a file cannot be read.
        """
        read = {}
        for name in ("root_certificates", "private_key", "certificate_chain"):
            if (path := getattr(self, name)) is not None:
                try:
                    read[name] = Path(path).read_bytes()
                except OSError as error:
                    raise ValueError(f"cannot read {name} {str(path)!r}: {error.strerror}") from error
        return read
