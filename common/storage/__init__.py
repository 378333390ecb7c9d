"""The shop's database: one way into a transaction, and what statements are made with."""
