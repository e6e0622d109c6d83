"""Damage for `fuzz.py`: what happens to files on disks, in transfers, and in the hands of the malicious."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

HEADER = 512  # bytes in which most containers say what they hold
SIZES = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
SUFFIXES = (".wav", ".mp3", ".mp4", ".mkv", ".flac", ".ogg", ".txt", ".m3u8", ".jpg", "", ".raw", ".ts")
MAGIC = (
    b"RIFF",
    b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
    b"fLaC",
    b"OggS",
    b"\x1a\x45\xdf\xa3",
    b"#EXTM3U\n",
    b"\0\0\0\x18ftyp",
)

Rng = np.random.Generator


class Mutated(NamedTuple):
    """A damaged file.

    Attributes:
        seed: name of the valid file.
        how: names of what was done to it.
        suffix: of its name.
        content: of it.
    """

    seed: str
    how: tuple[str, ...]
    suffix: str
    content: bytes


def place(rng: Rng, data: bytearray) -> int:
    """An index into the data; every second time one in the header."""
    return int(rng.integers(max(1, min(len(data), HEADER) if rng.random() < 0.5 else len(data))))


def length(rng: Rng, data: bytearray) -> int:
    """Of a piece of the data: any order of magnitude is as likely."""
    return int(np.exp(rng.uniform(0, np.log(max(2, len(data))))))


def flip_bits(rng: Rng, data: bytearray, _: bytes) -> None:
    for _ in range(length(rng, bytearray(200))):
        data[place(rng, data)] ^= 1 << int(rng.integers(8))


def cut(rng: Rng, data: bytearray, _: bytes) -> None:
    del data[place(rng, data) :]


def splice(rng: Rng, data: bytearray, other: bytes) -> None:
    at = int(rng.integers(len(data)))
    data[at:] = other[min(at, int(rng.integers(len(other)))) :]


def insert_other(rng: Rng, data: bytearray, other: bytes) -> None:
    at, start = place(rng, data), int(rng.integers(len(other)))
    data[at:at] = other[start : start + length(rng, bytearray(other))]


def declare(rng: Rng, data: bytearray, _: bytes) -> None:
    """Put a size, an extreme one, where one may stand."""
    width = int(rng.choice([2, 4, 8]))
    value = int(SIZES[rng.integers(len(SIZES))]) % (1 << 8 * width)
    at = place(rng, data) & ~(1 if rng.random() < 0.8 else 0)
    data[at : at + width] = value.to_bytes(width, "little" if rng.random() < 0.5 else "big")


def declare_a_little_else(rng: Rng, data: bytearray, _: bytes) -> None:
    """Change a number by a little, or by a power of two."""
    width = int(rng.choice([1, 2, 4]))
    at, order = place(rng, data), "little" if rng.random() < 0.5 else "big"
    value = int.from_bytes(data[at : at + width], order)  # type: ignore[arg-type]
    value += int(rng.integers(-3, 4)) if rng.random() < 0.5 else 1 << int(rng.integers(8 * width))
    data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]


def repeat(rng: Rng, data: bytearray, _: bytes) -> None:
    at = place(rng, data)
    data[at:at] = bytes(data[at : at + length(rng, data)]) * int(rng.integers(1, 4))


def remove(rng: Rng, data: bytearray, _: bytes) -> None:
    at = place(rng, data)
    del data[at : at + length(rng, data)]


def swap(rng: Rng, data: bytearray, _: bytes) -> None:
    n = length(rng, data) // 2
    a, b = sorted(int(rng.integers(max(1, len(data) - n))) for _ in range(2))
    n = min(n, b - a)
    data[a : a + n], data[b : b + n] = data[b : b + n], data[a : a + n]


def zero(rng: Rng, data: bytearray, _: bytes) -> None:
    at = place(rng, data)
    n = min(length(rng, data), len(data) - at)
    data[at : at + n] = bytes([0 if rng.random() < 0.7 else 255]) * n


def garble(rng: Rng, data: bytearray, _: bytes) -> None:
    at = place(rng, data)
    n = min(length(rng, data), len(data) - at)
    data[at : at + n] = rng.bytes(n)


def append(rng: Rng, data: bytearray, _: bytes) -> None:
    data += rng.bytes(length(rng, data)) if rng.random() < 0.5 else bytes(length(rng, data))


def prepend(rng: Rng, data: bytearray, _: bytes) -> None:
    data[:0] = (
        MAGIC[rng.integers(len(MAGIC))] if rng.random() < 0.5 else rng.bytes(length(rng, bytearray(300)))
    )


MUTATIONS: dict[str, Callable[[Rng, bytearray, bytes], None]] = {
    "bits flipped": flip_bits,
    "cut": cut,
    "spliced": splice,
    "another's piece": insert_other,
    "an extreme size": declare,
    "another number": declare_a_little_else,
    "repeated": repeat,
    "removed": remove,
    "swapped": swap,
    "zeros": zero,
    "noise": garble,
    "tail": append,
    "head": prepend,
}


def mutate(seeds: dict[str, bytes], seed: int, index: int) -> Mutated:
    """The damaged file of this number: it depends on (`seed`, `index`) and the valid files alone.

    Args:
        seeds: contents of the valid files, by their names; each has its turn.
    """
    rng = np.random.default_rng([seed, index])
    names = sorted(seeds)
    name = names[index % len(names)]
    data, other, how = bytearray(seeds[name]), seeds[names[rng.integers(len(names))]], []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        kind = str(rng.choice(list(MUTATIONS)))
        if len(data) > 1:
            MUTATIONS[kind](rng, data, other)
            how.append(kind)
    suffix = f".{name.rsplit('.', 1)[1]}"
    if rng.random() < 0.1:
        suffix = str(rng.choice(SUFFIXES))
        how.append("another suffix")
    return Mutated(name, tuple(how), suffix, bytes(data))
