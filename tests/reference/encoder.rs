//! Tokens of every encoder family, from its checkpoint as its program saves it and a decoded frame.

use candle_core::{Device, Tensor};
use cropmae::eval::stream::input_planes;
use cropmae::image::decode;
use cropmae::model::source::Choices;
use cropmae::protocol::{Benchmark, InputSize, Preset, Size};

use super::common::values;
use super::{assert_near, encoder, expected, golden, pair};

/// The first frame of the clip as the encoder takes it: [1, 3, H, W].
fn frame(size: (usize, usize), patch: usize) -> Tensor {
    let mut protocol = Preset::Cropmae.protocol(Benchmark::Davis).unwrap();
    protocol.input_size = InputSize::Exact(Size { height: size.0, width: size.1 });
    let rgb = decode::read(&golden("clip/frames/00000.png")).unwrap();
    let (planes, _) = input_planes(rgb, &protocol, patch).unwrap();
    Tensor::from_vec(planes, (1, 3, size.0, size.1), &Device::Cpu).unwrap()
}

#[test]
fn tokens_of_every_family() {
    let mut compared = 0;
    // <encoder>.<size>.<layer>
    for (key, theirs) in &expected("encoders") {
        let parts: Vec<&str> = key.split('.').collect();
        let [name, size, layer] = parts[..] else { panic!("{key}") };
        if layer == "features" {
            continue;
        }
        let choices = Choices { layer: layer.parse().unwrap(), ..Choices::default() };
        let encoder = encoder(name, choices);
        let tokens = encoder.tokens(&frame(pair(size), encoder.patch()), false).unwrap();
        let ours = [values(&tokens.cls.unwrap()), values(&tokens.patches)].concat();
        // Two blocks of f32 sums in another order; the last norm brings values to a few units.
        assert_near(key, &ours, &values(theirs), 1e-5);
        compared += 1;
    }
    assert_eq!(compared, 12);
}

#[test]
fn features_are_tokens_of_length_one() {
    let theirs = &expected("encoders")["dino8.56x56.features"];
    let encoder = encoder("dino8", Choices::default());
    let ours = encoder.features(&frame((56, 56), 8)).unwrap();
    // As above, divided by the tokens' length.
    assert_near("features", &values(&ours), &values(theirs), 2e-6);
}
