"""Reads the settings from flags, environment variables and a file, in this precedence."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from reelsense.errors import SettingsError
from reelsense.server.settings import PREFIX, URL_SETTINGS, Settings, flag, is_secret, variable
from reelsense.text.urls import without_secrets

_FILE = f"{PREFIX}CONFIG"  # environment variable with the path of the file

# Variables that Kubernetes sets for a service named reelsense.
_KUBERNETES = re.compile(rf"{PREFIX}(SERVICE_HOST|(SERVICE_)?PORT(_.*)?)")


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """Settings, and the flag, environment variable or file of each that is not a default."""

    settings: Settings
    origins: dict[str, str]

    def as_toml(self) -> str:
        """Return the settings as a settings file, with origins as comments, without secrets."""
        values = self.settings.model_dump(mode="json")
        lines = [_line(name, value, getattr(self.settings, name)) for name, value in values.items()]
        width = max(map(len, lines))
        return "\n".join(
            f"{line:{width}}  # {self.origins.get(name, 'default')}"
            for name, line in zip(values, lines, strict=True)
        )


def _line(name: str, value: object, original: object) -> str:
    if value is None:
        return f"# {name}: not set"
    if isinstance(original, SecretStr):
        return f"# {name}: set, but not shown"
    if name in URL_SETTINGS and (shown := without_secrets(str(value))) != value:
        return f"# {name}: {shown}"
    # JSON is valid TOML for these values, except for one character that needs an escape.
    toml = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{name} = {toml}"


def read_settings(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None
) -> EffectiveSettings:
    """Return the settings from `flags` (by name of the setting), `environment` and a TOML file.

    Empty variables are ignored. The variable REELSENSE_CONFIG names the default file. Raises
    SettingsError with all unknown and invalid settings.
    """
    variables = {
        name.removeprefix(PREFIX).lower(): name
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != _FILE and value
    }
    file = file or (Path(environment[_FILE]) if environment.get(_FILE) else None)
    sources = [
        _Source({key: environment[name] for key, name in variables.items()}, variables),
        _Source(flags, {name: flag(name) for name in flags}),
    ]
    if file:
        sources.insert(0, _read_file(file))
    faults: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        values |= source.validate(faults)
        origins |= source.names
    if faults:
        raise SettingsError("; ".join(faults))
    return EffectiveSettings(Settings.model_construct(**values), origins)


def _read_file(path: Path) -> _Source:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    return _Source(values, dict.fromkeys(values, str(path)), path)


@dataclass(frozen=True, slots=True)
class _Source:
    """The values of one source, and the name of each there. Values of a file have types."""

    values: Mapping[str, Any]
    names: dict[str, str]
    file: Path | None = None

    def validate(self, faults: list[str]) -> dict[str, Any]:
        """Return the converted values. If any is invalid, add to `faults` and return nothing."""
        try:
            if self.file:
                settings = Settings.model_validate(self.values, strict=True)
            else:
                settings = Settings.model_validate_strings(self.values)
        except ValidationError as error:
            faults += [self._fault(detail) for detail in error.errors(include_url=False)]
            return {}
        return {name: getattr(settings, name) for name in settings.model_fields_set}

    def _fault(self, error: ErrorDetails) -> str:
        key = str(error["loc"][0])
        name = f"{self.file}: {key}" if self.file else self.names[key]
        if error["type"] == "extra_forbidden":
            fault = f"{name}: unknown setting"
            if similar := get_close_matches(key, Settings.model_fields, n=1):
                fault += f"; did you mean {similar[0] if self.file else variable(similar[0])}?"
        else:
            value = "" if is_secret(key) else f" {json.dumps(error['input'], default=str)}"
            fault = f"{name}: invalid value{value}: expected {_expected(error)}"
            if key == "secret":
                fault += ", for example from `openssl rand -base64 32`"
        if _KUBERNETES.fullmatch(name) and (key != "port" or "://" in str(error["input"])):
            fault += (
                " (Kubernetes sets this for a service named reelsense: set enableServiceLinks to "
                "false)"
            )
        return fault


def _expected(error: ErrorDetails) -> str:
    error_type = error["type"]
    if error_type.endswith("too_short"):
        return f"at least {error['ctx']['min_length']} characters"
    expected = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "text",
    }.get(error_type.split("_")[0])
    prefix = "a number " if error_type.startswith(("greater", "less", "finite")) else ""
    return expected or prefix + error["msg"].removeprefix("Input should be ")
