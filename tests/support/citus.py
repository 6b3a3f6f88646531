"""A Citus cluster that `CITUS_URL` names: the databases of a run are made on each of its servers.

The URL is that of a superuser, to a database of the coordinator in which the extension knows its workers, as in
CONTRIBUTING.md. The workers are reached as the coordinator reaches them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from chatgpt_agent.adapters.distribution import distribute
from chatgpt_agent.adapters.migrate import migrate
from tests.support.database import end_all_connections, query, servers_of, workers

URL = os.environ.get("CITUS_URL")


@contextmanager
def citus_cluster(url: str, template: str) -> Iterator[str]:
    """Makes the template, with a distributed ledger, on all servers of a cluster; the coordinator's connection string.
    The template is dropped afterwards: one run at a time may use a cluster, with several processes."""
    fields = parse_dsn(url)
    nodes = query(url, "SELECT nodename, nodeport FROM pg_dist_node WHERE shouldhaveshards ORDER BY nodeid")
    server = make_dsn(**{**fields, "dbname": "postgres"})
    workers[server] = [make_dsn(**{**fields, "dbname": "postgres", "host": host, "port": port}) for host, port in nodes]
    servers = servers_of(server)
    for each in servers:
        query(each, f'CREATE DATABASE "{template}"')
        query(_in(each, template), "CREATE EXTENSION citus")
    dsn = _in(server, template)
    query(dsn, "SELECT citus_set_coordinator_host(%s, %s)", [fields["host"], int(fields["port"])])
    for host, port in nodes:
        query(dsn, "SELECT citus_add_node(%s, %s)", [host, port])
    migrate(dsn)
    distribute(dsn, shards=4)
    try:
        for each in servers:  # the daemon of Citus is connected, too, and a template must have no connection
            query(each, f'ALTER DATABASE "{template}" ALLOW_CONNECTIONS false')
            end_all_connections(each, template)
        yield server
    finally:
        for each in servers:
            drop_database(each, template)


def drop_database(server: str, name: str) -> None:
    """Drops a database on one server, and ends its connections. The daemon of Citus may connect at the same moment."""
    for attempts_left in (2, 1, 0):
        try:
            query(server, f'DROP DATABASE "{name}" WITH (FORCE)')
        except psycopg2.errors.ObjectInUse:
            if not attempts_left:
                raise
        else:
            return


def _in(server: str, database: str) -> str:
    return str(make_dsn(**{**parse_dsn(server), "dbname": database}))
