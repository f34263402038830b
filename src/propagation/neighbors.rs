//! Which keys a query takes its labels from: useful when labels go wrong.
//!
//! The search is the same as for whole frames, but for a single query, so the neighbours and
//! weights are those that decided its labels, including radius, copies of frame 0 and ties. Next:
//! [`crate::eval::trace`] calls this in the middle of a clip.

use candle_core::Tensor;

use super::{Frames, Neighbor, Propagation, tiled};
use crate::error::{Error, Result};

impl Propagation {
    /// The neighbours of one cell, a row and a column, of the frame that [`Self::step`] is going to
    /// label, from that frame's `features` [h·w, D]; nearest first.
    ///
    /// # Errors
    /// The features are of another shape than frame 0's, the cell is not of its grid, or the engine
    /// is another than [`super::Engine::Tiled`], which alone can tell.
    pub fn neighbors(&self, features: &Tensor, cell: (usize, usize)) -> Result<Vec<Neighbor>> {
        self.check(features)?;
        let (height, width) = self.grid;
        if cell.0 >= height || cell.1 >= width {
            let problem =
                format!("{cell:?} is no cell of a grid of {height} rows, {width} columns");
            return Err(Error::setting("cell", problem));
        }
        let Frames::Tiled(context) = &self.frames else {
            return Err(Error::setting("engine", "only Engine::Tiled can tell neighbours"));
        };
        let sources = context.sources();
        let query = tiled::query(features)?;
        let found =
            tiled::nearest(&query, cell, &sources, (self.grid, self.channels), &self.settings);
        let next = self.labelled + 1;
        Ok(found
            .into_iter()
            .map(|(mut neighbor, source)| {
                // frame 0 comes first, then the frames before this one
                neighbor.frame = if source == 0 { 0 } else { next + source - sources.len() };
                neighbor
            })
            .collect())
    }
}
