"""The way from shards to the batches of one rank."""
