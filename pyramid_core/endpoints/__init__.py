"""Models over HTTP as members of a pyramid."""
