//! One step of the network: what the reference computed from the same weights, views and noise.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use cropmae::autoencoder::{
    Autoencoder, AutoencoderConfig, DecoderConfig, Figures, Gradients, Mask, Measured, Method,
    Parameters, PlacedMask, Views,
};
use cropmae::device::Uploads;
use cropmae::model::VitConfig;
use cropmae::pretrain::adamw::AdamWSettings;
use cropmae::pretrain::optimizer::AdamW;

use crate::common::{json, shared, tensors, values};

/// Sizes of the fixture's model.
fn tiny(method: Method, normalize_target: bool) -> AutoencoderConfig {
    AutoencoderConfig {
        method,
        encoder: VitConfig { width: 96, depth: 3, heads: 3, ..VitConfig::named("vits16").unwrap() },
        decoder: DecoderConfig { width: 32, depth: 2, heads: 4, hidden: 2048, dropout: 0.0 },
        normalize_target,
    }
}

fn placed(mask: &Mask) -> PlacedMask {
    mask.on(&mut Uploads::new(&Device::Cpu)).unwrap()
}

struct Fixture {
    model: Autoencoder,
    first: Tensor,
    second: Tensor,
    noise: Vec<f32>,
}

/// The fixture's model and batch; nothing where the fixtures are not at hand.
fn fixture(normalize_target: bool) -> Option<Fixture> {
    let weights = tensors(shared("fixtures/weights/siammae_tiny.safetensors")?);
    let config = tiny(Method::Siammae, normalize_target);
    let parameters = Parameters::from_tensors(&config, &weights, &Device::Cpu).unwrap();
    let views = tensors(shared("fixtures/pretrain/batch_u8.safetensors")?)["views_u8"].clone();
    let views = (views.to_dtype(DType::F32).unwrap() / 255.0).unwrap();
    let channel = |values: [f32; 3]| {
        Tensor::new(&values, &Device::Cpu).unwrap().reshape((1, 1, 3, 1, 1)).unwrap()
    };
    let views = views.broadcast_sub(&channel([0.485, 0.456, 0.406])).unwrap();
    let views = views.broadcast_div(&channel([0.229, 0.224, 0.225])).unwrap();
    let view = |index| views.narrow(1, index, 1).unwrap().squeeze(1).unwrap();
    let forward = tensors(shared("fixtures/pretrain/tiny_forward.safetensors")?);
    let noise = forward["noise"].flatten_all().unwrap().to_vec1().unwrap();
    let model = Autoencoder { config, parameters, dtype: DType::F32 };
    Some(Fixture { model, first: view(0), second: view(1), noise })
}

impl Fixture {
    fn mask(&self, ratio: f64) -> PlacedMask {
        placed(&Mask::from_noise(&self.noise, 196, ratio).unwrap())
    }

    fn gradients(&self, ratio: f64) -> (Gradients, Measured) {
        let mask = self.mask(ratio);
        let views = Views { first: &self.first, second: &self.second, mask: &mask };
        let (loss, gradients) = self.model.gradients(views, 0, 1.0).unwrap();
        let measured = gradients.measure(&[loss], 0.0).unwrap();
        (gradients, measured)
    }
}

/// The largest difference in proportion to the largest value.
fn relative_gap(ours: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(ours.len(), wanted.len());
    let scale = wanted.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let gap = ours.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    gap / scale
}

#[test]
fn encoder_decoder_and_losses_are_the_references() {
    let Some(fixture) = fixture(false) else { return };
    let stored = tensors(shared("fixtures/pretrain/tiny_forward.safetensors").unwrap());
    let losses = json(shared("fixtures/pretrain/losses.json").unwrap());
    for ratio in ["0.985", "0.75"] {
        let mask = fixture.mask(ratio.parse().unwrap());
        let views = Views { first: &fixture.first, second: &fixture.second, mask: &mask };
        let prediction = fixture.model.predict(views).unwrap();
        let compare = |name: &str, ours: &Tensor| {
            if let Some(wanted) = stored.get(&format!("r{ratio}.{name}")) {
                let gap = relative_gap(&values(ours), &values(wanted));
                println!("{ratio} {name}: {gap:e}");
                // f32 sums in another order through five blocks: 9e-7; norms with another epsilon
                // (1e-5 for 1e-6) would be off by three times as much
                assert!(gap < 1.5e-6, "{ratio} {name}: {gap}");
            }
        };
        compare("enc_unmasked", prediction.memory.as_ref().unwrap());
        compare("enc_masked", &prediction.visible);
        compare("pred", &prediction.pixels);
        let wanted = &losses[format!("tiny_b2_ratio{ratio}")];
        for (normalize, name) in [(false, "loss"), (true, "loss_norm_pix")] {
            let mut model = fixture.model.clone();
            model.config.normalize_target = normalize;
            let loss = model.predict(views).unwrap().loss;
            let wanted = wanted[name].as_f64().unwrap();
            println!("{ratio} {name}: {loss} {wanted}");
            assert!((loss / wanted - 1.0).abs() < 1e-5, "{ratio} {name}: {loss} for {wanted}");
        }
    }
}

