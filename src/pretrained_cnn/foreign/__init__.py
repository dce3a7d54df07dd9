"""Model files that the library did not write: what a file is, and one reader for each format that can be opened."""
