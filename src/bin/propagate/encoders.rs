//! Several `--weights` in one call: each encoder gets a result folder as if it had been run alone,
//! and one table shows all, best first.
//!
//! An encoder that cannot be loaded, or fails on every clip, is a row with the reason. The others
//! are evaluated all the same, and the exit status is 3.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use cropmae::Error;
use cropmae::eval::{RunFolder, flat_name};
use cropmae::files::{list, listing};
use cropmae::model::source::Source;
use cropmae::model::weights::whole;
use cropmae::protocol::{self, Benchmark, Protocol};
use cropmae::report::encoders::Entry;
use cropmae::report::record::ProtocolRecord;
use cropmae::report::{Encoders, RunRecord};
use cropmae::wording::counted;
use serde_json::json;

use crate::args::EvaluateArgs;
use crate::common::usage::usage;
use crate::done::Done;
use crate::evaluate;
use crate::overlays::Drawn;
use crate::ready::{Ready, Shared};
use crate::show::Notes;
use crate::targets::list_file;
use crate::{Outcome, export, interrupt, plan, show};

/// What checkpoints' names end in.
const EXTENSIONS: [&str; 4] = ["safetensors", "pth", "pt", "bin"];

pub(crate) fn run(benchmark: Benchmark, args: &EvaluateArgs) -> Result<Outcome> {
    ensure!(
        args.propagation.sweep.is_empty(),
        usage!(
            "--sweep: takes one encoder; run it for each, and set the results side by side with `propagate compare`"
        )
    );
    ensure!(
        !args.output.per_item,
        usage!("--per-item: the table of several encoders has a row for each")
    );
    let say = Notes::new(args.output.quiet);
    let sources = expanded(&args.model.weights)?;
    let names = names(&sources);
    let (used, protocol) = plan::protocol(benchmark, &args.propagation.protocol)?;
    let shared = Shared::open(benchmark, args, &say)?;
    let asked = json!({ "weights": names, "protocol": protocol.hash, "data": shared.data });
    let out = args.output.out.clone().unwrap_or_else(|| {
        let (hash, preset) = (protocol::hash(&asked), &protocol.preset);
        Path::new("runs").join(format!("{}-{preset}-weights-{}", benchmark.name(), &hash[..8]))
    });
    let all = All { args, shared: &shared, used: &used, protocol: &protocol, out: &out, say: &say };
    evaluate::check_cache(&args.output)?;
    if args.output.dry_run {
        RunFolder::check(&out, &asked)?;
        return all.dry_run(&sources, &names);
    }
    let _top = RunFolder::open(&out, &asked)?;
    interrupt::listen();
    let Each { entries, done, whole } = all.each(&sources, &names)?;
    if done.is_empty() && interrupt::asked() {
        say.line("interrupted before a clip was done; the same command begins again");
        return Ok(Outcome::Interrupted);
    }
    ensure!(!done.is_empty(), "{}", none_of(sources.len()));
    let (_, record) = shared.record(protocol.clone(), None, Done::together(&done));
    all.finish(&Encoders::new(entries), &record, whole)
}

fn none_of(encoders: usize) -> String {
    format!("0 of {} could be evaluated", counted(encoders, "encoder"))
}

/// What became of the encoders.
struct Each {
    /// A row for each.
    entries: Vec<Entry>,
    /// What those that did not fail have done.
    done: Vec<Done>,
    /// Whether all of their pictures and pages could be written.
    whole: bool,
}

/// What all encoders share.
struct All<'a> {
    args: &'a EvaluateArgs,
    shared: &'a Shared,
    used: &'a Protocol,
    protocol: &'a ProtocolRecord,
    out: &'a Path,
    say: &'a Notes,
}

