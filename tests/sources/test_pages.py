"""The pages of the sources are what the sources say today."""

from __future__ import annotations

from pathlib import Path

from lorasmith.sources import sources
from lorasmith.sources.pages import pages, write

DOCS = Path(__file__).parents[2] / "docs" / "sources"


def test_no_page_is_stale_and_none_is_missing() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    assert written == pages(), "run: python -m lorasmith.sources.pages docs/sources"


def test_a_page_tells_examples_options_and_secrets() -> None:
    page = pages()["huggingface.md"]
    assert "lorasmith import huggingface owner/name" in page and "`--limit` | integer | `null`" in page
    assert "lorasmith secrets set huggingface" in page
    for name, source in sources().items():
        text = pages()[f"{name}.md"]
        assert all(f"`--{key.replace('_', '-')}`" in text for key in type(source).Options.model_fields)


def test_pages_of_sources_that_are_gone_go_too(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("x", encoding="utf-8")
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(pages())
