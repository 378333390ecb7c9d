"""A shop in the form of another program, in deterministic order."""
