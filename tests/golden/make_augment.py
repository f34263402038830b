"""Makes augment.png and augment.json: what torchvision makes of a picture that both sides compute.

Each case is a list of changes, applied in turn to the picture as bytes: brightness, contrast, saturation
and hue by a factor (a turn, for the hue), blur by a standard deviation with a kernel of 13.

    python make_augment.py      in this folder, with torchvision 0.14.1 and torch 1.13.1
"""

import json

import numpy
import torch
from PIL import Image
from torchvision.transforms import functional

HEIGHT, WIDTH = 24, 32
CASES = (
    [[["brightness", factor]] for factor in (0.6, 0.83, 1.4)]
    + [[["contrast", factor]] for factor in (0.6, 1.17, 1.4)]
    + [[["saturation", factor]] for factor in (0.6, 1.17, 1.4)]
    + [[["hue", turn]] for turn in (-0.1, 0.03, 0.1, 0.5)]
    + [[["blur", deviation]] for deviation in (0.1, 0.5, 1.3, 2.0)]
    + [
        [["brightness", 1.2], ["contrast", 0.7], ["saturation", 1.3], ["hue", 0.06]],
        [["hue", -0.08], ["saturation", 0.65], ["contrast", 1.35], ["brightness", 0.75], ["blur", 0.9]],
    ]
)


def hue(picture: torch.Tensor, turn: float) -> torch.Tensor:
    """By way of floats and back with torchvision's own conversions, as adjust_hue of later versions makes
    them itself; that of 0.14 multiplies by 255 and cuts, which loses a level of bytes left alone."""
    turned = functional.adjust_hue(functional.convert_image_dtype(picture, torch.float32), turn)
    return functional.convert_image_dtype(turned, torch.uint8)


CHANGES = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": hue,
    "blur": lambda picture, deviation: functional.gaussian_blur(picture, 13, deviation),
}


def value(at: int) -> int:
    """The byte at a place of the picture."""
    return (at * 131 % 251 + at // 7 % 5) & 255


values = [value(at) for at in range(3 * HEIGHT * WIDTH)]
picture = torch.tensor(values, dtype=torch.uint8).reshape(HEIGHT, WIDTH, 3).permute(2, 0, 1)
pictures = []
for case in CASES:
    changed = picture
    for name, amount in case:
        changed = CHANGES[name](changed, amount)
    pictures.append(changed.permute(1, 2, 0).numpy())
Image.fromarray(numpy.concatenate(pictures)).save("augment.png", optimize=True)
with open("augment.json", "w") as file:
    json.dump({"picture": [HEIGHT, WIDTH], "cases": CASES}, file)
    file.write("\n")
