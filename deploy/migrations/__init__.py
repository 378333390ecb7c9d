"""The one history of the schema. A revision that has been released is never edited."""
