"""Certificates of a test's own: an authority, a server on this machine, and callers with names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files in a directory: `ca.pem`, and for each name `NAME.pem` and `NAME.key`."""

    directory: Path

    @property
    def ca(self) -> Path:
        """The authority."""
        return self.directory / "ca.pem"

    def certificate(self, name: str) -> Path:
        """A certificate by its name."""
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Its key."""
        return self.directory / f"{name}.key"

    def serving(self, *, ask: bool = False) -> dict[str, Any]:
        """The settings of a service with TLS; `ask`: it asks callers for certificates."""
        return {
            "tls_certificate_file": self.certificate("server"),
            "tls_key_file": self.key("server"),
            **({"tls_client_ca_file": self.ca} if ask else {}),
        }

    def calling(self, name: str | None = None) -> dict[str, Any]:
        """The settings of a caller that believes the authority, with a certificate where it has a name."""
        own = {} if name is None else {"peer_certificate_file": self.certificate(name), "peer_key_file": self.key(name)}
        return {"peer_ca_file": self.ca, **own}


def make_certificates(directory: Path) -> Certificates:
    """`server` for this machine, callers `ops` and `app`, and `stranger` of another authority."""
    made, authority, another = Certificates(directory), trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(made.ca)
    issued = {
        "server": authority.issue_cert("localhost", "127.0.0.1", common_name="server"),
        "ops": authority.issue_cert("ops.example.org", common_name="ops"),
        "app": authority.issue_cert("app.example.org", common_name="app"),
        "stranger": another.issue_cert("localhost", "127.0.0.1", common_name="ops"),
    }
    for name, each in issued.items():
        each.cert_chain_pems[0].write_to_path(made.certificate(name))
        each.private_key_pem.write_to_path(made.key(name))
    return made
