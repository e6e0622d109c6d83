"""Make the example of a conversation: three synthetic voices in turns, which overlap now and then.

    python examples/make_conversation.py

needs what make_two_voices.py needs, and flite's voice awb. It writes conversation.flac beside this file, and
who speaks when as conversation.rttm.
"""

from pathlib import Path

import numpy as np
import soundfile
from make_two_voices import SAMPLE_RATE, spoken

from unmingle.results.rttm import Segment, write_rttm

LEVEL = 0.08  # root mean square of each turn, of full scale

TURNS = (  # flite's voice, how long after the turn before ends it begins [s], what it says
    ("slt", 0.0, "Welcome back. We are talking about the harbour, and who should pay for the new wall."),
    ("rms", 0.3, "Well, I have counted the boats, and there are forty fewer than ten years ago."),
    ("awb", 0.4, "Nobody asked the people who still go out every night. They would have told you why."),
    ("slt", -1.2, "But you were both at that meeting in the spring, and neither of you said a word."),
    ("rms", 0.3, "I did say something. I said that the money had been there, and was spent on the road."),
    ("awb", -1.5, "It was never spent on the road. The road was paid for by the county, all of it."),
    ("slt", 0.4, "Let us stay with the wall for a moment. How long will it take to build?"),
    ("awb", 0.3, "Two winters, if the weather is kind to us, and three if it is not."),
    ("rms", -0.8, "Three winters, I would say, and twice the money that they have promised."),
    ("slt", 0.4, "Thank you both. We will come back to this when the plans are on the table."),
)


def main() -> None:
    """Write the recording and who speaks when."""
    pieces, segments, end = [], [], 0
    for voice, after_s, text in TURNS:
        samples = spoken(voice, text)
        loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
        samples = samples[loud[0] : loud[-1] + 1]
        start = end + round(after_s * SAMPLE_RATE)
        end = start + len(samples)
        pieces.append((start, samples * LEVEL / np.sqrt(np.mean(samples**2))))
        segments.append(Segment(voice, start / SAMPLE_RATE, end / SAMPLE_RATE))
    mixture = np.zeros(end)
    for start, samples in pieces:
        mixture[start : start + len(samples)] += samples
    folder = Path(__file__).parent
    soundfile.write(folder / "conversation.flac", np.rint(mixture * 2**15).astype(np.int16), SAMPLE_RATE)
    write_rttm(folder / "conversation.rttm", segments, "conversation")


if __name__ == "__main__":
    main()
