"""Pages and static files."""
