"""Pages of lists."""

import base64
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4lb_agent.api import pages
from l4lb_agent.api.pages import DEFAULT_SIZE, MAX_SIZE
from l4lb_agent.model.errors import InvalidArgument

NAMES = st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=40).map(sorted)


@dataclass
class Message:
    """Something with a name and a size."""

    name: str
    bytes: int = 1

    def ByteSize(self) -> int:
        """As told."""
        return self.bytes


def page(names: list[str], size: int, token: str, arguments: str) -> tuple[list[str], str]:
    messages, following = pages.page([(name, name) for name in names], Message, size, token, arguments)
    return [message.name for message in messages], following


def everything(names: list[str], size: int) -> list[list[str]]:
    found, token = [], ""
    while True:
        items, token = page(names, size, token, "list")
        found.append(items)
        if not token:
            return found


@given(NAMES, st.integers(1, 7))
def test_pages_together_are_the_list_and_only_the_last_is_short(names: list[str], size: int) -> None:
    found = everything(names, size)
    assert [name for items in found for name in items] == names
    assert all(len(items) == size for items in found[:-1])


@given(NAMES, NAMES)
def test_what_is_added_or_removed_between_pages_shifts_nothing(before: list[str], after: list[str]) -> None:
    first, token = page(before, 3, "", "list")
    if token:
        second, _ = page(after, 1000, token, "list")
        assert second == [name for name in after if name > first[-1]]


def test_a_size_of_0_is_the_default_and_a_large_one_is_cut() -> None:
    names = [f"{i:05}" for i in range(2 * MAX_SIZE)]
    assert len(page(names, 0, "", "list")[0]) == DEFAULT_SIZE
    assert len(page(names, 10**6, "", "list")[0]) == MAX_SIZE


@pytest.mark.parametrize(
    "token", ["x", "====", "é", base64.urlsafe_b64encode(b"{}").decode(), base64.urlsafe_b64encode(b"[1,2,3]").decode()]
)
def test_a_token_that_this_list_did_not_give_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        page(["a"], 1, token, "list")
    assert (refused.value.reason, refused.value.field) == ("INVALID_PAGE_TOKEN", "page_token")


def test_a_token_for_other_arguments_is_refused() -> None:
    token = page(["a", "b"], 1, "", "one list")[1]
    with pytest.raises(InvalidArgument):
        page(["a", "b"], 1, token, "another list")


def test_a_token_with_something_else_than_a_name_is_refused() -> None:
    digest = json.loads(base64.urlsafe_b64decode(page(["a", "b"], 1, "", "list")[1]))[0]
    with pytest.raises(InvalidArgument):
        page(["a"], 1, base64.urlsafe_b64encode(json.dumps([digest, 5]).encode()).decode(), "list")


def test_a_page_that_would_not_fit_into_a_message_is_shorter_and_the_next_goes_on() -> None:
    large = [(name, Message(name, pages.MAX_BYTES // 2)) for name in "abcde"]
    first, token = pages.page(large, lambda m: m, 100, "", "list")
    second, token = pages.page(large, lambda m: m, 100, token, "list")
    third, token = pages.page(large, lambda m: m, 100, token, "list")
    assert ["".join(m.name for m in found) for found in (first, second, third)] == ["ab", "cd", "e"]
    assert token == ""
