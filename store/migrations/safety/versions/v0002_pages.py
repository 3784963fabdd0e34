"""Pages: who was called outside the hub about an incident, which was not kept before."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "pages",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "incident_id", "recipient"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Calls that wait for their channel would be forgotten."""
    raise NotImplementedError("restore a backup instead")
