"""Reading and writing the pixels of GeoTIFF files."""
