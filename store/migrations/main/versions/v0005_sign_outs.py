"""Sign-ins that are over, which a restart must not bring back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sign_outs",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("sign_in", sa.Text(), nullable=False),
        sa.Column("until_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "sign_in"),
    )
    op.create_index("sign_outs_by_time", "sign_outs", ["until_at"])


def downgrade() -> None:
    """Whoever has signed out would be signed in again."""
    raise NotImplementedError("restore a backup instead")
