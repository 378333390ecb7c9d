"""${message}"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
compatible = False  # True: the program before this works unchanged on the schema after it


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
