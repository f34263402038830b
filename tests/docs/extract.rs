//! The commands of a document: what its ```sh blocks hold, and where.

/// A block of commands.
pub(crate) struct Block {
    /// The heading that it stands under, of the first or second level.
    pub(crate) section: String,
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    /// Its lines, the indentation of the fence taken off.
    pub(crate) lines: Vec<String>,
}

impl Block {
    /// The block as a script.
    pub(crate) fn script(&self) -> String {
        self.lines.join("\n")
    }

    /// Its commands: comments left out, lines that end in `\` joined.
    pub(crate) fn commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        let mut begun = String::new();
        for line in &self.lines {
            let line = without_comment(line).trim();
            match line.strip_suffix('\\') {
                Some(part) => begun += &format!("{} ", part.trim()),
                None => commands.push(std::mem::take(&mut begun) + line),
            }
        }
        commands.retain(|command| !command.is_empty());
        commands
    }
}

/// A line up to the `#` that begins a comment; one inside quotes or a word begins none.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (place, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') if before.is_whitespace() => return &line[..place],
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
        before = letter;
    }
    line
}

/// The ```sh blocks of a document, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let (mut found, mut section) = (Vec::new(), String::new());
    // the indentation of the open fence, and whether it holds commands
    let mut open: Option<(usize, bool)> = None;
    for (index, line) in text.lines().enumerate() {
        let inner = line.trim_start();
        match (open, inner.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some((line.len() - inner.len(), language == "sh"));
                if language == "sh" {
                    let (section, lines) = (section.clone(), Vec::new());
                    found.push(Block { section, line: index + 1, lines });
                }
            }
            (Some(_), Some(_)) => open = None,
            (Some((indent, true)), None) => {
                let block = found.last_mut().expect("a fence is open");
                block.lines.push(line.get(indent..).unwrap_or_default().to_owned());
            }
            (Some((_, false)), None) => {}
            (None, None) => {
                if let Some(title) = line.strip_prefix("# ").or_else(|| line.strip_prefix("## ")) {
                    section = title.to_owned();
                }
            }
        }
    }
    found
}

/// A document without its fenced blocks.
pub(crate) fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn commands_are_found_whole() {
    let text = "# Top\n\n```text\nno\n```\n## Part\n1. x\n\n   ```sh\n   a --b '#c' \\\n      d#e  # f\n\n   # g\n   ```\n### Deeper\n```sh\nh\n```\n";
    let found = blocks(text);
    assert_eq!(found[0].commands(), ["a --b '#c' d#e"]);
    assert_eq!((found[0].section.as_str(), found[0].line), ("Part", 9));
    assert_eq!((found[1].section.as_str(), found[1].commands()), ("Part", vec!["h".to_owned()]));
    assert_eq!(found.len(), 2);
    assert_eq!(prose("a\n```sh\nb\n```\nc\n"), "a\nc\n");
}
