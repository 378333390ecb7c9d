"""``python -m servers inventory``: one server over stdio."""

from servers.run import main

if __name__ == "__main__":
    raise SystemExit(main())
