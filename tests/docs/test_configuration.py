"""The page of the settings is what the settings say."""

from __future__ import annotations

from tests.docs.configuration import PAGE, configuration_page


def test_the_page_has_every_setting_as_it_is() -> None:
    """`make docs` writes it anew."""
    assert PAGE.read_text("utf-8") == configuration_page()
