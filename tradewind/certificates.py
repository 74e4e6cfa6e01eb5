"""Certificates and keys as files: read once, checked at start, for gRPC and for HTTP alike."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from tradewind.errors import StartupError
from tradewind.files import read_text


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file with the variable that names it, for whoever has to mend it."""

    variable: str
    path: Path

    @property
    def name(self) -> str:
        """How to call it."""
        return f"{self.variable}: {self.path}"

    def content(self) -> bytes:
        """What is in it."""
        return read_text(self.path, self.name).encode()


def named(variable: str, path: Path | None) -> NamedFile | None:
    """The file of a setting, where it has one."""
    return None if path is None else NamedFile(variable, path)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key."""

    certificate: NamedFile
    key: NamedFile

    def load(self, context: ssl.SSLContext) -> None:
        """Into a context; StartupError where the two do not belong together."""
        for file in (self.certificate, self.key):
            file.content()  # What cannot be read is said of the file that it is.
        try:
            context.load_cert_chain(self.certificate.path, self.key.path, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise StartupError(
                f"{self.certificate.name} and {self.key.variable}: {self.key.path} are not a certificate and its key, "
                f"both in PEM and the key without a password"
            ) from error


def identity(certificate: NamedFile | None, key: NamedFile | None, both: str) -> Identity | None:
    """The identity of two settings, or none; StartupError where one of the two is not set."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise StartupError(f"{both} belong together: set both, or neither")
    return Identity(certificate, key)


def trust(context: ssl.SSLContext, authority: NamedFile) -> None:
    """Believes an authority; StartupError where its file has no certificate."""
    text = authority.content().decode()
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise StartupError(f"{authority.name} has no certificate in PEM: give that of the authority") from error


@dataclass(frozen=True, slots=True)
class ServingTls:
    """What a server shows, and whose certificates it asks for."""

    own: Identity
    client_authority: NamedFile | None

    def context(self) -> ssl.SSLContext:
        """For HTTP; StartupError where a file is wrong."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self.own.load(context)
        if self.client_authority is not None:
            trust(context, self.client_authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def for_grpc(self) -> grpc.ServerCredentials:
        """For gRPC, which would say of a wrong file only that it cannot listen."""
        self.context()
        return grpc.ssl_server_credentials(
            [(self.own.key.content(), self.own.certificate.content())],
            root_certificates=None if self.client_authority is None else self.client_authority.content(),
            require_client_auth=self.client_authority is not None,
        )


@dataclass(frozen=True, slots=True)
class CallingTls:
    """Whom a client believes, and what it shows where it is asked."""

    authority: NamedFile | None
    own: Identity | None

    def context(self) -> ssl.SSLContext:
        """For HTTP; StartupError where a file is wrong."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.authority is None:
            context.load_default_certs()
        else:
            trust(context, self.authority)
        if self.own is not None:
            self.own.load(context)
        return context

    def for_grpc(self) -> grpc.ChannelCredentials:
        """For gRPC."""
        self.context()
        return grpc.ssl_channel_credentials(
            None if self.authority is None else self.authority.content(),
            None if self.own is None else self.own.key.content(),
            None if self.own is None else self.own.certificate.content(),
        )
