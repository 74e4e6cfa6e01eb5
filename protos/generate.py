"""Generates `tradewind/rpc` from the protos; with `--check`, fails when what is checked in differs."""

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "tradewind/rpc/v1"


def generate(into: Path) -> None:
    """Writes the generated modules and their stubs below `into`."""
    protos = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto"))
    outputs = [f"--{kind}_out={into}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    # The stub generators are console scripts beside this interpreter.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *outputs, *protos]
    # The stub generators chat on stderr: it is of interest only when something failed.
    result = subprocess.run(command, cwd=ROOT, env=environment, check=False, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    for package in (into / "tradewind/rpc", into / PACKAGE):
        (package / "__init__.py").write_text('"""Generated from protos/; never edited by hand."""\n')


def main() -> int:
    """0 when the code is generated (or, with --check, as checked in)."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        new, old = Path(scratch) / PACKAGE, ROOT / PACKAGE
        if "--check" not in sys.argv:
            shutil.rmtree(old.parent, ignore_errors=True)
            shutil.copytree(new.parent, old.parent)
            return 0
        names = sorted({path.name for folder in (new, old) for path in folder.glob("*.py*") if path.is_file()})
        same, different, missing = filecmp.cmpfiles(new, old, names, shallow=False)
    if different or missing:
        print(f"{PACKAGE} is not what protos/ generates ({', '.join(different + missing)}): run `make protos`")
        return 1
    print(f"{PACKAGE}: {len(same)} files as generated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
