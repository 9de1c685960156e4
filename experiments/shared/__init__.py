"""What several experiment commands share."""
