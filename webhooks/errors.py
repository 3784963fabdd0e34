"""Errors of webhooks."""


class WebhookInvariantBroken(AssertionError):
    """The engine contradicts itself: a defect of ours. Holds the endpoint and what is wrong."""

    def __init__(self, endpoint: str, what: str) -> None:
        """Keep the facts."""
        super().__init__(f"webhook endpoint {endpoint}: {what}")
