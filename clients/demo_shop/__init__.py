"""A shop made up from a seed: the same every time, down to the last id that matters."""
