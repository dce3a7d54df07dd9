"""The version of this library, for the package's metadata, bundles and reports."""

__version__ = "0.1.0"
