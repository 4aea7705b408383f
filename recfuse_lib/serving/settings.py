"""Settings of a service, from environment variables that begin with RECFUSE_. Taught in notebook 18."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError, model_validator

from recfuse_lib.pretrained import cache_dir

SHORTEST_KEY = 16
OWN_MACHINE = r"localhost|127(\.\d+){3}|::1"


class SettingsError(ValueError):
    """A variable that cannot be used. The message names it and says what it takes."""


class Settings(BaseModel):
    """One attribute a variable: `store` is RECFUSE_STORE, and so on; `docs/serving.md` describes them."""

    model_config = ConfigDict(frozen=True)

    store: Path = Field(default_factory=lambda: cache_dir() / "service" / "bundles")
    database: str = Field(default_factory=lambda: f"sqlite:///{cache_dir() / 'service' / 'events.db'}")
    host: str = "127.0.0.1"
    port: int = Field(8000, gt=0, lt=65536)
    api_key: str = ""
    rate: float = Field(100.0, ge=0, allow_inf_nan=False)
    burst: int = Field(200, gt=0)
    trusted_proxy: IPvAnyNetwork | None = None
    max_body: int = Field(1_000_000, ge=0)
    poll_seconds: float = Field(1.0, gt=0, allow_inf_nan=False)
    examples: int = Field(8, ge=0)
    exploration: float = Field(0.1, ge=0, le=1)
    log: Literal["info", "warning"] = "info"

    @model_validator(mode="after")
    def _key(self) -> Self:
        if not self.api_key and not re.fullmatch(OWN_MACHINE, self.host):
            raise ValueError(
                f"others can reach {self.host}: set RECFUSE_API_KEY to a secret of at least {SHORTEST_KEY} characters"
            )
        if self.api_key and (len(self.api_key) < SHORTEST_KEY or not self.api_key.isascii()):
            raise ValueError(f"RECFUSE_API_KEY is too easy to guess; take at least {SHORTEST_KEY} ASCII characters")
        return self

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Reads the variables; raises SettingsError where one is invalid, or a service for others has no key."""
        environment = os.environ if environment is None else environment
        names = {field: f"RECFUSE_{field.upper()}" for field in cls.model_fields}
        try:
            return cls(**{field: environment[name] for field, name in names.items() if name in environment})  # type: ignore[arg-type]
        except ValidationError as error:
            wrong = error.errors()[0]
            said = wrong["msg"].removeprefix("Value error, ")
            raise SettingsError(f"{names[str(wrong['loc'][0])]}: {said}" if wrong["loc"] else said) from None
