"""One file for each figure; `style` holds what they share."""
