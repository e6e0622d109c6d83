"""Links that leave docs/: what they lead to becomes a page of the site, and so do a few other files.

On GitHub such a link opens the file. Here a Markdown file is shown as one, a notebook as its cells, anything
else as text; links that lead to it are rewritten, and mkdocs checks them as it checks all others.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)")
#: Where files outside docs/ stand in the navigation; others are reached by links alone.
IN_NAVIGATION = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/quickstart.ipynb": "quickstart.md",
}
addresses: dict[Path, str] = {}  # of pages made here, by the file that they show


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages, those to which only such pages lead, too."""
    addresses.clear()
    addresses.update({ROOT / name: address for name, address in IN_NAVIGATION.items()})
    waiting = list(addresses) + [Path(file.abs_src_path) for file in files.documentation_pages()]
    while waiting:
        path = waiting.pop()
        if path in addresses:
            place = InclusionLevel.UNDEFINED if as_name(path) in IN_NAVIGATION else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, addresses[path], content=as_page(path), inclusion=place))
        for target in LINK.findall(text_of(path)):
            found = (path.parent / target).resolve()
            if found.is_file() and not found.is_relative_to(DOCS) and found not in addresses:
                addresses[found] = f"files/{as_name(found)}.md"
                waiting.append(found)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page that lead to one of these files, or that stand in one of them."""
    origin = next((path for path, address in addresses.items() if address == page.file.src_uri), None)
    if origin and origin.suffix not in (".md", ".ipynb"):
        return markdown
    folder = (origin or DOCS / page.file.src_uri).parent

    def rewritten(link: re.Match[str]) -> str:
        found = (folder / link[1]).resolve()
        if found in addresses:
            target = addresses[found]
        elif found.is_relative_to(DOCS) and found.is_file():
            target = found.relative_to(DOCS).as_posix()
        else:
            return link[0]
        return posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(rewritten, markdown)


def as_name(path: Path) -> str:
    """Of a file, as it stands in the repository."""
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    """The Markdown of a file; "" for anything that is no page of text."""
    if path.suffix == ".ipynb":
        return as_page(path)
    return path.read_text(encoding="utf-8") if path.suffix == ".md" else ""


def as_page(path: Path) -> str:
    """The Markdown that shows a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    if path.suffix == ".ipynb":
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        return "\n\n".join(
            source if kind == "markdown" else fenced(source, "python") for kind, source in cells
        )
    heading = f"---\nsearch: {{exclude: true}}\n---\n\n# {path.name}\n\n`{as_name(path)}`\n\n"
    return heading + fenced(text, {".py": "python", ".sh": "bash", ".yaml": "yaml"}.get(path.suffix, "text"))


def fenced(text: str, language: str) -> str:
    return f"~~~~~~{language}\n{text.rstrip()}\n~~~~~~"
