"""Builds a network from a spec, and a serving graph from a network."""
