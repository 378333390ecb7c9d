"""The HTTP face: one app, one gate, seven servers, the console."""
