"""Bundles: folders with a serving graph and everything needed to use it, without the code that built the network."""
