import pytest

from services.common.errors import InvalidArgument
from services.common.names import check_domain, check_name, random_run_name


@pytest.mark.parametrize("name", ["a", "0", "a-b", "x" * 63, "abc123xyz"])
def test_good_names_pass(name):
    """A name of lower-case letters, digits and inner hyphens is returned as it is."""
    assert check_name("run name", name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a/b", "x" * 64, "ä", "a\n", "../etc"])
def test_bad_names_are_refused(name):
    """Any other name is refused; the message names the field and what is allowed, and stays short."""
    with pytest.raises(InvalidArgument, match="run name") as caught:
        check_name("run name", name)
    assert caught.value.metadata == {"field": "run name"}
    with pytest.raises(InvalidArgument) as caught:
        check_name("run name", "X" * 100_000)
    assert len(caught.value.message) < 300


def test_domains_are_three():
    """The three domains pass; another one is refused with the list."""
    assert [check_domain(each) for each in ("development", "staging", "production")]
    with pytest.raises(
        InvalidArgument, match="'dev' does not exist: use one of development, staging, production"
    ):
        check_domain("dev")


def test_random_names_are_valid_and_differ():
    """Random run names are valid, start with a letter, and do not repeat."""
    names = [random_run_name() for _ in range(1000)]
    assert all(check_name("run name", name)[0].isalpha() and len(name) == 20 for name in names)
    assert len(set(names)) == 1000
