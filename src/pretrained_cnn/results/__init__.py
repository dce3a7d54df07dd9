"""What comes back for each image, as objects, rows, drawings and files."""
