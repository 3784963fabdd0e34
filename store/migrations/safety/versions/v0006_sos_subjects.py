"""What is kept of a person from one SOS to the next: wrong PINs, false alarms in a row."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sos_subjects",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "subject"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Wrong PINs would be forgotten."""
    raise NotImplementedError("restore a backup instead")
