"""Carriers from outside: what is asked of them, a simulator, labels and tracking numbers."""
