"""Shops from elsewhere: each module reads one format, ``loader`` takes it in."""
