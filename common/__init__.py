"""The spine every server stands on. Nothing here knows a server."""
