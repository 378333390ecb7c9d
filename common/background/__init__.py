"""What a shop does by itself: sweeps, anchors, the outbox, and which of many processes does it."""
