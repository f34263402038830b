//! Writing clips to disk as the three benchmarks store them.
//!
//! Frames of a clip are rendered in parallel, one at a time per thread, and written at once, so
//! that memory does not grow with the length of a clip.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ::image::ExtendedColorType;
use ::image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use super::Settings;
use super::cast;
use super::clip::{Actor, Clip, Format};
use super::geometry::{Point, at};
use super::matlab::{self, Variable};
use super::noise::Draw;
use super::person::Person;
use super::render::{self, Labels};
use super::scenery::Scene;
use super::skeleton::Action;
use crate::data::Benchmark;
use crate::error::{Error, Result};
use crate::image::{Rgb, indexed};

/// How often a clip is drawn anew until everything that counts is in the picture.
const ATTEMPTS: u64 = 60;

/// A drawn clip and the attempt that gave it, which keys its sensor noise.
pub(super) struct Drawn {
    pub(super) clip: Clip,
    attempt: u64,
}

/// The three folders of DAVIS-2017.
pub(super) fn davis(root: &Path, settings: &Settings) -> Result<()> {
    let names: Vec<_> = (0..settings.clips).map(|k| format!("sample-{k:02}")).collect();
    for (k, name) in names.iter().enumerate() {
        let pictures = new_folder(root, &["JPEGImages", "480p", name])?;
        let masks = new_folder(root, &["Annotations", "480p", name])?;
        let drawn = davis_clip(settings, k);
        write_frames(settings, Benchmark::Davis, k, &drawn, &pictures, Some(&masks), |t| {
            format!("{t:05}")
        })?;
    }
    let lists = new_folder(root, &["ImageSets", "2017"])?;
    write_lines(&lists.join("val.txt"), &names)?;
    write_lines(&lists.join("train.txt"), &names)
}

/// The folders of VIP.
pub(super) fn vip(root: &Path, settings: &Settings) -> Result<()> {
    let names: Vec<_> = (1..=settings.clips).map(|k| format!("videos{k}")).collect();
    for (k, name) in names.iter().enumerate() {
        let pictures = new_folder(root, &["Images", name])?;
        let masks = new_folder(root, &["Annotations", "Category_ids", name])?;
        let drawn = vip_clip(settings, k);
        write_frames(settings, Benchmark::Vip, k, &drawn, &pictures, Some(&masks), |t| {
            format!("{:012}", t + 1)
        })?;
    }
    write_lines(&new_folder(root, &["lists"])?.join("val_videos.txt"), &names)
}

/// The folders of JHMDB.
pub(super) fn jhmdb(root: &Path, settings: &Settings) -> Result<()> {
    let settings = &Settings { jpeg: false, ..settings.clone() };
    let splits = new_folder(root, &["splits"])?;
    let mut lists: Vec<(&str, Vec<String>)> = Vec::new();
    for k in 0..settings.clips {
        let action = jhmdb_action(k).name();
        let name = format!("sample_{action}_{k}");
        let pictures = new_folder(root, &["Rename_Images", action, &name])?;
        let joints = new_folder(root, &["joint_positions", action, &name])?;
        let drawn = jhmdb_clip(settings, k);
        write_frames(settings, Benchmark::Jhmdb, k, &drawn, &pictures, None, |t| {
            format!("{:05}", t + 1)
        })?;
        write_joints(&joints.join("joint_positions.mat"), &drawn.clip, settings)?;
        let line = format!("{name}.avi 2");
        match lists.iter_mut().find(|(known, _)| *known == action) {
            Some((_, lines)) => lines.push(line),
            None => lists.push((action, vec![line])),
        }
    }
    lists.iter().try_for_each(|(action, lines)| {
        write_lines(&splits.join(format!("{action}_test_split1.txt")), lines)
    })
}

fn format_of(settings: &Settings) -> Format {
    Format { height: settings.height, width: settings.width }
}

fn scene_of(k: usize) -> Scene {
    Scene::ALL[k % Scene::ALL.len()]
}

/// Draws clip `k` with `draw` until `fits`, looking at a version with the coarsest textures.
fn drawn(
    benchmark: Benchmark,
    settings: &Settings,
    k: usize,
    draw: impl Fn(&mut Draw, (f32, usize)) -> Clip,
    fits: impl Fn(&Clip) -> bool,
) -> Drawn {
    let aspect = format_of(settings).aspect();
    let attempt_at = |attempt: u64, fineness: usize| {
        let key = benchmark as u64;
        draw(&mut Draw::new(settings.seed, key, k as u64, attempt, 0), (aspect, fineness))
    };
    let attempt = (0..ATTEMPTS).find(|&attempt| fits(&attempt_at(attempt, 0))).unwrap_or(0);
    Drawn { clip: attempt_at(attempt, settings.height), attempt }
}

