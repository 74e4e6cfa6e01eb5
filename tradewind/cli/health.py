"""`tradewind health`: asks a service over gRPC whether it serves; for container health checks."""

from typing import Annotated

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tradewind.errors import NotReady


def health(
    address: Annotated[str, typer.Argument(help="host:port of a service.")],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 3.0,
) -> None:
    """Exits 0 when the service says SERVING."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise NotReady(f"{address} does not answer within {timeout:g} s: is the service running?") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotReady(f"{address} answers, but does not serve yet")
    typer.echo("SERVING")
