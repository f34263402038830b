//! Tiny datasets in temporary folders.

use std::fs;
use std::path::{Path, PathBuf};

use cropmae::image::{LabelImage, indexed};

/// A folder that is removed at the end of the test.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        let path = self.root().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn text(&self, file: &str, text: &str) -> PathBuf {
        self.bytes(file, text.as_bytes())
    }

    pub(crate) fn bytes(&self, file: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(file);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A grey picture, JPEG or PNG by its extension.
    pub(crate) fn frame(&self, file: &str, width: u32, height: u32) {
        image::RgbImage::from_pixel(width, height, image::Rgb([90, 120, 40]))
            .save(self.path(file))
            .unwrap();
    }

    /// A mask 8 pixels wide and 4 high whose first pixels have these ids, the others 0.
    pub(crate) fn mask(&self, file: &str, ids: &[u8]) {
        self.mask_of_size(file, ids, 8, 4);
    }

    pub(crate) fn mask_of_size(&self, file: &str, ids: &[u8], width: usize, height: usize) {
        let mut data = ids.to_vec();
        data.resize(width * height, 0);
        indexed::write(&self.path(file), &LabelImage { width, height, data }).unwrap();
    }

    /// A DAVIS sequence of 8x4 frames `00000` … whose masks hold these ids.
    pub(crate) fn sequence(&self, root: &str, name: &str, ids: &[&[u8]]) {
        for (t, ids) in ids.iter().enumerate() {
            self.frame(&format!("{root}JPEGImages/480p/{name}/{t:05}.jpg"), 8, 4);
            self.mask(&format!("{root}Annotations/480p/{name}/{t:05}.png"), ids);
        }
    }

    /// A VIP video of 8x4 frames with these numbers, annotated with classes 1 and 13.
    pub(crate) fn video(&self, root: &str, name: &str, numbers: &[u32]) {
        for t in numbers {
            self.frame(&format!("{root}Images/{name}/{t:012}.jpg"), 8, 4);
            self.mask(&format!("{root}Annotations/Category_ids/{name}/{t:012}.png"), &[1, 13]);
        }
    }

    /// A JHMDB clip of `frames` pictures and joints for `labelled` of them, all at (x, y).
    pub(crate) fn pose_clip(&self, name: &str, frames: usize, labelled: usize, at: [f64; 2]) {
        for t in 1..=frames {
            self.frame(&format!("Rename_Images/{name}/{t:05}.png"), 8, 4);
        }
        self.bytes(&format!("joint_positions/{name}/joint_positions.mat"), &mat(labelled, at));
    }
}

/// An uncompressed MATLAB v5 file whose `pos_img` has every joint of `frames` frames at (x, y).
pub(crate) fn mat(frames: usize, at: [f64; 2]) -> Vec<u8> {
    let element = |kind: u32, data: &[u8]| {
        let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let dimensions = [2, 15, frames as u32].map(u32::to_le_bytes).concat();
    let values = at.map(f64::to_le_bytes).concat().repeat(15 * frames);
    let parts = [
        element(6, &[6, 0, 0, 0, 0, 0, 0, 0]),
        element(5, &dimensions),
        element(1, b"pos_img"),
        element(9, &values),
    ];
    let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
    bytes.resize(124, b' ');
    bytes.extend([0, 1, b'I', b'M']);
    bytes.extend(element(14, &parts.concat()));
    bytes
}
