"""Bundles: a serving graph in a folder, with all that it takes to use it and nothing of the code that made it."""
