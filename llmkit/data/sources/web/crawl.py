"""From addresses to files: a page is fetched; of a sitemap or feed, the pages that it lists. Links are not crawled."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from llmkit.data.drops import Drop
from llmkit.data.sources.collect import SourceFile
from llmkit.data.sources.web.address import Origin, Resolve, host_of, linked_address, origin, resolve, user_address
from llmkit.data.sources.web.fetch import Fetcher, Request
from llmkit.data.sources.web.links import Link, Listing, read_listing
from llmkit.data.sources.web.options import Clock, FetchError, FetchOptions
from llmkit.data.sources.web.store import Kept, Store
from llmkit.reporting.reporter import Reporter

STEP = "collect"
"""The `step` of the drops made here."""

_MAX_LISTINGS = 1000
"""Sitemaps and feeds that one run looks into; an index can list 50,000, each of them another index."""

_WITHDRAWN = frozenset({"http_404", "http_410", "http_451", "robots_disallowed"})
"""After these a copy from an earlier run is removed: its owner has taken the page back."""


@dataclass(frozen=True)
class WebCollected:
    """What was fetched.

    Attributes:
        found: the files of each address that was asked for, in the order in which it lists them.
        drops: what could not be had, by `reason`.
        left: how many addresses (pages, and sitemaps that were not looked into) are beyond `max_pages`.
    """

    found: Mapping[str, Sequence[SourceFile]]
    drops: Sequence[Drop]
    left: int

    @property
    def files(self) -> list[SourceFile]:
        return [file for files in self.found.values() for file in files]


def collect_web(
    urls: Sequence[str],
    folder: Path,
    options: FetchOptions,
    report: Reporter,
    *,
    clock: Clock | None = None,
    resolver: Resolve = resolve,
) -> WebCollected:
    """Fetch pages, and the pages that sitemaps and feeds among `urls` list, into `folder`.

    What an earlier run left in `folder` is asked for conditionally, and used as it is where nothing has changed, where
    its host is out of order, or if `options.offline` says so. An interrupted run leaves what it has fetched.

    Args:
        urls: addresses, as the user wrote them; these alone may be on this machine or its network.
        folder: made if it is not there; only files of this function's are in it.
        clock, resolver: other ones in tests.

    Raises:
        UsageError: one of `urls` is no web address; nothing is fetched then.
        ConfigError: one has a password in it.
        StorageError: `folder` cannot be written.
    """
    roots = {text: user_address(text) for text in dict.fromkeys(urls)}
    clock = clock or Clock()
    fetcher = Fetcher(options, clock, resolver)
    try:
        run = _Run(options, Store(folder), fetcher, clock, report)
        with report.progress("looking at addresses", len(roots), unit="addresses") as progress:
            for text, url in roots.items():
                run.expand(text, url)
                progress.advance()
        found = run.fetch()
    finally:
        fetcher.close()
    if run.stale:
        report.warn(f"copies of earlier runs stand for what did not answer ({len(run.stale):,}): {run.stale[0]}")
    files: dict[str, list[SourceFile]] = {text: [] for text in roots}
    for page, file in zip(run.pages, found, strict=True):
        if file:
            files[page.root].append(file)
    return WebCollected(files, run.drops, run.left)


@dataclass(frozen=True)
class _Page:
    """A page to be fetched, or one that was (`kept`): the address asked for turned out to be the page itself."""

    root: str
    url: httpx.URL
    named: Origin
    licence: str = ""
    kept: Kept | None = None


@dataclass
class _Run:
    options: FetchOptions
    store: Store
    fetcher: Fetcher
    clock: Clock
    report: Reporter
    pages: list[_Page] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    left: int = 0
    stale: list[str] = field(default_factory=list)
    """Why pages could not be asked for, of which a copy was used."""
    _asked: int = 0
    _seen: set[str] = field(default_factory=set)

    def expand(self, root: str, url: httpx.URL) -> None:
        """Plan the pages that an address of the user's stands for."""
        named = origin(url)
        waiting = deque([url])
        while waiting:
            url = waiting.popleft()
            if not self._is_new(url):
                continue
            if len(self.pages) >= self.options.max_pages or self._asked >= self.options.max_pages + _MAX_LISTINGS:
                self.left += 1
                continue
            self._asked += 1
            try:
                kept = self._obtain(url, named)
                listing = read_listing(self.store.path(kept))
            except FetchError as error:
                self._drop(str(url), error)
                continue
            if listing is None:
                self.pages.append(_Page(root, url, named, kept=kept))
                continue
            self._check_listing(url, listing)
            base = httpx.URL(kept.final_url)
            for link in listing.links:
                if (target := self._target(base, link)) is None:
                    continue
                if listing.kind == "index":
                    waiting.append(target)
                elif self._is_new(target):
                    self._plan(_Page(root, target, named, link.licence or listing.licence))

    def fetch(self) -> list[SourceFile | None]:
        """The files of the planned pages, None for those that failed. Hosts take turns, so that none is waited for
        while another could be asked."""
        found: list[SourceFile | None] = [self._file(page, page.kept) if page.kept else None for page in self.pages]
        failed: dict[int, FetchError] = {}
        queues: dict[str, deque[int]] = {}
        for number, page in enumerate(self.pages):
            if page.kept is None:
                queues.setdefault(host_of(page.url), deque()).append(number)
        with self.report.progress("fetching pages", sum(map(len, queues.values())), unit="pages") as progress:
            while queues:
                host = min(queues, key=lambda host: self.fetcher.ready_at(self.pages[queues[host][0]].url))
                number = queues[host].popleft()
                if not queues[host]:
                    del queues[host]
                page = self.pages[number]
                try:
                    found[number] = self._file(page, self._obtain(page.url, page.named))
                except FetchError as error:
                    failed[number] = error
                progress.advance(failed=len(failed))
        for number in sorted(failed):
            self._drop(str(self.pages[number].url), failed[number])
        return found

    def _plan(self, page: _Page) -> None:
        if len(self.pages) < self.options.max_pages:
            self.pages.append(page)
        else:
            self.left += 1

    def _target(self, base: httpx.URL, link: Link) -> httpx.URL | None:
        try:
            return linked_address(base, link.address)
        except FetchError as error:
            # The address itself may hold a password, and its detail does not show it.
            self._drop(str(base), error)
            return None

    def _check_listing(self, url: httpx.URL, listing: Listing) -> None:
        if listing.broken:
            self.report.warn(f"{url}: its XML is broken ({listing.broken}); {len(listing.links)} links could be read")
        if not listing.links:
            self._drop(str(url), FetchError("empty_listing", "the sitemap or feed lists no page"))

    def _is_new(self, url: httpx.URL) -> bool:
        new = str(url) not in self._seen
        self._seen.add(str(url))
        return new

    def _obtain(self, url: httpx.URL, named: Origin) -> Kept:
        kept = self.store.get(str(url))
        if self.options.offline:
            if kept is None:
                raise FetchError("offline", f"'{url}' was not fetched before, and nothing is fetched now")
            return kept
        if kept and self.clock.date() - datetime.fromisoformat(kept.checked) < timedelta(seconds=self.options.max_age):
            return kept
        request = Request(url, named, kept.conditions if kept else {}, kept.final_url if kept else "")
        with self.store.draft() as draft:
            try:
                answer = self.fetcher.get(request, draft.body)
            except FetchError as error:
                if kept and error.temporary:
                    self.stale.append(error.detail)
                    return kept
                if kept and error.reason in _WITHDRAWN:
                    self.store.forget(kept)
                raise
            stamp = self.clock.date().isoformat(timespec="seconds")
            if answer.status != httpx.codes.NOT_MODIFIED:
                return self.store.keep(str(url), answer, draft, stamp)
        if kept is None:
            raise FetchError("http_304", f"'{url}' answers 304 Not Modified to a first request")
        return self.store.confirm(kept, stamp)

    def _file(self, page: _Page, kept: Kept) -> SourceFile:
        facts = {
            "retrieved": kept.retrieved,
            "content_type": kept.content_type,
            "charset": kept.charset,
            "license": kept.licence or page.licence,
            "final_url": kept.final_url if kept.final_url != kept.url else "",
        }
        query = f"?{page.url.query.decode('ascii')}" if page.url.query else ""
        name = f"{page.url.host}{page.url.path}".rstrip("/") + query
        meta = {name: value for name, value in facts.items() if value}
        return SourceFile(self.store.path(kept), name, kept.size, source=kept.url, meta=meta)

    def _drop(self, source: str, error: FetchError) -> None:
        self.drops.append(Drop(source, STEP, error.reason, error.detail))
