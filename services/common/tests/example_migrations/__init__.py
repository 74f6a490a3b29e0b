"""Migrations for the tests of `services.common.db`."""

import sqlalchemy as sa

TABLES = sa.MetaData()
sa.Table("parent", TABLES, sa.Column("id", sa.Integer, primary_key=True))
sa.Table("child", TABLES, sa.Column("id", sa.Integer, primary_key=True), sa.Column("parent_id", sa.Integer))
