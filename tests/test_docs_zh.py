"""The Chinese pages keep the code and the numbers of the English ones, and their links work."""

import re
from pathlib import Path

import pytest

from tests.command import REPOSITORY
from tests.test_docs import README, blocks

CHINESE = sorted((REPOSITORY / "docs/zh").glob("*.md"))
EVERY = pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.name)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(?:[,.]\d+)*")


def english(page: Path) -> Path:
    return README if page.name == "README.md" else REPOSITORY / "docs" / page.name


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY
def test_code_is_that_of_the_english_page(page):
    assert list(blocks(page)) == list(blocks(english(page)))


@EVERY
def test_numbers_of_the_english_text_and_tables_occur(page):
    assert set(NUMBER.findall(prose(english(page)))) <= set(NUMBER.findall(prose(page)))


@EVERY
def test_names_in_code_spans_are_those_of_the_english_page(page):
    spans = [set(re.findall(r"`([^`\n]+)`", prose(each).replace("\n", " "))) for each in (english(page), page)]
    assert spans[0] == spans[1]


@EVERY
def test_links_lead_to_pages_and_headings(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_links_to_the_chinese_readme():
    assert "(zh/README.md)" in (REPOSITORY / "docs/README.md").read_text()
    assert "(docs/zh/README.md)" in README.read_text()
