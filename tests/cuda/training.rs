//! A training step on a GPU against the CPU's: the same loss, gradients, dropped values and
//! weights.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use cropmae::autoencoder::{
    Autoencoder, AutoencoderConfig, DecoderConfig, Gradients, Mask, Measured, Method, Parameters,
    Views,
};
use cropmae::device::Uploads;
use cropmae::image::Rgb;
use cropmae::model::VitConfig;
use cropmae::pretrain::adamw::AdamWSettings;
use cropmae::pretrain::average::Average;
use cropmae::pretrain::loader;
use cropmae::pretrain::optimizer::AdamW;
use cropmae::pretrain::views::Pair;

use crate::common::{largest_gap, values};
use crate::{other_device, skipped};

const SIDE: usize = 64;
const BATCH: usize = 3;

/// Three blocks of 64 in three heads, so that tokens (17 with CLS) are no whole group of eight.
fn config(method: Method) -> AutoencoderConfig {
    AutoencoderConfig {
        method,
        encoder: VitConfig {
            width: 48,
            depth: 3,
            heads: 3,
            table_side: SIDE / 16,
            ..VitConfig::named("vits16").unwrap()
        },
        decoder: DecoderConfig { width: 32, depth: 2, heads: 4, hidden: 96, dropout: 0.1 },
        normalize_target: true,
    }
}

/// Pairs of pictures of waves.
fn pairs() -> Vec<Pair> {
    let picture = |phase: f32| {
        let value = |i: usize| 127.5 + 127.5 * (i as f32 * 0.013 + phase).sin();
        let data = (0..3 * SIDE * SIDE).map(|i| value(i) as u8).collect();
        Rgb { height: SIDE, width: SIDE, data }
    };
    (0..BATCH).map(|i| Pair::new(picture(i as f32), picture(i as f32 + 0.3))).collect()
}

fn mask() -> Mask {
    let noise: Vec<f32> = (0..BATCH * 16).map(|i| (i * 7919 % 101) as f32).collect();
    Mask::from_noise(&noise, 16, 0.8).unwrap()
}

/// Gradients of one pass, with dropout, and what is measured of them.
fn pass(model: &Autoencoder, device: &Device) -> (Gradients, Measured) {
    let (pairs, mut uploads) = (pairs(), Uploads::new(device));
    let (first, second) = loader::batch(&pairs.iter().collect::<Vec<_>>(), &mut uploads).unwrap();
    let views = Views { first: &first, second: &second, mask: &mask().on(&mut uploads).unwrap() };
    let (loss, gradients) = model.gradients(views, 77, 1.0).unwrap();
    let measured = gradients.measure(&[loss], 0.0).unwrap();
    (gradients, measured)
}

fn model(method: Method, device: &Device, dtype: DType) -> Autoencoder {
    let config = config(method);
    let parameters = Parameters::seeded(&config, 3, device).unwrap();
    Autoencoder { config, parameters, dtype }
}

fn on_host(tensor: &Tensor) -> Vec<f32> {
    values(&tensor.to_device(&Device::Cpu).unwrap())
}

/// The length of the difference as a share of the length of what is wanted.
fn off(theirs: &[f32], ours: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    };
    let gap = length(&mut theirs.iter().zip(ours).map(|(a, b)| a - b));
    gap / length(&mut ours.iter().copied()).max(1e-12)
}

#[test]
fn views_are_the_same_to_the_last_bit() {
    let pairs = pairs();
    let pairs: Vec<&Pair> = pairs.iter().collect();
    let batch = |device: &Device| loader::batch(&pairs, &mut Uploads::new(device)).unwrap();
    let ((first, second), (theirs, others)) = (batch(&Device::Cpu), batch(&other_device()));
    assert_eq!(values(&first), on_host(&theirs));
    assert_eq!(values(&second), on_host(&others));
}

#[test]
fn what_is_sent_while_other_things_are_under_way_arrives_whole() {
    let mut uploads = Uploads::new(&other_device());
    // more than there are pieces of memory, of growing and shrinking sizes
    let counts = [5, 70_000, 1, 70_001, 300, 70_000, 9, 8, 7, 70_003_usize];
    let picture =
        |count: usize| (0..3 * count).map(|i| (i * 31 + count) as u8).collect::<Vec<u8>>();
    let words = |count: usize| (0..count as u32).map(|i| i * 7919).collect::<Vec<u32>>();
    let sent: Vec<_> = counts
        .iter()
        .map(|&count| {
            let pictures = uploads.pictures(&[&picture(count)], (1, count)).unwrap();
            (pictures, uploads.words(&words(count)).unwrap())
        })
        .collect();
    for (&count, (found, others)) in counts.iter().zip(&sent) {
        let found = found.flatten_all().unwrap();
        assert_eq!(found.to_vec1::<u8>().unwrap(), picture(count), "{count}");
        assert_eq!(others.to_vec1::<u32>().unwrap(), words(count), "{count}");
    }
}

