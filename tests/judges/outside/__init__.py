"""Judges of others that want dependencies of their own: ``make judges``."""
