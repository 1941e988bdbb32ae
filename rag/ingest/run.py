"""Bring the index up to date, or take documents out of it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from pathlib import Path

from quantserve.core.files import writing_to
from quantserve.rag.config import RagConfig
from quantserve.rag.embedding.backend import Embedder, fingerprint, load_embedder, resolve
from quantserve.rag.ingest.build import Build
from quantserve.rag.ingest.names import match_documents
from quantserve.rag.ingest.plan import Plan, plan_documents
from quantserve.rag.ingest.report import QUIET, IndexReport, Listener, report_on
from quantserve.rag.ingest.sources import Fetch, Found, find_sources, root_of
from quantserve.rag.loaders.isolated import IsolatedReader
from quantserve.rag.loaders.web import fetch
from quantserve.rag.store.base import Index, Store, open_store
from quantserve.rag.store.manifest import Settings


def _settings(config: RagConfig) -> Settings:
    return Settings(
        embedding_model=str(config.embedding.model),
        embedding_fingerprint=fingerprint(config.embedding),
        splitter=config.split.method,
        chunk_size=config.split.size,
        chunk_overlap=config.split.overlap,
    )


def _same(old: Settings, new: Settings) -> bool:
    ignored = {"embedding_model"}  # a moved model directory is still the same model
    return old.model_dump(exclude=ignored) == new.model_dump(exclude=ignored)


def index_paths(
    paths: Iterable[Path | str],
    config: RagConfig,
    *,
    replace: bool = False,
    listener: Listener = QUIET,
    load_model: Callable[[], Embedder] | None = None,
    fetch_page: Fetch = fetch,
    reader: IsolatedReader | None = None,
) -> IndexReport:
    """Bring the index up to date with `paths` and everything indexed before (only `paths` with `replace`).

    A path is a file, a folder, or (as a string) the address of a web page on an allowed host. A file that
    was removed by hand comes back when it is named itself. `reader` reads the files; without one a process is
    started for it, where there is a file to read.

    Raises:
        InputError: a path does not exist, or not one document could be read.
        ResourceError: the disk is full, or may not be written.
        Locked: another process is indexing.
    """
    given = list(paths)
    store = open_store(config)
    with ExitStack() as stack:
        stack.enter_context(store.writer_lock())

        def page_folder() -> Path:
            place = Path(tempfile.gettempdir())
            with writing_to(place, "a web page"):
                return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rag-pages-")))

        old = store.current()
        made_with = old.manifest.settings.embedding_fingerprint if old is not None else None
        config = dataclasses.replace(config, embedding=resolve(config.embedding, made_with, listener.note))
        settings = _settings(config)
        reusable = old is not None and _same(old.manifest.settings, settings)
        if old is not None and not reusable:
            listener.note("the embedding model or the splitting changed: everything is embedded again")
        known = old.manifest.roots if old is not None and not replace else ()
        excluded = frozenset(old.manifest.excluded if old is not None and not replace else ())
        before = old.manifest.files if old is not None else {}
        found = find_sources(given, known, before, page_folder, config.fetch, listener.note, fetch_page)
        wanted = {root_of(path) for path in given}
        plan = plan_documents(found, excluded - wanted, before, reusable=reusable)
        if old is not None and _changes_nothing(plan, old):
            return report_on(old.manifest, old.name, unchanged=True, found=found, wanted=wanted)
        reader = reader or stack.enter_context(IsolatedReader(config.read))
        return _publish(
            store, config, settings, plan, old, reusable, listener, load_model, reader, found, wanted
        )


def remove_documents(
    names: Iterable[str], config: RagConfig, *, load_model: Callable[[], Embedder] | None = None
) -> IndexReport:
    """Take documents out of the index; they stay out until they are named to `index_paths` again.

    A name is a file's or folder's path, an address, or a file name that only one document has. Files are
    not looked at again, so documents that changed meanwhile stay as they were indexed.

    Raises:
        NoIndex: there is none.
        InputError: nothing in the index has that name, or several documents have, or nothing would be left.
        Locked: another process is indexing.
    """
    store = open_store(config)
    with store.writer_lock():
        old = store.open()
        manifest = old.manifest
        gone = match_documents(names, manifest)
        kept = tuple(key for key in manifest.files if key not in gone)
        roots = tuple(root for root in manifest.roots if root not in gone)
        plan = Plan(
            roots=roots,
            excluded=tuple(sorted({*manifest.excluded, *(gone - set(manifest.roots))})),
            keep=kept,
            read=(),
            removed=tuple(manifest.files[key].file for key in manifest.files if key in gone),
        )
        with IsolatedReader(config.read) as reader:
            return _publish(store, config, manifest.settings, plan, old, True, QUIET, load_model, reader)


def _changes_nothing(plan: Plan, old: Index) -> bool:
    manifest = old.manifest
    return (
        not plan.read
        and not plan.removed
        and set(plan.roots) == set(manifest.roots)
        and set(plan.excluded) == set(manifest.excluded)
        and not plan.stale
    )


def _publish(
    store: Store,
    config: RagConfig,
    settings: Settings,
    plan: Plan,
    old: Index | None,
    reusable: bool,
    listener: Listener,
    load_model: Callable[[], Embedder] | None,
    reader: IsolatedReader,
    found: Found | None = None,
    wanted: Collection[str] = (),
) -> IndexReport:
    build = Build(
        config,
        settings,
        plan,
        old if reusable else None,
        listener,
        load_model or (lambda: load_embedder(config.embedding)),
        reader,
    )
    name = store.publish(build.write)
    before = old.manifest.files if old is not None else {}
    whole = [source for source in plan.read if not build.manifest.files[source.key].problem]
    return report_on(
        build.manifest,
        name,
        embedded=build.embedded,
        added=tuple(source.file for source in whole if source.key not in before),
        changed=tuple(source.file for source in whole if source.key in before),
        removed=plan.removed,
        found=found,
        wanted=wanted,
    )
