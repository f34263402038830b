//! Manual pages and completion scripts of both programs.

use std::fs;

use super::stand_ins::Place;

/// The commands in a program's help, those of commands too: `check`, `check davis`.
fn commands(place: &Place, program: &str) -> Vec<String> {
    let help = place.done(&format!("{program} --help"));
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    let rows = listed.lines().take_while(|line| !line.is_empty());
    // a name stands two columns in, the rest of a long description deeper
    let rows = rows.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = rows.filter_map(|line| line.split_whitespace().next());
    let mut found = Vec::new();
    for name in names.filter(|name| *name != "help") {
        let command = format!("{program} {name}");
        found.push(command.clone());
        found.extend(commands(place, &command));
    }
    found
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    let mut expected = Vec::new();
    for program in ["propagate", "pretrain"] {
        let out = place.done(&format!("{program} man pages"));
        assert_eq!(out, "pages\n");
        expected.push(program.to_owned());
        expected.extend(commands(&place, program));
    }
    assert!(expected.contains(&"propagate check weights".to_owned()), "{expected:?}");
    assert!(expected.contains(&"pretrain export".to_owned()), "{expected:?}");
    for command in &expected {
        let file = place.path(&format!("pages/{}.1", command.replace(' ', "-")));
        let page =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for part in [".TH ", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH OPTIONS\n"] {
            assert!(page.contains(part), "{command}: {part:?} is not in\n{page}");
        }
    }
    let pages = fs::read_dir(place.path("pages")).unwrap().count();
    assert_eq!(pages, expected.len(), "pages of nothing");
    let davis = fs::read_to_string(place.path("pages/propagate-davis.1")).unwrap();
    for part in ["save\\-soft\\-labels", "Examples:", "J&F"] {
        assert!(davis.contains(part), "{part:?} is not in\n{davis}");
    }
}

#[test]
fn every_shell_completes_both_programs() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        for (program, flag) in [("propagate", "save-soft-labels"), ("pretrain", "masking-ratio")] {
            let script = place.done(&format!("{program} completions {shell}"));
            assert!(script.contains(flag) && script.contains(program), "{program}, {shell}");
        }
    }
}

#[test]
fn where_pages_cannot_go_is_said() {
    let place = Place::new();
    fs::write(place.path("file"), "no folder").unwrap();
    for program in ["propagate", "pretrain"] {
        let output = place.shell(&format!("{program} man file"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: ") && said.contains("file"), "{said}");
    }
}
