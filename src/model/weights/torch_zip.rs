//! Reads what `torch.save` writes since PyTorch 1.6: a zip of one pickle and the raw storages.
//!
//! `<name>/data.pkl` holds the structure, `<name>/data/0`, `1`, … the numbers. The pickle is read
//! at once; a storage is read when a tensor of it is asked for, so the optimiser state of a
//! training checkpoint is never loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};

use super::element::{ElementType, Place, Stored, Table};
use super::moments::{StoredMoments, StoredState, StoredSteps};
use super::pickle::{Id, Pickle, Value};
use super::report::Refusal;

/// What to do about a model that was pickled whole.
pub(super) const STATE_DICT: &str =
    "in Python, save the state dict: torch.save(model.state_dict(), \"weights.pth\")";

/// The entries of a checkpoint under which people pickle whole models.
const MODELS: [&str; 9] =
    ["model", "state_dict", "teacher", "student", "model_ema", "ema", "encoder", "net", "backbone"];

/// More dimensions than any weight has; bounds a recursion.
const MAX_RANK: usize = 8;

/// An open `.pth` file.
pub(super) struct TorchZip {
    archive: ZipArchive<BufReader<File>>,
    /// The folder inside the zip that holds `data.pkl`, with its slash.
    root: String,
    pickle: Pickle,
    /// Bytes of the whole file: no storage in it can be larger.
    file_size: u64,
}

impl TorchZip {
    /// Opens a zip and reads its pickle.
    pub(super) fn open(path: &Path, file_size: u64) -> Result<Self, Refusal> {
        let file = File::open(path).map_err(|error| damaged(error.to_string()))?;
        // Nothing precedes the zip. Left to guess that, the zip crate takes the second entry for
        // the first wherever the first entry's header is as long as the end records (76 bytes: a
        // checkpoint saved under a name of 21 characters).
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let archive = ZipArchive::with_config(config, BufReader::new(file));
        let mut archive = archive.map_err(|error| {
            Refusal::new(
                format!("a zip without a readable end ({error}): probably cut short"),
                "download or copy it again and compare its size with the source's",
            )
        })?;
        let root = find_root(&archive)?;
        let bytes = read_entry(&mut archive, &format!("{root}data.pkl"), file_size)?;
        let pickle = Pickle::parse(&bytes).map_err(damaged)?;
        if let Ok(order) = read_entry(&mut archive, &format!("{root}byteorder"), 16)
            && order != b"little"
        {
            return Err(Refusal::new(
                "its numbers are big-endian",
                "load it with PyTorch and save it again on a little-endian machine",
            ));
        }
        Ok(Self { archive, root, pickle, file_size })
    }

    /// What the file holds at its top where that is no dict: a class name, say.
    pub(super) fn not_a_dict(&self) -> Option<String> {
        let root = self.pickle.root();
        match self.pickle.get(root) {
            Value::Dict(_) => None,
            Value::Call(function, _) => {
                let (module, name) = self.pickle.global(*function).unwrap_or(("", "?"));
                Some(format!("a pickled object of class {module}.{name}"))
            }
            Value::Sequence(_) => Some("a list".into()),
            _ => Some("a single value".into()),
        }
    }

    /// What the top dict, or a dict in it, holds where tensors should be: a pickled module, or
    /// arrays of NumPy.
    pub(super) fn in_place_of_tensors(&self) -> Option<Refusal> {
        let entries = self.pickle.entries(self.pickle.root())?;
        let class = |id: Id| match self.pickle.get(id) {
            Value::Call(function, _) => self.pickle.global(*function),
            _ => None,
        };
        let module = entries.iter().find_map(|&(key, value)| {
            let key = self.pickle.text(key).filter(|key| MODELS.contains(key))?;
            Some((key, class(value).filter(|(module, _)| !module.starts_with("numpy"))?))
        });
        if let Some((key, (module, name))) = module {
            return Some(Refusal::new(
                format!(
                    "holds a pickled object of class {module}.{name} as its `{key}`, not a dict of tensors"
                ),
                STATE_DICT,
            ));
        }
        let array = |id: Id| {
            class(id).is_some_and(|(module, name)| {
                module.starts_with("numpy") && matches!(name, "_reconstruct" | "_frombuffer")
            })
        };
        let arrays = entries.iter().any(|&(_, value)| {
            let inner = self.pickle.entries(value).unwrap_or_default();
            array(value) || inner.iter().any(|&(_, value)| array(value))
        });
        arrays.then(|| {
            Refusal::new(
                "holds arrays of NumPy, not tensors",
                "in Python, make tensors of them: torch.save({key: torch.from_numpy(array) for key, array in arrays.items()}, \"weights.pth\")",
            )
        })
    }

