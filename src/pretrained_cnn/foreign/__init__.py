"""Model files of other programs: detection of the format, and a reader for each format."""