impl All<'_> {
    /// An encoder's folder: in `--out`, or where its own run would put its results.
    fn folder(&self, ready: &Ready, name: &str) -> PathBuf {
        match self.args.output.out {
            Some(_) => self.out.join(name),
            None => {
                let identity = ready.identity(self.protocol);
                plan::out(&self.args.output, self.protocol, &ready.weights, &identity)
            }
        }
    }

    fn ready(&self, source: &Source) -> Result<Ready> {
        let EvaluateArgs { model, run, .. } = self.args;
        Ready::with(self.shared, source, model, run.dtype, self.used, self.say)
    }

    fn dry_run(&self, sources: &[Source], names: &[String]) -> Result<Outcome> {
        let (mut lines, mut failed) = (Vec::new(), 0);
        for (source, name) in sources.iter().zip(names) {
            // one that cannot be used would be a row with the reason, and stop none of the others
            let ready = match self.ready(source) {
                Ok(ready) => ready,
                Err(error) => {
                    failed += 1;
                    show::note(&format!("{name}: {}", show::explained(&error)));
                    continue;
                }
            };
            let folder = self.folder(&ready, name);
            RunFolder::check(&folder, &ready.identity(self.protocol))?;
            if lines.is_empty() {
                let (clips, loaded) = (&ready.clips, &ready.loaded);
                lines = plan::describe(clips, self.used, loaded, ready.engine, self.out)?;
                lines.extend(ready.cache_line(self.args, self.used)?);
            }
            lines.push(format!("  {name} ({}): {}", ready.loaded.arch, folder.display()));
        }
        ensure!(failed < sources.len(), "{}", none_of(sources.len()));
        show::text(&(lines.join("\n") + "\n"))?;
        Ok(if failed > 0 { Outcome::Partial } else { Outcome::Done })
    }

    /// Evaluates the encoders one after the other, until asked to stop.
    fn each(&self, sources: &[Source], names: &[String]) -> Result<Each> {
        let mut each = Each { entries: Vec::new(), done: Vec::new(), whole: true };
        for (index, (source, name)) in sources.iter().zip(names).enumerate() {
            if interrupt::asked() {
                break;
            }
            self.say.line(&format!("encoder {} of {}: {name}", index + 1, sources.len()));
            match self.one(source, name) {
                Ok((entry, of, whole)) => {
                    each.entries.push(entry);
                    each.done.push(of);
                    each.whole &= whole;
                }
                Err(error) if is_fatal(&error) => return Err(error),
                // stopped before its first clip was done: neither done nor wrong
                Err(_) if interrupt::asked() => break,
                Err(error) => {
                    let error = show::explained(&error);
                    show::note(&format!("{name}: failed: {error}"));
                    let (name, error) = (name.clone(), Some(error));
                    each.entries.push(Entry { name, weights: None, row: None, error });
                }
            }
        }
        Ok(each)
    }

    /// Evaluates an encoder into its folder; also whether its pictures and its page could be
    /// written.
    fn one(&self, source: &Source, name: &str) -> Result<(Entry, Done, bool)> {
        let Self { args, used, protocol, .. } = self;
        let ready = self.ready(source)?;
        let to = self.folder(&ready, name);
        let folder = RunFolder::open(&to, &ready.identity(protocol))?;
        let cache = ready.cache(args, used)?;
        let setup = ready.setup(&args.output, used, cache.as_ref());
        let done = evaluate::evaluate(&ready, &setup, &folder, args.output.quiet)?;
        if done.clips == 0 {
            let first = done.failures.first().map(|(clip, why)| format!(" ({clip}: {why})"));
            bail!("none of the clips could be done{}", first.unwrap_or_default());
        }
        let failed = done.failures.len();
        let error = (failed > 0).then(|| {
            format!("{failed} of {} failed", counted(ready.clips.overview().asked(), "clip"))
        });
        let values = vec![name.to_owned()];
        let (row, shows) =
            evaluate::stored_row(&ready, (*protocol).clone(), values, done.clone(), &to)?;
        let drawn = Drawn { clips: &ready.clips, folder: &to };
        let whole = evaluate::draw(&args.output, &drawn, shows, &done.failures, self.say);
        let (weights, name) = (Some(ready.weights), name.to_owned());
        Ok((Entry { name, weights, row: Some(row), error }, done, whole))
    }

    /// Stores and shows the table.
    fn finish(&self, encoders: &Encoders, record: &RunRecord, whole: bool) -> Result<Outcome> {
        let output = &self.args.output;
        evaluate::failures_if_quiet(output, record);
        let json = encoders.write(self.out, record)?;
        let table = (&encoders.table(), &*encoders.notes());
        let (stored, lines) = (encoders.stored(), encoders.lines(record));
        export::several(output, table, &stored, &lines, &json)?;
        let mut rows = encoders.entries().iter().filter_map(|entry| entry.row.as_ref());
        if rows.all(|row| row.summary.is_none()) {
            self.say.line(evaluate::unscored(output));
        }
        let out = self.out.display();
        self.say
            .line(&format!("the table is in {out}; it names the folder of each encoder's results"));
        if interrupt::asked() {
            self.say.line("interrupted: the same command continues with what is left");
            return Ok(Outcome::Interrupted);
        }
        let none_failed = encoders.entries().iter().all(|entry| entry.error.is_none());
        Ok(if whole && none_failed { Outcome::Done } else { Outcome::Partial })
    }
}

/// Whether going on would lose every other encoder too.
fn is_fatal(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(Error::is_of_storing)
}

/// Whether `--weights` names more than one encoder, or may.
pub(crate) fn asked_for(weights: &[Source]) -> bool {
    weights.len() > 1
        || weights.iter().any(|source| match source {
            Source::File(path) => path.is_dir() || list_file(path).is_some(),
            _ => false,
        })
}

