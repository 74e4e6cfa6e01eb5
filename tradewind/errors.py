"""What can go wrong, as a caller sees it: one sentence that says what happened and what to do."""


class TradewindError(Exception):
    """Base of every error whose text is meant for a caller or operator."""

    reason = "INTERNAL"
    """A stable word for machines; it travels as the rich error's reason."""


class InvalidInput(TradewindError):
    """The request, file, setting or payload is wrong; the text names the field and what to change."""

    reason = "INVALID_INPUT"


class NotFound(TradewindError):
    """The named zone, family or variant is not known; the text lists or says where to look."""

    reason = "NOT_FOUND"


class NotReady(TradewindError):
    """The answer does not exist yet or a peer is away; try again later."""

    reason = "NOT_READY"


class NotAuthenticated(TradewindError):
    """Nobody is known by what the caller showed; the text says what to show."""

    reason = "NOT_AUTHENTICATED"


class NotPermitted(TradewindError):
    """The caller may not do this; the text says which right is missing."""

    reason = "NOT_PERMITTED"


class StartupError(TradewindError):
    """The service cannot start (port in use, database not migrated, bad setting); fix it and start again."""

    reason = "STARTUP"