#[test]
fn losses_and_all_gradients_agree() {
    let other = other_device();
    for method in [Method::Cropmae, Method::Siammae, Method::Mae] {
        let here = model(method, &Device::Cpu, DType::F32);
        let (gradients, measured) = pass(&here, &Device::Cpu);
        let ours = measured.read().unwrap();
        // f32: sums of some hundred products in another order, through eight blocks. bf16: 8 bits
        // at every step; PyTorch's own passes under autocast are off by as much.
        for (dtype, of_loss, of_gradient) in [(DType::F32, 1e-5, 1e-4), (DType::BF16, 1e-2, 1e-1)] {
            if dtype == DType::BF16 && skipped(&other, "a CPU in bf16 drops other values") {
                continue;
            }
            let there = model(method, &other, dtype);
            let (their_gradients, measured) = pass(&there, &other);
            let theirs = measured.read().unwrap();
            eprintln!("{} {dtype:?}: {ours:?} {theirs:?}", method.name());
            let (loss, their_loss) = (ours.losses[0], theirs.losses[0]);
            assert!((their_loss - loss).abs() <= of_loss * loss, "{their_loss} {loss}");
            let norms = (ours.gradient_norm, theirs.gradient_norm);
            assert!((norms.1 - norms.0).abs() <= of_gradient * norms.0, "{norms:?}");
            let names = here.parameters.iter().map(|(name, _)| name);
            let theirs = their_gradients.to_device(&Device::Cpu).unwrap().tensors().unwrap();
            for ((name, theirs), ours) in names.zip(&theirs).zip(&gradients.tensors().unwrap()) {
                let off = off(&values(theirs), &values(ours));
                assert!(off <= of_gradient, "{} {dtype:?} {name}: {off}", method.name());
            }
        }
    }
}

/// A model's optimiser, the average of its weights, and what three steps make of all of it by
/// gradients of the CPU, which are too long by half; in between both go through a checkpoint.
fn stepped(model: &Autoencoder, gradients: &Gradients) -> HashMap<String, Tensor> {
    let parameters = &model.parameters;
    let gradients = gradients.to_device(parameters.values().device()).unwrap();
    let clip = gradients.measure(&[], 0.0).unwrap().read().unwrap().gradient_norm / 1.5;
    let measured = gradients.measure(&[], clip).unwrap();
    let fresh = || AdamW::new(parameters, AdamWSettings::default()).unwrap();
    let averaging = || Average::new(parameters, 0.9).unwrap().unwrap();
    let (mut optimizer, mut average) = (fresh(), averaging());
    for step in 1..=3 {
        optimizer.step(parameters, &gradients, &measured, 1e-3).unwrap();
        average.update(parameters).unwrap();
        let states = (optimizer.state(parameters).unwrap(), average.state(parameters).unwrap());
        (optimizer, average) = (fresh(), averaging());
        optimizer.restore(parameters, &states.0, step).unwrap();
        average.restore(parameters, &states.1).unwrap();
    }
    let mut all = parameters.snapshot().unwrap();
    all.extend(optimizer.state(parameters).unwrap());
    all.extend(average.state(parameters).unwrap());
    all
}

#[test]
fn steps_of_the_optimiser_agree_and_states_travel() {
    let other = other_device();
    let here = model(Method::Cropmae, &Device::Cpu, DType::F32);
    let there = model(Method::Cropmae, &other, DType::F32);
    // the same gradients on both sides: Adam divides them by their own size, noise too
    let (gradients, _) = pass(&here, &Device::Cpu);
    let (ours, theirs) = (stepped(&here, &gradients), stepped(&there, &gradients));
    assert_eq!(ours.len(), theirs.len());
    for (name, ours) in &ours {
        let (gap, _) = largest_gap(&values(ours), &values(&theirs[name]));
        // the factor that shortens gradients comes of sums in another order: a few roundings of
        // moments and of three steps of 1e-3
        assert!(gap <= 1e-6, "{name}: {gap}");
    }
}

#[test]
fn the_same_gradients_leave_the_same_weights_to_the_last_bit() {
    let [here, there] =
        [Device::Cpu, other_device()].map(|device| model(Method::Mae, &device, DType::F32));
    let (gradients, _) = pass(&here, &Device::Cpu);
    let [ours, theirs] = [&here, &there].map(|model| {
        let parameters = &model.parameters;
        let gradients = gradients.to_device(parameters.values().device()).unwrap();
        let measured = gradients.measure(&[], 0.0).unwrap();
        let mut optimizer = AdamW::new(parameters, AdamWSettings::default()).unwrap();
        for _ in 0..3 {
            optimizer.step(parameters, &gradients, &measured, 1e-3).unwrap();
        }
        // what a loss that is no number finds moves nothing
        let loss = Tensor::new(f32::NAN, parameters.values().device()).unwrap();
        let bad = gradients.measure(&[loss], 0.0).unwrap();
        assert!(bad.read().unwrap().losses[0].is_nan());
        optimizer.step(parameters, &gradients, &bad, 1e-3).unwrap();
        parameters.values().to_vec1::<f32>().unwrap()
    });
    assert_eq!(ours, theirs);
}
