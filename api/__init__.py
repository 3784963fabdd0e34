"""The public contract over HTTP, and the two tables between wire and domains: inbound and outbound."""
