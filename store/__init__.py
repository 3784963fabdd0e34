"""SQL adapters of the domains' ports (SQLite, SQLAlchemy Core) and their in-memory twin. No decisions."""
