"""Shops from elsewhere: each module reads one format, ``loader`` takes it in."""

from typing import Final

from clients.importers import tau2
from clients.importers.loader import Format

FORMATS: Final[dict[str, Format]] = {form.name: form for form in (tau2.FORMAT,)}
