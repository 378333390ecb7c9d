"""The two ledgers, and that of points: double entry for units and money."""
