"""The settings of the server: flags over environment over a file over defaults.

Knows values and where they come from; does not know what is done with them.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from reelsense.errors import SettingsError
from reelsense.inference.cache import REMEMBERED

PREFIX = "REELSENSE_"
FILE = f"{PREFIX}CONFIG"
"""The variable that names the file."""

_OF_KUBERNETES = re.compile(rf"{PREFIX}(SERVICE_HOST|(SERVICE_)?PORT(_.*)?)")


class Settings(BaseModel):
    """What can be set about a server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(
        default=5000, ge=0, le=65535, description="The port to listen on; 0: any that is free."
    )
    model: str | None = Field(
        default=None, description="Folder of a bundle; by default the model that comes along."
    )
    cache: int = Field(
        default=REMEMBERED,
        ge=0,
        description="Answers kept for texts that come again; 0: every text is computed.",
    )
    # Nearly all of them wait for the network, which finds the better batches the more there are.
    threads: int = Field(default=128, ge=1, description="Requests in hand at a time.")
    max_texts: int = Field(default=256, ge=1, description="The most texts in one request.")
    max_characters: int = Field(
        default=200_000, ge=1, description="The longest text, in characters."
    )
    max_body: int = Field(
        default=2 * 1024 * 1024, ge=1, description="The longest request body, in bytes."
    )
    deadline: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Seconds after which a request that has arrived is given up.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much is logged; info has a line for every request."
    )


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings, and where each of them was set."""

    settings: Settings
    origins: dict[str, str]
    """The name of a flag, a variable or a file; "default" for the rest."""

    def as_toml(self) -> str:
        """Return the settings as the file that would set them; secrets are stars."""
        values = self.settings.model_dump(mode="json")
        lines = [
            f"# {name}: not set" if value is None else f"{name} = {_toml(value)}"
            for name, value in values.items()
        ]
        width = max(map(len, lines))
        return "\n".join(
            f"{line:{width}}  # {self.origins.get(name, 'default')}"
            for name, line in zip(values, lines, strict=True)
        )


def _toml(value: object) -> str:
    # TOML writes these as JSON does, but for one more character that needs an escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_settings(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None
) -> Effective:
    """Return the settings that `flags` (by field), `environment` and `file` make.

    A variable that is empty is not set; without a `file`, REELSENSE_CONFIG names it. Raises
    SettingsError naming every flag, variable and key that is unknown or ill-typed.
    """
    given = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != FILE and value
    }
    file = file or (Path(environment[FILE]) if environment.get(FILE) else None)
    layers = [
        _of_file(file) if file else _Layer({}, {}),
        _Layer(
            {name.removeprefix(PREFIX).lower(): value for name, value in given.items()},
            {name.removeprefix(PREFIX).lower(): name for name in given},
        ),
        _Layer(flags, {name: flag(name) for name in flags}),
    ]
    faults: list[str] = []
    values: dict[str, Any] = {}
    for layer in layers:
        values |= layer.checked(faults)
    if faults:
        raise SettingsError("; ".join(faults))
    origins = {name: origin for layer in layers for name, origin in layer.names.items()}
    return Effective(Settings.model_construct(**values), origins)


def flag(name: str) -> str:
    """Return the flag of the field `name`."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """Return the environment variable of the field `name`."""
    return f"{PREFIX}{name.upper()}"


@dataclass(frozen=True, slots=True)
class _Layer:
    """Values by field, and what each is called where it was set."""

    values: Mapping[str, Any]
    names: dict[str, str]
    file: Path | None = None

    def checked(self, faults: list[str]) -> dict[str, Any]:
        """Return the values as what they are; add to `faults` what is wrong with them."""
        try:
            if self.file:
                made = Settings.model_validate(self.values, strict=True)
            else:
                made = Settings.model_validate_strings(self.values)
        except ValidationError as error:
            faults += [self._fault(each) for each in error.errors(include_url=False)]
            return {}
        return {name: getattr(made, name) for name in made.model_fields_set}

    def _fault(self, error: ErrorDetails) -> str:
        key = str(error["loc"][0])
        name = f"{self.file}: {key}" if self.file else self.names[key]
        if error["type"] == "extra_forbidden":
            fault = f"{name}: there is no such setting{self._meant(key)}"
        else:
            fault = f"{name}: {error['msg'].removeprefix('Input ')}, not {error['input']!r}"
        if _OF_KUBERNETES.fullmatch(name) and (key != "port" or "://" in str(error["input"])):
            fault += (
                " (Kubernetes sets this for a service named reelsense: set enableServiceLinks to "
                "false)"
            )
        return fault

    def _meant(self, key: str) -> str:
        near = get_close_matches(key, Settings.model_fields, n=1)
        if not near:
            return ""
        how = near[0] if self.file else variable(near[0])
        return f"; did you mean {how}?"


def _of_file(path: Path) -> _Layer:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    return _Layer(values, dict.fromkeys(values, str(path)), path)
