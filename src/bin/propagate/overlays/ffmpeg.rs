//! Films by the program ffmpeg, which is given raw frames.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
        .and_then(|()| Ok(std::fs::rename(&part, path).map_err(Error::io("write", path))?));
    if written.is_err() {
        // That it cannot be removed is not the news.
        drop(std::fs::remove_file(&part));
    }
    written
}

fn encode(part: &Path, frames: impl IntoIterator<Item = cropmae::Result<Rgb>>) -> Result<()> {
    let mut frames = frames.into_iter();
    let first = frames.next().context("no frame to show")??;
    let mut program = start(part, &first)?;
    let mut input = program.stdin.take();
    let mut send = |frame: &Rgb| match &mut input {
        Some(input) => input.write_all(&frame.data),
        None => Ok(()),
    };
    let mut sent = send(&first);
    for frame in frames {
        if sent.is_err() {
            break;
        }
        sent = send(&frame?);
    }
    drop(input);
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
