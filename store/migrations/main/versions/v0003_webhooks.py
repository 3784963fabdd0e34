"""The queue of webhooks: what programs outside have not taken yet."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "webhook_events",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("dead_at", sa.Float(), nullable=True),
        sa.Column("dead_because", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "endpoint", "event_id"),
    )
    op.create_index("webhook_events_dead", "webhook_events", ["dead_at"], unique=False)
    op.create_index(
        "webhook_events_due",
        "webhook_events",
        ["endpoint", "next_at", "event_id"],
        unique=False,
        sqlite_where=sa.text("dead_at IS NULL"),
    )


def downgrade() -> None:
    """What waits would be lost."""
    raise NotImplementedError("restore a backup instead")
