"""Events for programs outside: a durable queue for each endpoint, when to try again, when to give up."""
