"""Sessions of browsers."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "browser_sessions",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "session_id"),
    )
    op.create_index("browser_sessions_by_end", "browser_sessions", ["expires_at"])


def downgrade() -> None:
    """Whoever is signed in would be signed out."""
    raise NotImplementedError("restore a backup instead")
