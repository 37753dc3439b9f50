"""Tasks that come with it."""
