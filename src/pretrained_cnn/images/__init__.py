"""Converts all kinds of input to batches of RGB uint8: sources, decode, resize, batch."""
