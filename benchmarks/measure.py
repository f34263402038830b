"""What the comparisons share: running a program under measurement, and saying on what machine.

Wall time, processor time and peak memory are those the kernel counted for the child (wait4), so
both sides of a comparison are measured by the same instrument, from outside.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter


@dataclass
class Run:
    """seconds: wall time; processor: user + system seconds, waited-for children included;
    peak: bytes resident in the largest single process; text: standard output."""

    seconds: float
    processor: float
    peak: int
    text: str


def run(*command) -> Run:
    """Runs a command to its end; ends this program with the command's messages where it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as messages:
        begin = perf_counter()
        child = subprocess.Popen([str(word) for word in command], stdout=out, stderr=messages)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
        if child.returncode != 0:
            messages.seek(0)
            words = " ".join(map(str, command))
            said = text[-2000:] + messages.read()[-4000:]
            sys.exit(f"{words}\nended with {child.returncode}:\n{said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, text)


def propagate(given: str | None) -> Path:
    """The program under measurement: the path given, else the release build of this checkout."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).parent.parent / "target"))
    path = Path(given) if given else target / "release" / "propagate"
    if not path.is_file():
        sys.exit(f"{path} is not there: `cargo build --release`, or name the program by --propagate")
    return path.resolve()


def machine() -> str:
    """One line: processor, cores, and how busy the machine has been in the last minute."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = named[0].split(":")[1].strip() if named else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, load average {os.getloadavg()[0]:.1f}"


def linked(root: Path, clips: list[str], out: Path, frames: bool) -> None:
    """Lays `clips` of the DAVIS root out anew as links, in folders that other programs may write to.

    Without `frames`, empty files stand for them: enough for a program that only counts them.
    """
    (out / "ImageSets/2017").mkdir(parents=True)
    (out / "ImageSets/2017/val.txt").write_text("".join(f"{clip}\n" for clip in clips))
    for clip in clips:
        annotations, pictures = out / "Annotations/480p" / clip, out / "JPEGImages/480p" / clip
        annotations.mkdir(parents=True)
        pictures.mkdir(parents=True)
        for mask in sorted((root / "Annotations/480p" / clip).glob("*.png")):
            (annotations / mask.name).symlink_to(mask.resolve())
            if not frames:
                (pictures / f"{mask.stem}.jpg").touch()
        if frames:
            for picture in sorted((root / "JPEGImages/480p" / clip).glob("*.jpg")):
                (pictures / picture.name).symlink_to(picture.resolve())


def render(program: Path, out: Path, frames: int, size: str) -> Path:
    """Renders one clip; returns the DAVIS root it lies in."""
    run(program, "sample", "--out", out, "--benchmark", "davis", "--clips", 1, "--frames", frames, "--size", size)
    return out / "davis"


def clips_of(root: Path) -> list[str]:
    """The clips that the validation list of a DAVIS root names."""
    return (root / "ImageSets/2017/val.txt").read_text().split()


def scratch():
    """A temporary folder; TMPDIR moves it."""
    return tempfile.TemporaryDirectory(prefix="davis-")


def emptied(folder: Path) -> Path:
    """The folder, new and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
