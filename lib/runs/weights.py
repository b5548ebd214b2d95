"""The sizes of the networks that are trained, and their weights: new files, then the manifest that names them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from lib import networks
from lib.networks import WEIGHTS, Reconstruction, Sizes
from lib.runs.tables import alone, write_bytes

PART_BYTES = 16_000_000  # weights of more bytes are split over several files

PRESETS = {
    # Genzel, Macdonald and März (2022), the paper's [12]
    "paper": Sizes((5, 7, 9, 12, 15), 20, (15, 12, 9, 7, 5), 16, first=16, fold=1, inversion_noise=1 / 16),
    # chosen for training on two CPU cores; see the chapter on networks
    "compact": Sizes((3, 4, 5), 6, (5, 4, 3), 16, first=32, fold=2, inversion_noise=1 / 256),
}
PRESETS["trial"] = Sizes((1, 2), 2, (2, 1), 4, first=6, fold=2, inversion_noise=1 / 64)  # to try a program out
PRESETS["noisy"] = PRESETS["compact"]  # trained with the noise of [12]; see lib.runs.training


def checksum(method: str, preset: str) -> str:
    """The checksum of a network's weights, ``"untrained"`` where there are none."""
    entry = networks.read_manifest().get(f"{method}-{preset}")
    return "+".join(file["sha256"][:10] for file in entry["files"]) if entry else "untrained"


def save_network(
    network: Reconstruction,
    key: str,
    record: Mapping[str, object],
    *,
    folder: Path = WEIGHTS,
    part_bytes: int = PART_BYTES,
) -> None:
    """Publish weights in files of at most ``part_bytes``, and their entry in the manifest.

    They are in half precision, but for the statistics of batch norm. The files get names of their own, so that the
    published weights are there and whole until the manifest, in one step, names the new ones. Then the old ones go.

    Parameters
    ----------
    network : the trained network.
    key : its name and preset, such as ``"tira-compact"``.
    record : what else the manifest says about it.
    folder : where to.
    part_bytes : bytes of a file, at most; a single tensor must fit.

    Raises
    ------
    ValueError : a weight is not finite in half precision, or too large for one file.
    """
    parts: list[dict[str, Tensor]] = [{}]
    room = part_bytes
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue  # the counters of batch norm, which nothing uses
        stored = value.detach().cpu().contiguous()
        stored = stored if ".running_" in name else stored.half()  # variances can be beyond half precision
        if not bool(stored.isfinite().all()):
            raise ValueError(f"save_network: {name} is not finite in half precision")
        size = stored.nbytes + len(name) + 100  # with its entry in the header, which is smaller
        if size > room and parts[-1]:
            parts.append({})
            room = part_bytes
        parts[-1][name] = stored
        room -= size
    files = []
    with alone(folder / "manifest.json"):
        for part in parts:
            content = save(part)
            if len(content) > part_bytes:
                raise ValueError(f"save_network: {list(part)} takes {len(content)} bytes, more than {part_bytes}")
            digest = hashlib.sha256(content).hexdigest()
            name = f"{key}-{digest[:10]}.safetensors"
            files.append({"name": name, "bytes": len(content), "sha256": digest})
            write_bytes(folder / name, content)
        before = networks.read_manifest(folder)
        manifest = before | {key: {**record, "sizes": asdict(network.net.sizes), "files": files}}
        write_bytes(folder / "manifest.json", (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
        named = {file["name"] for entry in manifest.values() for file in entry["files"]}
        gone = {file["name"] for file in before.get(key, {}).get("files", [])}
        gone |= {path.name for path in folder.glob(f"{key}-*.safetensors")}  # of a run that was killed
        for name in gone - named:
            (folder / name).unlink(missing_ok=True)
