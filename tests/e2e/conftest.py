"""What end-to-end tests of the proxy share."""

from collections.abc import Iterator

import pytest

from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import MODELS


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton that only one file's tests call, so that its counts are theirs."""
    server = Triton(tmp_path_factory.mktemp("triton"), MODELS)
    server.start()
    try:
        yield server
    finally:
        server.stop()
