"""The table for the stored objects, and the SQL statements for this table.

The statements are built once, because building a statement takes longer than running it.
"""

from typing import Any

import sqlalchemy as sa

metadata: sa.MetaData = sa.MetaData()
objects: sa.Table = sa.Table(
    "objects",
    metadata,
    # The order of creation. It is needed because objects created within one second have the same created_at.
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    # The id of the parent: the thread of a message or run, the run of a step, the conversation of an item or response,
    # the response of a question or output, or the file of a content. "" for an object without a parent.
    sa.Column("parent", sa.Text, nullable=False),
    # Of a message: the id of the run that made it. Of an item: the id of the response that added it. Of a file: its
    # purpose. NULL for all other objects.
    sa.Column("run", sa.Text),
    # A time in seconds since 1970. Of an active run or response: when it expires. Of an item that a response added:
    # when that response ended. NULL for all other objects.
    sa.Column("due", sa.Float),
    sa.Column("doc", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
columns: sa.ColumnCollection[str, sa.Column[Any]] = objects.c
sa.Index("objects_by_parent", columns.parent, columns.kind, columns.seq)
BY_DUE = sa.Index("objects_by_kind_and_due", columns.kind, columns.due, sqlite_where=columns.due.is_not(None))

INSERT = objects.insert()
FIND = sa.select(columns.doc).where(
    columns.id == sa.bindparam("an_id"),
    columns.kind == sa.bindparam("a_kind"),
    columns.parent == sa.bindparam("a_parent"),
)
LATEST = (
    sa.select(columns.doc)
    .where(columns.parent == sa.bindparam("a_parent"), columns.kind == sa.bindparam("a_kind"))
    .order_by(columns.seq.desc())
    .limit(1)
)
CHILDREN = (
    sa.select(columns.doc)
    .where(columns.parent == sa.bindparam("a_parent"), columns.kind == sa.bindparam("a_kind"))
    .order_by(columns.seq)
)
GET = sa.select(columns.doc).where(columns.id == sa.bindparam("an_id"), columns.kind == sa.bindparam("a_kind"))
CHILDREN_BEFORE = CHILDREN.where(
    columns.seq
    < sa.func.coalesce(
        sa.select(columns.seq).where(columns.id == sa.bindparam("an_id")).scalar_subquery(), sa.literal(2**63 - 1)
    )
)
HISTORY = (
    sa.select(columns.doc)
    .where(columns.parent == sa.bindparam("a_parent"), columns.kind.in_(("message", "run")))
    .order_by(columns.seq)
)
STEPS = (
    sa.select(columns.doc)
    .where(
        columns.parent.in_(
            sa.select(columns.id).where(columns.parent == sa.bindparam("a_parent"), columns.kind == "run")
        ),
        columns.kind == "step",
    )
    .order_by(columns.seq)
)
CONTAINING = sa.select(columns.doc).where(
    columns.kind == sa.bindparam("a_kind"), sa.func.instr(columns.doc, sa.bindparam("a_part")) > 0
)
KIND = sa.select(columns.kind).where(columns.id == sa.bindparam("an_id"))
SEQ = sa.select(columns.seq).where(
    columns.id == sa.bindparam("an_id"),
    columns.kind == sa.bindparam("a_kind"),
    columns.parent == sa.bindparam("a_parent"),
)
COUNT_AFTER = sa.select(sa.func.count()).where(
    columns.parent == sa.bindparam("a_parent"),
    columns.kind == sa.bindparam("a_kind"),
    columns.seq > sa.select(columns.seq).where(columns.id == sa.bindparam("an_id")).scalar_subquery(),
)
DUE = (
    sa.select(columns.doc)
    .where(columns.due <= sa.bindparam("a_time"), columns.kind == sa.bindparam("a_kind"))
    .order_by(columns.seq)
)
SAVE = objects.update().where(columns.id == sa.bindparam("an_id")).values(doc=sa.bindparam("a_doc"))
SETTLE = SAVE.values(due=None)
SOFT_DELETE = objects.update().where(columns.id == sa.bindparam("an_id")).values(kind="tombstone")
DELETE = objects.delete().where(columns.id == sa.bindparam("an_id"))
DELETE_CHILDREN = objects.delete().where(columns.parent == sa.bindparam("an_id"))
DELETE_SOME_CHILDREN = DELETE_CHILDREN.where(columns.kind == sa.bindparam("a_kind"))
DELETE_GRANDCHILDREN = objects.delete().where(
    columns.parent.in_(sa.select(columns.id).where(columns.parent == sa.bindparam("an_id")))
)
