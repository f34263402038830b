//! The frame of every report: head, masthead, sections, footer, and the style of all of it.
//!
//! `page.css` and `page.js` are beside this file and are included in every page. Light or dark
//! follows the reader's system until the reader uses the button in the masthead.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the page may load: nothing but what is in it.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// A report.
#[derive(Debug)]
pub(crate) struct Page {
    /// The kind of report, above the title: `Label propagation`.
    pub kind: String,
    /// The title, for the window too.
    pub title: String,
    /// What stands under the title: a sentence, marks ([`badge`]).
    pub lead: Markup,
    /// The parts, in order; each has its link in the masthead.
    pub sections: Vec<Section>,
    /// The last line.
    pub foot: Markup,
}

/// A part of a report under a heading of its own.
#[derive(Debug)]
pub(crate) struct Section {
    /// The anchor, unique in the page.
    pub id: &'static str,
    /// The heading.
    pub title: String,
    /// What stands under it.
    pub body: Markup,
}

impl Section {
    /// A section.
    pub(crate) fn new(id: &'static str, title: impl Into<String>, body: Markup) -> Self {
        Self { id, title: title.into(), body }
    }
}

impl Page {
    /// The file's content.
    pub(crate) fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    title { (self.title) }
                    // browsers ask for an icon unless there is one
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                    script { (PreEscaped(SCRIPT)) }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    (self.masthead())
                    main #main {
                        @for section in &self.sections { (section.markup()) }
                    }
                    footer { (self.foot) }
                }
            }
        };
        page.into_string() + "\n"
    }

    fn masthead(&self) -> Markup {
        html! {
            header.masthead {
                div.bar {
                    p.kind { (self.kind) }
                    button.theme type="button" { "Dark" }
                }
                h1 { (self.title) }
                (self.lead)
                nav aria-label="Sections" {
                    @for section in &self.sections {
                        a href={ "#" (section.id) } { (section.title) }
                    }
                }
            }
        }
    }
}

impl Section {
    fn markup(&self) -> Markup {
        let heading = format!("{}-title", self.id);
        html! {
            section id=(self.id) aria-labelledby=(heading) {
                h2 id=(heading) { (self.title) }
                (self.body)
            }
        }
    }
}

/// How loud a [`badge`] or a [`notice`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Says how it is.
    Plain,
    /// Is to be known before a number is used.
    Warning,
    /// Something was lost.
    Failure,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// A word or two in a frame.
pub(crate) fn badge(tone: Tone, text: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (text) } }
}

/// A paragraph that is not to be missed.
pub(crate) fn notice(tone: Tone, text: &Markup) -> Markup {
    html! { div class={ "notice " (tone.class()) } role="note" { (text) } }
}

/// Names with what they stand for: a list of definitions.
pub(crate) fn facts(rows: &[(String, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in rows { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// Text to be copied, such as a command, with the button that does so; `id` is unique in the page.
pub(crate) fn copied(id: &str, text: &str) -> Markup {
    html! {
        div.copied {
            pre id=(id) tabindex="0" { code { (text) } }
            button type="button" data-copy=(id) { "Copy" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_data_is_escaped() {
        let odd = r#"a<b>&"c'</script>"#;
        let page = Page {
            kind: odd.into(),
            title: odd.into(),
            lead: badge(Tone::Warning, odd),
            sections: vec![Section::new("one", odd, copied("it", odd))],
            foot: facts(&[(odd.into(), html! { (odd) })]),
        };
        let html = page.html();
        assert!(!html.contains(odd), "as it is");
        assert!(!html.contains("a<b>"), "a tag of the data's");
        // kind, title (window, heading), badge, section (link, heading), text, fact (name, value)
        assert_eq!(html.matches("a&lt;b&gt;&amp;&quot;c'&lt;/script&gt;").count(), 9);
        assert_eq!(html.matches("</script>").count(), 1, "the page's own");
    }

    #[test]
    fn a_page_loads_nothing() {
        let page = Page {
            kind: String::new(),
            title: "T".into(),
            lead: html! {},
            sections: vec![Section::new("a", "A", notice(Tone::Failure, &html! { "x" }))],
            foot: html! {},
        };
        let html = page.html();
        assert!(html.starts_with("<!DOCTYPE html>"));
        for word in ["http:", "https:", "@import", "url(", "src="] {
            assert!(!html.contains(word), "{word}");
        }
        assert!(html.contains(r##"<a href="#a">A</a>"##), "the section's link");
    }
}