    /// The names of the dicts inside the top dict, in file order.
    pub(super) fn dicts(&self) -> Vec<String> {
        let entries = self.pickle.entries(self.pickle.root()).unwrap_or_default();
        let dicts = entries.iter().filter(|(_, value)| self.pickle.entries(*value).is_some());
        dicts.filter_map(|(key, _)| self.pickle.text(*key).map(str::to_string)).collect()
    }

    /// The tensors of the top dict (`None`) or of a dict inside it (`a`, or `a.b` two deep).
    pub(super) fn table(&self, dictionary: Option<&str>) -> Option<Table> {
        let mut dict = self.pickle.root();
        for name in dictionary.into_iter().flat_map(|path| path.split('.')) {
            dict = self.entry(dict, name)?;
        }
        let entries = self.pickle.entries(dict)?;
        let tensors = entries.iter().filter_map(|&(key, value)| {
            Some((self.pickle.text(key)?.to_string(), self.describe(value)?))
        });
        Some(tensors.collect())
    }

    /// How many tensors lie anywhere below each entry of the top dict, and which integers stand
    /// beside them (an epoch, say).
    pub(super) fn surroundings(&self) -> (BTreeMap<String, usize>, Vec<(String, i64)>) {
        let mut counts = BTreeMap::new();
        let mut numbers = Vec::new();
        for &(key, value) in self.pickle.entries(self.pickle.root()).unwrap_or_default() {
            let Some(name) = self.pickle.text(key) else { continue };
            match self.pickle.get(value) {
                Value::Int(number) => numbers.push((name.to_string(), *number)),
                Value::Dict(_) => {
                    counts.insert(name.to_string(), self.count_tensors(value));
                }
                _ => {}
            }
        }
        (counts, numbers)
    }

    /// The state of an AdamW in the top dict's entry `name`; `None` where it is something else.
    pub(super) fn optimizer(&self, name: &str) -> Option<StoredState> {
        let optimizer = self.entry(self.pickle.root(), name)?;
        let groups = self.entry(optimizer, "param_groups")?;
        let numbers = |group: &Id| -> Option<Vec<usize>> {
            let numbers = self.pickle.items(self.entry(*group, "params")?);
            numbers.iter().map(|number| self.pickle.size(*number)).collect()
        };
        let groups = self.pickle.items(groups).iter().map(numbers).collect::<Option<_>>()?;
        let state = self.pickle.entries(self.entry(optimizer, "state")?)?;
        let moments = state.iter().map(|&(number, state)| {
            let steps = self.entry(state, "step")?;
            let steps = match self.pickle.size(steps) {
                Some(steps) => StoredSteps::Number(steps as u64),
                None => StoredSteps::Tensor(self.describe(steps)?),
            };
            let tensor = |name| self.describe(self.entry(state, name)?);
            let (mean, square) = (tensor("exp_avg")?, tensor("exp_avg_sq")?);
            Some((self.pickle.size(number)?, StoredMoments { mean, square, steps }))
        });
        Some(StoredState { groups, moments: moments.collect::<Option<_>>()? })
    }

    /// The bytes of a tensor, row-major whatever its strides.
    pub(super) fn read(&mut self, stored: &Stored) -> Result<Vec<u8>, Refusal> {
        let Place::Storage { entry, offset, strides } = &stored.place else {
            return Err(damaged("a tensor lies outside its zip"));
        };
        let item = stored.element.size().ok_or_else(|| damaged("unknown element type"))?;
        let bytes = read_entry(&mut self.archive, entry, self.file_size)?;
        let mut wanted = Vec::new();
        offset
            .checked_mul(item)
            .and_then(|start| gather(&bytes, start, item, &stored.shape, strides, &mut wanted))
            .ok_or_else(|| damaged(format!("`{entry}` is shorter than the tensor in it")))?;
        Ok(wanted)
    }

