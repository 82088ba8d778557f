"""The tables. All but the journal can be made again from the job folders."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata: Final = MetaData()

_id = BigInteger().with_variant(Integer, "sqlite")

job: Final = Table(
    "job",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("title", Text, nullable=False, default=""),
    Column("state", String(12), nullable=False),
    Column("version", Integer, nullable=False, default=1),
    Column("reason", Text, nullable=False, default=""),
    Column("failure", String(20), nullable=False, default=""),
    Column("phase", String(60), nullable=False, default=""),
    Column("done", BigInteger, nullable=False, default=0),
    Column("total", BigInteger, nullable=False, default=0),
    Column("seconds_left", Float),
    Column("wants", String(20), nullable=False),
    Column("lane", String(20), nullable=False, default=""),
    Column("priority", Integer, nullable=False, default=0),
    Column("position", Float(53), nullable=False, default=0.0),
    Column("managed", Boolean, nullable=False, default=True),
    Column("attempt", Integer, nullable=False, default=0),
    Column("parent", String(120), nullable=False, default=""),
    Column("output_name", Text, nullable=False, default=""),
    Column("request", String(64), nullable=False, default=""),
    Column("output", JSON),
    Column("created", String(40), nullable=False, default=""),
    Column("changed", String(40), nullable=False, default=""),
    Index("job_turn", "state", "wants", "priority", "position", "id"),
    Index("job_created", "created", "id"),
)

dependency: Final = Table(
    "dependency",
    metadata,
    Column("job", String(120), primary_key=True),
    Column("needs", String(120), primary_key=True),
    Index("dependency_needs", "needs"),
)

attempt: Final = Table(
    "attempt",
    metadata,
    Column("job", String(120), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("lane", String(20), nullable=False, default=""),
    Column("outcome", String(20), nullable=False),
    Column("failure", String(20), nullable=False, default=""),
    Column("error", Text, nullable=False, default=""),
    Column("step", BigInteger, nullable=False, default=0),
)

event: Final = Table(
    "event",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("job", String(120), nullable=False, default=""),
    Column("kind", String(20), nullable=False),
    Column("before", String(12), nullable=False, default=""),
    Column("after", String(12), nullable=False, default=""),
    Column("detail", JSON, nullable=False),
    Column("at", String(40), nullable=False),
    Index("event_job", "job", "id"),
    sqlite_autoincrement=True,  # an id is never given twice, also when the newest rows were removed
)

lane: Final = Table(
    "lane",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("capacity", Integer, nullable=False, default=1),
    Column("draining", Boolean, nullable=False, default=False),
    Column("reason", Text, nullable=False, default=""),
)

meta: Final = Table(
    "meta",
    metadata,
    Column("key", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
