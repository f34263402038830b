//! Writes films with the program ffmpeg, which receives raw frames.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};
use cropmae::Error;
use cropmae::files::Pending;
use cropmae::image::Rgb;
use cropmae::overlay::film;

/// Whether the program can be started.
pub(super) fn is_there() -> bool {
    let mut asked = Command::new("ffmpeg");
    asked.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

/// Writes frames of one size as an H.264 film; the file is there whole or not at all.
pub(super) fn write(
    path: &Path,
    frames: impl IntoIterator<Item = cropmae::Result<Rgb>>,
) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(Pending::SUFFIX);
    let part = path.with_file_name(name);
    let written = encode(&part, frames)
        .and_then(|()| Ok(std::fs::rename(&part, path).map_err(Error::writing(path))?));
    if written.is_err() {
        // best effort: ignore the error
        drop(std::fs::remove_file(&part));
    }
    written
}

fn encode(part: &Path, frames: impl IntoIterator<Item = cropmae::Result<Rgb>>) -> Result<()> {
    let mut frames = frames.into_iter();
    let first = frames.next().context("no frame to show")??;
    let mut program = start(part, &first)?;
    let input = program.stdin.take();
    let sent = match send(input, std::iter::once(Ok(first)).chain(frames)) {
        Ok(sent) => sent,
        Err(error) => {
            // what it has written is of no use, and must not come after it was removed
            drop(program.kill());
            drop(program.wait());
            return Err(error.into());
        }
    };
    let mut said = String::new();
    if let Some(mut errors) = program.stderr.take() {
        errors.read_to_string(&mut said).context("cannot hear ffmpeg")?;
    }
    let status = program.wait().context("cannot wait for ffmpeg")?;
    if !status.success() || sent.is_err() {
        let why = said.trim().lines().last().unwrap_or("it stopped");
        bail!("ffmpeg failed ({why}); pass --overlays gif");
    }
    Ok(())
}

/// Hands on the frames: what becomes of that, or why there is one that cannot be shown.
fn send(
    input: Option<ChildStdin>,
    frames: impl Iterator<Item = cropmae::Result<Rgb>>,
) -> cropmae::Result<std::io::Result<()>> {
    let Some(mut input) = input else { return Ok(Ok(())) };
    for frame in frames {
        if let Err(error) = input.write_all(&frame?.data) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

fn start(part: &Path, first: &Rgb) -> Result<Child> {
    let (size, rate) = (format!("{}x{}", first.width, first.height), film::RATE.to_string());
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]);
    command.args(["-s", &size, "-r", &rate, "-i", "-"]);
    // H.264 takes even sides; one thread a film, since clips are drawn in parallel
    command.args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-threads", "1"]);
    command.args(["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-preset", "veryfast"]);
    command.args(["-movflags", "+faststart", "-f", "mp4"]).arg(part);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().context("cannot start ffmpeg; install it, or pass --overlays gif")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program has ended, and taken what it wrote with it, when a frame cannot be shown.
    #[test]
    fn a_film_that_breaks_off_leaves_nothing() {
        if !is_there() {
            return eprintln!("skipped: no ffmpeg");
        }
        let folder = tempfile::tempdir().unwrap();
        let frame = || Ok(Rgb { width: 64, height: 64, data: vec![99; 64 * 64 * 3] });
        let broken = || Err(Error::data("a.jpg".as_ref(), "is cut short", "copy it again"));
        let film = |name: &str, frames: Vec<cropmae::Result<Rgb>>| {
            write(&folder.path().join(name), frames)
        };
        film("whole.mp4", (0..9).map(|_| frame()).collect()).unwrap();
        for good in [0, 1, 40] {
            let frames = (0..good).map(|_| frame()).chain([broken(), frame()]).collect();
            let error = film("broken.mp4", frames).unwrap_err().to_string();
            assert!(error.contains("is cut short"), "{error}");
        }
        let names = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["whole.mp4"]);
    }
}
