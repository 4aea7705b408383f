"""What a service is told by its environment: variables that begin with RECFUSE_.

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from recfuse_lib.pretrained import cache_dir

SHORTEST_KEY = 16


class SettingsError(ValueError):
    """A variable that cannot be used. The message names it and says what it takes."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """One attribute a variable: RECFUSE_STORE is `store`, and so on.

    Attributes:
        store: Folder of the bundles; `store/current` names the one that serves.
        database: URL of the events, `sqlite:///…` or `postgresql+psycopg://…`.
        host: Address to listen on. Only this machine may be served without an `api_key`.
        port: Port to listen on.
        api_key: What a sender of events and items must show in the header X-API-Key; empty asks for none.
        rate: Requests a second that one client may make over a while; 0 is any number.
        burst: Requests that one client may make at once.
        max_body: Bytes of the largest body that is read.
        poll_seconds: How often `store/current` is looked at.
        examples: How many people's ids the page may offer; 0 where ids are not public.
        chance: In this share of the answers, the last place is drawn by chance; see `Recommender.recommend`. 0 draws
            nothing.
        log: "info" logs every request, "warning" only what went wrong.

    Example:
        >>> Settings.of({"RECFUSE_PORT": "9000", "RECFUSE_RATE": "0"}).port
        9000
        >>> Settings.of({"RECFUSE_HOST": "0.0.0.0"})
        Traceback (most recent call last):
            ...
        recfuse_lib.serving.settings.SettingsError: RECFUSE_HOST is '0.0.0.0', ... set RECFUSE_API_KEY ...
    """

    store: Path = dataclasses.field(default_factory=lambda: cache_dir() / "service" / "bundles")
    database: str = dataclasses.field(default_factory=lambda: f"sqlite:///{cache_dir() / 'service' / 'events.db'}")
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str = ""
    rate: float = 100.0
    burst: int = 200
    max_body: int = 1_000_000
    poll_seconds: float = 1.0
    examples: int = 8
    chance: float = 0.1
    log: str = "info"

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Reads the variables.

        Args:
            environment: By default that of the process.

        Raises:
            SettingsError: A value is of the wrong kind, or a service for others has no key.
        """
        environment = os.environ if environment is None else environment
        given = {}
        for field in dataclasses.fields(cls):
            name = f"RECFUSE_{field.name.upper()}"
            if (text := environment.get(name)) is None:
                continue
            kind = {"Path": Path, "str": str, "int": int, "float": float}[str(field.type)]
            try:
                given[field.name] = kind(text)
            except ValueError:
                raise SettingsError(f"{name} is {text!r}; it takes a number") from None
            if isinstance(given[field.name], int | float) and not 0 <= given[field.name] < 2**31:
                raise SettingsError(f"{name} is {text!r}; it takes a number from 0")
        settings = cls(**given)  # type: ignore[arg-type]
        if settings.log not in ("info", "warning"):
            raise SettingsError(f"RECFUSE_LOG is {settings.log!r}; it is info or warning")
        if settings.chance > 1:
            raise SettingsError(f"RECFUSE_CHANCE is {settings.chance}; it takes a share from 0 to 1")
        if not settings.port or settings.port > 65535 or not settings.poll_seconds or not settings.burst:
            raise SettingsError(
                "RECFUSE_PORT, RECFUSE_POLL_SECONDS and RECFUSE_BURST must be above 0, the port below 65536"
            )
        if not settings.api_key and not _own_machine(settings.host):
            raise SettingsError(
                f"RECFUSE_HOST is {settings.host!r}, so others can send events and items: set RECFUSE_API_KEY to a "
                f"secret of at least {SHORTEST_KEY} characters"
            )
        if settings.api_key and (len(settings.api_key) < SHORTEST_KEY or not settings.api_key.isascii()):
            raise SettingsError(f"RECFUSE_API_KEY is too easy to guess; take at least {SHORTEST_KEY} ASCII characters")
        return settings


def _own_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
