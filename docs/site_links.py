"""A hook of the site's builder: links from pages to files outside of docs/ become their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)\s#]*)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Replace links that a reader of the site could not follow by the path of their file."""
    here = Path(config["docs_dir"]) / page.file.src_uri
    docs = Path(config["docs_dir"]).resolve()

    def replaced(found: re.Match[str]) -> str:
        target = (here.parent / found[2]).resolve()
        if target.is_relative_to(docs):
            return found[0]
        return f"{found[1]} (`{target.relative_to(docs.parent)}`)"

    return _LINK.sub(replaced, markdown)
