"""Videos of two and three people side by side, all talking, from end to end through `--faces`.

    python benchmarks/face_videos.py data/faces/faces.csv [--model lips] [--first 3]

The people are the two of validation, and the third one of training; each is a clip of the VoxCeleb2 excerpts,
all at one level. A face file is whose face it is by its place in the picture, and whose voice by the person's
clip that it is most like. How far it lies behind is where the cross-correlation with that clip is highest.
GRID's clips show one person to the waist: each is to be found once, all the time.
"""

import argparse
import json
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import report
import soundfile
from scipy.signal import correlate, correlation_lags

import unmingle
from unmingle.console import track
from unmingle.data.corpora import read_mono, read_recordings
from unmingle.data.mixer import at_level
from unmingle.media.video import RATE, VideoReader
from unmingle.metrics.ratios import si_sdr
from unmingle.video import find_faces

AUDIO_RATE, SIDE, LEVEL_DB, N_EACH = 16_000, 224, -27.0, 8


def compose(clips: list[Path], path: Path) -> np.ndarray:
    """Write the clips side by side, as long as the shortest, and return their voices `(S, T)`."""
    voices = [read_mono(clip, AUDIO_RATE) for clip in clips]
    length = min(map(len, voices)) // AUDIO_RATE * AUDIO_RATE
    voices = [at_level(voice[:length], LEVEL_DB) for voice in voices]
    readers = [VideoReader(clip) for clip in clips]
    with av.open(str(path), "w") as file:
        picture: Any = file.add_stream("libx264", rate=RATE)
        picture.width, picture.height, picture.pix_fmt = SIDE * len(clips), SIDE, "yuv420p"
        sound: Any = file.add_stream("aac", rate=AUDIO_RATE, bit_rate=128_000)
        sound.codec_context.layout = "mono"
        streams = [reader.pictures() for reader in readers]
        for _ in range(length * RATE // AUDIO_RATE):
            shown = [next(stream) for stream in streams]
            frames = [av.VideoFrame.from_ndarray(each, format="rgb24") for each in shown if each is not None]
            row = [frame.reformat(SIDE, SIDE, "rgb24").to_ndarray() for frame in frames]
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.concatenate(row, 1), format="rgb24")))
        file.mux(picture.encode(None))
        mixture = np.sum(voices, axis=0)[None].astype(np.float32)
        for start in range(0, length, 1024):
            block = av.AudioFrame.from_ndarray(mixture[:, start : start + 1024].copy(), "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
            file.mux(sound.encode(block))
        file.mux(sound.encode(None))
    for reader in readers:
        reader.close()
    return np.stack(voices)


def row_of(clips: list[Path], folder: Path, model: str) -> dict[str, Any]:
    """What came of one video."""
    voices = compose(clips, folder / "talk.mp4")
    result = unmingle.separate_file(folder / "talk.mp4", folder, model=model, faces=True, overwrite=True)
    faces = json.loads((folder / "talk/faces.json").read_text())["faces"]
    right, lags, gains = [], [], []
    mixture = voices.sum(0)
    for face in faces:
        boxes = np.array(list(face["boxes"].values()))
        place = int(np.median(boxes[:, [0, 2]].mean(1)) // SIDE)
        estimate = soundfile.read(folder / "talk" / face["sound"], dtype="float32")[0]
        estimate = np.pad(estimate, (0, max(0, voices.shape[1] - len(estimate))))[: voices.shape[1]]
        scores = [si_sdr(estimate, voice) for voice in voices]
        right.append(int(np.argmax(scores)) == place)
        gains.append(scores[place] - si_sdr(mixture, voices[place]))
        found = np.abs(correlate(estimate, voices[int(np.argmax(scores))]))
        lags.append(correlation_lags(len(estimate), len(estimate))[found.argmax()] / AUDIO_RATE * 1000)
    return {
        "people": len(clips),
        "faces": len(faces),
        "right": sum(right),
        "lag": max(map(abs, lags), default=np.nan),
        "si_sdri": float(np.mean(gains)),
        "longer": (result.duration_s - voices.shape[1] / AUDIO_RATE) * 1000,
        "factor": result.real_time_factor,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faces", type=Path, help="CSV of videos")
    parser.add_argument("--model", default="lips", help="name or weights file")
    parser.add_argument(
        "--first", type=int, default=N_EACH, help="so many videos of two, and of three people"
    )
    options = parser.parse_args()
    machine = report.machine()
    clips: dict[str, list[Path]] = {}
    for recording in read_recordings(options.faces, picture=True):
        clips.setdefault(recording.speaker, []).append(recording.path)
    people = ["vc13", "vc14", "vc06"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(n, index) for n in (2, 3) for index in range(options.first)]
        for n, index in track(jobs, "videos", len(jobs)):
            own = [clips[name][index] for name in people[:n]]
            rows.append(row_of(own, Path(folder), options.model))
        grid = [path for name, paths in clips.items() if name.startswith("grid-") for path in paths]
        seen = [find_faces(path) for path in track(grid, "GRID", len(grid))]
    table = []
    for n in (2, 3):
        some = [row for row in rows if row["people"] == n]
        table.append(
            {
                "people": n,
                "videos": len(some),
                "faces found": f"{sum(row['faces'] for row in some)} of {n * len(some)}",
                "right person": f"{sum(row['right'] for row in some)} of {sum(row['faces'] for row in some)}",
                "SI-SDRi [dB]": round(float(np.mean([row["si_sdri"] for row in some])), 2),
                "largest lag [ms]": round(max(row["lag"] for row in some), 2),
                "longer than the sound [ms]": round(max(abs(row["longer"]) for row in some), 1),
                "real-time factor": round(float(np.mean([row["factor"] for row in some])), 2),
            }
        )
    once = sum(len(tracks) == 1 and tracks[0].seen > 0.9 for tracks in seen)
    parts = [
        machine,
        f"{options.model}:",
        report.table(table),
        f"GRID: {once} of {len(grid)} found once, all the time.",
    ]
    report.publish("face-videos", parts, keep=options.first == N_EACH and options.model == "lips")


if __name__ == "__main__":
    main()
