"""What every table stands on, and the tables that every server has."""

from common.tables import spine
from common.tables.base import Base, Record

__all__ = ["Base", "Record", "spine"]
