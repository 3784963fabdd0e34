"""What holds evidence is read by whether it is real: drills and tests are many, and of them nothing is evidence."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column and its index. Drills of before count as real here; whoever reads them looks again."""
    op.add_column("incidents", sa.Column("cap_status", sa.Text(), nullable=False, server_default="actual"))
    op.execute("UPDATE incidents SET cap_status = 'test' WHERE tenant = '_doorstep'")
    op.create_index("incidents_by_status", "incidents", ["cap_status", "settled_at"])


def downgrade() -> None:
    """Take both away."""
    op.drop_index("incidents_by_status", "incidents")
    op.drop_column("incidents", "cap_status")
