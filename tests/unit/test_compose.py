"""docker-compose.yml says only what the programs in it accept."""

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings
from typer.testing import CliRunner

from carbon_service.settings import CarbonSettings
from inference_proxy.settings import ProxySettings
from selector_service.settings import SelectorSettings
from tradewind.access import Access
from tradewind.bus import parse_broker_url
from tradewind.calling import peer_way
from tradewind.cli import app
from tradewind.settings import CommonSettings, read_settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS: dict[str, type[BaseSettings]] = {
    "carbon_service": CarbonSettings,
    "selector_service": SelectorSettings,
    "inference_proxy": ProxySettings,
    "migrate": CommonSettings,
}
SECURE: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.secure.yml").read_text())["services"]
OURS = sorted(name for name, service in SERVICES.items() if str(service["image"]).startswith("tradewind:"))


def interpolate(text: str) -> str:
    """The text as compose fills it in when the environment is empty: `${NAME:-default}` becomes the default."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


def environment_of(name: str) -> dict[str, str]:
    """A service's environment with its defaults filled in."""
    return {key: interpolate(value) for key, value in SERVICES[name].get("environment", {}).items()}


def test_every_program_of_ours_is_checked_here() -> None:
    assert sorted(SETTINGS) == OURS


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_one_the_program_accepts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in environment_of(name).items():
        assert "$" not in value, f"{key} has no default"
        monkeypatch.setenv(key, value)
    read_settings(SETTINGS[name])


@pytest.mark.parametrize("name", OURS)
def test_the_command_is_one_the_image_has(name: str) -> None:
    program, *arguments = SERVICES[name]["command"]
    if program == "python":
        flag, module = arguments
        assert flag == "-m"
        assert importlib.util.find_spec(f"{module}.__main__") is not None
    else:
        assert program == "tradewind"
        assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


@pytest.mark.parametrize("name", [name for name in OURS if name != "migrate"])
def test_the_health_check_asks_the_port_that_is_listened_on(name: str) -> None:
    cmd, program, command, address = SERVICES[name]["healthcheck"]["test"]
    assert (cmd, program, command) == ("CMD", "tradewind", "health")
    section = {"carbon_service": "CARBON", "selector_service": "SELECTOR", "inference_proxy": "PROXY"}[name]
    listen = SERVICES[name]["environment"][f"TRADEWIND_{section}_LISTEN"]
    assert address.rpartition(":")[2] == listen.rpartition(":")[2]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_file_that_is_mounted_is_there(name: str) -> None:
    sources = [interpolate(volume).split(":")[0] for volume in SERVICES[name].get("volumes", [])]
    for source in sources:
        if source.startswith("."):
            assert (ROOT / source).exists(), f"{name} mounts {source}"
        else:
            assert source in COMPOSE["volumes"], f"{name} uses the volume {source}"


def test_services_find_one_another_by_the_names_they_have() -> None:
    known = set(SERVICES) | {"triton", "127.0.0.1", "0.0.0.0"}  # noqa: S104 -- compared, not bound
    for name in OURS:
        for key, value in environment_of(name).items():
            found = re.fullmatch(r"(?:\w+://)?(?:[^@/]*@)?([\w.]+):\d+(?:/\w+)?", value)
            assert found is None or found[1] in known, f"{name}: {key} names {value}"


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("credentials")
    subprocess.run([ROOT / "deploy/security/credentials.sh", directory, "proxy.example.org", "app-1"], check=True)
    return directory


@pytest.mark.parametrize("name", sorted(set(SECURE) & set(OURS)))
def test_a_secured_service_signs_in_as_itself(name: str, monkeypatch: pytest.MonkeyPatch, credentials: Path) -> None:
    (mounted,) = SECURE[name]["volumes"]
    _, place, _ = interpolate(mounted).rsplit(":", 2)
    overrides = {
        key: re.sub(r"\$\{[A-Z_]+:\?[^}]*\}", "secret", value).replace(place, str(credentials))
        for key, value in SECURE[name]["environment"].items()
    }
    for key, value in (environment_of(name) | overrides).items():
        monkeypatch.setenv(key, value)
    settings = read_settings(SETTINGS[name])
    assert isinstance(settings, CommonSettings)
    address = parse_broker_url(settings.broker_url)
    assert (address.username, address.password, address.host) == (name, "secret", "mosquitto")
    # What the script has made lets the services in, and only them, the operator and the caller it was told of.
    access, ours = Access(settings, "0.0.0.0:1"), peer_way(settings)
    assert access.tls is not None
    assert ours.tls is not None
    assert ours.token is not None
    assert access.refusal([ours.token.authorization]) is None
    assert access.operators == {"operator"}
    operator = (credentials / "operator.token").read_text().strip()
    assert access.refusal([f"Bearer {operator}"]) is None
    assert len(access.digests() or ()) == 5


def test_the_image_has_every_package_of_ours() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert packages is not None
    for package in re.findall(r'"(\w+)"', packages[1]):
        assert f"COPY {package} {package}" in dockerfile
