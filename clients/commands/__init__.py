"""One file a noun; each adds its commands to the app it is given."""
