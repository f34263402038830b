//! Runs that a signal stops: the same command ends them with the bytes of a run that was never
//! stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cropmae::pretrain::checkpoint;
use cropmae::pretrain::record::{self, Entry};

use super::runs::{losses, pictures, pretrain, results, succeed};

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_until(child: &mut Child, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(child.try_wait().unwrap().is_none(), "the run was over before it could be stopped");
        assert!(begin.elapsed() < Duration::from_secs(120), "the run does not get there");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the log has so many lines, the first of which is of the session.
fn lines(out: &Path, count: usize) -> impl Fn() -> bool {
    let log = record::path(out);
    move || std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() >= count)
}

fn send(signal: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

fn words(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn checkpoints(out: &Path) -> Vec<u64> {
    checkpoint::list(out).unwrap().into_iter().map(|(steps, _)| steps).collect()
}

#[test]
fn a_signal_costs_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 12);
    let more =
        ["--epochs", "120", "--save-every", "1000", "--set", "optimization.average_decay=0.9"];
    let straight = folder.path().join("straight");
    succeed(&mut pretrain(&data, &straight, &more));
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let out = folder.path().join(signal);
        let mut child = start(&mut pretrain(&data, &out, &more));
        wait_until(&mut child, lines(&out, 6));
        send(signal, &child);
        let (code, printed, said) = words(&child.wait_with_output().unwrap());
        assert_eq!((code, &*printed), (Some(status), ""), "{said}");
        // stopped once, with a checkpoint of exactly the last step
        let steps = losses(&out).len();
        assert_eq!(checkpoints(&out), [steps as u64]);
        // the last step of an epoch does not end it yet
        let [before, behind] = [(steps - 1) / 3, steps / 3];
        let note = |done| format!("interrupted after {steps} of 360 steps ({done} of 120 epochs");
        let done = if said.starts_with(&note(before)) { before } else { behind };
        assert!(said.starts_with(&note(done)), "{said}");
        assert!(said.contains("the same command continues from there"), "{said}");
        let encoder = out.join("encoder.safetensors");
        assert!(said.contains(&format!("{} is the encoder after", encoder.display())), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        let page = std::fs::read_to_string(out.join("report.html")).unwrap();
        assert!(page.contains("not finished") && page.contains(&format!("{done} of 120 epochs")));
        assert!(out.join("loss.svg").exists() && !out.join(".lock").exists());

        let output = succeed(&mut pretrain(&data, &out, &more));
        assert_eq!(words(&output).1, format!("{}\n", encoder.display()));
        assert_eq!(results(&out, 360), results(&straight, 360));
        assert_eq!(losses(&out), losses(&straight));
    }
}

/// While a benchmark is run at the end of an epoch: the epoch is measured again later.
#[test]
fn a_signal_does_not_wait_for_a_benchmark() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 8);
    let root = folder.path().join("davis");
    let mut render = Command::new(env!("CARGO_BIN_EXE_propagate"));
    render.args(["sample", "--benchmark", "davis", "--clips", "2", "--frames", "5"]);
    succeed(render.args(["--size", "48x80", "--out"]).arg(folder.path()));
    let eval = format!("davis={}", root.display());
    // large patches, because they are the quickest
    let sizes = ["--set", "encoder.patch=16", "--masking-ratio", "0.75"];
    let more = ["--epochs", "2", "--eval-every", "1", "--eval", &eval];
    let more = [&sizes[..], &more].concat();
    let straight = folder.path().join("straight");
    succeed(&mut pretrain(&data, &straight, &more));
    let out = folder.path().join("out");
    let mut child = start(&mut pretrain(&data, &out, &more));
    let unfinished = out.join("evaluation/davis/.unfinished");
    wait_until(&mut child, || unfinished.exists());
    send("-TERM", &child);
    let (code, printed, said) = words(&child.wait_with_output().unwrap());
    assert_eq!((code, &*printed), (Some(143), ""), "{said}");
    assert!(said.starts_with("interrupted after 2 of 4 steps (0 of 2 epochs are done)"), "{said}");
    assert!(!said.contains("left out"), "the clip at work is no broken one: {said}");
    assert_eq!(checkpoints(&out), [2]);
    succeed(&mut pretrain(&data, &out, &more));
    assert_eq!(results(&out, 4), results(&straight, 4));
    let log = |out: &Path| {
        let log = record::read(&record::path(out)).unwrap();
        log.into_iter().filter(|entry| matches!(entry, Entry::Measure(_))).collect::<Vec<_>>()
    };
    assert_eq!(log(&out), log(&straight));
}

