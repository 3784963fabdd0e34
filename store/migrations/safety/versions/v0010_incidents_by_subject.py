"""One person's incidents are looked up: to be given to them, and to be deleted."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("incidents_by_subject", "incidents", ["tenant", "subject", "raised_at"])


def downgrade() -> None:
    """Take it away."""
    op.drop_index("incidents_by_subject", "incidents")
