"""Makes crops.png and crops.json: what Pillow makes of crops of a picture that both sides compute.

Before version 13 Pillow always resized rows first; where the height shrinks most, the pixels were then
others by a level.

    python make_crops.py        in this folder, with pillow 13.0.0
"""

import json

from PIL import Image

HEIGHT, WIDTH, SIZE = 90, 120, 24
# top, left, height, width: enlarged, reduced, one axis each way, as they are, slivers, the whole
BOXES = [
    (0, 0, 7, 9),
    (10, 20, 60, 50),
    (3, 5, 20, 90),
    (5, 90, 80, 20),
    (8, 8, 24, 24),
    (30, 40, 24, 61),
    (0, 11, 77, 24),
    (89, 0, 1, 120),
    (0, 119, 90, 1),
    (45, 60, 1, 1),
    (60, 97, 25, 23),
    (0, 60, 73, 48),
    (0, 60, 72, 48),
    (0, 0, 90, 120),
]


def value(at: int) -> int:
    """The byte at a place of the picture."""
    return (at * 131 % 251 + at // 7 % 5) & 255


picture = Image.frombytes("RGB", (WIDTH, HEIGHT), bytes(value(at) for at in range(3 * HEIGHT * WIDTH)))
strip = Image.new("RGB", (SIZE, SIZE * len(BOXES)))
for number, (top, left, height, width) in enumerate(BOXES):
    crop = picture.crop((left, top, left + width, top + height))
    strip.paste(crop.resize((SIZE, SIZE), Image.Resampling.BILINEAR), (0, SIZE * number))
strip.save("crops.png", optimize=True)
with open("crops.json", "w") as file:
    json.dump({"picture": [HEIGHT, WIDTH], "size": SIZE, "boxes": BOXES}, file)
    file.write("\n")
