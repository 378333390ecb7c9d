"""``python -m clients.docs``: the command line of the documents."""

from clients.docs import main

raise SystemExit(main())
