"""From a spec to a network, and from a network to its serving graph."""