/// Steps that take long enough to be in one twice.
fn slow(data: &Path, out: &Path) -> Command {
    let sizes = ["encoder.width=192", "encoder.depth=6", "views.size=128"];
    let more = sizes.map(|setting| ["--set", setting]).concat();
    pretrain(data, out, &[&more[..], &["--batch-size", "32", "--epochs", "9"]].concat())
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 64);
    let out = folder.path().join("out");
    let mut child = start(&mut slow(&data, &out));
    wait_until(&mut child, lines(&out, 2));
    // the second of two steps has begun
    send("-INT", &child);
    std::thread::sleep(Duration::from_millis(5));
    send("-TERM", &child);
    let (code, printed, said) = words(&child.wait_with_output().unwrap());
    // where both wait for a busy machine, either may come first
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    assert_eq!((&*printed, &*said), ("", ""));
    assert!(checkpoints(&out).is_empty());
}

/// Before its first step a run has nothing to lose: here while it waits for the list of its data.
#[test]
fn a_run_that_has_not_begun_ends_at_once_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (list, out) = (folder.path().join("list.txt"), folder.path().join("out"));
    assert!(Command::new("mkfifo").arg(&list).status().unwrap().success());
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let child = start(&mut pretrain(&list, &out, &[]));
        // can be opened once the run reads it
        let (send_opened, opened) = std::sync::mpsc::channel();
        let pipe = list.clone();
        std::thread::spawn(move || send_opened.send(File::options().write(true).open(pipe)));
        let opened = opened.recv_timeout(Duration::from_secs(120)).expect("the list is not read");
        send(signal, &child);
        let (code, printed, said) = words(&child.wait_with_output().unwrap());
        assert_eq!((code, &*printed, &*said), (Some(status), "", NO_STEP));
        assert!(!out.exists());
        drop(opened);
    }
}

/// All that a run says which a signal ends before its first step.
const NO_STEP: &str =
    "interrupted before the first step: nothing is lost, and the same command begins again\n";

/// Without them no sample is read before the first step's.
const NO_PICTURES: [&str; 2] = ["--pictures-every", "0"];

/// A program that Ctrl-C ends, there before the signal comes: a shell would wait for its `touch` and go
/// on.
const ENDS: &str = "(sleep 0.2; MEET) & exec sleep 60";

/// Videos whose frames are those of a script, which waits at `last.mp4` for as long as there is no
/// file `fast`: there a signal meets it.
struct Videos {
    folder: tempfile::TempDir,
}

impl Videos {
    /// `at_signal` is what the script does there, as a line of a shell.
    fn new(at_signal: &str) -> Self {
        let videos = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(videos.path("data")).unwrap();
        for name in (0..23).map(|number| number.to_string()).chain(["last".into()]) {
            std::fs::write(videos.path(&format!("data/{name}.mp4")), name).unwrap();
        }
        for frame in 0..4_u32 {
            let wave =
                |x: u32, y: f32| (127.0 + 120.0 * ((x + 9 * frame) as f32 * 0.2 + y).sin()) as u8;
            let picture = image::RgbImage::from_fn(48, 40, |x, y| {
                image::Rgb([wave(x, y as f32 * 0.1), wave(y, 0.0), wave(x, 2.0)])
            });
            picture.save(videos.path(&format!("00000{frame}.jpg"))).unwrap();
        }
        let here = videos.folder.path().display();
        videos.script("ffprobe", "");
        videos.script(
            "ffmpeg",
            &format!(
                "case \"$*\" in *last.mp4*) [ -e {here}/fast ] || {{ {at_signal}; }};; esac\n\
                 cp {here}/00000*.jpg ."
            )
            .replace("MEET", &format!("touch {here}/meeting")),
        );
        videos
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, name: &str, lines: &str) {
        use std::os::unix::fs::PermissionsExt;
        let text = format!("#!/bin/sh\n[ \"$1\" = -version ] && exit 0\n{lines}\n");
        std::fs::write(self.path(name), text).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path(name), executable).unwrap();
    }

    /// A run on them, in a process group of its own, as a shell starts it.
    fn pretrain(&self, out: &str, more: &[&str]) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = pretrain(&self.path("data"), &self.path(out), &["--kind", "video"]);
        command.args(["--epochs", "2", "--workers", "3"]).args(more);
        command.arg("--frames-cache").arg(self.path(&format!("{out}-frames")));
        command.arg("--ffmpeg").arg(self.path("ffmpeg")).process_group(0);
        command
    }

    /// Sends Ctrl-C to a run and its programs once one of them is there; what came of it.
    fn interrupted(&self, mut child: Child, reached: impl Fn() -> bool) -> Output {
        wait_until(&mut child, || self.path("meeting").exists() && reached());
        let group = format!("-{}", child.id());
        let sent = Command::new("kill").args(["-INT", "--", &group]).status().unwrap();
        assert!(sent.success());
        child.wait_with_output().unwrap()
    }

    /// Asserts that nothing is left of work that was begun.
    fn is_tidy(&self, out: &str) {
        assert!(!self.path(out).join(".lock").exists());
        assert!(!self.path(out).join("unreadable.txt").exists(), "a good video was given up");
        let mut places = vec![self.path(out), self.path(&format!("{out}-frames"))];
        while let Some(place) = places.pop() {
            for entry in std::fs::read_dir(place).unwrap() {
                let path = entry.unwrap().path();
                assert!(!path.display().to_string().contains(".partial"), "{path:?} is left");
                if path.is_dir() {
                    places.push(path);
                }
            }
        }
    }
}

