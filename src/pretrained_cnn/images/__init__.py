"""From anything that a user hands over to batches of RGB uint8: sources, decode, resize, batch."""
