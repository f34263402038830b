//! Reports as pages: one HTML file that holds all it shows, and that a browser opens anywhere.
//!
//! [`page`] is the frame around every report (head, theme, sections, footer), [`table`] and
//! [`chart`] draw what stands in it, [`player`] embeds pictures that play within a budget of bytes.
//! [`propagate`] puts them together for an evaluation. Markup is written with `maud`, which escapes
//! all that comes from data and closes what it opens. A page loads nothing: styles, script and
//! pictures are in it, and its content security policy forbids the rest.

pub mod chart;
pub mod page;
pub mod player;
pub mod propagate;
pub mod table;
