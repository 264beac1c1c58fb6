"""The network before the site, which a test can cut."""

from __future__ import annotations

from tests.page.site import Site
from tests.support.proxy import Proxy, Route


class Way(Route):
    """A proxy before a site. It breaks connections as a restart of the API does, for less CPU."""

    def __init__(self, site: Site) -> None:
        super().__init__(int(site.url.rpartition(":")[2]))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.do(lambda proxy: proxy.port)}"

    def shut(self) -> None:
        """Cuts all connections and refuses new ones, until `open`."""
        self.do(_shut)

    def open(self) -> None:
        self.do(Proxy.mend)


def _shut(proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut()