    fn entry(&self, dict: Id, name: &str) -> Option<Id> {
        let entries = self.pickle.entries(dict)?;
        // the last one wins, as in Python
        let found = entries.iter().rev().find(|(key, _)| self.pickle.text(*key) == Some(name));
        found.map(|(_, value)| *value)
    }

    fn count_tensors(&self, root: Id) -> usize {
        let mut seen = BTreeSet::new();
        let mut pending = vec![root];
        let mut count = 0;
        while let Some(id) = pending.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.pickle.get(id) {
                Value::Dict(entries) => pending.extend(entries.iter().map(|(_, value)| *value)),
                Value::Sequence(items) => pending.extend(items),
                Value::Call(..) => count += usize::from(self.describe(id).is_some()),
                _ => {}
            }
        }
        count
    }

    /// The tensor that a call would rebuild; `None` where the value is none.
    fn describe(&self, id: Id) -> Option<Stored> {
        let Value::Call(function, arguments) = self.pickle.get(id) else { return None };
        let arguments = self.pickle.items(*arguments);
        match self.pickle.global(*function)?.1 {
            name @ ("_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
                self.rebuilt(name, arguments)
            }
            "_rebuild_parameter" | "_rebuild_parameter_with_state" => {
                // one level only: a parameter of a parameter is no tensor
                let Value::Call(inner, tensor) = self.pickle.get(*arguments.first()?) else {
                    return None;
                };
                self.rebuilt(self.pickle.global(*inner)?.1, self.pickle.items(*tensor))
            }
            "_rebuild_from_type_v2" => self.rebuild(self.pickle.items(*arguments.get(2)?)),
            name if name.starts_with("_rebuild_") => Some(Stored {
                element: ElementType::Other(name.trim_start_matches("_rebuild_").to_string()),
                shape: Vec::new(),
                place: Place::Nowhere,
            }),
            _ => None,
        }
    }

    /// The tensor that PyTorch's function of this name would rebuild.
    fn rebuilt(&self, function: &str, arguments: &[Id]) -> Option<Stored> {
        match function {
            "_rebuild_tensor" | "_rebuild_tensor_v2" => self.rebuild(arguments),
            // for types that came late, such as 8-bit floats, which is named
            "_rebuild_tensor_v3" => {
                let &[_, _, shape, _, _, _, element, ..] = arguments else { return None };
                let element = self.pickle.global(element)?.1.to_owned();
                Some(Stored {
                    element: ElementType::Other(element),
                    shape: self.sizes(shape)?,
                    place: Place::Nowhere,
                })
            }
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.pickle.items(id).iter().map(|&size| self.pickle.size(size)).collect()
    }

    /// That the numbers of a tensor are another's, negated or conjugated, where its metadata (the
    /// seventh argument) says so.
    fn flagged(&self, arguments: &[Id]) -> Option<ElementType> {
        let metadata = self.pickle.entries(*arguments.get(6)?)?;
        let says = |word| metadata.iter().any(|(key, _)| self.pickle.text(*key) == Some(word));
        let what = match (says("neg"), says("conj")) {
            (true, _) => "negated view",
            (false, true) => "conjugated view",
            (false, false) => return None,
        };
        Some(ElementType::Other(what.into()))
    }

    /// `(storage, offset, shape, strides, …)` as PyTorch's `_rebuild_tensor_v2` takes them.
    fn rebuild(&self, arguments: &[Id]) -> Option<Stored> {
        let &[storage, offset, shape, strides, ..] = arguments else { return None };
        let Value::Persistent(reference) = self.pickle.get(storage) else { return None };
        // ("storage", class, name of the entry, device, number of elements)
        let &[_, class, name, _, length, ..] = self.pickle.items(*reference) else { return None };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let rank = strides.len();
        // `expand` repeats numbers without storing them again
        let repeats = strides.contains(&0);
        let element = ElementType::of_storage(self.pickle.global(class)?.1);
        let stored = Stored {
            place: Place::Storage {
                entry: format!("{}data/{}", self.root, self.pickle.text(name)?),
                offset: self.pickle.size(offset)?,
                strides,
            },
            element: self.flagged(arguments).unwrap_or(element),
            shape,
        };
        // what claims to be larger than the file, or to have a dozen dimensions, is no weight
        let (elements, length) = (stored.elements()?, self.pickle.size(length)?);
        let bytes = length.checked_mul(stored.element.size().unwrap_or(1))?;
        let enough = elements <= length || (repeats && elements as u64 <= self.file_size);
        let fits = bytes as u64 <= self.file_size && enough;
        (fits && stored.shape.len() <= MAX_RANK && rank == stored.shape.len()).then_some(stored)
    }
}