/// Pictures of 72 rows, to see what is in them.
fn glance(settings: &Settings) -> Format {
    let width = (72.0 * format_of(settings).aspect()).round() as usize;
    Format { height: 72, width: width.max(1) }
}

/// The share of a first glance that each label from 1 to `count` takes.
fn shares(clip: &Clip, settings: &Settings, labels: Labels, count: usize) -> Vec<f32> {
    let glance = render::labels_only(clip, glance(settings), 0, labels);
    let share = |label: usize| {
        let pixels = glance.data.iter().filter(|&&found| usize::from(found) == label).count();
        pixels as f32 / glance.data.len() as f32
    };
    (1..=count).map(share).collect()
}

/// Objects smaller than this share of the first frame make a clip be drawn again.
const LEAST_SHARE: f32 = 0.008;

/// Clip `k` of a DAVIS sample.
pub(super) fn davis_clip(settings: &Settings, k: usize) -> Drawn {
    let shares = |clip: &Clip| shares(clip, settings, Labels::Actors, clip.cast.len());
    let mut drawn = drawn(
        Benchmark::Davis,
        settings,
        k,
        |draw, size| Clip::draw(draw, scene_of(k), size, 1.0, cast::several),
        |clip| shares(clip).iter().all(|share| *share >= LEAST_SHARE) && meet(clip),
    );
    // Should chance have failed every time, what is hidden leaves, so that ids stay without gaps.
    let mut seen = shares(&drawn.clip).into_iter().map(|share| share >= LEAST_SHARE);
    drawn.clip.cast.retain(|_| seen.next().unwrap_or(false));
    drawn
}

/// Whether any two actors come before each other early on.
fn meet(clip: &Clip) -> bool {
    (0..=20).step_by(5).any(|t| {
        let boxes: Vec<_> = clip.cast.iter().map(|a| render::bounds(&a.figure(t as f32))).collect();
        boxes.iter().enumerate().any(|(index, (low, high))| {
            boxes[..index].iter().any(|(from, to)| {
                low.x < to.x && from.x < high.x && low.y < to.y && from.y < high.y
            })
        })
    })
}

/// Clip `k` of a VIP sample.
pub(super) fn vip_clip(settings: &Settings, k: usize) -> Drawn {
    drawn(
        Benchmark::Vip,
        settings,
        k,
        |draw, size| {
            Clip::draw(draw, scene_of(k), size, 0.7, |draw, stage| cast::people(draw, stage, k))
        },
        |clip| {
            let shares = shares(clip, settings, Labels::Parts, 19);
            shares.iter().sum::<f32>() > 0.05 && shares.iter().filter(|s| **s > 0.0).count() >= 6
        },
    )
}

/// Clip `k` of a JHMDB sample.
pub(super) fn jhmdb_clip(settings: &Settings, k: usize) -> Drawn {
    let action = jhmdb_action(k);
    drawn(
        Benchmark::Jhmdb,
        settings,
        k,
        |draw, size| {
            Clip::draw(draw, scene_of(k), size, 0.4, |draw, stage| {
                vec![Actor::Person(Box::new(cast::single(draw, stage, action)))]
            })
        },
        |clip| [0, 8, 16, 24, 32, 40].iter().all(|&t| joints_within(clip, settings, t)),
    )
}

fn jhmdb_action(k: usize) -> Action {
    Action::ALL[k % Action::ALL.len()]
}

/// The first person of a clip.
fn person_of(clip: &Clip) -> Option<&Person> {
    clip.cast.iter().find_map(|actor| match actor {
        Actor::Person(person) => Some(&**person),
        _ => None,
    })
}

/// The joints at frame `t` as pixel positions, (0.5, 0.5) being the centre of the first pixel.
pub(super) fn joint_pixels(clip: &Clip, settings: &Settings, t: usize) -> [Point; 15] {
    let view = clip.camera.view(t as f32);
    let points = person_of(clip).map_or([at(0.0, 0.0); 15], |person| person.joints(t as f32));
    points.map(|p| view.pixel(p, settings.height, settings.width))
}

fn joints_within(clip: &Clip, settings: &Settings, t: usize) -> bool {
    let inside = |value: f32, size: usize| (1.0..size as f32 - 1.0).contains(&value);
    joint_pixels(clip, settings, t)
        .iter()
        .all(|p| inside(p.x, settings.width) && inside(p.y, settings.height))
}

