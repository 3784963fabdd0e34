"""Blocks between people, which were not kept before."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "pair_blocks",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("technician", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("by_staff", sa.Integer(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "customer", "technician", "side"),
    )
    op.create_index("pair_blocks_by_customer", "pair_blocks", ["tenant", "customer", "set_at", "block_id"])
    op.create_index("pair_blocks_by_technician", "pair_blocks", ["tenant", "technician", "set_at", "block_id"])
    op.create_index("pair_blocks_by_time", "pair_blocks", ["tenant", "set_at", "block_id"])


def downgrade() -> None:
    """People would meet again who must not."""
    raise NotImplementedError("restore a backup instead")
