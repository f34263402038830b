"""Lays predicted masks over frames: the picture at the top of the README.

    python3 results/overlay.py runs/sample/davis RUN results/sample.jpg

One row per clip, five frames from first to last. Needs Pillow.
"""

import sys
from pathlib import Path

from PIL import Image, ImageFilter

COLUMNS, WIDTH = 5, 300


def overlay(frame: Path, mask: Path) -> Image.Image:
    """The frame with each object tinted in its palette colour and outlined."""
    picture = Image.open(frame).convert("RGB")
    ids = Image.open(mask).resize(picture.size, Image.NEAREST)
    colours = ids.convert("RGB")
    inside = ids.convert("P").point(lambda i: 255 if i else 0, "L")
    edge = ids.convert("P").point(lambda i: i, "L").filter(ImageFilter.FIND_EDGES)
    edge = edge.point(lambda v: 255 if v else 0).filter(ImageFilter.MaxFilter(3))
    tinted = Image.composite(Image.blend(picture, colours, 0.45), picture, inside)
    tinted.paste(colours, mask=edge)
    return tinted


def main(data: str, run: str, out: str) -> None:
    clips = sorted(Path(run, "predictions").iterdir())
    rows = []
    for clip in clips:
        masks = sorted(clip.glob("*.png"))
        chosen = [masks[round(i * (len(masks) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]
        frames = Path(data, "JPEGImages/480p", clip.name)
        rows.append([overlay(next(frames.glob(m.stem + ".*")), m) for m in chosen])
    height = round(WIDTH * rows[0][0].height / rows[0][0].width)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, len(rows) * height))
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            sheet.paste(tile.resize((WIDTH, height), Image.LANCZOS), (x * WIDTH, y * height))
    sheet.save(out, quality=85)


if __name__ == "__main__":
    main(*sys.argv[1:4])
