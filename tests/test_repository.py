"""What must hold for the repository as a whole."""

import re
import subprocess
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [REPOSITORY / name for name in listed.stdout.splitlines()]


def test_the_project_folder_of_supabase_does_not_shadow_the_sdk() -> None:
    assert not list((REPOSITORY / "supabase").rglob("*.py"))
    assert PYPROJECT["tool"]["ruff"]["lint"]["isort"]["known-third-party"] == ["supabase"]
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["worker", "jobs"]


def test_no_dependency_and_no_extra_reaches_torch() -> None:
    seen: set[str] = set()
    waiting = [Requirement(r).name for r in requires("rowcall") or ()]
    while waiting:
        name = waiting.pop().lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            needed = [Requirement(r) for r in requires(name) or ()]
        except ModuleNotFoundError:
            continue  # an extra's, not installed here
        waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    assert "arq" in seen
    assert "tokenizers" in seen
    assert not {name for name in seen if name.startswith(("torch", "nvidia", "triton", "transformers"))}


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = {canonicalize_name(Requirement(line).name) for line in lines_of("constraints.txt")}
    groups = [PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"].values()]
    groups.append(PYPROJECT["dependency-groups"]["dev"])
    direct = {canonicalize_name(Requirement(r).name) for group in groups for r in group}
    assert direct <= pinned, direct - pinned


def test_no_lock_file_names_a_registry() -> None:
    lock = (REPOSITORY / "worker" / "local" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert "omit-lockfile-registry-resolved=true" in (REPOSITORY / "worker" / "local" / ".npmrc").read_text()


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page.name} links to {target}"
            if anchor:
                assert anchor in anchors(linked), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_migrations_use_nothing_newer_than_postgres_15() -> None:
    text = "\n".join(p.read_text() for p in sorted((REPOSITORY / "supabase" / "migrations").glob("*.sql"))).lower()
    for newer in ("uuidv7(", "json_table", "merge into", "any_value(", "random_normal(", "virtual", "without overlaps"):
        assert newer not in text


def test_no_tracked_file_names_a_path_of_the_machine_that_wrote_it() -> None:
    home = re.compile(rf"{re.escape(str(REPOSITORY))}|/home/\w+/|/roo[t]/|/Users/\w+/")
    for file in tracked_files():
        if file.suffix in {".gz", ".png", ".svg"} or not file.is_file():
            continue
        assert not home.search(file.read_text(errors="replace")), file


def lines_of(name: str) -> list[str]:
    lines = (REPOSITORY / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
