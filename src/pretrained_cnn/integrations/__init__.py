"""The library as a part of others. Each module needs an extra of its own, and is imported by its name."""
