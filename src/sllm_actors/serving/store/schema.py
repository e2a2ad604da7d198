"""The tables of the head's store, as the newest migration leaves them. Columns are named as in records."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

ABOUT = sa.Table(
    "about",
    METADATA,
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("program", sa.String(64), nullable=False),  # the version of sllm_actors that last wrote here
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("fresh", sa.Boolean, nullable=False),
)
DEPLOYMENTS = sa.Table(
    "deployments",
    METADATA,
    sa.Column("uid", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(320), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("deleting", sa.Boolean, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("current", sa.BigInteger, nullable=False),
    sa.Column("target", sa.BigInteger),
    sa.Column("paused", sa.Text, nullable=False),
    sa.Column("allow_downtime", sa.Boolean, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("recovered", sa.Boolean, nullable=False),
    sa.Column("loaded", sa.Boolean, nullable=False),
)
REVISIONS = sa.Table(
    "revisions",
    METADATA,
    sa.Column(
        "uid",
        sa.String(64),
        sa.ForeignKey("deployments.uid", deferrable=True, initially="DEFERRED"),
        primary_key=True,
    ),
    sa.Column("revision", sa.BigInteger, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("failed", sa.Text, nullable=False),
)
# The highest revision ever used, by deployment id. It outlives the deployments.
LAST_REVISIONS = sa.Table(
    "last_revisions",
    METADATA,
    sa.Column("id", sa.String(320), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
)
DELETIONS = sa.Table(
    "deletions",
    METADATA,
    sa.Column("uid", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(320), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
NODES = sa.Table(
    "nodes",
    METADATA,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("last_seen", sa.Double, nullable=False),
    sa.Column("draining", sa.Boolean, nullable=False),
)
# A table of its own: a worker that stayed away for long is forgotten, but its id stays its own.
NODE_KEYS = sa.Table(
    "node_keys",
    METADATA,
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("public_key", sa.String(1024), nullable=False),  # in hex
    sa.Column("bound", sa.Double, nullable=False),
)
MEASURED = sa.Table(
    "measured",
    METADATA,
    sa.Column("engine", sa.String(64), primary_key=True),
    sa.Column("worker", sa.String(255), primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
PAUSES = sa.Table(
    "pauses",
    METADATA,
    sa.Column("uid", sa.String(64), primary_key=True),
    sa.Column("bins", sa.Text, nullable=False),
    sa.Column("longer", sa.Double, nullable=False),
    sa.Column("halved", sa.Double, nullable=False),
)
API_KEYS = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),  # in hex
    sa.Column("share", sa.Double, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
JOURNAL = sa.Table(
    "journal",
    METADATA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("subject", sa.String(320), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("replica", sa.String(400), nullable=False),
    sa.Column("node", sa.String(255), nullable=False),
)
