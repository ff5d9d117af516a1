"""The types of problems, for error responses and for the page that explains them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A type of problem (RFC 9457)."""

    code: str
    status: int
    title: str
    advice: str


PROBLEM_TYPES = {code: ProblemType(code, **fields) for code, fields in _TABLES["problems"].items()}
FIELD_CODES: dict[str, str] = _TABLES["field-codes"]
