//! Reports as pages: one HTML file that contains everything it shows and opens in any browser.
//!
//! `page` is the frame of every report (head, theme, sections, footer), `table` and `chart`
//! draw its contents, [`player`] embeds clips that play within a budget of bytes. [`propagate`]
//! puts them together for an evaluation. Markup is written with `maud`, which escapes all data and
//! closes all tags. A page loads nothing: styles, script and pictures are in it, and its content
//! security policy forbids the rest.

pub(crate) mod chart;
pub(crate) mod page;
pub mod player;
pub mod propagate;
pub(crate) mod table;
