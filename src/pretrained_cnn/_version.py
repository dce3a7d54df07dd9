"""The version of this library, which the package's metadata, bundles and reports name."""

__version__ = "0.1.0"
