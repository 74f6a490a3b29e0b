"""The parts of the word count that need no backend."""

import asyncio
from collections import Counter
from importlib import util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent


def load(path):
    """Import an example by its path, as the command line does."""
    spec = util.spec_from_file_location(path.stem, path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wordcount():
    """The example's module."""
    return load(EXAMPLES / "wordcount" / "wordcount.py")


def test_chunks_cut_between_words_only_and_lose_nothing(wordcount):
    """Joined again, the chunks are the text, and no word is in two of them."""
    text = "the quick brown fox jumps over the lazy dog " * 50
    pieces = wordcount.chunks(text, size=100)
    assert "".join(pieces) == text
    assert len(pieces) > 10
    assert [word for piece in pieces for word in piece.split()] == text.split()


def test_counts_of_many_chunks_are_those_of_the_whole(wordcount):
    """Map and reduce in a tree give what counting in one go gives."""
    words = [f"word{chr(97 + number % 26)}" for number in range(60_000)]
    result = asyncio.run(wordcount.main({"a": " ".join(words[:40_000]), "b": " ".join(words[40_000:])}, 3))
    expected = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    assert result.words == 60_000
    assert result.distinct == 26
    assert list(result.most_common.items()) == expected[:3]


def test_no_texts_have_no_words(wordcount):
    """Nothing in, nothing out."""
    assert asyncio.run(wordcount.main({}, 3)).words == 0


def test_upper_case_apostrophes_and_numbers(wordcount):
    """Case does not count, an apostrophe is part of a word, a number is none."""
    assert asyncio.run(wordcount.count("Don't don't DON’T 42")) == {"don't": 2, "don’t": 1}
