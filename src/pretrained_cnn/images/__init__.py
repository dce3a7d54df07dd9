"""From anything that a user passes to batches of RGB uint8: sources, decode, resize, batch."""
