"""Certificates and keys as files: checked at start, read again when they change, for gRPC and for HTTP alike."""

import ssl
from dataclasses import dataclass
from typing import Any

import grpc

from tradewind.errors import StartupError
from tradewind.files import Followed, NamedFile


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
    """What a server shows, and whose certificates it asks for; files that change hold for the connections after."""

    own: Identity
    client_authority: NamedFile | None

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """All it is made of."""
        return (self.own.certificate, self.own.key, *_where_set(self.client_authority))

    def check(self) -> None:
        """StartupError where a file is wrong, or two of them do not belong together."""
        self._context()

    def for_http(self) -> ssl.SSLContext:
        """For HTTP."""
        return _Renewed.over(ssl.PROTOCOL_TLS_SERVER, Followed(self.files, self._context))

    def for_grpc(self) -> grpc.ServerCredentials:
        """For gRPC, which would say of a wrong file only that it cannot listen."""
        followed = Followed(self.files, self._configuration)
        shown = followed.current

        def renewed() -> Any:  # None where nothing changed, which the stubs do not know.
            nonlocal shown
            before, shown = shown, followed.current
            return None if shown is before else shown

        return grpc.dynamic_ssl_server_credentials(
            shown, renewed, require_client_authentication=self.client_authority is not None
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        self.check()
        return grpc.ssl_server_certificate_configuration(
            [(self.own.key.content(), self.own.certificate.content())],
            root_certificates=None if self.client_authority is None else self.client_authority.content(),
        )

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self.own.load(context)
        if self.client_authority is not None:
            trust(context, self.client_authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True, slots=True)
class CallingTls:
    """Whom a client believes, and what it shows where it is asked."""

    authority: NamedFile | None
    own: Identity | None

    @property
    def files(self) -> tuple[NamedFile, ...]:
        """All it is made of."""
        own = () if self.own is None else (self.own.certificate, self.own.key)
        return (*own, *_where_set(self.authority))

    def check(self) -> None:
        """StartupError where a file is wrong, or two of them do not belong together."""
        self._context()

    def for_http(self) -> ssl.SSLContext:
        """For HTTP; files that change hold for the connections after."""
        return _Renewed.over(ssl.PROTOCOL_TLS_CLIENT, Followed(self.files, self._context))

    def for_grpc(self) -> grpc.ChannelCredentials:
        """For gRPC, whose channels keep for good what they were made with."""
        self.check()
        return grpc.ssl_channel_credentials(
            None if self.authority is None else self.authority.content(),
            None if self.own is None else self.own.key.content(),
            None if self.own is None else self.own.certificate.content(),
        )

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.authority is None:
            context.load_default_certs()
        else:
            trust(context, self.authority)
        if self.own is not None:
            self.own.load(context)
        return context


def _where_set(file: NamedFile | None) -> tuple[NamedFile, ...]:
    return () if file is None else (file,)


class _Renewed(ssl.SSLContext):
    """Stands for whichever context is current: event loops ask for a context once, and wrap every connection by it."""

    _followed: Followed[ssl.SSLContext]

    @classmethod
    def over(cls, protocol: int, followed: Followed[ssl.SSLContext]) -> "_Renewed":
        made = cls(protocol)
        made._followed = followed
        return made

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self._followed.current.wrap_bio(*arguments, **options)
