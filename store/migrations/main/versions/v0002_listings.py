"""Listings of orders by state and of offers: an offer knows its city, and indexes for what is filtered by."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the offers' table anew, each with the city of its order, and the indexes."""
    op.create_index(
        "orders_settled",
        "orders",
        ["tenant", "city", "state", "placed_at", "order_id"],
        unique=False,
        sqlite_where=sa.text("settled_at IS NOT NULL"),
    )
    op.drop_index("offers_by_order", "offers")
    op.rename_table("offers", "offers_before")
    op.create_table(
        "offers",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("offer_id", sa.Text(), nullable=False),
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("technician", sa.Text(), nullable=False),
        sa.Column("offered_at", sa.Float(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "offer_id"),
    )
    op.execute(
        "INSERT INTO offers (tenant, offer_id, city, order_id, technician, offered_at, state, version, body) "
        "SELECT f.tenant, f.offer_id, o.city, f.order_id, f.technician, f.offered_at, f.state, f.version, f.body "
        "FROM offers_before f JOIN orders o ON o.tenant = f.tenant AND o.order_id = f.order_id"
    )
    op.drop_table("offers_before")
    op.create_index("offers_by_order", "offers", ["tenant", "order_id"], unique=False)
    op.create_index("offers_by_technician", "offers", ["tenant", "technician", "offered_at", "offer_id"], unique=False)
    op.create_index("offers_by_state", "offers", ["tenant", "city", "state", "offered_at", "offer_id"], unique=False)


def downgrade() -> None:
    """Older code cannot write these tables."""
    raise NotImplementedError("restore a backup instead")
