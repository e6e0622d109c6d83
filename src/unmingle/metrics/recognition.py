"""What a recogniser of speech makes of a signal: word error rate where words are known, else how much it
hears and how sure it is of that.
"""

from collections.abc import Sequence

import numpy as np

from unmingle.errors import Undefined
from unmingle.metrics.recognisers import Heard, plain_words, recogniser


def word_errors(heard: Sequence[str], said: Sequence[str]) -> int:
    """Words that are substituted, deleted and inserted, the fewest that turn what was said into what was
    heard; computed by rapidfuzz.

    >>> word_errors("a cat sat on the mat".split(), "the cat sat on a mat today".split())
    3
    """
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(said, heard)


def error_rate(heard: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> float:
    """Word error rate [%] of the voices of a mixture: all errors over all words that were said; above 100
    where more is heard than was said.

    Raises:
        Undefined: of a voice no words are known.
    """
    for index, words in enumerate(said):
        if not words:
            raise Undefined(f"voice {index + 1} has a reference without words")
    errors = sum(word_errors(*pair) for pair in zip(heard, said, strict=True))
    return 100 * errors / sum(map(len, said))


def recognition_scores(
    estimates: np.ndarray,
    references: np.ndarray,
    sample_rate: int,
    transcripts: Sequence[str],
    name: str,
) -> dict[str, float | Undefined]:
    """Scores by recognition, each a value or why there is none.

    Args:
        estimates, references: `(S, T)`; `(0, T)` where no references are known.
        sample_rate: [Hz].
        transcripts: of the references; none where they are not known.
        name: see `unmingle.metrics.recognisers.recogniser`.

    Returns:
        `wer` [%] of the estimates and `wer_clean` of the references against the transcripts, and their number
        of words; `wer_to_clean` against what is heard in the references, and its number of words; and of the
        estimates words per minute and mean confidence.
    """
    recognise = recogniser(name)
    found = [recognise(estimate, sample_rate) for estimate in estimates]
    clean = [recognise(reference, sample_rate) for reference in references]
    heard, of_clean = ([one.words for one in each] for each in (found, clean))
    said = [plain_words(text) for text in transcripts]
    minutes = estimates.size / sample_rate / 60
    values: dict[str, float | Undefined] = {
        **_against("wer", heard, said, "transcript_words", "transcripts"),
        **_against("wer_clean", of_clean, said, "transcript_words", "transcripts"),
        **_against("wer_to_clean", heard, of_clean, "clean_words", "references"),
        "words_per_minute": sum(map(len, heard)) / minutes,
        "confidence": _confidence(found),
    }
    return values


def _against(
    name: str, heard: list[tuple[str, ...]], said: list[tuple[str, ...]], count: str, needed: str
) -> dict[str, float | Undefined]:
    """The error rate and the number of words that were said."""
    if len(said) != len(heard) or not said:
        reason = Undefined(f"needs {needed}")
        return {name: reason, count: reason}
    try:
        return {name: error_rate(heard, said), count: float(sum(map(len, said)))}
    except Undefined as error:
        return {name: error, count: error}


def _confidence(found: list[Heard]) -> float | Undefined:
    """Mean over all words."""
    sure = [(one.confidence, len(one.words)) for one in found if one.confidence is not None]
    if not sure:
        nothing = not any(one.words for one in found)
        return Undefined("nothing is heard" if nothing else "the recogniser does not say")
    return float(np.average([each for each, _ in sure], weights=[n for _, n in sure]))
