"""Work on converted records: read, check, compare, measure, describe and plot them."""
