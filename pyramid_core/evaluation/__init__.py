"""From records to figures: what is right, and how sure a figure is."""
