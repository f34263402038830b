//! `propagate trace`: the neighbours from which one patch of a frame takes its labels.

use anyhow::{Result, ensure};
use cropmae::data::{Need, Opened};
use cropmae::eval::trace::{self, Query, Traced};
use cropmae::eval::{Batch, Setup};
use cropmae::image::{Rgb, decode, figure};
use cropmae::model::source;
use cropmae::overlay::correspondence::{self, Reach};
use cropmae::propagation::{Engine, Neighbor};
use cropmae::protocol::Protocol;
use cropmae::report::{Cell, Table};
use cropmae::{Error, files};
use serde_json::{Map, Value, json};

use crate::args::{DataArgs, TraceArgs};
use crate::common::usage::usage;
use crate::interrupt::Interruptible;
use crate::show::Notes;
use crate::targets::Inputs;
use crate::{Outcome, clips, common, interrupt, plan, room, show};

/// Masses below this share are not written in the table: they would be 0.0 percent.
const LEAST: f32 = 0.0005;
/// Labels written of a patch; the others are in `--json`.
const MOST: usize = 5;

pub(crate) fn run(args: &TraceArgs) -> Result<Outcome> {
    let say = Notes::new(args.quiet);
    let benchmark = args.benchmark;
    Inputs::default()
        .with_data(benchmark, args.data.as_deref(), &args.split)
        .with_weights(&args.model.weights)
        .spare_file("--out", &args.out, "png", true)?;
    let (protocol, _) = plan::protocol(benchmark, &args.protocol)?;
    ensure!(!args.sequence.trim().is_empty(), usage!("--sequence: name a clip"));
    let device = plan::open_device(&args.run, &say)?;
    let clips = clips::open(benchmark, &data(args), Need::Frames, &say)?;
    let sample = args.data.as_deref().is_some_and(common::is_sample);
    let source = plan::source(&args.model, sample)?;
    let choices = plan::choices(&args.model);
    let loaded = source::load(&source, &choices, &device, args.run.dtype.dtype())?;
    loaded.notes.iter().for_each(|note| say.line(note));
    let context = protocol.propagation.queue.min(args.frame).saturating_add(1);
    room::check_clips(&loaded.encoder, &clips, &protocol, context)?;
    let batch = Batch::fitting(if device.is_cpu() { 1 } else { 4 });
    let setup = Setup::new(&protocol, &loaded.encoder, Engine::Tiled, &batch);
    let query = Query { frame: args.frame, point: args.point };
    interrupt::listen();
    let traced = match traced(&clips, query, &setup) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::Stopped)) => {
            return Ok(Outcome::Interrupted);
        }
        traced => traced?,
    };
    let picture = picture(&traced, &clips, &protocol, args)?;
    if interrupt::asked() {
        return Ok(Outcome::Interrupted);
    }
    files::write(&args.out, &figure::png(&picture)?)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&as_json(&traced, args))? + "\n",
        false => described(&traced, args),
    };
    show::text(&text)?;
    say.line(&format!("picture in {}", args.out.display()));
    Ok(Outcome::Done)
}

/// The query, and where its neighbours lie.
fn picture(traced: &Traced, clips: &Opened, protocol: &Protocol, args: &TraceArgs) -> Result<Rgb> {
    let reach = Reach {
        neighborhood: protocol.propagation.neighborhood,
        restrict_first: protocol.propagation.restrict_first,
    };
    let load =
        |index| decode::read(clips.overview().image(index).ok_or_else(|| missing(&args.sequence))?);
    Ok(correspondence::draw(traced, args.frame, reach, usize::from(args.width), load)?)
}

/// One clip of the dataset.
fn data(args: &TraceArgs) -> DataArgs {
    DataArgs {
        data: args.data.clone(),
        split: args.split.clone(),
        sequences: vec![args.sequence.clone()],
        limit: None,
    }
}

fn missing(clip: &str) -> Error {
    Error::data(clip.as_ref(), "has no such frame", "extract the clip again")
}

fn traced(clips: &Opened, query: Query, setup: &Setup<'_>) -> Result<Traced> {
    let broken = |problem: Option<&cropmae::data::Broken>| match problem {
        Some(broken) => anyhow::anyhow!(common::flags::explained(&broken.error)),
        None => anyhow::anyhow!("--sequence: no such clip"),
    };
    Ok(match clips {
        Opened::Davis(set) | Opened::Vip(set) => {
            let clip = set.clips.first().ok_or_else(|| broken(set.broken.first()))?;
            trace::masks(clip, query, setup, &Interruptible)?
        }
        Opened::Jhmdb(set) => {
            let clip = set.clips.first().ok_or_else(|| broken(set.broken.first()))?;
            trace::poses(clip, query, setup, &Interruptible)?
        }
    })
}

/// The table, with what it comes to.
fn described(traced: &Traced, args: &TraceArgs) -> String {
    let mut table =
        Table::new(["frame", "row", "column", "cosine", "weight", "labels it brings, in percent"]);
    for neighbour in &traced.neighbors {
        table.push(vec![
            Cell::Count(neighbour.frame as u64),
            Cell::Count(neighbour.cell.0 as u64),
            Cell::Count(neighbour.cell.1 as u64),
            format!("{:.4}", neighbour.cosine).into(),
            Cell::Score(f64::from(neighbour.weight)),
            shares(traced, &neighbour.labels, neighbour.weight).into(),
        ]);
    }
    let (row, column) = traced.cell;
    let (rows, columns) = traced.grid;
    format!(
        "{}\n  patch: row {row}, column {column} of {rows}x{columns}, {} frame {}\n  labels: {}\n",
        table.text(),
        args.sequence,
        args.frame,
        shares(traced, &traced.labels, 1.0)
    )
}

/// Labels with their mass, the largest first.
fn shares(traced: &Traced, labels: &[f32], weight: f32) -> String {
    let mut named: Vec<(f32, &String)> =
        labels.iter().map(|label| weight * label).zip(&traced.names).collect();
    named.retain(|(mass, _)| *mass >= LEAST);
    named.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let rest = if named.len() > MOST { ", …" } else { "" };
    let words = named.iter().take(MOST).map(|(mass, name)| format!("{name} {:.1}", 100.0 * mass));
    words.collect::<Vec<_>>().join(", ") + rest
}

fn as_json(traced: &Traced, args: &TraceArgs) -> Value {
    let by_name = |labels: &[f32], weight: f32| -> Value {
        let masses = labels.iter().map(|label| json!(weight * label));
        traced.names.iter().cloned().zip(masses).collect::<Map<_, _>>().into()
    };
    let one = |neighbour: &Neighbor| {
        json!({
            "frame": neighbour.frame,
            "row": neighbour.cell.0,
            "column": neighbour.cell.1,
            "cosine": neighbour.cosine,
            "weight": neighbour.weight,
            "copies": neighbour.copies,
            "labels": by_name(&neighbour.labels, neighbour.weight),
        })
    };
    json!({
        "sequence": args.sequence,
        "frame": args.frame,
        "point": [args.point.0, args.point.1],
        "grid": [traced.grid.0, traced.grid.1],
        "row": traced.cell.0,
        "column": traced.cell.1,
        "neighbours": traced.neighbors.iter().map(one).collect::<Vec<_>>(),
        "labels": by_name(&traced.labels, 1.0),
    })
}
