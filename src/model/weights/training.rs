//! What a training checkpoint holds beside its encoder: the network's other tensors and the state
//! of PyTorch's AdamW. Read only when [`crate::pretrain`] asks for it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};

use super::container::Opened;
use super::element::Stored;
use super::moments::StoredSteps;
use super::names::unwrapped;
use super::report::Refusal;
use super::select::select;
use crate::error::{Error, Result};

/// The state of an AdamW of PyTorch.
#[derive(Debug, Clone)]
pub struct AdamState {
    /// The numbers of the parameters, group by group.
    pub groups: Vec<Vec<usize>>,
    /// The moments of the parameters that have been stepped, by number.
    pub moments: BTreeMap<usize, Moments>,
    /// The epoch that stands beside it.
    pub epoch: Option<u64>,
}

/// What AdamW keeps of one parameter.
#[derive(Debug, Clone)]
pub struct Moments {
    /// `exp_avg`.
    pub mean: Tensor,
    /// `exp_avg_sq`.
    pub square: Tensor,
    /// Steps made.
    pub steps: u64,
}

/// The tensors of these names that lie beside the encoder, in the same dict and under the same
/// prefix: f32, on the CPU. Those that are not there are left out.
///
/// # Errors
/// The file cannot be read or holds no encoder.
pub fn beside(path: &Path, names: &[String]) -> Result<HashMap<String, Tensor>> {
    let refused = |refusal: Refusal| refusal.into_error(path);
    let mut opened = Opened::open(path)?;
    let selection = select(&opened, None);
    let prefix = selection.site.map_err(refused)?.prefix;
    let mut found = HashMap::new();
    for (key, stored) in &selection.table {
        let Some(name) = key.strip_prefix(&prefix).map(unwrapped) else { continue };
        if names.iter().any(|wanted| *wanted == name) {
            let tensor = tensor(&mut opened, key, stored).map_err(refused)??;
            found.insert(name.into_owned(), tensor);
        }
    }
    Ok(found)
}

/// The AdamW state in the dict `optimizer` of a `.pth`, and the number `epoch` beside it.
///
/// # Errors
/// The file cannot be read or holds no such state.
pub fn adam_state(path: &Path) -> Result<AdamState> {
    let refused = |refusal: Refusal| refusal.into_error(path);
    let mut opened = Opened::open(path)?;
    let stored = match &opened {
        Opened::Torch(zip) => zip.optimizer("optimizer"),
        Opened::Safetensors(_) => None,
    };
    let stored = stored.ok_or_else(|| {
        Error::weights(
            path,
            "holds no state of an AdamW in a dict `optimizer`",
            "pass a checkpoint that training wrote, or begin with its weights alone: the setting `init`",
        )
    })?;
    let epoch = opened.surroundings().1.into_iter().find(|(name, _)| name == "epoch");
    let mut moments = BTreeMap::new();
    for (number, stored) in stored.moments {
        let what = format!("optimizer.state.{number}");
        let steps = match stored.steps {
            StoredSteps::Number(steps) => steps,
            StoredSteps::Tensor(steps) => {
                let value = opened.read(&what, &steps).map_err(refused)?;
                value.first().map_or(0, |value| *value as u64)
            }
        };
        let mean = tensor(&mut opened, &what, &stored.mean).map_err(refused)??;
        let square = tensor(&mut opened, &what, &stored.square).map_err(refused)??;
        moments.insert(number, Moments { mean, square, steps });
    }
    let epoch = epoch.and_then(|(_, epoch)| u64::try_from(epoch).ok());
    Ok(AdamState { groups: stored.groups, moments, epoch })
}

fn tensor(opened: &mut Opened, name: &str, stored: &Stored) -> Result<Result<Tensor>, Refusal> {
    let values = opened.read(name, stored)?;
    let tensor = Tensor::from_vec(values, stored.shape.as_slice(), &Device::Cpu);
    Ok(tensor.map_err(Error::from))
}