/// The encoders that folders and lists stand for, each once.
fn expanded(weights: &[Source]) -> Result<Vec<Source>> {
    let mut found: Vec<Source> = Vec::new();
    for source in weights {
        let more = match source {
            Source::File(path) if path.is_dir() => in_folder(path)?,
            Source::File(path) => match list_file(path) {
                Some(list) => in_list(&list)?,
                None => vec![source.clone()],
            },
            other => vec![other.clone()],
        };
        for source in more {
            if !found.contains(&source) {
                found.push(source);
            }
        }
    }
    Ok(found)
}

/// All checkpoints of a folder, by name.
fn in_folder(folder: &Path) -> Result<Vec<Source>> {
    let mut paths = listing::files(folder, &EXTENSIONS)?;
    // the first shard of a checkpoint stands for all
    paths.dedup_by_key(|path| whole(path).unwrap_or_else(|| path.clone()));
    if paths.is_empty() {
        let what = EXTENSIONS.join(", .");
        let folder = folder.display();
        bail!(
            "{folder}: no checkpoint (.{what}) in this folder; one of another name is passed itself"
        );
    }
    Ok(paths.into_iter().map(Source::File).collect())
}

/// The encoders that a list names, one a line.
fn in_list(list: &Path) -> Result<Vec<Source>> {
    let sources = list::entries(list, "encoder", |_| false)?.into_iter().map(|(number, line)| {
        let source: Result<Source, String> = line.parse();
        match source.map_err(|why| anyhow::anyhow!("{}, line {number}: {why}", list.display()))? {
            Source::File(path) => Ok(Source::File(list::beside(list, &path))),
            Source::Features(folder) => Ok(Source::Features(list::beside(list, &folder))),
            other => Ok(other),
        }
    });
    sources.collect()
}

/// What each encoder is called: its file's name without the extension where that is enough to tell
/// it from the others, else with it, else with its folders.
fn names(sources: &[Source]) -> Vec<String> {
    let shown = |source: &Source| flat_name(&source.to_string().replace(':', "-"));
    let short = |source: &Source| match source {
        Source::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        _ => shown(source),
    };
    let long = |source: &Source| match source {
        Source::File(path) | Source::Features(path) => {
            let parts =
                path.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
            parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("__")
        }
        _ => shown(source),
    };
    let ways: [&dyn Fn(&Source) -> String; 3] = [&short, &shown, &long];
    let unique = |source: &Source, way: &dyn Fn(&Source) -> String| {
        sources.iter().filter(|other| way(other) == way(source)).count() == 1
    };
    let named = sources.iter().enumerate().map(|(index, source)| {
        let found = ways.iter().find(|way| unique(source, **way)).map(|way| way(source));
        found.unwrap_or_else(|| format!("{}-{}", long(source), index + 1))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[&str]) -> Vec<Source> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn names_are_as_short_as_they_can_be() {
        let given = sources(&["a/x.pth", "a/y.pth", "b/y.pth", "z.pt", "z.pth", "random:vits16@0"]);
        let expected = ["x", "a__y.pth", "b__y.pth", "z.pt", "z.pth", "random-vits16@0"];
        assert_eq!(names(&given), expected);
        assert_eq!(names(&sources(&["features:a/f", "features:g"])), ["features-f", "features-g"]);
        assert_eq!(names(&sources(&["features:a/f", "features:b/f"])), ["a__f", "b__f"]);
        assert_eq!(names(&sources(&["/a/y.pth", "a/y.pth"])), ["a__y.pth-1", "a__y.pth-2"]);
    }

    #[test]
    fn folders_and_lists_stand_for_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let shards = ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"];
        let others = ["b.pth", "a.safetensors", "c.PT", "d.bin", "log.txt", "run #3.txt"];
        for name in others.into_iter().chain(shards) {
            std::fs::write(path(name), b"").unwrap();
        }
        let file = |name: &str| Source::File(path(name));
        let of_folder = expanded(&[Source::File(folder.path().into())]).unwrap();
        let files = ["a.safetensors", "b.pth", "c.PT", "d.bin", shards[0]];
        assert_eq!(of_folder, files.map(file));
        let ours = [path("b.pth"), path("run #3.txt")].map(|path| path.display().to_string());
        let list = format!("# floors\npixels\n\n  # ours\n{}\npixels\n", ours.join("\n"));
        std::fs::write(path("list.txt"), list).unwrap();
        let at = Source::File(format!("@{}", path("list.txt").display()).into());
        assert!(asked_for(std::slice::from_ref(&at)) && !asked_for(&[Source::Pixels]));
        let found = expanded(&[at.clone(), file("b.pth"), Source::Sample]).unwrap();
        let run = file("run #3.txt");
        assert_eq!(found, [Source::Pixels, file("b.pth"), run, Source::Sample]);
        std::fs::write(path("list.txt"), "random:resnet50@0\n").unwrap();
        let refused = expanded(&[at]).unwrap_err().to_string();
        assert!(
            refused.contains("list.txt, line 1: ") && refused.contains("resnet50"),
            "{refused}"
        );
    }
}
