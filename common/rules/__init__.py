"""Business rules that more than one server uses: stock, money paid and paid back, orders placed."""