#[test]
fn every_gradient_is_the_references() {
    let Some(fixture) = fixture(false) else { return };
    let stored = tensors(shared("fixtures/pretrain/tiny_grads.safetensors").unwrap());
    let (gradients, measured) = fixture.gradients(0.985);
    let names = fixture.model.parameters.iter().map(|(name, _)| name);
    let ours: HashMap<&str, Tensor> = names.zip(gradients.tensors().unwrap()).collect();
    assert_eq!(ours.len(), stored.len());
    for (name, wanted) in &stored {
        let gap = relative_gap(&values(&ours[name.as_str()]), &values(wanted));
        // f32 sums in another order, forth and back
        assert!(gap < 1e-4, "{name}: {gap}");
    }
    let report = json(shared("fixtures/pretrain/report.json").unwrap());
    let norm = report["grad_norm"].as_f64().unwrap();
    assert!((measured.read().unwrap().gradient_norm / norm - 1.0).abs() < 1e-5);
}

#[test]
fn three_steps_end_where_the_references_do() {
    let Some(fixture) = fixture(false) else { return };
    let parameters = &fixture.model.parameters;
    let mut optimizer = AdamW::new(parameters, AdamWSettings::default()).unwrap();
    let wanted = json(shared("fixtures/pretrain/losses.json").unwrap());
    let wanted = &wanted["tiny_adamw_3_steps"]["loss_before_each_step"];
    for step in 0..3 {
        let (gradients, measured) = fixture.gradients(0.985);
        let Figures { losses, .. } = measured.read().unwrap();
        let off = losses[0] / wanted[step].as_f64().unwrap() - 1.0;
        assert!(off.abs() < 1e-5, "{step}: {losses:?}");
        optimizer.step(parameters, &gradients, &measured, 1e-3).unwrap();
    }
    let stored = tensors(shared("fixtures/pretrain/tiny_after_adamw3.safetensors").unwrap());
    let gradients = tensors(shared("fixtures/pretrain/tiny_grads.safetensors").unwrap());
    let (mut largest, mut noisy, mut count) = (0_f32, 0, 0);
    for (name, tensor) in parameters.iter() {
        let (ours, wanted) = (values(tensor), values(&stored[name]));
        let gradients = values(&gradients[name]);
        // of large tensors the fixture keeps the first 8192 values
        for ((ours, wanted), gradient) in ours.iter().zip(&wanted).zip(&gradients) {
            let gap = (ours - wanted).abs();
            count += 1;
            // Adam divides a gradient by its own size plus 1e-8: one that is itself no more than
            // the rounding noise of its sums moves its parameter by an amount that nobody can tell.
            if gradient.abs() < 2e-6 {
                noisy += 1;
                assert!(gap < 1e-4, "{name}: {gap}");
            } else {
                largest = largest.max(gap);
            }
        }
    }
    println!("largest {largest:e}; {noisy} of {count} in the noise");
    assert!(largest <= 1e-6, "{largest:e}");
    assert!(noisy * 20 < count, "{noisy} of {count}");
}

/// The first thing to know of a network in candle: nothing is left out of the backward pass.
#[test]
fn every_parameter_gets_a_finite_gradient_that_is_not_zero() {
    for method in [Method::Cropmae, Method::Siammae, Method::Mae] {
        for dropout in [0.0, 0.1] {
            let mut config = tiny(method, true);
            config.decoder.dropout = dropout;
            let parameters = Parameters::seeded(&config, 1, &Device::Cpu).unwrap();
            let model = Autoencoder { config, parameters, dtype: DType::F32 };
            let view = |phase: f32| {
                let pixels = (0..2 * 3 * 224 * 224).map(|i| (i as f32 * 0.37 + phase).sin());
                Tensor::from_iter(pixels, &Device::Cpu).unwrap().reshape((2, 3, 224, 224)).unwrap()
            };
            let noise: Vec<f32> = (0..2 * 196).map(|i| (i * 7919 % 397) as f32).collect();
            let mask = placed(&Mask::from_noise(&noise, 196, 0.75).unwrap());
            let (first, second) = (view(0.0), view(1.0));
            let views = Views { first: &first, second: &second, mask: &mask };
            let (_, gradients) = model.gradients(views, 5, 1.0).unwrap();
            let gradients = gradients.tensors().unwrap();
            for ((name, _), gradient) in model.parameters.iter().zip(&gradients) {
                let gradient = values(gradient);
                assert!(gradient.iter().all(|v| v.is_finite()), "{method:?} {name} is not finite");
                assert!(gradient.iter().any(|v| *v != 0.0), "{method:?} {name} is zero");
            }
        }
    }
}
