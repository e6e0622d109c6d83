"""The separators: one file each, one line each in `MODELS`."""

import inspect
from typing import Any

from torch import nn

from unmingle.models.array import Array
from unmingle.models.band_split import BandSplit
from unmingle.models.conv_tasnet import ConvTasNet
from unmingle.models.deep_clustering import DeepClustering
from unmingle.models.deepfilternet import DeepFilterNet
from unmingle.models.dprnn import DPRNN
from unmingle.models.dtln import DTLN
from unmingle.models.enhancer_pair import EnhancerPair
from unmingle.models.erb_unet import ErbUNet
from unmingle.models.fasnet import FaSNet
from unmingle.models.fasnet_tac import FaSNetTAC
from unmingle.models.gtcrn import GTCRN
from unmingle.models.lips import Lips
from unmingle.models.looking_to_listen import LookingToListenAudio
from unmingle.models.looking_to_listen_av import LookingToListen
from unmingle.models.mossformer2 import MossFormer2
from unmingle.models.one_and_rest import OneAndRest
from unmingle.models.resepformer import RESepFormer
from unmingle.models.sepformer import SepFormer
from unmingle.models.sepreformer import SepReformer
from unmingle.models.sudormrf import SuDoRMRF
from unmingle.models.tasnet import TasNet
from unmingle.models.the_conversation import TheConversation
from unmingle.models.tiger import TIGER
from unmingle.models.unet_a import UNetA
from unmingle.models.unet_b import UNetB
from unmingle.models.upit import UPIT

MODELS: dict[str, type[nn.Module]] = {
    "array": Array,
    "band-split": BandSplit,
    "conv-tasnet": ConvTasNet,
    "deep-clustering": DeepClustering,
    "deepfilternet": DeepFilterNet,
    "dprnn": DPRNN,
    "dtln": DTLN,
    "enhancer-pair": EnhancerPair,
    "erb-unet": ErbUNet,
    "fasnet": FaSNet,
    "fasnet-tac": FaSNetTAC,
    "gtcrn": GTCRN,
    "lips": Lips,
    "looking-to-listen": LookingToListen,
    "looking-to-listen-audio": LookingToListenAudio,
    "mossformer2": MossFormer2,
    "one-and-rest": OneAndRest,
    "resepformer": RESepFormer,
    "sepformer": SepFormer,
    "sepreformer": SepReformer,
    "sudormrf": SuDoRMRF,
    "tasnet": TasNet,
    "the-conversation": TheConversation,
    "tiger": TIGER,
    "unet-a": UNetA,
    "unet-b": UNetB,
    "upit": UPIT,
}


def build(name: str, **arguments: Any) -> Any:
    """Make an untrained separator: a module with `name`, `facts`, and `config`, which holds every constructor
    argument, defaults included.

    Raises:
        ValueError: no such model, or it has no such argument; the message lists what exists.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are {', '.join(MODELS)}")
    known = inspect.signature(MODELS[name]).parameters
    unknown = set(arguments) - set(known)
    if unknown:
        raise ValueError(f"{name} has no argument {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    model: Any = MODELS[name](**arguments)
    model.name = name
    model.config = {key: arguments.get(key, parameter.default) for key, parameter in known.items()}
    return model
