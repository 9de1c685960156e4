"""What can be done with converted records: read, check, compare, measure, and show them."""
