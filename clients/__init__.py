"""What people and pipelines run: the shop command, the probe, the demo."""
