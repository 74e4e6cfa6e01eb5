"""Load tools ask for metadata and then for the name that stands in it: they end up on the family, not on a variant."""

from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as grpc_client
import tritonclient.http.aio as http_client

from inference_proxy.proxy import Proxy
from tests.integration.inference_proxy.stand import Selector, address_of, eventually


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_tool_that_takes_the_name_from_the_metadata_measures_the_family(
    proxy: Proxy, selector: Selector, protocol: str
) -> None:
    made = selector.decide("ident", {"small": 0.5, "large": 0.5})
    await eventually(lambda: proxy.families["ident"].decision == made)
    client: Any = (
        grpc_client.InferenceServerClient(address_of(proxy))
        if protocol == "grpc"
        else http_client.InferenceServerClient(f"127.0.0.1:{proxy.http.port}")
    )
    as_json = {"as_json": True} if protocol == "grpc" else {}
    module: Any = grpc_client if protocol == "grpc" else http_client
    async with client:
        # As perf_analyzer does: the model as the user names it, then only what the server says.
        metadata = await client.get_model_metadata("ident", **as_json)
        name, (given,) = metadata["name"], metadata["inputs"]
        config = await client.get_model_config(name, **as_json)
        config = config.get("config", config)
        before = _counted(await client.get_inference_statistics(name, **as_json), name)
        assert await client.is_model_ready(name)
        assert (name, config["name"], config["max_batch_size"]) == ("ident", "ident", 64)
        tensor = module.InferInput(given["name"], [1, 2], given["datatype"])
        tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
        served = [(await client.infer(name, [tensor])).get_response(**as_json)["model_name"] for _ in range(4)]
        assert sorted(served) == ["ident_large"] * 2 + ["ident_small"] * 2
        after = _counted(await client.get_inference_statistics(name, **as_json), name)
        index = await client.get_model_repository_index(**as_json)
    assert after - before == 4
    listed = index["models"] if protocol == "grpc" else index
    assert [each["state"] for each in listed if each["name"] == name] == ["READY"]


def _counted(statistics: dict[str, Any], name: str) -> int:
    """The requests of the only row there is."""
    (row,) = statistics["model_stats"]
    assert (row["name"], row["version"]) == (name, "1")
    # What is zero is left out of the JSON over gRPC.
    return int(row.get("inference_stats", {}).get("success", {}).get("count", 0))
