"""Who looked at whom, which was not kept before."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "looks",
        sa.Column("look_id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("look_id"),
    )
    op.create_index("looks_by_subject", "looks", ["tenant", "subject", "at"])


def downgrade() -> None:
    """People would not learn who looked at them."""
    raise NotImplementedError("restore a backup instead")
