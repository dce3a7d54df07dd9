"""The results of images, as objects, rows, drawings and files."""
