"""The shared store: read the current generation, publish the next one."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from sqlalchemy import text

from quantserve.core.files import Locked
from quantserve.rag.errors import IndexMismatch, NoIndex, StoreUnavailable
from quantserve.rag.store.manifest import IndexManifest
from quantserve.rag.store.postgres.connection import SCHEMA, engine_of, parse_address, translated
from quantserve.rag.store.postgres.copy import copy_generation
from quantserve.rag.store.postgres.generation import PostgresGeneration, generation_name

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LOCK = "hashtext('quantserve.rag.writer')"
_TABLE = re.compile(r"(?:data|chunks|words)_gen_(\d{6,})")
_SETUP = f"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.generations (
    number integer PRIMARY KEY,
    manifest text NOT NULL
);
CREATE TABLE IF NOT EXISTS {SCHEMA}.current (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    number integer NOT NULL REFERENCES {SCHEMA}.generations
);
"""


class PostgresStore:
    """Generations in one database; a database holds one index."""

    def __init__(self, address: str) -> None:
        """Nothing is connected yet.

        Raises:
            UsageError: it is no address of a PostgreSQL database.
        """
        self._url = parse_address(address)
        self._address = address
        self._writer: Connection | None = None

    def current(self) -> PostgresGeneration | None:
        """Open the generation that answers now; None before the first.

        Raises:
            StoreUnavailable: the server does not answer.
            IndexMismatch: another version of this program made it.
        """
        with translated(self._address), engine_of(self._address).connect() as connection:
            if connection.scalar(text(f"SELECT to_regclass('{SCHEMA}.current')")) is None:
                return None
            found = connection.execute(
                text(
                    f"SELECT number, manifest FROM {SCHEMA}.current JOIN {SCHEMA}.generations USING (number)"
                )
            ).one_or_none()
        if found is None:
            return None
        try:
            manifest = IndexManifest.model_validate_json(found.manifest)
        except ValidationError as error:
            raise IndexMismatch(
                f"the index in {self} was made by another version of this program",
                mend=f"Drop it and index again: DROP SCHEMA {SCHEMA} CASCADE",
            ) from error
        return PostgresGeneration(self._address, found.number, manifest)

    def open(self) -> PostgresGeneration:
        """Open the current generation.

        Raises:
            NoIndex: nothing has been indexed.
        """
        generation = self.current()
        if generation is None:
            raise NoIndex(f"{self} holds no index", mend="Make one: quantserve rag index PATH")
        return generation

    def stamp(self) -> str:
        """Return what changes with every change of the current generation; empty before the first.

        It is the pointer's number and the transaction that wrote it: a number comes again when the schema
        was dropped.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        with translated(self._address), engine_of(self._address).connect() as connection:
            if connection.scalar(text(f"SELECT to_regclass('{SCHEMA}.current')")) is None:
                return ""
            found = connection.scalar(text(f"SELECT number || ' ' || xmin::text FROM {SCHEMA}.current"))
        return found or ""

    @contextmanager
    def writer_lock(self) -> Iterator[None]:
        """Keep other writers out by an advisory lock, which ends with the writer's connection.

        Raises:
            Locked: another process, here or elsewhere, is writing.
        """
        with translated(self._address), engine_of(self._address).connect() as connection:
            if not connection.scalar(text(f"SELECT pg_try_advisory_lock({_LOCK})")):
                raise Locked(f"indexing into {self} is already running", mend="Wait for it, or end it")
            connection.commit()
            self._writer = connection
            try:
                yield
            finally:
                self._writer = None
                connection.rollback()
                connection.scalar(text(f"SELECT pg_advisory_unlock({_LOCK})"))

    def publish(self, build: Callable[[Path], None]) -> str:
        """Have `build` fill a folder (its manifest last), copy it, then make it the current generation.

        The caller holds the writer lock. What killed writers left behind is removed.
        """
        self._held()
        with tempfile.TemporaryDirectory(prefix="rag-generation-") as folder:
            build(Path(folder))
            with translated(self._address):
                self._setup()
                before, number = self._numbers()
                self._drop_all_but({before})
                manifest = copy_generation(Path(folder), self._address, number)
                self._swap(number, manifest)
                self._drop_all_but({before, number})
        return generation_name(number)

    def clear(self) -> None:
        """Take everything out, under the writer lock; the last number stays known."""
        writer = self._held()
        with translated(self._address):
            self._setup()
            with writer.begin():
                writer.execute(text(f"DELETE FROM {SCHEMA}.current"))
            self._drop_all_but(set())

    def _held(self) -> Connection:
        """Return the connection that holds the writer's lock."""
        if self._writer is None:
            raise StoreUnavailable("the writer's lock is not held", mend="Index inside writer_lock()")
        return self._writer

    def _setup(self) -> None:
        with engine_of(self._address).begin() as connection:
            connection.execute(text(_SETUP))

    def _numbers(self) -> tuple[int, int]:
        """Return the current generation's number (0: none) and a number that none had before."""
        with engine_of(self._address).connect() as connection:
            current = connection.scalar(text(f"SELECT number FROM {SCHEMA}.current"))
            last = connection.scalar(text(f"SELECT max(number) FROM {SCHEMA}.generations"))
        return current or 0, (last or 0) + 1

    def _swap(self, number: int, manifest: str) -> None:
        """Make a generation the current one, in one transaction of the session that holds the lock."""
        writer = self._held()
        with writer.begin():
            writer.execute(
                text(f"INSERT INTO {SCHEMA}.generations VALUES (:number, :manifest)"),
                {"number": number, "manifest": manifest},
            )
            writer.execute(
                text(
                    f"INSERT INTO {SCHEMA}.current (number) VALUES (:number) "
                    "ON CONFLICT (one) DO UPDATE SET number = excluded.number"
                ),
                {"number": number},
            )

    def _drop_all_but(self, keep: set[int]) -> None:
        """Remove the tables of all generations but some: old ones, and those never finished.

        The last number stays written down, so that none is ever used twice.
        """
        with engine_of(self._address).begin() as connection:
            names = connection.scalars(
                text("SELECT tablename FROM pg_tables WHERE schemaname = :schema"), {"schema": SCHEMA}
            )
            for name in names.all():
                found = _TABLE.fullmatch(name)
                if found and int(found[1]) not in keep:
                    connection.execute(text(f"DROP TABLE {SCHEMA}.{name}"))
            connection.execute(
                text(
                    f"DELETE FROM {SCHEMA}.generations WHERE number <> ALL(CAST(:keep AS integer[])) "
                    f"AND number < (SELECT max(number) FROM {SCHEMA}.generations)"
                ),
                {"keep": sorted(keep)},
            )

    def __str__(self) -> str:
        """Return the address without its password."""
        return self._url.render_as_string(hide_password=True)