/// What a terminal's Ctrl-C meets: it goes to the programs that decode too, which end of it, or not.
#[test]
fn a_signal_to_the_whole_group_costs_no_sample() {
    for (how, at_signal) in [("ends", ENDS), ("stays", "trap '' INT; MEET; sleep 1")] {
        let videos = Videos::new(at_signal);
        let out = videos.path("out");
        let child = start(&mut videos.pretrain("out", &NO_PICTURES));
        let output = videos.interrupted(child, lines(&out, 2));
        let (code, printed, said) = words(&output);
        assert_eq!((code, &*printed), (Some(130), ""), "{how}: {said}");
        assert!(said.starts_with("interrupted after "), "{how}: {said}");
        assert_eq!(said.lines().count(), 2, "{how}: {said}");
        let steps = losses(&out).len();
        assert_eq!(checkpoints(&out), [steps as u64], "{how}");
        assert!((1..12).contains(&steps), "{how}: {steps}");
        videos.is_tidy("out");
        std::fs::write(videos.path("fast"), "").unwrap();
        succeed(&mut videos.pretrain("out", &NO_PICTURES));
        succeed(&mut videos.pretrain("straight", &NO_PICTURES));
        assert_eq!(results(&out, 12), results(&videos.path("straight"), 12), "{how}");
        videos.is_tidy("out");
    }
}

/// The same before the first step: while the run draws what it will show, and after that.
#[test]
fn a_signal_to_the_whole_group_at_the_beginning_is_no_failure() {
    let videos = Videos::new(ENDS);
    // the only video is the one that waits
    for number in 0..23 {
        std::fs::remove_file(videos.path(&format!("data/{number}.mp4"))).unwrap();
    }
    let one = ["--batch-size", "1"];
    for (out, more) in [("drawing", ["--pictures-every", "1"]), ("loading", NO_PICTURES)] {
        let child = start(&mut videos.pretrain(out, &[&one[..], &more].concat()));
        let output = videos.interrupted(child, || true);
        assert_eq!(words(&output), (Some(130), String::new(), NO_STEP.to_owned()), "{out}");
        let folder = videos.path(out);
        assert!(!folder.join("unreadable.txt").exists());
        assert!(!folder.exists() || losses(&folder).is_empty() && checkpoints(&folder).is_empty());
        std::fs::remove_file(videos.path("meeting")).unwrap();
    }
}

#[test]
fn a_finished_run_is_left_as_it_is_but_for_a_lost_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let more = ["--epochs", "2", "--set", "optimization.average_decay=0.9"];
    let mut loud = Command::new(env!("CARGO_BIN_EXE_pretrain"));
    let quiet = pretrain(&data, &out, &more);
    loud.args(quiet.get_args().filter(|word| *word != "--quiet"));
    let first = succeed(&mut loud);
    assert!(words(&first).2.contains("epoch 2/2  mean loss "), "{first:?}");
    let files = || {
        let names = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = names
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    for lost in [false, true] {
        let encoder = out.join("encoder.safetensors");
        if lost {
            std::fs::remove_file(&encoder).unwrap();
        }
        let (_, printed, said) = words(&succeed(&mut loud));
        assert_eq!(printed, format!("{}\n", encoder.display()));
        assert!(said.starts_with("nothing left to do: 2 of 2 epochs are done"), "{said}");
        let newest = checkpoint::path(&out, 4);
        let longer = format!("--init {} with another folder for --out", newest.display());
        assert!(said.contains(&longer), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(files() == before, "a file has changed");
    }
}
