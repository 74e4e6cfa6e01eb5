"""Catalogues that come with the package."""

from importlib.resources import files

from tradewind.catalogue import Catalogue, parse_catalogue


def published_catalogue() -> Catalogue:
    """The family `resnet` with the paper's published figures."""
    return parse_catalogue((files(__name__) / "resnet.yaml").read_text(encoding="utf-8"))
