"""The one history of the schema, forward only: the way back is a backup.

A revision that has been released is never edited, and so neither is what it uses of parts.py.
"""
