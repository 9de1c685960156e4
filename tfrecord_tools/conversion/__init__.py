"""Conversion of a source's patches to shards and a manifest."""
