"""`tradewind health`: asks a service over gRPC whether it serves; for container health checks."""

from typing import Annotated

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tradewind.calling import Way
from tradewind.cli.reaching import reaching
from tradewind.errors import NotReady


@reaching
def health(
    *,
    address: Annotated[str, typer.Argument(help="host:port of a service.")],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 3.0,
    way: Way,
) -> None:
    """Exits 0 when the service says SERVING."""
    with way.blocking_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise NotReady(
                f"{address} does not answer within {timeout:g} s: is it running, and with TLS or without?"
            ) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotReady(f"{address} answers, but does not serve yet")
    typer.echo("SERVING")
