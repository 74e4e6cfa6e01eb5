"""The bus's topics, all under `carbon/v1`, and who may be read from them."""

from urllib.parse import quote

OBSERVATIONS = "carbon/v1/observations/+/+"
INTENSITIES = "carbon/v1/zones/+/intensity"
REVISIONS = "carbon/v1/zones/+/revisions"
FORECASTS = "carbon/v1/zones/+/forecast"
DECISIONS = "carbon/v1/decisions/+/+"


def observation(publisher: str, zone: str) -> str:
    """What an edge publisher says of a zone; not retained."""
    return f"carbon/v1/observations/{publisher}/{zone}"


def intensity(zone: str) -> str:
    """The current reading of a zone after the gate; retained."""
    return f"carbon/v1/zones/{zone}/intensity"


def revisions(zone: str) -> str:
    """A restated reading of an earlier interval; not retained."""
    return f"carbon/v1/zones/{zone}/revisions"


def forecast(zone: str) -> str:
    """The forecast of a zone, a JSON list of readings; retained."""
    return f"carbon/v1/zones/{zone}/forecast"


def decision(zone: str, family: str) -> str:
    """The decision in force; retained. A family's name is percent-encoded: it may hold what topics may not."""
    return f"carbon/v1/decisions/{zone}/{quote(family, safe=' ')}"


def service_status(name: str) -> str:
    """`online` or `offline` (last will); retained."""
    return f"carbon/v1/services/{name}/status"


def level(topic: str, index: int) -> str:
    """One level of a topic, counted from 0."""
    return topic.split("/")[index]