/// Renders all frames of clip `k` into `pictures` and, where asked for, labels into `masks`.
fn write_frames(
    settings: &Settings,
    benchmark: Benchmark,
    k: usize,
    drawn: &Drawn,
    pictures: &Path,
    masks: Option<&Path>,
    stem: impl Fn(usize) -> String + Sync,
) -> Result<()> {
    let format = format_of(settings);
    let labels = match benchmark {
        Benchmark::Davis => Labels::Actors,
        Benchmark::Vip | Benchmark::Jhmdb => Labels::Parts,
    };
    let backdrop = drawn.clip.paint_backdrop(format);
    (0..settings.frames).into_par_iter().try_for_each(|t| {
        let stream = 1 + t as u64;
        let mut sensor =
            Draw::new(settings.seed, benchmark as u64, k as u64, drawn.attempt, stream);
        let (picture, mask) = render::frame(&drawn.clip, &backdrop, format, t, labels, &mut sensor);
        let stem = stem(t);
        if settings.jpeg {
            write_jpeg(&pictures.join(format!("{stem}.jpg")), &picture)?;
        } else {
            write_png(&pictures.join(format!("{stem}.png")), &picture)?;
        }
        masks.map_or(Ok(()), |folder| indexed::write(&folder.join(format!("{stem}.png")), &mask))
    })
}

fn write_jpeg(path: &Path, picture: &Rgb) -> Result<()> {
    let file = File::create(path).map_err(Error::creating(path))?;
    let mut out = BufWriter::new(file);
    let (width, height) = (picture.width as u32, picture.height as u32);
    JpegEncoder::new_with_quality(&mut out, 92)
        .encode(&picture.data, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| Error::writing(path)(std::io::Error::other(error)))?;
    out.flush().map_err(Error::writing(path))
}

fn write_png(path: &Path, picture: &Rgb) -> Result<()> {
    let file = File::create(path).map_err(Error::creating(path))?;
    let (width, height) = (picture.width as u32, picture.height as u32);
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let failed = |error: png::EncodingError| Error::writing(path)(std::io::Error::other(error));
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&picture.data).map_err(failed)?;
    writer.finish().map_err(failed)
}

/// The joints of all frames, as JHMDB's `joint_positions.mat` holds them.
///
/// `pos_img` has 1-based pixels. `pos_world` is the same relative to the middle of the frame, in
/// frame heights, divided by `scale`: the person's height in frame heights, for each frame.
/// `viewpoint` is the compass direction in which the person faces in the first frame, S being
/// towards the viewer.
fn write_joints(path: &Path, clip: &Clip, settings: &Settings) -> Result<()> {
    let (width, height) = (settings.width as f64, settings.height as f64);
    let (mut image, mut world, mut scales) = (Vec::new(), Vec::new(), Vec::new());
    for t in 0..settings.frames {
        let scale = person_of(clip).map_or(1.0, |person| person.path.place(t as f32).scale);
        let scale = f64::from(scale);
        scales.push(scale);
        for p in joint_pixels(clip, settings, t) {
            // Centres of pixels lie at halves here, at whole numbers from 1 on in MATLAB.
            let (x, y) = (f64::from(p.x) + 0.5, f64::from(p.y) + 0.5);
            image.extend([x, y]);
            world.extend([(x / width - 0.5) * width / height / scale, (y / height - 0.5) / scale]);
        }
    }
    let sizes = [2, 15, settings.frames];
    let bytes = matlab::file(&[
        ("viewpoint", Variable::Text(viewpoint(clip))),
        ("scale", Variable::Double(&[1, settings.frames], &scales)),
        ("pos_img", Variable::Double(&sizes, &image)),
        ("pos_world", Variable::Double(&sizes, &world)),
    ]);
    fs::write(path, bytes).map_err(Error::writing(path))
}

fn viewpoint(clip: &Clip) -> &'static str {
    let yaw = person_of(clip).map_or(0.0, |person| person.path.place(0.0).yaw);
    let eighth = (yaw / std::f32::consts::FRAC_PI_4).round() as i32;
    ["S", "SE", "E", "NE", "N", "NW", "W", "SW"][eighth.rem_euclid(8) as usize]
}

fn new_folder(root: &Path, names: &[&str]) -> Result<PathBuf> {
    let path = names.iter().fold(root.to_path_buf(), |path, name| path.join(name));
    fs::create_dir_all(&path).map_err(Error::creating(&path))?;
    Ok(path)
}

fn write_lines(path: &Path, lines: &[String]) -> Result<()> {
    fs::write(path, lines.join("\n") + "\n").map_err(Error::writing(path))
}
