"""The weights that a training of `enhancer-pair` begins with: those of an `erb-unet`, and GTCRN's.

    python benchmarks/pair_enhancers.py --unet UNET.safetensors --gtcrn GTCRN.tar --out pair.safetensors
    unmingle train recipes/noisy/enhancer-pair.yaml --init pair.safetensors

GTCRN's are its authors' own: checkpoints/model_trained_on_dns3.tar of github.com/Xiaobin-Rong/gtcrn. Weights
from a training of `model={name: gtcrn}` may be given too.
"""

import argparse
import sys
from pathlib import Path

from unmingle.errors import UnmingleError
from unmingle.models import build
from unmingle.published import gtcrn
from unmingle.weights_file import load_model, save_weights

FRESH = {"steps": 0, "hours_of_audio": 0.0, "minutes": 0.0, "clock": "cpu", "threads": 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--unet", type=Path, required=True, help="weights of an erb-unet with one voice")
    parser.add_argument("--gtcrn", type=Path, required=True, help="GTCRN's checkpoint, or weights of ours")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    unet = load_model(options.unet)
    if options.gtcrn.suffix == ".safetensors":
        grouped = load_model(options.gtcrn)
    else:
        grouped = gtcrn.read(options.gtcrn).model
    if (unet.name, grouped.name) != ("erb-unet", "gtcrn"):
        sys.exit(f"{unet.name} and {grouped.name} are given; give weights of erb-unet and of gtcrn")
    shared = ("sample_rate", "n_fft", "hop")
    pair = build(
        "enhancer-pair",
        unet={key: value for key, value in unet.config.items() if key not in shared},
        grouped={key: value for key, value in grouped.config.items() if key not in shared},
        **{key: unet.config[key] for key in shared},
    )
    pair.unet.load_state_dict(unet.state_dict())
    pair.grouped.load_state_dict(grouped.state_dict())
    save_weights(options.out, pair, pair.state_dict(), recipe={}, training=FRESH)
    print(options.out)


if __name__ == "__main__":
    try:
        main()
    except UnmingleError as error:
        sys.exit(str(error))
