"""One thread at a time may parse Python: CPython 3.11 raises SystemError where two do (python/cpython, 106905)."""

from __future__ import annotations

from threading import Lock

PARSING = Lock()
"""Held while templates are compiled, which parses their numbers and their code as Python."""
