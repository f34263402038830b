//! Readers that go away: `propagate … | head -1` ends without a word.

use std::fs::File;
use std::process::{Command, Stdio};

use super::place::{Place, QUICK};

fn program(place: &Place, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_propagate"));
    command.args(line.split_whitespace()).current_dir(place.path("."));
    command
}

#[test]
fn nobody_reads_stdout() {
    let place = Place::with(&["davis"]);
    place.run(&format!("davis --data davis {QUICK} --out out")).exits(0);
    let lines = [
        format!("davis --data davis {QUICK} --out out -q"),
        format!("davis --data davis {QUICK} --out out -q --json"),
        format!("davis --data davis {QUICK} --out out --dry-run"),
        "score davis --data davis --predictions out/predictions".into(),
        "check davis --data davis".into(),
        "completions bash".into(),
        "--help".into(),
    ];
    for line in lines {
        let mut child =
            program(&place, &line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{line}");
    }
}

/// A log that is no longer read stops no run.
#[test]
fn nobody_reads_stderr() {
    let place = Place::with(&["davis"]);
    let mut child = program(&place, &format!("davis --data davis {QUICK} --out out"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("3 of 3 clips"));
    assert!(place.path("out/results.json").exists());
}

/// A terminal on which no bar can be drawn gets the lines of a log; `script` makes one.
#[cfg(target_os = "linux")]
#[test]
fn a_dumb_terminal_shows_progress_too() {
    let place = Place::with(&["davis"]);
    let program = env!("CARGO_BIN_EXE_propagate");
    let line = format!("'{program}' davis --data davis {QUICK} --out out");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("TERM", "dumb").stdin(Stdio::null());
    match script.current_dir(place.path(".")).output() {
        Ok(output) => {
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(shown.contains("[3/3] sample-02: "), "{shown}");
        }
        Err(error) => eprintln!("skipped: `script` does not run: {error}"),
    }
}

/// The results are in the folder even where the table could not be printed.
#[cfg(target_os = "linux")]
#[test]
fn no_room_for_stdout() {
    let place = Place::with(&["davis"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let line = format!("davis --data davis {QUICK} --out out -q");
    let output = program(&place, &line).stdout(full).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err.starts_with("error: cannot write to stdout: No space left"), "{err}");
    assert!(place.path("out/results.json").exists());
}

/// Words of the command line that are no text are no reason to panic.
#[cfg(target_os = "linux")]
#[test]
fn paths_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::with(&["davis"]);
    let name = std::ffi::OsStr::from_bytes(b"out-\xff");
    let line = format!("davis --data davis {QUICK} -q --out");
    let output = program(&place, &line).arg(name).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(place.path(".").join(name).join("results.json").exists());
}
