"""What the site has beside the pages of docs/: the README and other pages of the checkout, and the files they link to.

Belongs here: which files those are, and where links to them lead. Does not belong here: the look of the site and its
navigation (`mkdocs.yml`).
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_TOP = Path(__file__).parents[2]
_PAGES = ("README.md", "CHANGELOG.md", "SECURITY.md")
_LINK = re.compile(r"(?<=\]\()(?:\.\./)+(?=\w)")


def on_files(files: Files, config: Any) -> Files:
    """Add the other pages, a list of decisions, and each file that a page links to outside of docs/."""
    for name in _PAGES:
        files.append(File.generated(config, name, content=_text(_TOP / name)))
    files.append(File.generated(config, "decisions/index.md", content=_decisions()))
    for name in _linked():
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(_TOP / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with its links as they lead on the site, where the checkout and docs/ are one folder."""
    uri = page.file.src_uri
    if uri in _PAGES:
        return markdown.replace("](docs/decisions/)", "](decisions/index.md)").replace("](docs/", "](")
    depth = uri.count("/")
    return _LINK.sub(lambda found: found[0] if found[0].count("..") <= depth else "../" * depth, markdown)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _decisions() -> str:
    pages = sorted((_TOP / "docs" / "decisions").glob("[0-9]*.md"))
    lines = [f"- [{_text(page).splitlines()[0].removeprefix('# ')}]({page.name})" for page in pages]
    return "# Decisions\n\n" + "\n".join(lines) + "\n"


def _linked() -> set[str]:
    """The files of the checkout outside of docs/ that a page in it links to."""
    found = set[str]()
    for page in (_TOP / "docs").rglob("*.md"):
        for link in re.findall(r"\]\(((?:\.\./)+[^)#]+)", _text(page)):
            path = (page.parent / link).resolve()
            if path.is_file() and (_TOP / "docs") not in path.parents and path.name not in _PAGES:
                found.add(path.relative_to(_TOP).as_posix())
    return found
