"""The way from a source's patches to shards and a manifest."""
