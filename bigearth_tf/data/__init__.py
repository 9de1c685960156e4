"""Descriptions of stored data: bands, class names, data sets, the manifest, and the bytes of a record."""
