"""Who may call the proxy, and how the proxy calls Triton on their behalf."""

from inference_proxy.relaying import SERVICE
from inference_proxy.settings import ProxyFront, ProxySettings
from tradewind.access import FORWARDED_CERTIFICATE, Access
from tradewind.calling import AUTHORIZATION, Way, way

OPEN_METHODS = (f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady")
"""What load balancers ask of a Triton; like the health service, without a token."""


def access_of(settings: ProxySettings) -> Access:
    """The rights on the proxy, by where clients reach it."""
    behind_envoy = settings.proxy_front is ProxyFront.ENVOY
    return Access(settings, settings.proxy_listen, also_open=OPEN_METHODS, behind_envoy=behind_envoy)


def triton_way(settings: ProxySettings, access: Access) -> Way:
    """How Triton is called. What clients show to the proxy is for the proxy alone."""
    drops = set()
    if access.tokens_demanded:
        drops.add(AUTHORIZATION)
    if access.tls is not None and settings.proxy_front is ProxyFront.ENVOY:
        drops.add(FORWARDED_CERTIFICATE)
    return way("proxy_triton_", settings, frozenset(drops))
