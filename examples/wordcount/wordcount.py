"""Counts the words of text files: map over chunks, then reduce in a tree.

python examples/wordcount/wordcount.py README.md LICENSE
flyte run examples/wordcount/wordcount.py main --texts '{"hamlet": "to be or not to be"}'
"""

import argparse
import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import flyte

env = flyte.TaskEnvironment(name="wordcount", reusable=flyte.ReusePolicy(replicas=2, concurrency=4))
driver = flyte.TaskEnvironment(name="wordcount_driver", depends_on=[env])

CHUNK = 32 * 1024  # characters that one action counts
FAN_IN = 8  # counts that one action adds up
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass
class WordCount:
    """Words of all texts together."""

    texts: int
    words: int
    distinct: int
    most_common: dict[str, int]


@driver.task
async def main(texts: dict[str, str], top: int = 10) -> WordCount:
    """Count the words of texts by name, and return the `top` most frequent ones."""
    parts = [chunk for text in texts.values() for chunk in chunks(text)]
    counts = await asyncio.gather(*(count(part) for part in parts))
    while len(counts) > 1:
        groups = [counts[start : start + FAN_IN] for start in range(0, len(counts), FAN_IN)]
        counts = await asyncio.gather(*(add(group) for group in groups))
    total = Counter(counts[0]) if counts else Counter()
    return WordCount(
        texts=len(texts),
        words=total.total(),
        distinct=len(total),
        most_common=dict(sorted(total.items(), key=lambda item: (-item[1], item[0]))[:top]),
    )


@env.task
async def count(text: str) -> dict[str, int]:
    """Count the words of one chunk, upper and lower case alike."""
    return dict(Counter(word.lower() for word in WORD.findall(text)))


@env.task
async def add(counts: list[dict[str, int]]) -> dict[str, int]:
    """Add up the counts of several chunks."""
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return dict(total)


def chunks(text: str, size: int = CHUNK) -> list[str]:
    """Cut a text into pieces of about `size` characters, between words only."""
    pieces, start = [], 0
    while start < len(text):
        end = start + size
        while end < len(text) and not text[end].isspace():
            end += 1
        pieces.append(text[start:end])
        start = end
    return pieces


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count the words of text files.")
    parser.add_argument("files", nargs="+", type=Path, help="text files, UTF-8")
    parser.add_argument("--top", type=int, default=10, help="how many words to show")
    arguments = parser.parse_args()

    flyte.init_from_config()
    run = flyte.run(main, texts={str(file): file.read_text() for file in arguments.files}, top=arguments.top)
    print(run.url)
    result = run.result()
    print(f"{result.words} words, {result.distinct} of them distinct, in {result.texts} files")
    for word, occurrences in result.most_common.items():
        print(f"{occurrences:8} {word}")
