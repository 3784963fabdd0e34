"""Jobs that are watched over, which were not kept before."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "care_watches",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("watch_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "watch_id"),
    )
    op.create_index("care_watches_by_order", "care_watches", ["tenant", "order_id"])
    op.create_index("care_watches_unsettled", "care_watches", ["settled_at"])


def downgrade() -> None:
    """Nobody would be asked whether all is well."""
    raise NotImplementedError("restore a backup instead")
