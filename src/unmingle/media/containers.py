"""What audio containers declare of their length, read from their bytes: FFmpeg reads a file that was cut
short without a word.
"""

import io
import os
import re
from pathlib import Path
from typing import BinaryIO, cast


def reason_of(error: Exception) -> str:
    """What an error of FFmpeg or of the system is about, without its numbers."""
    return str(getattr(error, "strerror", None) or error)


class Untagged(io.RawIOBase):
    """What follows the first `start` bytes of a file that can seek, as a file; closing it closes nothing."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start, self.name = file, start, str(getattr(file, "name", ""))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, n: int = -1) -> bytes:
        return self._file.read(n)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset + (self._start if whence == os.SEEK_SET else 0), whence) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start


def without_tag(file: BinaryIO) -> BinaryIO:
    """The file without an ID3 tag before a RIFF header, which FFmpeg does not pass over."""
    file.seek(0)
    head = file.read(10)
    if len(head) < 10 or not head.startswith(b"ID3"):
        return file
    length = 10 + sum((byte & 127) << (7 * place) for place, byte in enumerate(reversed(head[6:])))
    file.seek(length)
    return cast(BinaryIO, Untagged(file, length)) if file.read(4) in (b"RIFF", b"RF64", b"FORM") else file


def is_cut_short(file: BinaryIO) -> bool:
    """Whether a WAV, MP4, MOV, MKV or WebM file declares more bytes than it has. A length left open while
    streaming declares nothing.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic = file.read(12)
    if magic[:4] in (b"RIFF", b"RF64") and magic[8:] == b"WAVE":
        return _wav_end(file, size) > size
    if magic[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska_end(file, size) > size
    return (
        magic[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip") and _mp4_end(file, size) > size
    )


def _wav_end(file: BinaryIO, size: int) -> int:
    """Where a WAV file's samples should end [bytes]; 0 = not declared."""
    position, long_length = 12, 0
    while True:
        file.seek(min(position, size))
        header = file.read(24)
        if len(header) < 8:
            return 0
        length = int.from_bytes(header[4:8], "little")
        if header[:4] == b"ds64":
            long_length = int.from_bytes(header[16:24], "little")
        if header[:4] == b"data" and length == 0xFFFFFFFF:
            return position + 8 + long_length
        if header[:4] == b"data":
            # More is what programs write into a pipe.
            return position + 8 + length if length < 0x7FFFF000 else 0
        position += 8 + length + length % 2


def _matroska_end(file: BinaryIO, size: int) -> int:
    """Where a Matroska or WebM file's segment should end [bytes]; 0 = not declared."""
    position = length = 0
    for _element in ("EBML header", "segment"):
        position += length + 4  # each begins with an identifier of 4 bytes and a length of 1 to 8
        file.seek(min(position, size))
        head = file.read(8)
        width = 9 - head[0].bit_length() if head else 9
        if width > len(head):
            return 0
        length = int.from_bytes(head[:width], "big") - (1 << 7 * width)
        position += width
    return 0 if length == (1 << 7 * width) - 1 else position + length  # all ones: open


def _mp4_end(file: BinaryIO, size: int) -> int:
    """Where the last of an MP4 or MOV file's boxes with samples or their index should end [bytes]."""
    position = end = 0
    while position < size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        length = int.from_bytes(header[8:], "big") if length == 1 else length
        if length < 8:  # 0: the rest of the file
            break
        position += length
        end = position if header[4:8] in (b"mdat", b"moov", b"moof") else end
    return end


def lacks_last_page(file: BinaryIO) -> bool:
    """Whether an Ogg file's last page is missing or incomplete."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    file.seek(max(0, file.seek(0, os.SEEK_END) - 2**17))  # a page has at most 65307 bytes
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    is_complete = len(page) > 26 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return not (is_complete and page[5] & 4)


def count_mp3_frames(file: BinaryIO) -> int:
    """How many frames an MP3's Xing or Info tag declares; 0 = not declared."""
    file.seek(_mp3_start(file))
    tag = re.search(rb"(?:Xing|Info)\0\0\0.(....)", file.read(4096), re.DOTALL)
    return int.from_bytes(tag[1], "big") if tag and tag[0][7] & 1 else 0


def _mp3_start(file: BinaryIO) -> int:
    """Where the first frame begins, behind an ID3 tag [bytes]."""
    file.seek(0)
    head = file.read(10)
    return (
        10 + sum((byte & 127) << 7 * (9 - i) for i, byte in enumerate(head) if i > 5)
        if head[:3] == b"ID3"
        else 0
    )


def mp3_frame_size(sample_rate: int) -> int:
    return 1152 if sample_rate >= 32_000 else 576


def declare_mp3_length(path: Path, n_samples: int, sample_rate: int) -> None:
    """Correct the padding in a fresh MP3's LAME tag: FFmpeg declares too little where the padding spans two
    frames.
    """
    with path.open("r+b") as file:
        n_coded = count_mp3_frames(file) * mp3_frame_size(sample_rate)
        start = _mp3_start(file)
        file.seek(start)
        head = bytearray(file.read(1024))
        tag = max(head.find(b"Xing"), head.find(b"Info"))
        delay = int.from_bytes(head[tag + 141 : tag + 144], "big") >> 12
        head[tag + 141 : tag + 144] = (delay << 12 | min(n_coded - delay - n_samples, 4095)).to_bytes(
            3, "big"
        )
        checksum = 0  # CRC-16 of all that precedes it in the tag
        for byte in head[: tag + 154]:
            checksum ^= byte
            for _ in range(8):
                checksum = checksum >> 1 ^ (0xA001 if checksum & 1 else 0)
        head[tag + 154 : tag + 156] = checksum.to_bytes(2, "big")
        file.seek(start)
        file.write(head)
