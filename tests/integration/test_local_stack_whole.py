"""The whole stack on real parts: it serves, it survives the loss of a part, and it takes the user's own Triton."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import tritonclient.grpc as triton_grpc

from demo.digits import split_digits
from demo.measure_digits import FAMILY
from demo.synthetic_day import write_synthetic_days
from local_stack.stack import Caretaker, Options, Replay, Stack
from local_stack.triton import Triton
from tradewind.errors import InvalidInput, StartupError
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc


def _options(directory: Path, triton: Triton, database: str = "sqlite") -> Options:
    replay = Replay(file=write_synthetic_days(directory, days=60), speed=1_440, backfill_s=86_400)
    return Options(
        directory=directory,
        zone="T-STACK",
        database=database,
        window_s=60,
        replay=replay,
        triton_grpc=triton.grpc,
        triton_http=triton.http,
    )


def _variant_of_an_answer(proxy: str) -> str:
    pixels = triton_grpc.InferInput("pixels", [1, 64], "FP32")
    pixels.set_data_from_numpy(split_digits().test.pixels[:1])
    with triton_grpc.InferenceServerClient(proxy) as client:
        answer = client.infer(FAMILY, [pixels])
    assert answer.as_numpy("scores").shape == (1, 10)
    variant: str = answer.get_response().parameters["carbon_variant"].string_param
    return variant


def _decision_of_an_answer(proxy: str) -> str:
    pixels = triton_grpc.InferInput("pixels", [1, 64], "FP32")
    pixels.set_data_from_numpy(split_digits().test.pixels[:1])
    with triton_grpc.InferenceServerClient(proxy) as client:
        decision: str = client.infer(FAMILY, [pixels]).get_response().parameters["carbon_decision"].string_param
    return decision


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 45
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


@pytest.fixture(params=["sqlite", "postgres"])
def stack(request: pytest.FixtureRequest, tmp_path: Path, triton: Triton) -> Iterator[Stack]:
    """A running stack in front of the session's Triton."""
    with Stack(_options(tmp_path, triton, request.param), lambda _line: None) as running:
        yield running


def test_parts_may_die_without_an_inference_failing_and_decisions_follow_again(stack: Stack) -> None:
    proxy = stack.proxy.address
    _await(lambda: bool(_decision_of_an_answer(proxy)), "a first decision")
    said: list[str] = []
    caretaker = Caretaker(stack, said.append)
    answers: list[str] = []
    ending = threading.Event()

    def ask() -> None:
        while not ending.is_set():
            answers.append(_variant_of_an_answer(proxy))

    client = threading.Thread(target=ask)
    client.start()
    try:
        # The database is a process of its own only where it is Postgres.
        for name in [part for part in ("selector_service", "broker", "postgres") if part in stack.parts]:
            before = stack.addresses()
            stack.parts[name].child.kill()

            def is_back(name: str = name) -> bool:
                caretaker.look()
                return f"{name} is back" in said

            _await(is_back, f"the return of {name}")
            assert any(line.startswith(f"{name} ended by SIGKILL (its log: ") for line in said)
            assert stack.addresses() == before
            last = _decision_of_an_answer(proxy)
            _await(lambda last=last: _decision_of_an_answer(proxy) != last, f"a new decision after {name}")  # type: ignore[misc] # bound now
    finally:
        ending.set()
        client.join()
    # A failed inference would have ended the client's thread with an error, which fails the test.
    assert len(answers) > 10
    assert {answer.removeprefix("digits-") for answer in answers} <= {"small", "medium", "large"}


def test_nothing_runs_after_the_end(tmp_path: Path, triton: Triton) -> None:
    with Stack(_options(tmp_path, triton), lambda _line: None) as stack:
        children = [part.child for part in stack.parts.values()]
        assert all(child.alive for child in children)
        assert "triton" not in stack.parts
    assert not any(child.alive for child in children)
    assert triton.child.alive


def test_settings_of_single_services_reach_them_and_no_others(tmp_path: Path, triton: Triton) -> None:
    settings = {
        "TRADEWIND_SELECTOR_POLICY_OPTIONS": "target_error=2",
        "TRADEWIND_PROXY_FRONT": "envoy",
        "TRADEWIND_PEER_TLS": "true",
    }
    wanted = {"policy": "target-error", "settings": settings}
    with Stack(Options(**{**vars(_options(tmp_path, triton)), **wanted}), lambda _line: None) as stack:
        _await(lambda: bool(_decision_of_an_answer(stack.proxy.address)), "a decision")
        assert (tmp_path / "spool" / "envoy" / "state.json").is_file()
        with grpc.insecure_channel(stack.selector.address) as channel:
            answer = selector_pb2_grpc.SelectorStub(channel).Decide(
                selector_pb2.DecideRequest(zone="T-STACK", family=FAMILY)
            )
        assert answer.decision.policy == "target-error"


def test_what_is_set_here_cannot_be_set_otherwise(tmp_path: Path, triton: Triton) -> None:
    settings = {"TRADEWIND_PROXY_ZONE": "FR"}
    stack = Stack(Options(**{**vars(_options(tmp_path, triton)), "settings": settings}), lambda _line: None)
    with pytest.raises(InvalidInput, match="TRADEWIND_PROXY_ZONE: this is set here"), stack:
        pass


@pytest.mark.parametrize("free", [True, False])
def test_the_proxy_shows_its_metrics_on_the_usual_port_where_it_is_free(
    free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_stack.stack.if_free", lambda port: port if free else 0)
    stack = Stack(Options(directory=tmp_path, metrics=True, usual_ports=True), lambda _line: None)
    assert (stack._metrics["inference_proxy"] == 8_002) is free


def test_http_alone_is_refused(tmp_path: Path) -> None:
    options = Options(directory=tmp_path, triton_http="127.0.0.1:1")
    with pytest.raises(InvalidInput, match="--triton-http needs --triton-grpc too"), Stack(options, lambda _line: None):
        pass


def test_a_service_that_cannot_start_is_told_and_leaves_nothing(tmp_path: Path, triton: Triton) -> None:
    options = _options(tmp_path, triton)
    stack = Stack(Options(**{**vars(options), "policy": "no-such-policy"}), lambda _line: None)
    with pytest.raises(StartupError, match=r"selector_service ended with .*no-such-policy"), stack:
        pass
    assert not any(part.child.alive for part in stack.parts.values())
