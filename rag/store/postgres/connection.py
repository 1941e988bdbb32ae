"""Connections to the shared store, and its errors in words."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from quantserve.core.errors import UsageError
from quantserve.rag.errors import IndexReplaced, StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

SCHEMA = "rag"
_CONNECT_TIMEOUT_S = 10
_UNDEFINED_TABLE = "42P01"


def parse_address(address: str) -> URL:
    """Read `postgresql://user:password@host:port/database`.

    Raises:
        UsageError: it is no such address.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            "the store is neither 'faiss' nor an address",
            mend="Set RAG_STORE=faiss or RAG_STORE=postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        ) from error
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise UsageError(
            f"a store of the kind {url.get_backend_name()} is not known",
            mend="Set RAG_STORE=postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        )
    return url


@functools.cache
def engine_of(address: str) -> Engine:
    """Return this process's connections to one server; they are made when first used."""
    url = parse_address(address).set(drivername="postgresql+psycopg2")
    return create_engine(
        url,
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_TIMEOUT_S, "client_encoding": "utf8"},
    )


@functools.cache
def async_engine_of(address: str) -> AsyncEngine:
    """Return the asynchronous connections, which LlamaIndex's store wants beside the others."""
    from sqlalchemy.ext.asyncio import create_async_engine

    return create_async_engine(parse_address(address).set(drivername="postgresql+asyncpg"))


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn the driver's errors into ours; a password is never shown.

    Raises:
        StoreUnavailable: the server does not answer, or refused.
        IndexReplaced: a generation that was open is no longer there.
    """
    try:
        yield
    except DBAPIError as error:
        where = parse_address(address).render_as_string(hide_password=True)
        if getattr(error.orig, "pgcode", None) == _UNDEFINED_TABLE:
            raise IndexReplaced(
                "this generation of the index was replaced by newer ones", mend="Ask again"
            ) from error
        reason = str(error.orig).strip().splitlines()[0]
        raise StoreUnavailable(
            f"the store {where} cannot be used: {reason}",
            mend="Check that PostgreSQL runs there with pgvector, and the address in RAG_STORE",
        ) from error
