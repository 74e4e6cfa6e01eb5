"""The real Triton from packages, on the CPU, as a child process with an environment of its own (`.triton`)."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.ports import free_ports, listens
from local_stack.processes import Child
from tradewind.errors import StartupError

PROJECT = Path(__file__).parent.parent
DIGITS_REPOSITORY = PROJECT / "deploy" / "triton" / "models"
RUNTIME = PROJECT / ".triton"

_ATTEMPTS = 5
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- where the kernel shows POSIX shared memory, not a file of ours

# Asked of Triton's own Python, which need not be the one that runs this.
_ABOUT_PYTHON = """
import ctypes, json, sys, sysconfig
name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
folders = [sysconfig.get_config_var("LIBDIR") or "", sys.base_prefix + "/lib"]
try:
    loads = bool(ctypes.CDLL(name))
except OSError:
    loads = False
print(json.dumps({"version": "%d.%d" % sys.version_info[:2], "site": sysconfig.get_path("purelib"),
                  "library": name, "folders": folders, "loads": loads}))
"""


@dataclass(frozen=True)
class Runtime:
    """Where the packaged Triton and all that it needs lie."""

    server: Path
    backend: Path
    stub: Path
    libraries: tuple[Path, ...]
    programs: Path

    @classmethod
    def find(cls, environment: Path = RUNTIME) -> "Runtime":
        """The runtime in a virtual environment; StartupError says what to install."""
        python = environment / "bin" / "python"
        if not python.exists():
            raise StartupError(f"Triton's environment {environment} is not there: run `make .triton/ready`")
        asked = subprocess.run([str(python), "-I", "-c", _ABOUT_PYTHON], capture_output=True, text=True, check=True)
        about = json.loads(asked.stdout)
        site, version = Path(about["site"]), about["version"]
        packaged = site / "pytriton" / "tritonserver"
        stub = packaged / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.exists():
            raise StartupError(
                f"{environment} lacks Triton for Python {version}: remove it and run `make .triton/ready`"
            )
        libraries = (site / "nvidia_pytriton.libs", *_python_library_folder(about))
        return cls(packaged / "bin" / "tritonserver", packaged / "backends" / "python", stub, libraries, python.parent)


def _python_library_folder(about: Mapping[str, Any]) -> tuple[Path, ...]:
    for folder in about["folders"]:
        if folder and (Path(folder) / about["library"]).exists():
            return (Path(folder),)
    if about["loads"]:
        return ()
    raise StartupError(
        f"Triton's Python backend needs {about['library']}: install it "
        f"(Debian: `apt install libpython{about['version']}`), "
        "or remove .triton and let `uv python install 3.11` give it a Python that has it"
    )


class Triton:
    """A Triton server with the models of one repository, that can be killed and comes back on the same ports."""

    def __init__(self, directory: Path, repository: Path = DIGITS_REPOSITORY, runtime: Runtime | None = None) -> None:
        self._directory = directory
        self._repository = repository
        self._runtime = runtime or Runtime.find()
        self._child: Child | None = None
        self.http_port = 0
        self.grpc_port = 0
        self.metrics_port = 0

    @property
    def grpc(self) -> str:
        """`host:port` of gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        """`host:port` of HTTP."""
        return f"127.0.0.1:{self.http_port}"

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the repository."""
        return tuple(sorted(path.parent.name for path in self._repository.glob("*/config.pbtxt")))

    @property
    def child(self) -> Child:
        """The process; StartupError before the first start."""
        if self._child is None:
            raise StartupError("Triton was never started")
        return self._child

    def start(self) -> None:
        """Starts it on free ports, or on those it had, and waits until every model is ready."""
        if self._child is not None:
            self._await(self._child)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
            child = self._prepare()
            try:
                self._await(child)
            except StartupError:
                # A second server on a taken port dies quietly, so other ports are tried.
                taken = not child.alive
                self._end(child)
                if attempt == _ATTEMPTS or not taken:
                    raise
            else:
                self._child = child
                return

    def stop(self) -> None:
        """Stops it; the ports stay its own for the next start."""
        if self._child is not None:
            self._end(self._child)

    def _end(self, child: Child) -> None:
        child.stop(deadline_s=15)
        for region in _SHARED_MEMORY.glob(f"{self._region_prefix}*"):
            region.unlink(missing_ok=True)

    def _await(self, child: Child) -> None:
        ports = (self.http_port, self.grpc_port)
        child.start()
        child.wait_until(
            lambda: all(listens(child.pid, port) for port in ports) and all(map(self._model_ready, self.models)),
            timeout_s=60,
            what="have its models ready",
        )

    def _model_ready(self, model: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http}/v2/models/{model}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    @property
    def _region_prefix(self) -> str:
        return f"tradewind_{os.getpid()}_{self.grpc_port}_"

    def _prepare(self) -> Child:
        backends = self._directory / "backends"
        shutil.rmtree(backends, ignore_errors=True)
        shutil.copytree(self._runtime.backend, backends / "python")
        shutil.copy2(self._runtime.stub, backends / "python")
        # The stub takes its packages from the first python3 on the path.
        environment = os.environ | {
            "PATH": f"{self._runtime.programs}:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": ":".join(map(str, self._runtime.libraries)),
        }
        environment.pop("PYTHONHOME", None)
        return Child("triton", self._program(backends), self._directory, environment)

    def _program(self, backends: Path) -> Sequence[str]:
        settings = {
            "model-repository": self._repository,
            "backend-directory": backends,
            "backend-config": f"python,shm-region-prefix-name={self._region_prefix}",
            "model-control-mode": "explicit",
            "load-model": "*",
            "exit-timeout-secs": 10,
        }
        for protocol, port in (("http", self.http_port), ("grpc", self.grpc_port), ("metrics", self.metrics_port)):
            settings |= {f"{protocol}-address": "127.0.0.1", f"{protocol}-port": port}
        return [str(self._runtime.server), *(f"--{name}={value}" for name, value in settings.items())]
