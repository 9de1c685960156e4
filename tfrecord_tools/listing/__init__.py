"""Which patches a source has: archives, lists of patches, and splits."""
