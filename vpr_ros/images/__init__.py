"""Pixels of cameras and of image files."""
