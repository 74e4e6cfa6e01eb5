"""Where all that concerns an Envoy lies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Places:
    """The files and sockets of one Envoy."""

    directory: Path
    """In the spool: what is pushed, the state and the log."""
    sockets: Path
    """A short path, as sockets need: the admin interface and this process."""

    @property
    def bootstrap(self) -> Path:
        """The configuration that Envoy is started with."""
        return self.directory / "bootstrap.json"

    @property
    def pushed(self) -> Path:
        """The watched directory."""
        return self.directory / "pushed"

    @property
    def routes(self) -> Path:
        """The routes with the decisions in force."""
        return self.pushed / "routes.json"

    def endpoints(self, cluster: str) -> Path:
        """Which Tritons have a variant."""
        return self.pushed / f"{cluster}.json"

    def secret(self, name: str) -> Path:
        """Which files a certificate and its key, or an authority, are in."""
        return self.pushed / f"secret-{name}.json"

    def source(self, path: Path) -> Any:
        """How Envoy is told to follow one of the pushed files."""
        return {
            "path_config_source": {"path": str(path), "watched_directory": {"path": str(self.pushed)}},
            "resource_api_version": "V3",
        }

    @property
    def writers(self) -> Path:
        """Where Envoy's workers make their parts of the spool."""
        return self.directory / "writers"

    @property
    def log(self) -> Path:
        """What Envoy says."""
        return self.directory / "envoy.log"

    @property
    def state(self) -> Path:
        """Which process is ours."""
        return self.directory / "state.json"

    @property
    def admin(self) -> Path:
        """Envoy's admin interface."""
        return self.sockets / "admin"

    @property
    def proxy(self) -> Path:
        """Where this process listens for Envoy."""
        return self.sockets / "proxy"
