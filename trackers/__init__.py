"""Phone trackers: apps of others that report positions over HTTP. Pure parsers, one a protocol, and what they share."""