/// The folder of `data.pkl`, or why there is none.
fn find_root(archive: &ZipArchive<BufReader<File>>) -> Result<String, Refusal> {
    let names: Vec<String> =
        archive.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect();
    let root = names.iter().find_map(|name| {
        let root = name.strip_suffix("data.pkl")?;
        (root.is_empty() || root.ends_with('/')).then(|| root.to_string())
    });
    if names.iter().any(|name| name.ends_with("constants.pkl")) {
        return Err(Refusal::new(
            "a TorchScript archive (torch.jit.save), not a state dict",
            "in Python: torch.save(torch.jit.load(FILE).state_dict(), \"weights.pth\")",
        ));
    }
    root.ok_or_else(|| {
        let numpy = names.iter().any(|name| name.ends_with(".npy"));
        let what =
            if numpy { "a NumPy archive (.npz)" } else { "a zip that PyTorch did not write" };
        Refusal::new(
            what,
            "pass the .pth or .safetensors file; if it is inside this zip, extract it first",
        )
    })
}

/// A whole entry, its checksum verified; `limit` bounds what a false header can claim.
fn read_entry(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, Refusal> {
    let entry = archive.by_name(name).map_err(|error| damaged(format!("`{name}`: {error}")))?;
    let mut bytes = Vec::new();
    entry
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| damaged(format!("`{name}`: {error}")))?;
    Ok(bytes)
}

fn damaged(problem: impl std::fmt::Display) -> Refusal {
    Refusal::new(format!("a damaged PyTorch checkpoint ({problem})"), "download or copy it again")
}

/// Copies the elements of a strided tensor in row-major order; `None` where `bytes` is too short.
fn gather(
    bytes: &[u8],
    start: usize,
    item: usize,
    shape: &[usize],
    strides: &[usize],
    wanted: &mut Vec<u8>,
) -> Option<()> {
    let row_major =
        shape.iter().zip(strides).rev().try_fold(1_usize, |expected, (&size, &stride)| {
            if size == 1 || stride == expected { expected.checked_mul(size) } else { None }
        });
    if let Some(count) = row_major {
        wanted.extend_from_slice(bytes.get(start..start.checked_add(count.checked_mul(item)?)?)?);
        return Some(());
    }
    match (shape.split_first(), strides.split_first()) {
        (Some((&size, shape)), Some((&stride, strides))) => (0..size).try_for_each(|index| {
            let step = index.checked_mul(stride)?.checked_mul(item)?;
            gather(bytes, start.checked_add(step)?, item, shape, strides, wanted)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(shape: &[usize], strides: &[usize], start: usize) -> Option<Vec<u8>> {
        let bytes: Vec<u8> = (0..12).collect();
        let mut wanted = Vec::new();
        gather(&bytes, start, 1, shape, strides, &mut wanted)?;
        Some(wanted)
    }

    #[test]
    fn row_major_and_transposed_views() {
        assert_eq!(gathered(&[2, 3], &[3, 1], 1).unwrap(), [1, 2, 3, 4, 5, 6]);
        // the transpose of 0 1 2 / 3 4 5 is 0 3 / 1 4 / 2 5
        assert_eq!(gathered(&[3, 2], &[1, 3], 0).unwrap(), [0, 3, 1, 4, 2, 5]);
        // every second element
        assert_eq!(gathered(&[3], &[2], 0).unwrap(), [0, 2, 4]);
        // what `expand` makes: every row the same
        assert_eq!(gathered(&[2, 3], &[0, 1], 4).unwrap(), [4, 5, 6, 4, 5, 6]);
        assert_eq!(gathered(&[1, 1, 3], &[0, 0, 0], 2).unwrap(), [2, 2, 2]);
        // a stride of a dimension of one element means nothing
        assert_eq!(gathered(&[1, 3], &[7, 1], 0).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn views_beyond_the_storage_are_refused() {
        assert_eq!(gathered(&[13], &[1], 0), None);
        assert_eq!(gathered(&[2, 2], &[100, 1], 0), None);
        assert_eq!(gathered(&[2], &[usize::MAX], 1), None);
    }
}
