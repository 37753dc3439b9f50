"""Ready-made sweep files."""
