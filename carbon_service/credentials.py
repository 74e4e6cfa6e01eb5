"""Who may say a reading over gRPC: the same publishers as on the bus, known by token or by client certificate."""

from typing import Any

import grpc

from carbon_service.rules import Rules
from carbon_service.settings import CarbonSettings
from tradewind.access import Access
from tradewind.errors import InvalidInput, NotPermitted
from tradewind.readings import ZONE_PATTERN


class Credentials:
    """Checks for whom a caller may speak."""

    def __init__(self, rules: Rules, access: Access) -> None:
        self._rules, self._access = rules, access

    def publisher_of(self, claimed: str, zone: str, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """The publisher that the caller is; NotPermitted says which right is missing."""
        if not ZONE_PATTERN.fullmatch(claimed):
            raise InvalidInput("publisher: use 1 to 64 letters, digits, '_', '.' or '-'")
        if not self._rules.file.publishers:
            self._access.operator(context)
        elif claimed not in self._rules.file.publishers or claimed not in self._access.names_of(context):
            raise NotPermitted(
                f"the caller is not known as publisher {claimed}: send its token as metadata "
                f"`authorization: Bearer TOKEN`, or use its client certificate"
            )
        if not self._rules.may_publish(claimed, zone):
            raise NotPermitted(f"publisher {claimed} may not speak for zone {zone}: name it in the zones file")
        return claimed

    def tell(self) -> None:
        """Says in the log who may say readings, where the zones file does not."""
        if not self._rules.file.publishers:
            self._access.tell("readings over gRPC")


def access_of(settings: CarbonSettings, rules: Rules) -> Access:
    """The rights on the service; the zones file's tokens are known as those of the tokens file are."""
    publishers = rules.file.publishers.items()
    digests = {name: entry.token_sha256 for name, entry in publishers if entry.token_sha256 is not None}
    return Access(settings, settings.carbon_listen, digests=digests)
